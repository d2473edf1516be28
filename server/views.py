"""All views of a replica: opened on demand, fed by one subscription, bounded in memory, dropped when idle.

What does not fit is let go in this order: renderings and whole answers (each within a budget of its own),
then the bodies of the shards that were read longest ago (heads and rows stay, bodies are read back by
key), then histories (the store's logs have them too), then whole shards, unless they are being watched. Control
data stays.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Self

from kube import tasks
from kube.resources import GVR
from server.answers import Answers
from server.feed import Feed
from server.pause import Pause
from server.rendering import Kept
from server.view import ResourceView, Unusable
from store.errors import StoreError
from store.shared_key import shared_key
from store.subscriber import Message, Subscriber

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from server.metrics import Sample
    from store.connection import Store
    from store.reader import Reader

log = logging.getLogger(__name__)

IDLE_SECONDS = 900.0
"""A shard that nobody has read for so long is dropped: longer than the polls of any dashboard are apart."""

HEAD_BYTES = 3000
"""What an object takes beside its body: names, labels, fields, the row (measured on pods)."""

_SWEEP_SECONDS = 5.0


class Views:
    """Use as `async with Views(...) as views`."""

    def __init__(
        self,
        store: Store,
        reader: Reader,
        *,
        clock: Callable[[], float],
        budget_bytes: int = 1 << 30,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """A quarter of the budget each goes to renderings and to whole answers at most, the rest to views."""
        self._token_key: bytes | None = None
        self.clock = clock
        self.kept = Kept(budget_bytes // 4)
        self.answers = Answers(budget_bytes // 8)
        self.budget_bytes = budget_bytes - self.kept.budget_bytes - self.answers.budget_bytes
        self.idle_seconds = idle_seconds
        self._store = store
        self._reader = reader
        self._subscriber = Subscriber(store)
        self._feeds: dict[GVR, Feed] = {}
        self._opening: dict[GVR, asyncio.Task[ResourceView]] = {}
        self._channels: dict[str, tuple[Feed, str | None]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._subscriber.__aenter__()
        self._tasks = [
            asyncio.create_task(self._listen(), name="views-listen"),
            asyncio.create_task(self._sweep_for_ever(), name="views-sweep"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await tasks.end(*self._tasks, *self._opening.values())
        for feed in list(self._feeds.values()):
            await feed.close()
        await self._subscriber.__aexit__(kind, error, trace)

    async def token_key(self) -> bytes:
        """What continue tokens are authenticated with: the same on all replicas of the store.

        Raises:
            Unusable: the store cannot be asked.
        """
        if self._token_key is None:
            try:
                self._token_key = await shared_key(self._store, "continue tokens")
            except StoreError as error:
                raise Unusable(f"the key of continue tokens cannot be read: {error}") from error
        return self._token_key

    async def open(self, gvr: GVR) -> ResourceView:
        """The view of a resource, followed from now on; it holds nothing until it is asked to `ensure`.

        It stays this very one as long as there are views.

        Raises:
            Unusable: the store cannot be read.
        """
        feed = self._feeds.get(gvr)
        if feed is not None:
            return feed.view
        opening = self._opening.get(gvr)
        if opening is None:
            opening = self._opening[gvr] = asyncio.create_task(self._open(gvr), name=f"open {gvr}")
            opening.add_done_callback(lambda _: self._opening.pop(gvr, None))
        try:
            return await asyncio.shield(opening)
        except StoreError as error:
            raise Unusable(f"{gvr} cannot be read: {error}") from error

    @property
    def views(self) -> list[ResourceView]:
        """The views that are open."""
        return [feed.view for feed in self._feeds.values()]

    @property
    def connected(self) -> bool:
        """Whether events are coming in."""
        return self._subscriber.connected

    @property
    def packed_bytes(self) -> int:
        """What all views take, about."""
        return sum(view.packed_bytes + view.count * HEAD_BYTES + view.history.bytes for view in self.views)

    def samples(self) -> Iterator[tuple[str, str, tuple[str, ...], Sample]]:
        """What the metrics show: name, explanation, labels, and the values as of the moment they are asked for."""
        by_resource = ("resource",)
        yield (
            "larder_view_objects",
            "Objects held in memory.",
            by_resource,
            lambda: [((str(view.gvr),), float(view.count)) for view in self.views],
        )
        yield (
            "larder_staleness_seconds",
            "Seconds since the informer of the resource last heard from upstream.",
            by_resource,
            lambda: [((str(view.gvr),), view.age()) for view in self.views],
        )
        yield (
            "larder_view_resyncs",
            "How often the view had to read the log because messages were lost.",
            by_resource,
            lambda: [((str(gvr),), float(feed.resyncs)) for gvr, feed in self._feeds.items()],
        )
        yield (
            "larder_view_bytes",
            "Bytes that views, their renderings and whole answers take, about.",
            ("kind",),
            lambda: [
                (("views",), float(self.packed_bytes)),
                (("renderings",), float(self.kept.bytes)),
                (("answers",), float(self.answers.bytes)),
            ],
        )

    async def _open(self, gvr: GVR) -> ResourceView:
        keys = self._store.keys(gvr)
        view = ResourceView(gvr, await self._reader.meta(gvr), clock=self.clock)
        feed = Feed(view, self._reader, self._subscriber, keys)
        self._channels[keys.feed] = (feed, None)
        try:
            await feed.start()
        except BaseException:
            del self._channels[keys.feed]
            raise
        view.source = feed
        self._feeds[gvr] = feed
        return view

    # --- messages -------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Hand messages to the feeds, in steps that leave room for everybody else."""
        pause = Pause()
        async for item in self._subscriber:
            if isinstance(item, Message):
                self._hand_out(item)
            else:
                log.info("messages were lost: every view reads the log")
                self._token_key = None  # it may be another store than it was
                for feed, shard in list(self._channels.values()):
                    if shard is None:
                        feed.lost()
            if pause.due:
                await pause()

    def _hand_out(self, message: Message) -> None:
        target = self._channels.get(message.channel)
        if target is None:
            target = self._shard_channel(message.channel)
            if target is None:
                return
        feed, shard = target
        if shard is None:
            feed.on_feed(message.data)
        else:
            feed.on_shard(shard, message.data)

    def _shard_channel(self, channel: str) -> tuple[Feed, str] | None:
        """The feed and shard of a channel that is heard for the first time."""
        for feed, shard in list(self._channels.values()):
            if shard is None and (name := feed.shard_of(channel)) is not None:
                self._channels[channel] = (feed, name)
                return feed, name
        return None

    # --- memory -----------------------------------------------------------------------------------------

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            await self.sweep()

    async def sweep(self) -> None:
        """Drop what is idle, and make room if the views take more than their budget."""
        now = asyncio.get_running_loop().time()
        for feed, shard, used in self._by_use():
            if now - used > self.idle_seconds:
                await self._drop(feed, shard)
        await self._make_room()

    async def _make_room(self) -> None:
        pause = Pause()
        for feed, shard, _ in self._by_use(watched=True):
            if self.packed_bytes <= self.budget_bytes:
                return
            await feed.view.evict(shard, pause)
        for view in self.views:
            view.history.shrink(self.budget_bytes // 64)
            await pause()
        for feed, shard, _ in self._by_use():
            if self.packed_bytes <= self.budget_bytes:
                return
            await self._drop(feed, shard)

    async def _drop(self, feed: Feed, shard: str) -> None:
        if feed.view.pinned or feed.view.observed:
            return  # someone has begun to follow it since the choice was made
        for channel, (owner, name) in list(self._channels.items()):
            if owner is feed and (name == shard or (name is not None and not feed.view.meta.namespaced)):
                del self._channels[channel]
        await feed.drop(shard)

    def _by_use(self, *, watched: bool = False) -> list[tuple[Feed, str, float]]:
        """What may be let go, that which was read longest ago first; `watched`: also what is being watched."""
        found = [
            (feed, shard, feed.view.last_used(held))
            for feed in self._feeds.values()
            if not feed.view.pinned and (watched or not feed.view.observed)
            for shard, held in feed.view.shards.items()
        ]
        return sorted(found, key=lambda item: item[2])
