"""What a view asks the store for beside its feed: the position, old versions, bodies, single objects."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from server.history import Change, Key
from server.holdings import loop_time
from server.view import Gone, ResourceView, Unusable
from store.errors import NotSynced, StoreError
from store.keys import object_key

if TYPE_CHECKING:
    from collections.abc import Collection

    from store.entry import Entry
    from store.reader import Reader
    from store.record import Record

log = logging.getLogger(__name__)

POSITION_SECONDS = 1.0
"""How long a read waits for the store's position before it makes do with what is in memory."""

UNREACHABLE_SECONDS, UNREACHABLE_MOST_SECONDS = 1.0, 16.0
"""After the store did not answer, reads do not ask again for so long: doubling, until something is heard of it."""


class StoreReads:
    """Reads of one resource's store, for one view."""

    def __init__(self, view: ResourceView, reader: Reader) -> None:
        self.view = view
        self._reader = reader
        self._waiting: list[asyncio.Future[int]] = []
        self._asking: asyncio.Task[None] | None = None
        self._unreachable_until = 0.0
        self._unreachable_seconds = UNREACHABLE_SECONDS

    def reachable(self) -> None:
        """Something was heard of the store: it is worth asking again."""
        self._unreachable_until, self._unreachable_seconds = 0.0, UNREACHABLE_SECONDS

    async def store_position(self) -> int:
        """The store's position, read after the call; 0 where the store does not answer in time."""
        if self._unreachable_until and loop_time() < self._unreachable_until:
            return 0
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name=f"position of {self.view.gvr}")
        return await answer

    async def _ask(self) -> None:
        """One reading after the other, while someone waits. Whoever comes before one is sent shares it."""
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                try:
                    position = await self._read_position()
                except Exception as error:  # noqa: BLE001 - it is theirs who wait
                    for answer in waiting:
                        if not answer.done():
                            answer.set_exception(error)
                    continue
                for answer in waiting:
                    if not answer.done():
                        answer.set_result(position)
        finally:
            self._asking = None

    async def _read_position(self) -> int:
        try:
            async with asyncio.timeout(POSITION_SECONDS):
                return await self._reader.position(self.view.gvr)
        except NotSynced:
            return 0
        except (StoreError, TimeoutError) as error:
            log.warning("the position of %s cannot be read: %s", self.view.gvr, error)
            self._unreachable_until = loop_time() + self._unreachable_seconds
            self._unreachable_seconds = min(2 * self._unreachable_seconds, UNREACHABLE_MOST_SECONDS)
            return 0

    async def changes(self, shards: Collection[str], after: int, upto: int) -> list[Change]:
        """What the log says of these shards in (after, upto].

        Raises:
            Gone: it does not reach back to `after`.
            Unusable: the store cannot be read, or is behind: it came back as an older copy of itself.
        """
        found: list[Change] = []
        incarnation, begin = self.view.incarnation, after
        while True:
            try:
                page = await self._reader.log(self.view.gvr, shards, begin, upto=upto)
            except StoreError as error:
                raise Unusable(f"the log of {self.view.gvr} cannot be read: {error}") from error
            if page.incarnation != incarnation or page.floor > begin:
                raise Gone(after, page.floor)
            if page.position < upto:
                raise Unusable(f"the log of {self.view.gvr} is at {page.position}, behind {upto}")
            found += [_change(entry) for entry in page.entries if entry.type != "R"]
            if not page.more:
                return found
            begin = page.entries[-1].rv

    async def bodies(self, records: Collection[Record]) -> dict[Key, bytes]:
        """Packed bodies of these very versions: the present ones from the objects, others from the log."""
        found: dict[Key, bytes] = {}
        wanted = {(record.namespace, record.name): record for record in records}
        try:
            for shard, part in self._by_shard(records).items():
                keys = [object_key(record.namespace, record.name) for record in part]
                for record in await self._reader.records(self.view.gvr, shard, keys):
                    if record is not None and record.rv == wanted[record.namespace, record.name].rv:
                        found[record.namespace, record.name] = record.packed
            lacking = {key: record for key, record in wanted.items() if key not in found}
            if lacking:
                await self._from_log(lacking, found)
        except StoreError as error:
            raise Unusable(f"{self.view.gvr} cannot be read: {error}") from error
        return found

    async def _from_log(self, lacking: dict[Key, Record], found: dict[Key, bytes]) -> None:
        """Versions that were replaced stand in the log as the previous record of what replaced them."""
        try:
            changes = await self.changes(
                tuple(self.view.shards), min(record.rv for record in lacking.values()), self.view.position
            )
        except Gone:
            return
        for change in changes:
            wanted = lacking.get(change.key)
            if wanted is not None and change.old is not None and change.old.rv == wanted.rv:
                found[change.key] = change.old.packed

    def _by_shard(self, records: Collection[Record]) -> dict[str, list[Record]]:
        """Where the objects may be: cluster-scoped ones in any shard that is held."""
        parts: dict[str, list[Record]] = {}
        for record in records:
            if self.view.meta.namespaced:
                _, shard = self.view.places.get(record.namespace, (0, "-"))
                parts.setdefault(shard, []).append(record)
            else:
                for shard in self.view.shards:
                    parts.setdefault(shard, []).append(record)
        return parts

    async def look_up(self, namespace: str, name: str) -> tuple[Record | None, int]:
        """One object and the position of the same instant.

        Raises:
            Unusable: the store cannot be read.
        """
        try:
            return await self._reader.get(self.view.gvr, namespace, name)
        except StoreError as error:
            raise Unusable(f"{self.view.gvr} cannot be read: {error}") from error


def _change(entry: Entry) -> Change:
    assert entry.type != "R", "refreshes are not in the log"
    return Change(entry.rv, entry.time_ms, entry.type, entry.shard, entry.record, entry.prev)
