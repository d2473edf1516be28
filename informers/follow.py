"""Following a small resource in the store, whoever writes it: namespaces for their tenants, CRDs for their columns.

It asks for the log once a second instead of subscribing: being a second late costs a move or a late column, no more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from kube.resources import GVR
from store.entry import Entry
from store.errors import StoreError
from store.reader import Reader
from store.record import Record

log = logging.getLogger("larder.informer")

POLL_SECONDS = 1.0


class Follower:
    """Tells every object of a resource, then every change. `told(record, gone)` is called in order.

    `ready` is set once all objects were told.
    """

    def __init__(self, reader: Reader, gvr: GVR, told: Callable[[Record, bool], Awaitable[None]]) -> None:
        self.ready = asyncio.Event()
        self._reader = reader
        self._gvr = gvr
        self._told = told
        self._incarnation = ""
        self._position = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self._step()
            except StoreError as error:
                log.warning("could not follow %s in the store: %s", self._gvr, error)
            await asyncio.sleep(POLL_SECONDS)

    async def _step(self) -> None:
        page = await self._reader.log(self._gvr, None, self._position)
        if page.state not in {"synced", "stale"}:
            return
        if page.incarnation != self._incarnation or page.floor > self._position:
            self._position = page.position
            for shard in await self._reader.shards(self._gvr):
                async for chunk in self._reader.scan(self._gvr, shard):
                    for record in chunk:
                        await self._told(record, False)
            self._incarnation = page.incarnation
            self.ready.set()
            return
        while True:
            for entry in page.entries:
                await self._tell(entry)
            self._position = page.entries[-1].rv if page.more else page.position
            if not page.more:
                return
            page = await self._reader.log(self._gvr, None, self._position)

    async def _tell(self, entry: Entry) -> None:
        await self._told(entry.record, entry.type == "D")
