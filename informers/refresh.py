"""Stored records, made anew in the background: the same versions of the objects, in other bytes or with other rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing

from kube.printed import Sent, SentPage
from kube.resources import GVR
from store.keys import object_key
from store.reader import Reader
from store.record import Record
from store.writer import Refresh, Writer

REFRESH_RECORDS = 128
"""Records that are written in one step: events of the resource have to come between."""


class Refresher:
    """Replaces records of one resource, without events.

    `writing` is held around every write; `shard` tells where an object belongs; `records` makes records.
    """

    def __init__(
        self,
        gvr: GVR,
        *,
        reader: Reader,
        writer: Writer,
        writing: asyncio.Lock,
        shard: Callable[[Record], str],
        records: Callable[[Sequence[Sent]], Awaitable[list[Record]]],
    ) -> None:
        self.gvr = gvr
        self._reader = reader
        self._writer = writer
        self._writing = writing
        self._shard = shard
        self._records = records

    async def from_store(self) -> int:
        """Make all records from their own bytes; how many were replaced.

        Raises:
            StoreError
        """
        replaced = 0
        for shard in await self._reader.shards(self.gvr):
            async for chunk in self._reader.scan(self.gvr, shard):
                made = await self._records([record.body() for record in chunk])
                replaced += await self._replace(chunk, made)
        return replaced

    async def from_upstream(self, pages: AsyncGenerator[SentPage, None]) -> int:
        """Make all records from what upstream lists; how many were replaced.

        Raises:
            StatusError, UpstreamError, StoreError
        """
        replaced = 0
        async with aclosing(pages):
            async for page in pages:
                records = await self._records(page.items)
                by_shard: dict[str, list[str]] = {}
                for record in records:
                    by_shard.setdefault(self._shard(record), []).append(object_key(record.namespace, record.name))
                for shard, keys in by_shard.items():
                    found = await self._reader.records(self.gvr, shard, keys)
                    replaced += await self._replace([old for old in found if old is not None], records)
        return replaced

    async def lacks_rows(self) -> bool:
        """Whether any record has no row.

        Raises:
            StoreError
        """
        while True:
            moves = (await self._reader.meta(self.gvr)).moves
            for shard in await self._reader.shards(self.gvr):
                async for chunk in self._reader.scan(self.gvr, shard):
                    if any(record.row is None for record in chunk):
                        return True
            if (await self._reader.meta(self.gvr)).moves == moves:
                return False
            # A namespace changed its shard: it may have been looked for where it was not.

    async def _replace(self, stored: Collection[Record], made: Collection[Record]) -> int:
        """Write those that are the same version of the object, but another record."""
        new = {(record.namespace, record.name): record for record in made}
        changes = [
            Refresh(old, record)
            for old in stored
            if (record := new.get((old.namespace, old.name))) is not None and record.rv == old.rv and record != old
        ]
        replaced = 0
        for first in range(0, len(changes), REFRESH_RECORDS):
            async with self._writing:
                replaced += await self._writer.refresh_many(changes[first : first + REFRESH_RECORDS])
        return replaced
