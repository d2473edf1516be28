"""Follows one resource: list once, then watch for ever, and say it to the store in upstream's order.

It holds the resource's lease while it runs (the worker renews it), so it alone writes. A worker that takes over
resumes the watch at the store's position; only where upstream has forgotten that (410) it lists again, and writes the
difference as events. Source: client-go tools/cache/reflector.go (the shape of the loop), v0.36.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec

from informers import metrics
from informers.backoff import Backoff
from informers.columns import definition, learn
from informers.extract import Extractor, Unreadable, field_reader
from informers.relist import Difference, NotTellable
from informers.tenancy import Tenancy
from kube.client import UpstreamClient
from kube.list_watch import list_pages, watch
from kube.resources import Resource
from kube.status import Expired, StatusError
from kube.upstream_error import UpstreamError, UpstreamUnreachable
from kube.version import ServerVersion
from store.errors import PositionMismatch, StoreError, WriteRefused
from store.meta import Description, Meta
from store.reader import Reader
from store.record import Record
from store.writer import Event, Refresh, Writer

log = logging.getLogger("larder.informer")

HEARTBEAT_SECONDS = 1.0
"""Replicas take three missed ones for a loss."""

YIELD_RECORDS = 16
"""Records that are made without a pause: some 3 ms, so that leases and heartbeats of other resources go on."""

FIDELITY_SECONDS = 3600.0
"""Between two comparisons of our rows with upstream's."""

REFRESH_RECORDS = 128
"""Records of one step of a refresh in the background."""

FULL_LIST_AFTER = 2
"""A list that expired so often between its pages is taken in one piece."""


class _Metadata(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    version: str = msgspec.field(default="", name="resourceVersion")


class _Head(msgspec.Struct):
    metadata: _Metadata


_head = msgspec.json.Decoder(_Head).decode


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which cluster upstream is: the uid of its namespace kube-system, and its version as text and in parts."""

    uid: str
    version: str
    server: ServerVersion


class Reflector:
    """One resource's way into the store. `run` ends only by cancellation or when the lease was lost (Fenced)."""

    def __init__(
        self,
        resource: Resource,
        *,
        client: UpstreamClient,
        reader: Reader,
        writer: Writer,
        cluster: Cluster,
        tenancy: Tenancy,
    ) -> None:
        self.resource = resource
        self.gvr = resource.gvr
        self.meta: Meta | None = None
        self.description: Description | None = None
        self.watching = False
        self.synced = asyncio.Event()
        self._client = client
        self._reader = reader
        self._writer = writer
        self._cluster = cluster
        self._tenancy = tenancy
        self._writing = asyncio.Lock()
        self._extractor: Extractor | None = None
        self._in_touch = time.monotonic()
        self._stale_rows = False
        self._relearn = asyncio.Event()

    async def run(self) -> None:
        """Follow the resource until cancelled.

        Raises:
            Fenced: another worker has the lease now.
            ExceptionGroup: of it, when it was noticed by the heartbeat.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat(), name=f"heartbeat {self.gvr}")
            group.create_task(self._refresh_for_ever(), name=f"refresh {self.gvr}")
            await self._follow_for_ever()

    def learn_again(self) -> None:
        """Upstream's version, the definition or our printers may have changed: look at columns and rows anew."""
        self._relearn.set()

    async def move(self, namespace: str, shard: str) -> None:
        """The namespace belongs to another tenant now.

        Raises:
            StoreError
        """
        if self.resource.namespaced and self.synced.is_set():
            async with self._writing:
                moved = await self._writer.move(namespace, shard)
            if moved:
                log.info("%s: moved %d objects of namespace %s to shard %s", self.gvr, moved, namespace, shard)

    async def forget(self, namespace: str) -> None:
        """The namespace is gone.

        Raises:
            StoreError
        """
        if self.resource.namespaced and self.synced.is_set():
            async with self._writing:
                await self._writer.forget(namespace)

    async def _follow_for_ever(self) -> None:
        backoff = Backoff()
        lost = False
        while True:
            try:
                await self._prepare(lost=lost)
                lost = False
                await self._watch(backoff)
                continue  # upstream ended the watch in its time: the next one follows at once
            except Expired:
                reason = await self._relist()
            except PositionMismatch as mismatch:
                reason = f"the store is at {mismatch.position}, not where this worker left it"
            except UpstreamUnreachable as error:
                reason, lost = str(error), True
            except (StatusError, UpstreamError) as error:
                reason = str(error)
            except StoreError as error:
                if isinstance(error, WriteRefused) and not isinstance(error, PositionMismatch):
                    raise
                reason = str(error)
            self.watching = False
            if reason:
                metrics.failures.labels(str(self.gvr)).inc()
                pause = backoff.next()
                log.warning("%s: %s; again in %.1f s", self.gvr, reason, pause)
                await asyncio.sleep(pause)

    async def _prepare(self, *, lost: bool) -> None:
        """Have the resource synced and described, and the writer at the store's position."""
        async with self._writing:
            self.meta = meta = await self._writer.resume()
        if self.description is None:
            await self._describe(meta)
        if meta.readable and not await self._went_back(meta, lost=lost or not self.synced.is_set()):
            self.synced.set()
            await self._reconcile_places()
            return
        await self._load()
        self.synced.set()

    async def _went_back(self, meta: Meta, *, lost: bool) -> bool:
        """Whether upstream was restored to before the store's position: it could then watch for ever in silence."""
        if not lost:
            return False
        async with aclosing(_pages(self._client, self.resource, limit=1, cause="newest")) as pages:
            newest = (await anext(pages)).rv
        if newest >= meta.position:
            return False
        log.warning(
            "%s: upstream is at %d, before the store's %d: it was restored; all is stored anew",
            self.gvr, newest, meta.position,
        )  # fmt: skip
        return True

    async def _describe(self, meta: Meta) -> None:
        custom = await definition(self._client, self.gvr)
        table, printer = await learn(self._client, self.resource, self._cluster.server, custom)
        selectable = custom.selectable if custom else ()
        description = Description(
            kind=self.resource.kind,
            list_kind=f"{self.resource.kind}List",
            namespaced=self.resource.namespaced,
            verbs=tuple(sorted(self.resource.verbs)),
            typed=custom is None,
            custom=custom is not None,
            table=table,
            upstream=self._cluster.uid,
            version=self._cluster.version,
            digest=f"{table.digest} {','.join(selectable)} {self._cluster.version}",
            selectable=selectable,
        )
        metrics.table_served.labels(str(self.gvr)).set(int(table.served))
        if not table.served:
            log.warning("%s: Tables come from upstream: %s", self.gvr, table.reason)
        self._extractor = Extractor(
            self.gvr,
            self.resource.kind,
            typed=description.typed,
            fields=field_reader(self.gvr, self._cluster.server, selectable),
            row=printer.row if printer else None,
            failed=self._row_failed,
        )
        self._stale_rows = meta.readable and meta.digest != description.digest
        self.description = description
        if not self._stale_rows:
            await self._say_description()

    async def _say_description(self) -> None:
        assert self.description is not None
        async with self._writing:
            await self._writer.describe(self.description)

    async def _load(self) -> None:
        """The first sync, or one into a new incarnation: everything, without events."""
        started, tries = time.monotonic(), 0
        while True:
            try:
                count, version = await self._load_once(limit=0 if tries >= FULL_LIST_AFTER else None)
            except Expired:
                tries += 1
                continue
            break
        metrics.relists.labels(str(self.gvr), "first").inc()
        log.info("%s: %d objects at %d in %.1f s", self.gvr, count, version, time.monotonic() - started)

    async def _load_once(self, limit: int | None) -> tuple[int, int]:
        count = version = 0
        async with self._writing:
            await self._writer.load_begin()
        await self._say_description()
        async with aclosing(_pages(self._client, self.resource, limit=limit, cause="list")) as pages:
            async for page in pages:
                version = page.rv
                records = [record async for record in self._records(page.items)]
                async with self._writing:
                    await self._writer.load((record, self._shard(record)) for record in records)
                count += len(records)
                self._in_touch = time.monotonic()
        async with self._writing:
            await self._writer.load_commit(version)
        return count, version

    async def _relist(self) -> str:
        """Write the difference between the store and a new list as events; returns what kept it from that, or ""."""
        metrics.relists.labels(str(self.gvr), "expired").inc()
        try:
            count, version = await self._write_difference()
        except NotTellable as error:
            log.warning("%s: the list cannot be told as events (%s): all is stored anew", self.gvr, error)
            await self._load()
            return ""
        except Expired:
            return "the list expired between its pages"
        except (StatusError, UpstreamError, PositionMismatch) as error:
            return str(error)
        log.info("%s: listed again at %d: %d differences", self.gvr, version, count)
        return ""

    async def _write_difference(self) -> tuple[int, int]:
        stored: dict[tuple[str, str], tuple[int, str]] = {}
        for shard in await self._reader.shards(self.gvr):
            async for chunk in self._reader.scan(self.gvr, shard):
                stored |= {(record.namespace, record.name): (record.rv, record.uid) for record in chunk}
        difference = Difference(stored, self._writer.position, self._shard)
        version = 0
        async with aclosing(_pages(self._client, self.resource, limit=None, cause="relist")) as pages:
            async for page in pages:
                version = page.rv
                changed = [item for item in page.items if not difference.unchanged(*_key(item))]
                async for record in self._records(changed):
                    difference.add(record)
        last_known = [(await self._reader.get(self.gvr, *key))[0] for key in difference.missing()]
        gone = [known for known in last_known if known is not None]
        events = difference.events(version, gone)
        async with self._writing:
            await self._writer.apply_many(events)
            if version > self._writer.position:
                await self._writer.advance(version)
        self._in_touch = time.monotonic()
        return len(events), version

    async def _watch(self, backoff: Backoff) -> None:
        async with aclosing(watch(self._client, self.gvr, self._writer.position)) as batches:
            async for batch in batches:
                self.watching = True
                self._in_touch = time.monotonic()
                if batch:
                    await self._take_in(batch)
                    backoff.reset()

    async def _take_in(self, batch: list[tuple[str, bytes]]) -> None:
        """One batch of watch events: all that came in one read, so many are written in one round trip."""
        events: list[Event] = []
        bookmark = 0
        for index, (kind, body) in enumerate(batch):
            if kind == "BOOKMARK":
                bookmark = int(_head(body).metadata.version)
                continue
            record = self._record(body)
            if record is not None and record.rv > (events[-1].rv if events else self._writer.position):
                letter: Any = kind[0]
                events.append(Event(letter, record.rv, record, self._shard(record)))
            if index % YIELD_RECORDS == YIELD_RECORDS - 1:
                await asyncio.sleep(0)
        async with self._writing:
            if events:
                await self._writer.apply_many(events)
            if bookmark > self._writer.position:
                await self._writer.advance(bookmark)
        metrics.events.labels(str(self.gvr)).inc(len(events))
        metrics.position.labels(str(self.gvr)).set(self._writer.position)

    async def _records(self, items: list[bytes]) -> AsyncIterator[Record]:
        for index, item in enumerate(items):
            record = self._record(item)
            if record is not None:
                yield record
            if index % YIELD_RECORDS == YIELD_RECORDS - 1:
                await asyncio.sleep(0)

    def _record(self, data: bytes) -> Record | None:
        assert self._extractor is not None
        try:
            return self._extractor.record(data)
        except Unreadable as error:
            metrics.unreadable.labels(str(self.gvr)).inc()
            log.error("%s: an object is left out: %s", self.gvr, error)  # noqa: TRY400 (what is wrong is in the text)
            return None

    def _row_failed(self, key: str, error: Exception) -> None:
        metrics.rows_failed.labels(str(self.gvr)).inc()
        log.error("%s: the row of %s could not be printed: %r", self.gvr, key, error)

    def _shard(self, record: Record) -> str:
        if record.namespace:
            return self._tenancy.shard(record.namespace)
        return self._tenancy.of_labels(record.labels)

    async def _reconcile_places(self) -> None:
        """Namespaces that changed their tenant while nobody looked."""
        if not self.resource.namespaced:
            return
        places = await self._reader.places(self.gvr)
        for namespace, (_, shard) in places.places.items():
            wanted = self._tenancy.shard(namespace)
            if wanted != shard:
                await self.move(namespace, wanted)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            silent = 0.0 if self.watching else time.monotonic() - self._in_touch
            metrics.silence.labels(str(self.gvr)).set(silent)
            if not self.synced.is_set():
                continue
            try:
                async with self._writing:
                    await self._writer.heartbeat(silent)
            except WriteRefused:
                raise
            except StoreError as error:
                log.warning("%s: no heartbeat: %s", self.gvr, error)

    async def _refresh_for_ever(self) -> None:
        """Now and then, and when asked, compare with upstream again; make rows and fields anew where they changed."""
        while True:
            try:
                async with asyncio.timeout(FIDELITY_SECONDS if not self._stale_rows else HEARTBEAT_SECONDS):
                    await self._relearn.wait()
            except TimeoutError:
                pass
            if not self.synced.is_set():
                continue
            try:
                if self._relearn.is_set() or not self._stale_rows:
                    self._relearn.clear()
                    await self._describe(await self._reader.meta(self.gvr))
                if self._stale_rows:
                    await self._refresh()
            except WriteRefused:
                raise
            except (StatusError, UpstreamError, StoreError) as error:
                log.warning("%s: could not look at its columns again: %s", self.gvr, error)

    async def _refresh(self) -> None:
        """Make every record anew from its own bytes; then say under which columns they stand."""
        replaced = 0
        for shard in await self._reader.shards(self.gvr):
            async for chunk in self._reader.scan(self.gvr, shard):
                changes = [Refresh(old, new) for old in chunk if (new := self._record(old.body())) and new != old]
                await asyncio.sleep(0)
                for first in range(0, len(changes), REFRESH_RECORDS):
                    async with self._writing:
                        replaced += await self._writer.refresh_many(changes[first : first + REFRESH_RECORDS])
        await self._say_description()
        self._stale_rows = False
        log.info("%s: made %d records anew for new columns, fields or printers", self.gvr, replaced)


def _pages(client: UpstreamClient, resource: Resource, *, limit: int | None, cause: str) -> Any:
    if limit is None:
        return list_pages(client, resource.gvr, cause=cause)
    return list_pages(client, resource.gvr, limit=limit, cause=cause)


def _key(item: bytes) -> tuple[tuple[str, str], int]:
    metadata = _head(item).metadata
    return (metadata.namespace, metadata.name), int(metadata.version)
