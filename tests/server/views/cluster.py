"""A resource that changes, with a memory of every state it had, and replicas that are asked for it.

`Cluster` plays the informer; what it has written is the truth that answers are compared with.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Self
from urllib.parse import urlencode

from kube import paths
from kube.resources import GVR, Resource
from kube.version import ServerVersion
from server import list_options, negotiation
from server.handlers.get import get_object
from server.handlers.list import list_objects
from server.identity import ANONYMOUS, Credential, CredentialKind
from server.request_context import RequestContext
from server.scope import ALL, Scope
from server.views import Views
from store.connection import Store
from store.leases import Lease
from store.meta import Description, TableInfo
from store.reader import Reader
from store.record import Record, pack
from store.writer import Event, Refresh, Writer
from tables.row import Row

PODS = GVR("", "v1", "pods")
NODES = GVR("", "v1", "nodes")
VERSION = ServerVersion(1, 36)
COLUMNS = b'[{"name":"Name","type":"string","format":"name","description":"","priority":0}]'
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"

Key = tuple[str, str]


def record_of(
    namespace: str, name: str, rv: int, labels: dict[str, str], data: str = "", born: float = 1000.0
) -> Record:
    """The record of an object as an informer makes it; its row shows the name and an age."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), "resourceVersion": str(rv)}
    metadata_text = _text(metadata | {"labels": labels})
    body = b'{"metadata":%b,"spec":%b}' % (metadata_text, _text({"data": data}))
    start = len(b'{"metadata":')
    row = Row((b'{"cells":["%b","' % name.encode(), b'"]'), (born,))
    fields = {"spec.nodeName": data}
    span = (start, start + len(metadata_text))
    return Record(namespace, name, rv, f"uid-{name}", labels, fields, row, span, len(body), pack(body))


def _text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass
class Cluster:
    """The writer of one resource. `states[rv]` is every object at that position."""

    store: Store
    gvr: GVR
    writer: Writer
    states: dict[int, dict[Key, Record]] = field(default_factory=dict)

    @classmethod
    async def begin(cls, store: Store, *, namespaced: bool = True, position: int = 100) -> Self:
        """Loaded, empty, at `position`."""
        gvr = PODS if namespaced else NODES
        fence = await Lease(store, gvr, "worker").acquire()
        assert fence is not None
        cluster = cls(store, gvr, Writer(store, gvr, fence))
        await cluster.load(position)
        return cluster

    @property
    def namespaced(self) -> bool:
        return self.gvr == PODS

    @property
    def position(self) -> int:
        return self.writer.position

    @property
    def objects(self) -> dict[Key, Record]:
        """All objects as they are now."""
        return self.states[self.position]

    async def load(self, position: int, objects: list[tuple[Record, str]] | None = None) -> None:
        """A new incarnation with these objects and their shards."""
        await self.describe(TableInfo(columns=COLUMNS, served=True))
        await self.writer.load_begin()
        await self.writer.load(objects or [])
        await self.writer.load_commit(position)
        self.states[position] = {(record.namespace, record.name): record for record, _ in objects or []}

    async def describe(self, table: TableInfo) -> None:
        """Say how Tables are made."""
        kind = "Pod" if self.namespaced else "Node"
        await self.writer.describe(
            Description(
                kind=kind,
                list_kind=f"{kind}List",
                namespaced=self.namespaced,
                verbs=("get", "list", "watch"),
                table=table,
                version="v1.36.2",
            )
        )

    async def put(
        self, namespace: str, name: str, shard: str = "-", data: str = "", born: float = 1000.0, **labels: str
    ) -> Record:
        """Create or change an object."""
        rv = self.position + 1
        record = record_of(namespace, name, rv, labels, data, born)
        state = {**self.objects, (namespace, name): record}
        await self.writer.apply_many([Event("M", rv, record, shard)])
        self.states[rv] = state
        return record

    async def delete(self, namespace: str, name: str) -> None:
        """Delete an object."""
        rv = self.position + 1
        state = dict(self.objects)
        gone = state.pop((namespace, name))
        await self.writer.apply_many([Event("D", rv, record_of(namespace, name, rv, gone.labels))])
        self.states[rv] = state

    async def advance(self, position: int) -> None:
        """A bookmark."""
        state = self.objects
        await self.writer.advance(position)
        self.states[position] = state

    async def refresh(self, namespace: str, name: str, data: str) -> None:
        """Other bytes for the same version of an object."""
        old = self.objects[namespace, name]
        new = record_of(namespace, name, old.rv, old.labels, data)
        assert await self.writer.refresh_many([Refresh(old, new)]) == 1
        self.states[self.position] = {**self.objects, (namespace, name): new}

    def expected(self, rv: int, scope: Scope = ALL, namespace: str = "") -> list[bytes]:
        """The items of a list at `rv`: what a naive server would join."""
        found = [
            (f"{ns}/{name}" if ns else name, record.body())
            for (ns, name), record in self.states[rv].items()
            if scope.covers(ns, name) and (not namespace or ns == namespace)
        ]
        return [body for _, body in sorted(found)]


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(10):
        for _ in itertools.count():
            if condition():
                return
            await asyncio.sleep(0.002)


@dataclass
class Answered:
    """An answer, understood: the list's RV, its items' exact bytes, and the token of the next page."""

    body: bytes
    rv: int
    items: list[bytes]
    token: str
    remaining: int | None


class Replica:
    """One replica's views and handlers, without a network in front."""

    def __init__(self, store: Store, **settings: Any) -> None:
        self.now = 1060.0
        self.version = VERSION
        self.known = 0
        """The RV that some other resource is at."""
        self.views = Views(store, Reader(store), clock=self.clock, **settings)

    def clock(self) -> float:
        """The time, which stands still until a test moves it."""
        return self.now

    async def reached(self, rv: int) -> bool:
        """Whether upstream must be at an RV already."""
        return rv <= self.known

    async def __aenter__(self) -> Self:
        await self.views.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.views.__aexit__(None, None, None)

    async def ask(
        self, path: str, *, scope: Scope = ALL, accept: str = "application/json", gzip: bool = False, **query: Any
    ) -> Any:
        """The response of a GET."""
        info = paths.parse("GET", path, urlencode(query), VERSION)
        assert info.gvr is not None
        namespaced = info.gvr == PODS
        resource = Resource(info.gvr, "Pod" if namespaced else "Node", namespaced, frozenset(("get", "list", "watch")))
        representation = negotiation.negotiate(accept, verb=info.verb, custom=False, query=info.query, version=VERSION)  # type: ignore[arg-type]
        request: Any = SimpleNamespace(headers={"accept-encoding": "gzip"} if gzip else {}, stream=None)
        replica: Any = self
        ctx = RequestContext(
            replica, request, ANONYMOUS, Credential(CredentialKind.NONE), info, "audit", resource, scope, representation
        )
        if info.verb == "get":
            ctx.get_options = list_options.parse_get(info.query, VERSION)
            return await get_object(ctx)
        ctx.options = list_options.parse(info, info.query, VERSION, resource)
        return await list_objects(ctx)

    async def body(self, path: str, **asked: Any) -> bytes:
        """The body of an answer, decompressed."""
        response = await self.ask(path, **asked)
        assert response.status == 200
        body: bytes = b"".join(response.parts)
        if response.headers.get("Content-Encoding") == "gzip":
            return zlib.decompress(body, zlib.MAX_WBITS | 16)
        return body

    async def list(self, path: str, **asked: Any) -> Answered:
        """A list of plain objects."""
        body = await self.body(path, **asked)
        parsed = json.loads(body)
        metadata = parsed["metadata"]
        head, _, rest = body.partition(b'"items":[')
        assert rest.endswith(b"]}\n"), head
        items = [_text(item) for item in parsed["items"]]
        assert b",".join(items) == rest[:-3]
        return Answered(
            body,
            int(metadata["resourceVersion"]),
            items,
            metadata.get("continue", ""),
            metadata.get("remainingItemCount"),
        )
