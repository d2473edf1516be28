"""A store filled by hand: control objects and some pods, as an informer would leave them."""

from __future__ import annotations

from kube.resources import CONTROL, GVR, Resource
from store.catalogue import CatalogueEntry
from store.catalogue_writer import CatalogueWriter
from store.connection import Store
from store.documents import StoredDocument
from store.leases import Lease
from store.meta import Description, TableInfo
from store.record import Record
from store.writer import Event, Writer
from tests.authz.objects import KINDS, NODES, PODS, TENANT_LABEL, TENANTS

START = 1000
"""The position of every resource after loading."""

COLUMNS = b'[{"name":"Name","type":"string","format":"name","description":"","priority":0}]'


class Stored:
    """Writes as the holder of every lease."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.position = START
        self._writers: dict[GVR, Writer] = {}
        self._catalogue: CatalogueWriter | None = None
        self._objects: dict[tuple[GVR, str, str], Record] = {}

    async def load(self, *objects: tuple[GVR, Record], kinds: dict[GVR, Resource] | None = None) -> None:
        """Store these objects, and make their kinds (and all control resources, pods and nodes) covered."""
        kinds = kinds or KINDS
        by_kind: dict[GVR, list[Record]] = {gvr: [] for gvr in (*CONTROL, TENANTS, PODS, NODES)}
        for gvr, record in objects:
            by_kind[gvr].append(record)
        for gvr, records in by_kind.items():
            await self._load(kinds[gvr], records)
        fence = await Lease(self.store, None, "test").acquire()
        assert fence is not None
        self._catalogue = CatalogueWriter(self.store, fence)
        entries = {
            gvr: CatalogueEntry(kinds[gvr], f"{kinds[gvr].kind}List", gvr != TENANTS, gvr == TENANTS) for gvr in by_kind
        }
        await self._catalogue.put_resources(entries)
        await self._catalogue.put_upstream({"version": "v1.36.2"})

    async def _load(self, resource: Resource, records: list[Record]) -> None:
        lease = Lease(self.store, resource.gvr, "test", seconds=600)
        fence = await lease.acquire()
        assert fence is not None
        writer = self._writers[resource.gvr] = Writer(self.store, resource.gvr, fence)
        await self.describe(resource, TableInfo(columns=COLUMNS, served=resource.gvr != NODES))
        await writer.load_begin()
        await writer.load([(record, self._shard(record)) for record in records])
        await writer.load_commit(START)
        await writer.heartbeat()
        for record in records:
            self._objects[resource.gvr, record.namespace, record.name] = record

    async def describe(self, resource: Resource, table: TableInfo) -> None:
        """Say how Tables of a resource are made."""
        await self._writers[resource.gvr].describe(
            Description(
                kind=resource.kind,
                list_kind=f"{resource.kind}List",
                namespaced=resource.namespaced,
                verbs=tuple(sorted(resource.verbs)),
                typed=resource.gvr != TENANTS,
                custom=resource.gvr == TENANTS,
                table=table,
                version="v1.36.2",
            )
        )

    @staticmethod
    def _shard(record: Record) -> str:
        return record.labels.get(TENANT_LABEL, "-")

    async def put(self, gvr: GVR, record: Record) -> int:
        """Add or replace an object; returns the position, whatever RV the record has."""
        key = (gvr, record.namespace, record.name)
        self.position += 1
        kind = "M" if key in self._objects else "A"
        self._objects[key] = record
        await self._writers[gvr].apply_many([Event(kind, self.position, record, self._shard(record))])  # type: ignore[arg-type]
        return self.position

    async def reload(self, gvr: GVR, *records: Record) -> None:
        """Begin the resource's history anew, with these objects."""
        self.position += 1000
        writer = self._writers[gvr]
        await writer.load_begin()
        await writer.load([(record, self._shard(record)) for record in records])
        await writer.load_commit(self.position)

    async def remove(self, gvr: GVR, record: Record) -> int:
        """Delete an object; returns the position."""
        self.position += 1
        self._objects.pop((gvr, record.namespace, record.name))
        await self._writers[gvr].apply_many([Event("D", self.position, record, self._shard(record))])
        return self.position

    async def beat(self) -> None:
        """A heartbeat of every resource: nothing is stale."""
        for writer in self._writers.values():
            await writer.heartbeat()

    async def document(self, path: str, body: bytes, variant: str = "", **headers: str) -> None:
        """Store one of upstream's documents; `_` in header names stands for `-`."""
        assert self._catalogue is not None
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await self._catalogue.put_documents({(path, variant): StoredDocument(200, named, body)})
