"""The items of whole answers, kept until something in their scope changes or a row reads otherwise.

An answer is kept under what was asked (resource, scope, selectors, page, form) and is good while its
stamp is the snapshot's: so one that is asked for again costs no look at any object. Concurrent requests
for the same are one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.deflate import Segment
from server.rendering import CLOCK_SLACK_SECONDS

if TYPE_CHECKING:
    from server.history import Key
    from server.render import Envelope


@dataclass(slots=True)
class Items:
    """The items or rows of an answer: joined (`plain`), compressed (`packed`), or both.

    Good for a snapshot with the same `stamp`, at instants in [since, until). `length` is uncompressed.
    `count` objects, the last of which has the key `last`, and `following` come behind it.
    """

    stamp: object
    since: float
    until: float
    length: int
    plain: bytes | None
    packed: Segment | None = None
    count: int = 0
    last: Key | None = None
    following: int = 0
    _around: tuple[int, Envelope] | None = None
    _file: tuple[Envelope, list[bytes]] | None = None

    def enveloped(self, rv: int, envelope: Callable[[Items], Envelope]) -> Envelope:
        """What stands around them in an answer with this RV; kept while that stays, but for tokens of next pages."""
        if self._around is None or self._around[0] != rv or self.following:
            self._around = rv, envelope(self)
        return self._around[1]

    def file(self, around: Envelope) -> list[bytes]:
        """The whole answer as a gzip file, in parts; kept while what is around the items stays the same."""
        if self._file is None or (self._file[0] is not around and self._file[0] != around):
            assert self.packed is not None
            self._file = around, around.gzip(self.packed)
        return self._file[1]

    def good(self, stamp: object, now: float) -> bool:
        """Whether these are the items of a snapshot with that stamp, at `now`."""
        return self.stamp == stamp and self.since - CLOCK_SLACK_SECONDS <= now < self.until

    def take_over(self, before: Items) -> None:
        """Have also the form of earlier items, if it is the same text: it is where both end with the same tick."""
        if self.stamp == before.stamp and self.until == before.until:
            self.plain = self.plain if self.plain is not None else before.plain
            self.packed = self.packed if self.packed is not None else before.packed

    @property
    def kept_bytes(self) -> int:
        """Memory that they take."""
        return len(self.plain or b"") + (len(self.packed.data) if self.packed is not None else 0) + 512


class Answers:
    """A bounded LRU of `Items`."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.bytes = 0
        self._kept: OrderedDict[Hashable, tuple[Items, int]] = OrderedDict()
        self._making: dict[tuple[Hashable, object, bool], asyncio.Future[Items]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def kept(self, key: Hashable, stamp: object, now: float) -> Items | None:
        """The kept answer, if it is good."""
        kept = self._kept.get(key)
        if kept is None or not kept[0].good(stamp, now):
            return None
        self._kept.move_to_end(key)
        return kept[0]

    async def make(self, key: Hashable, stamp: object, make: Callable[[], Awaitable[Items]], *, packed: bool) -> Items:
        """A new answer, made once for all who ask for it in that form at the same time."""
        flight = (key, stamp, packed)
        making = self._making.get(flight)
        if making is None:
            making = self._making[flight] = asyncio.ensure_future(make())
            making.add_done_callback(lambda _: self._making.pop(flight, None))
        # Shielded: who gives up must not take the others' answer away.
        items = await asyncio.shield(making)
        self.keep(key, items)
        return items

    def keep(self, key: Hashable, items: Items) -> None:
        """Keep an answer, and what is kept of it in the other form."""
        if (before := self._kept.pop(key, None)) is not None:
            self.bytes -= before[1]
            items.take_over(before[0])
        size = items.kept_bytes
        self.bytes += size
        self._kept[key] = (items, size)
        while self.bytes > self.budget_bytes:
            _, (_, size) = self._kept.popitem(last=False)
            self.bytes -= size
