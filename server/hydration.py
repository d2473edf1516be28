"""Reading a shard into a view while it goes on living: scan, log, then what the feed said meanwhile.

The protocol is the store's (`store.reader`). At the end, without an await, the copy is brought from the
log's position to the view's by the events that the feed has handed over, and taken in.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from server.pause import Pause
from server.space import Space

if TYPE_CHECKING:
    from collections.abc import Collection

    from kube.resources import GVR
    from store.entry import Entry
    from store.reader import Reader
    from store.record import Record

PENDING_MOST = 20_000
"""Events that are held back for one hydration; with more it reads the log again."""

_SORTED_AT_ONCE = 4000
"""Names that are sorted in one step: some 1 ms."""


class Outdated(Exception):
    """What was read cannot be completed: begin again."""


class Hydration:
    """One reading. `shards` are what is read; `pending` the events that the feed has passed meanwhile."""

    def __init__(self, reader: Reader, gvr: GVR, shards: Collection[str]) -> None:
        self.shards = frozenset(shards)
        self.position = 0
        self.moves = 0
        self.lossy = False
        """Whether refreshes may have been missed since `read` began: they are in no log."""
        self._reader = reader
        self._gvr = gvr
        self._pending: list[Entry] = []
        self._overflow = False
        self._objects: dict[str, dict[str, Record]] = {}

    def take(self, entry: Entry) -> None:
        """An event (or refresh) of one of the shards, in the order of the feed."""
        if len(self._pending) >= PENDING_MOST:
            self.lost()
        self._pending.append(entry)

    def lost(self) -> None:
        """Events may have been missed: only the log is to be trusted from here on back."""
        self._overflow = self.lossy = True
        self._pending.clear()

    async def read(self) -> None:
        """Scan the shards and complete them from the log; afterwards the copy is as of `position`.

        Raises:
            Outdated: a namespace has moved meanwhile, or the log was too short.
            NotSynced, StoreUnavailable
        """
        self._objects.clear()
        self.lossy = False
        # The first hydration's position is the oldest, so one log completes what all scans gave.
        hydrations = [await self._reader.hydrate(self._gvr, shard) for shard in sorted(self.shards)]
        first = hydrations[0]
        for hydration in hydrations:
            async for chunk in hydration.chunks():
                for record in chunk:
                    names = self._objects.setdefault(record.namespace, {})
                    present = names.get(record.name)
                    if present is None or present.rv < record.rv:
                        names[record.name] = record
        self.position = first.position
        while True:
            self._overflow = False
            page = await self._reader.log(self._gvr, self.shards, self.position)
            if first.outdated(page):
                raise Outdated(f"{self._gvr}: {', '.join(sorted(self.shards))}")
            for entry in page.entries:
                self._apply(entry)
            self.position = page.entries[-1].rv if page.more else page.position
            self.moves = page.moves
            if not page.more and not self._overflow:
                return

    def _apply(self, entry: Entry) -> None:
        record = entry.record
        names = self._objects.setdefault(record.namespace, {})
        if entry.type == "D":
            names.pop(record.name, None)
        else:
            names[record.name] = record

    async def spaces(self) -> dict[str, Space]:
        """The copy as spaces; what is pending goes into them by `complete`."""
        pause = Pause()
        spaces = {}
        for namespace, names in self._objects.items():
            if len(names) <= _SORTED_AT_ONCE:
                records = [names[name] for name in sorted(names)]
                spaces[namespace] = Space(namespace, records)
            else:
                spaces[namespace] = await _large_space(namespace, names, pause)
            await pause()
        self._objects = {}
        return spaces

    def complete(self, spaces: dict[str, Space]) -> bool:
        """Bring the copy to where the feed is; False if something was missed."""
        if self._overflow:
            return False
        for entry in self._pending:
            record = entry.record
            space = spaces.get(record.namespace)
            if entry.type == "R":
                present = space.get(record.name) if space is not None else None
                if space is not None and present is not None and present.rv == record.rv:
                    space.put(record)
            elif entry.rv <= self.position:
                continue
            elif entry.type != "D":
                if space is None:
                    space = spaces[record.namespace] = Space(record.namespace)
                space.put(record)
            elif space is not None:
                space.remove(record.name)
        return True


async def _large_space(namespace: str, names: dict[str, Record], pause: Pause) -> Space:
    """A space of many objects, sorted and cut in steps."""
    unsorted = list(names)
    runs = []
    for start in range(0, len(unsorted), _SORTED_AT_ONCE):
        runs.append(sorted(unsorted[start : start + _SORTED_AT_ONCE]))
        await pause()
    space = Space(namespace)
    held: list[Record] = []
    for name in heapq.merge(*runs):
        held.append(names[name])
        if len(held) == 1024:
            space.extend(held)
            held = []
            await pause()
    space.extend(held)
    return space
