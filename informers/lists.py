"""Taking in a whole list: the first one as it stands, a later one as the events that must have happened since.

A list that expires between its pages is begun anew, in one piece if need be.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import msgspec

from informers import metrics
from informers.description import Describer
from informers.extract import decode_head
from informers.relist import Difference, NotTellable
from kube.list_watch import PAGE_OBJECTS
from kube.printed import Printed, Sent, SentPage
from kube.resources import GVR
from kube.status import Expired
from store.reader import Reader
from store.record import Record
from store.writer import Writer

log = logging.getLogger("larder.informer")

PAGED_TRIES = 2
"""A list that expired so often between its pages is taken in one piece."""
WRITE_EVENTS = 256
"""Events that are written without a pause: heartbeats have to come between."""


class Lists:
    """Takes in lists of one resource. `writing` is held around every write; `shard` tells where an object belongs."""

    def __init__(
        self,
        gvr: GVR,
        *,
        reader: Reader,
        writer: Writer,
        writing: asyncio.Lock,
        describer: Describer,
        shard: Callable[[Record], str],
    ) -> None:
        self.gvr = gvr
        self._reader = reader
        self._writer = writer
        self._writing = writing
        self._describer = describer
        self._shard = shard

    async def load(self) -> None:
        """Store everything anew, without events: a new incarnation, every older resume gets 410.

        Raises:
            StatusError, UpstreamError, StoreError
        """
        started, tries = time.monotonic(), 0
        while True:
            try:
                count, version = await self._load_once(PAGE_OBJECTS if tries < PAGED_TRIES else 0)
                break
            except Expired:
                tries += 1
                if tries > PAGED_TRIES:
                    raise
        log.info("%s: %d objects at %d in %.1f s", self.gvr, count, version, time.monotonic() - started)

    async def tell_difference(self, cause: str) -> list[Record]:
        """List, and write what is different in the store as events; store everything anew if it cannot be told so.

        Returned are objects that are gone, but for whose deletion no version is left; they are still stored.

        Raises:
            StatusError, UpstreamError, StoreError
        """
        tries = 0
        while True:
            tries += 1
            try:
                return await self._tell_once(cause, PAGE_OBJECTS if tries <= PAGED_TRIES else 0)
            except Expired:
                if tries > PAGED_TRIES:
                    raise
            except NotTellable as error:
                log.warning("%s: the list cannot be told as events (%s): all is stored anew", self.gvr, error)
                await self.load()
                return []

    async def _load_once(self, limit: int) -> tuple[int, int]:
        metrics.relists.labels(str(self.gvr), "load").inc()
        count = version = 0
        async with self._writing:
            await self._writer.load_begin()
        self._describer.loaded_anew()
        await self._describer.say()
        async for page in self._pages(limit, "list"):
            version = page.rv
            records = await self._describer.records(page.items)
            async with self._writing:
                await self._writer.load((record, self._shard(record)) for record in records)
            count += len(records)
        async with self._writing:
            await self._writer.load_commit(version)
        return count, version

    async def _tell_once(self, cause: str, limit: int) -> list[Record]:
        metrics.relists.labels(str(self.gvr), cause).inc()
        stored: dict[tuple[str, str], tuple[int, str]] = {}
        for shard in await self._reader.shards(self.gvr):
            async for chunk in self._reader.scan(self.gvr, shard):
                stored |= {(record.namespace, record.name): (record.rv, record.uid) for record in chunk}
        difference = Difference(stored, self._writer.position, self._shard)
        version = 0
        async for page in self._pages(limit, "relist"):
            version = page.rv
            changed = [item for item in page.items if not difference.unchanged(*_key(item))]
            for record in await self._describer.records(changed):
                difference.add(record)
        if version < self._writer.position:
            raise NotTellable(f"the list is of {version}, before the store's {self._writer.position}")
        last_known = [(await self._reader.get(self.gvr, *key))[0] for key in difference.missing()]
        events, untold = difference.events(version, [known for known in last_known if known is not None])
        for first in range(0, len(events), WRITE_EVENTS):
            async with self._writing:
                await self._writer.apply_many(events[first : first + WRITE_EVENTS])
        if version > self._writer.position:
            async with self._writing:
                await self._writer.advance(version)
        metrics.events.labels(str(self.gvr)).inc(len(events))
        log.info("%s: listed again at %d: %d differences, %d untold", self.gvr, version, len(events), len(untold))
        return untold

    async def _pages(self, limit: int, cause: str) -> AsyncIterator[SentPage]:
        async with aclosing(self._describer.asking.pages(limit, cause)) as pages:
            async for page in pages:
                yield page


def _key(item: Sent) -> tuple[tuple[str, str], int]:
    """Namespace and name, and the version; -1 for what is no object (its record says so in the log)."""
    try:
        metadata = decode_head(item.object if isinstance(item, Printed) else item).metadata
        return (metadata.namespace, metadata.name), int(metadata.version)
    except (msgspec.DecodeError, ValueError):
        return ("", ""), -1
