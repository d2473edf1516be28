"""Records that were put into another form without an event, and the description that holds once all of them were.

Refreshes are published, and stand in no log. So they are counted: by what the store has done and the view was told of,
it is known whether some are still on their way, or were lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from server.pause import Pause

if TYPE_CHECKING:
    from server.view import ResourceView
    from store.meta import Meta
    from store.reader import Reader


class Refreshes:
    """Of one view's resource. `lost`: messages were, and nobody has looked yet whether there were some among them."""

    def __init__(self, view: ResourceView, reader: Reader) -> None:
        self.lost = False
        self._view = view
        self._reader = reader
        self._told = 0
        self._awaited = 0

    def begin(self, meta: Meta) -> None:
        """The view holds nothing yet."""
        self._told, self._awaited, self.lost = meta.refreshes, 0, False

    def tell(self, count: int) -> bool:
        """There were so many by now; whether the description is to be read again, since all that it is of are here."""
        self._told = max(self._told, count)
        if not 0 < self._awaited <= self._told:
            return False
        self._awaited = 0
        return True

    def describe(self, meta: Meta) -> None:
        """Describe the view; without Tables, while records that the description is of have yet to come."""
        # Fewer than were told: the store went back to an older state of its own.
        self._told = min(self._told, meta.refreshes)
        if meta.refreshes > self._told:
            self._awaited = meta.refreshes
            self._view.describe(_without_tables(meta))
        else:
            self.lost = False
            self._view.describe(meta)

    async def read_lost(self) -> bool:
        """Take in the present form of all records that are held, where it is another one. What it returns: see `tell`.

        Raises:
            StoreError
        """
        count, pause = (await self._reader.meta(self._view.gvr)).refreshes, Pause()
        for shard in list(self._view.shards):
            async for chunk in self._reader.scan(self._view.gvr, shard):
                for record in chunk:
                    present = self._view.get(record.namespace, record.name)
                    if present is not None and present != (record if present.packed else replace(record, packed=b"")):
                        self._view.refresh(record)
                if pause.due:
                    await pause()
        self.lost = False
        return self.tell(count)


def _without_tables(meta: Meta) -> Meta:
    if meta.table is None:
        return meta
    return replace(meta, table=replace(meta.table, served=False, kept=False, reason="its rows are on their way"))
