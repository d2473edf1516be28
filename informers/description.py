"""What makes a resource's records: its columns, printer and selectable fields. They are made anew when that changes.

Described is only what holds for every stored record. While records are made anew, Tables come from upstream.

A resource whose rows cannot be made here is asked for in another form (`asking`): as Tables that carry the objects
(`kube.printed`), so that one stream brings each object with upstream's row of that very version. Objects never wait
for rows: what comes without one is stored so, Tables are not given from the store, and upstream is asked again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from informers import metrics
from informers.asking import Asking, OtherColumns
from informers.columns import Definition, Learned, learn, remembered
from informers.extract import Extractor, Print, Unreadable, field_reader
from informers.refresh import Refresher
from kube.client import UpstreamClient
from kube.list_watch import PAGE_OBJECTS
from kube.printed import Printed, Sent, zero_cells
from kube.resources import CUSTOM_RESOURCE_DEFINITIONS, Resource
from kube.status import StatusError
from kube.upstream_error import UpstreamError
from kube.version import ServerVersion
from store.errors import Fenced, NotSynced, StoreError
from store.meta import Description, Meta, TableInfo
from store.reader import Reader
from store.record import Record
from store.writer import Writer
from tables.row import Row

log = logging.getLogger("larder.informer")

FIDELITY_SECONDS = 3600.0
"""Between two comparisons of our rows with upstream's."""
FIRST_FIDELITY_SECONDS = 60.0
"""Until the first one after a start, and after one that had no rows to compare."""
RETRY_SECONDS = 10.0
"""After upstream or the store could not be asked."""
LOOKS = 10
"""How often in that time it is looked whether rows that are on their way have come."""
YIELD_RECORDS = 16
"""Records that are made without a pause: some 3 ms, so that leases and heartbeats of other resources go on."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which cluster upstream is: the uid of its namespace kube-system, and its version as text and in parts."""

    uid: str
    version: str
    server: ServerVersion


class Describer:
    """One resource's description and its records. `run` keeps both right in the background.

    `writing` is held around every write of the resource. `shard` tells where an object belongs. `reopen` is called
    when upstream is to be asked in another form: the watch is to be begun anew.
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
        reopen: Callable[[], None],
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
        self.asking = Asking(client, self.gvr, reopen)
        self._refresher = Refresher(
            self.gvr, reader=reader, writer=writer, writing=writing, shard=shard, records=self.records
        )
        self._said: TableInfo | None = None
        self._extractor: Extractor | None = None
        self._learned: Learned | None = None
        self._given_up = 0
        self._stale_rows = False
        self._stale_bytes = False
        self._unprintable = ""
        self._compared = 0
        self._woken = asyncio.Event()
        self._learned_at = 0.0
        self._learn_at = 0.0

    def give_up_rows(self, problem: str) -> None:
        """Upstream's Tables cannot be followed: plain objects, until a later comparison (the longer the more often)."""
        pause = min(FIDELITY_SECONDS, FIRST_FIDELITY_SECONDS * 2**self._given_up)
        self._given_up += 1
        self._learn_at = time.monotonic() + pause
        self.asking.use(None, b"")
        self._miss_rows(f"its Tables cannot be followed: {problem}")

    async def begin(self, meta: Meta) -> None:
        """Know how to make records, without asking upstream where the last worker's knowledge is still good.

        Raises:
            StatusError, UpstreamError, StoreError
        """
        custom = await self._definition()
        self._plan()
        self._said = meta.table if meta.readable else None
        self._use(self._remember(meta, custom) or await self._learn(meta, custom))

    async def say(self) -> None:
        """Write the description, for as far as it holds already.

        Raises:
            StoreError
        """
        description = self.current
        assert description is not None
        table = description.table
        if table is not None and (table.served or table.kept):
            reason = self._unprintable or ("its rows are being made anew" if self._stale_rows else "")
            if reason:
                description = replace(description, table=replace(table, served=False, kept=False, reason=reason))
        if self._stale_rows or self._stale_bytes or self._unprintable:
            # A worker that takes over before all is made anew begins with that again.
            description = replace(description, digest=f"{description.digest} unfinished")
        assert description.table is not None
        said = self._said
        same = said is not None and said.given == description.table.given
        since = said.since if said is not None and same else self._writer.position
        description = replace(description, table=replace(description.table, since=since))
        assert description.table is not None
        metrics.table_served.labels(str(self.gvr)).set(int(description.table.served))
        metrics.table_kept.labels(str(self.gvr)).set(int(description.table.kept))
        async with self._writing:
            if await self._writer.describe(description) and not description.table.served:
                unions = ", across some namespaces from its rows as kept here" if description.table.kept else ""
                log.warning("%s: Tables come from upstream%s: %s", self.gvr, unions, description.table.reason)
        self._said = description.table

    async def settle(self, *, unsettled: bool) -> None:
        """Say whether deletions are still to be told.

        Raises:
            StoreError
        """
        assert self.current is not None
        if self.current.unsettled != unsettled:
            self.current = replace(self.current, unsettled=unsettled)
            await self.say()

    async def bookmarked(self, bookmark: bytes) -> None:
        """A bookmark of a Table shows upstream's row of an object without content.

        Raises:
            StoreError
        """
        assert self.current is not None
        table = self.current.table
        if not self.asking.printed or table is None or table.zero_row is not None:
            return
        if cells := zero_cells(bookmark):
            self.current = replace(self.current, table=replace(table, zero_row=Row((b'{"cells":' + cells,))))
            await self.say()

    def record(self, sent: Sent) -> Record | None:
        """The record of an object; None, with a word in the log, for what is none."""
        assert self._extractor is not None
        row: Print | None = None
        if isinstance(sent, Printed):
            row, sent = self._row_of(sent), sent.object
        elif self.asking.printed and self.asking.settled.is_set():
            self._miss_rows(f"upstream could not print {sent[:200]!r}")
        try:
            return self._extractor.record(sent, row)
        except Unreadable as error:
            metrics.unreadable.labels(str(self.gvr)).inc()
            log.error("%s: an object is left out: %s", self.gvr, error)  # noqa: TRY400 (what is wrong is in the text)
            return None

    async def records(self, items: Sequence[Sent]) -> list[Record]:
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
        renew = False
        while True:
            await self._wait()
            try:
                if self._unprintable:
                    await self.say()
                if time.monotonic() >= self._learn_at:
                    learned = await self._learn(await self._reader.meta(self.gvr), await self._definition())
                    await self.say()  # before rows of the new kind are written
                    self._use(learned)
                    self._plan()
                    # In upstream's own rows something may move that is unknown here.
                    renew = learned.kept is not None
                if renew or self._stale_rows or self._stale_bytes:
                    renew = False
                    await self._refresh()
                    await self.say()
            except Fenced:
                raise
            except NotSynced:
                await asyncio.sleep(RETRY_SECONDS)  # it is being loaded, by what is known now
            except (StatusError, UpstreamError, StoreError) as error:
                log.warning("%s: could not look at its columns again: %s", self.gvr, error)
                self._learn_at = 0.0
                await asyncio.sleep(RETRY_SECONDS)

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

    def _remember(self, meta: Meta, custom: Definition | None) -> Learned | None:
        """What is stored, if everything that it was made from is as it was."""
        table = meta.table
        known = meta.readable and table is not None and meta.version == self.cluster.version
        if not known or table is None:
            return None
        learned = remembered(table, self._resource, self.cluster.server, custom)
        description = replace(self._description(table, custom), unsettled=meta.unsettled)
        if learned is None or meta.digest != description.digest:
            return None
        self.current = description
        return learned

    async def _learn(self, meta: Meta, custom: Definition | None) -> Learned:
        """Ask upstream what to go on with."""
        learned = self._unless_doubted(await learn(self._client, self._resource, self.cluster.server, custom))
        unsettled = self.current.unsettled if self.current is not None else meta.unsettled
        self.current = replace(self._description(learned.info, custom), unsettled=unsettled)
        self._compared = learned.compared
        self._learned_at = time.monotonic()
        stored = meta.readable or self._extractor is not None  # also what is just being loaded
        if stored and (self._unprintable or meta.digest != self.current.digest):
            self._unprintable = ""
            self._stale_rows = True
            self._stale_bytes |= meta.version != self.cluster.version
        return learned

    def _unless_doubted(self, learned: Learned) -> Learned:
        """What was learned, or what was before: without rows to compare, no doubt of those before them is removed."""
        known, current = self._learned, self.current
        if known is None or current is None or known.info.columns != learned.info.columns:
            return learned
        doubted = known.kept is not None and current.version == self.cluster.version
        if doubted and learned.info.served and not learned.compared:
            return known
        zero_row = current.table.zero_row if current.table is not None else None
        if learned.kept is not None and zero_row is not None:
            return dataclasses.replace(learned, info=replace(learned.info, zero_row=zero_row))
        return learned

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

    def _use(self, learned: Learned) -> None:
        """Make records by what is known now."""
        assert self.current is not None
        self._learned = learned
        self.asking.use(learned.kept, learned.info.columns)
        self._extractor = Extractor(
            self.gvr,
            self._resource.kind,
            typed=not self._custom,
            fields=field_reader(self.gvr, self.cluster.server, self.current.selectable),
            row=learned.printer.row if learned.printer else None,
            failed=self._row_failed,
        )

    def _row_of(self, printed: Printed) -> Print | None:
        try:
            return self.asking.row_of(printed)
        except OtherColumns:
            self._learn_at = min(self._learn_at, self._learned_at + RETRY_SECONDS)
            self._miss_rows("upstream prints other columns than before")
            return None

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
        self._miss_rows(f"the row of {key} cannot be printed: {error!r}")

    def _miss_rows(self, reason: str) -> None:
        """Not every record has its row: no Tables from the store until rows are made anew."""
        self._unprintable = reason
        self._woken.set()

    async def _refresh(self) -> None:
        """Make every record anew, from upstream's bytes where those or the rows come from there, else from its own."""
        if not self.asking.printed:
            if self._stale_bytes:
                replaced = await self._refresher.from_upstream(self.asking.pages(PAGE_OBJECTS, "refresh"))
            else:
                replaced = await self._refresher.from_store()
        elif (kept := await self._keep_rows()) is not None:
            replaced = kept
        else:
            return
        self._stale_rows = self._stale_bytes = False
        log.info("%s: made %d records anew", self.gvr, replaced)

    async def _keep_rows(self) -> int | None:
        """Take in upstream's row of every record; None where some still lack theirs, so that it is to be tried again.

        From where the watch brings rows, whatever changes has its row. So a list that is begun then has those of all
        other records.
        """
        try:
            async with asyncio.timeout(RETRY_SECONDS):
                await self.asking.settled.wait()
        except TimeoutError:
            return None
        replaced = await self._refresher.from_upstream(self.asking.pages(PAGE_OBJECTS, "refresh"))
        for _ in range(LOOKS):
            if not await self._refresher.lacks_rows():
                return replaced
            await asyncio.sleep(RETRY_SECONDS / LOOKS)  # what changed since the list is on its way
        return None
