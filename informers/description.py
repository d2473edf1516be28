"""What makes a resource's records: its columns, printer and selectable fields. They are made anew when that changes.

Described is only what holds for every stored record. While records are made anew, Tables come from upstream.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from msgspec.structs import replace

from informers import metrics
from informers.columns import Definition, Learned, learn, printer_of
from informers.extract import Extractor, Unreadable, field_reader
from kube.client import UpstreamClient
from kube.list_watch import list_pages
from kube.resources import CUSTOM_RESOURCE_DEFINITIONS, Resource
from kube.status import StatusError
from kube.upstream_error import UpstreamError
from kube.version import ServerVersion
from store.errors import Fenced, NotSynced, StoreError
from store.keys import object_key
from store.meta import Description, Meta, TableInfo
from store.reader import Reader
from store.record import Record
from store.writer import Refresh, Writer
from tables.columns import Columns
from tables.printer import Printer

log = logging.getLogger("larder.informer")

FIDELITY_SECONDS = 3600.0
"""Between two comparisons of our rows with upstream's."""
FIRST_FIDELITY_SECONDS = 60.0
"""Until the first one after a start, and after one that had no rows to compare."""
RETRY_SECONDS = 10.0
"""After upstream or the store could not be asked."""
YIELD_RECORDS = 16
"""Records that are made without a pause: some 3 ms, so that leases and heartbeats of other resources go on."""
REFRESH_RECORDS = 128
"""Records of one step of a refresh in the background."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which cluster upstream is: the uid of its namespace kube-system, and its version as text and in parts."""

    uid: str
    version: str
    server: ServerVersion


class Describer:
    """One resource's description and its records. `run` keeps both right in the background.

    `writing` is held around every write of the resource. `shard` tells where an object belongs.
    """

    def __init__(
        self,
        resource: Resource,
        *,
        custom: bool,
        client: UpstreamClient,
        reader: Reader,
        writer: Writer,
        writing: asyncio.Lock,
        cluster: Cluster,
        shard: Callable[[Record], str],
    ) -> None:
        self.gvr = resource.gvr
        self.cluster = cluster
        self.current: Description | None = None
        self._resource = resource
        self._custom = custom
        self._client = client
        self._reader = reader
        self._writer = writer
        self._writing = writing
        self._shard = shard
        self._extractor: Extractor | None = None
        self._stale_rows = False
        self._stale_bytes = False
        self._unprintable = ""
        self._compared = 0
        self._woken = asyncio.Event()
        self._learn_at = 0.0

    async def begin(self, meta: Meta) -> None:
        """Know how to make records, without asking upstream where the last worker's knowledge is still good.

        Raises:
            StatusError, UpstreamError, StoreError
        """
        custom = await self._definition()
        self._plan()
        remembered = self._remember(meta, custom)
        if remembered is None:
            printer = await self._learn(meta, custom)
        else:
            self.current, printer = remembered
        self._extract(printer)

    async def say(self) -> None:
        """Write the description, for as far as it holds already.

        Raises:
            StoreError
        """
        description = self.current
        assert description is not None
        table = description.table
        if table is not None and table.served:
            reason = self._unprintable or ("its rows are being made anew" if self._stale_rows else "")
            if reason:
                description = replace(description, table=replace(table, served=False, reason=reason))
        if self._stale_rows or self._stale_bytes or self._unprintable:
            # A worker that takes over before all is made anew begins with that again.
            description = replace(description, digest=f"{description.digest} unfinished")
        assert description.table is not None
        metrics.table_served.labels(str(self.gvr)).set(int(description.table.served))
        async with self._writing:
            if await self._writer.describe(description) and not description.table.served:
                log.warning("%s: Tables come from upstream: %s", self.gvr, description.table.reason)

    async def settle(self, *, unsettled: bool) -> None:
        """Say whether deletions are still to be told.

        Raises:
            StoreError
        """
        assert self.current is not None
        if self.current.unsettled != unsettled:
            self.current = replace(self.current, unsettled=unsettled)
            await self.say()

    def record(self, data: bytes) -> Record | None:
        """The record of an object; None, with a word in the log, for what is none."""
        assert self._extractor is not None
        try:
            return self._extractor.record(data)
        except Unreadable as error:
            metrics.unreadable.labels(str(self.gvr)).inc()
            log.error("%s: an object is left out: %s", self.gvr, error)  # noqa: TRY400 (what is wrong is in the text)
            return None

    async def records(self, items: list[bytes]) -> list[Record]:
        """The records of many objects, with pauses for the others."""
        found: list[Record] = []
        for index, item in enumerate(items, 1):
            record = self.record(item)
            if record is not None:
                found.append(record)
            if index % YIELD_RECORDS == 0:
                await asyncio.sleep(0)
        return found

    def loaded_anew(self) -> None:
        """All records were made by what is known now."""
        self._stale_rows = self._stale_bytes = False

    def learn_again(self, *, new_bytes: bool) -> None:
        """Upstream's version, the definition or our printers may have changed: look at columns and rows anew.

        `new_bytes`: upstream may also send the same objects in other bytes.
        """
        self._stale_bytes |= new_bytes
        self._learn_at = 0.0
        self._woken.set()

    async def run(self) -> None:
        """Compare with upstream at intervals and when woken; make records anew where needed. Until cancelled.

        Raises:
            Fenced
        """
        while True:
            await self._wait()
            try:
                if self._unprintable:
                    await self.say()
                if time.monotonic() >= self._learn_at:
                    printer = await self._learn(await self._reader.meta(self.gvr), await self._definition())
                    await self.say()  # before rows of the new kind are written
                    self._extract(printer)
                    self._plan()
                if self._stale_rows or self._stale_bytes:
                    await self._refresh()
                    await self.say()
            except Fenced:
                raise
            except NotSynced:
                await asyncio.sleep(RETRY_SECONDS)  # it is being loaded, by what is known now
            except (StatusError, UpstreamError, StoreError) as error:
                log.warning("%s: could not look at its columns again: %s", self.gvr, error)
                self._learn_at = time.monotonic() + RETRY_SECONDS

    async def _wait(self) -> None:
        if self._stale_rows or self._stale_bytes:
            return
        try:
            async with asyncio.timeout(max(0.0, self._learn_at - time.monotonic())):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    def _plan(self) -> None:
        """When to compare next: not all resources at once."""
        pause = FIDELITY_SECONDS if self._compared else FIRST_FIDELITY_SECONDS
        self._learn_at = time.monotonic() + pause * (1 + random.random())  # noqa: S311 (spreads load)

    def _remember(self, meta: Meta, custom: Definition | None) -> tuple[Description, Printer | None] | None:
        """The stored description and its printer, if everything that it was made from is as it was."""
        table = meta.table
        known = meta.readable and table is not None and meta.version == self.cluster.version
        if not known or table is None:
            return None
        columns = Columns.decode(table.columns)
        printer = printer_of(self._resource, columns, self.cluster.server, custom) if table.columns != b"[]" else None
        description = replace(self._description(table, custom), unsettled=meta.unsettled)
        if meta.digest != description.digest or table.digest != (printer.digest if printer else ""):
            return None
        return description, printer

    async def _learn(self, meta: Meta, custom: Definition | None) -> Printer | None:
        """Ask upstream; the printer to go on with."""
        learned: Learned = await learn(self._client, self._resource, self.cluster.server, custom)
        unsettled = self.current.unsettled if self.current is not None else meta.unsettled
        self.current = replace(self._description(learned.info, custom), unsettled=unsettled)
        self._compared = learned.compared
        if meta.readable and (self._unprintable or meta.digest != self.current.digest):
            self._unprintable = ""
            self._stale_rows = True
            self._stale_bytes |= meta.version != self.cluster.version
        return learned.printer

    def _description(self, table: TableInfo, custom: Definition | None) -> Description:
        selectable = custom.selectable if custom else ()
        return Description(
            kind=self._resource.kind,
            list_kind=f"{self._resource.kind}List",
            namespaced=self._resource.namespaced,
            verbs=tuple(sorted(self._resource.verbs)),
            typed=custom is None,
            custom=custom is not None,
            table=table,
            upstream=self.cluster.uid,
            version=self.cluster.version,
            digest=f"{table.digest} {','.join(selectable)} {self.cluster.version}",
            selectable=selectable,
        )

    def _extract(self, printer: Printer | None) -> None:
        assert self.current is not None
        self._extractor = Extractor(
            self.gvr,
            self._resource.kind,
            typed=not self._custom,
            fields=field_reader(self.gvr, self.cluster.server, self.current.selectable),
            row=printer.row if printer else None,
            failed=self._row_failed,
        )

    async def _definition(self) -> Definition | None:
        """What the CRD says, from the store where it is there; None for what is not custom."""
        if not self._custom:
            return None
        name = f"{self.gvr.resource}.{self.gvr.group}"
        try:
            record, _ = await self._reader.get(CUSTOM_RESOURCE_DEFINITIONS, "", name)
        except NotSynced:
            record = None
        if record is not None:
            return Definition.of(json.loads(record.body()), self.gvr.version)
        crd = await self._client.get_json(
            CUSTOM_RESOURCE_DEFINITIONS.path(name=name),
            verb="get", resource=str(CUSTOM_RESOURCE_DEFINITIONS), cause="columns",
        )  # fmt: skip
        return Definition.of(crd, self.gvr.version)

    def _row_failed(self, key: str, error: Exception) -> None:
        metrics.rows_failed.labels(str(self.gvr)).inc()
        log.error("%s: the row of %s could not be printed: %r", self.gvr, key, error)
        self._unprintable = f"the row of {key} cannot be printed: {error!r}"
        self._woken.set()

    async def _refresh(self) -> None:
        """Make every record anew, from upstream's bytes where those may have changed, else from its own."""
        replaced = await (self._refresh_from_upstream() if self._stale_bytes else self._refresh_from_store())
        self._stale_rows = self._stale_bytes = False
        log.info("%s: made %d records anew", self.gvr, replaced)

    async def _refresh_from_store(self) -> int:
        replaced = 0
        for shard in await self._reader.shards(self.gvr):
            async for chunk in self._reader.scan(self.gvr, shard):
                new = {(record.namespace, record.name): record for record in await self._remade(chunk)}
                replaced += await self._replace(chunk, new)
        return replaced

    async def _remade(self, chunk: Collection[Record]) -> list[Record]:
        return await self.records([record.body() for record in chunk])

    async def _refresh_from_upstream(self) -> int:
        replaced = 0
        async for page in list_pages(self._client, self.gvr, cause="refresh"):
            records = await self.records(page.items)
            new = {(record.namespace, record.name): record for record in records}
            by_shard: dict[str, list[str]] = {}
            for record in records:
                by_shard.setdefault(self._shard(record), []).append(object_key(record.namespace, record.name))
            for shard, keys in by_shard.items():
                found = await self._reader.records(self.gvr, shard, keys)
                replaced += await self._replace([old for old in found if old is not None], new)
        return replaced

    async def _replace(self, stored: Collection[Record], new: dict[tuple[str, str], Record]) -> int:
        """Write those that are the same version of the object, but another record."""
        changes = [
            Refresh(old, made)
            for old in stored
            if (made := new.get((old.namespace, old.name))) is not None and made.rv == old.rv and made != old
        ]
        replaced = 0
        for first in range(0, len(changes), REFRESH_RECORDS):
            async with self._writing:
                replaced += await self._writer.refresh_many(changes[first : first + REFRESH_RECORDS])
        return replaced
