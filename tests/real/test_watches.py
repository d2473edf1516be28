"""Watches beside a real API server: the same random writes are seen through it and through a replica, line by line."""

from __future__ import annotations

import asyncio
import json
import random
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from informers import worker
from informers.settings import InformerSettings
from kube.resources import GVR
from kube.version import ServerVersion
from server.app import running
from server.settings import ServerSettings
from store.embedded import EmbeddedRedis
from tests.real.apiserver import RealApiServer
from tests.real.every import every_server

pytestmark = pytest.mark.real

WRITES = 150
TABLE = "application/json;as=Table;v={};g=meta.k8s.io"
METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
FORMS = (
    "application/json",
    TABLE.format("v1"),
    TABLE.format("v1beta1"),
    METADATA,
)
SELECTORS = (
    "", "labelSelector=app%3Dweb", "labelSelector=app%21%3Dweb", "labelSelector=%21app",
    "labelSelector=app+in+(web,api),tier", "fieldSelector=metadata.name%3Dx1", "fieldSelector=metadata.name%21%3Dx1",
    "fieldSelector=metadata.namespace%3Dwest", "includeObject=Object", "includeObject=None",
)  # fmt: skip
PLACES = (
    "/api/v1/{0}configmaps",
    "/api/v1/watch/{0}configmaps",
    "/api/v1/watch/namespaces/west/configmaps/x1",
    "/apis/example.com/v1/{0}widgets",
    "/api/v1/{0}serviceaccounts",
)
WIDGETS = GVR("example.com", "v1", "widgets")
RESOURCES = ("configmaps", "serviceaccounts", "widgets.example.com")

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{
            "name": "v1", "served": True, "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
        }],
    },
}  # fmt: skip


@dataclass
class Side:
    """One of the two servers, and what its watchers have been told so far."""

    url: str
    session: aiohttp.ClientSession
    lines: dict[tuple[str, str], list[bytes]] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def watch(self, path: str, accept: str) -> None:
        """Begin a watch, and collect its lines."""
        lines: list[bytes] = []
        self.lines[path, accept] = lines
        self.tasks.append(asyncio.create_task(self._collect(path, accept, lines)))

    async def _collect(self, path: str, accept: str, lines: list[bytes]) -> None:
        async with self.session.get(self.url + path, headers={"Accept": accept}) as answer:
            assert answer.status == 200, (path, await answer.text())
            async for line in answer.content:
                lines.append(line)  # noqa: PERF401 - looked at while it grows

    async def end(self) -> None:
        """Hang up."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@dataclass
class Both:
    """A real API server with some objects, and a replica that follows it."""

    real: Side
    larder: Side
    chance: random.Random
    version: ServerVersion
    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def write(self) -> str:
        """One random write; returns the new resourceVersion, "" if there is none."""
        place, kind = self.chance.choice((
            ("/api/v1/namespaces/{}/configmaps", "ConfigMap"),
            ("/api/v1/namespaces/{}/serviceaccounts", "ServiceAccount"),
            ("/apis/example.com/v1/namespaces/{}/widgets", "Widget"),
        ))  # fmt: skip
        collection = place.format(self.chance.choice(("west", "east")))
        path = f"{collection}/x{self.chance.randint(1, 3)}"
        name = path.rpartition("/")[2]
        if path in self.known and self.chance.random() < 0.2:
            async with self.real.session.delete(self.real.url + path) as answer:
                assert answer.status == 200
            del self.known[path]
            return ""
        values = {"app": ("web", "api", "db"), "tier": ("x", "y")}
        labels = {key: self.chance.choice(values[key]) for key in values if self.chance.random() < 0.7}
        notes = {"resourceVersion": "7"} if self.chance.random() < 0.3 else {"note": str(self.chance.random())}
        body: dict[str, Any] = {"kind": kind, "metadata": {"name": name, "labels": labels, "annotations": notes}}
        body["apiVersion"] = "example.com/v1" if kind == "Widget" else "v1"
        if kind == "Widget":
            body["spec"] = {"size": self.chance.randint(1, 9)}
        if path in self.known:
            body["metadata"]["resourceVersion"] = self.known[path]["metadata"]["resourceVersion"]
        send = self.real.session.put if path in self.known else self.real.session.post
        async with send(self.real.url + (path if path in self.known else collection), json=body) as answer:
            assert answer.status in (200, 201), await answer.text()
            self.known[path] = await answer.json()
        version: str = self.known[path]["metadata"]["resourceVersion"]
        return version


@asynccontextmanager
async def both(assets: Path, tmp_path: Path) -> AsyncIterator[Both]:
    """Bring both up; `assets` has the API server's binaries."""
    server = RealApiServer(assets, tmp_path / "apiserver")
    (tmp_path / "apiserver").mkdir()
    await asyncio.to_thread(server.start)
    with EmbeddedRedis() as redis:
        context: ssl.SSLContext = server.ssl_context()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            headers={"Authorization": "Bearer admin-token"},
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=1 << 22,
        )
        informing: asyncio.Task[None] | None = None
        try:
            await _prepare(session, server.url)
            settings = InformerSettings(
                kubeconfig=str(server.kubeconfig("larder-token", "larder")),
                redis_url=redis.url,
                resources=list(RESOURCES),
                metrics_listen="",
            )
            informing = asyncio.create_task(worker.run(settings))
            replica = ServerSettings(
                kubeconfig=settings.kubeconfig,
                redis_url=redis.url,
                listen="127.0.0.1:0",
                metrics_listen="",
                drain_seconds=1.0,
            )
            async with running(replica) as served:
                await _from_cache(session, f"http://127.0.0.1:{served.port}")
                larder = Side(f"http://127.0.0.1:{served.port}", session)
                yield Both(Side(server.url, session), larder, random.Random(20), served.replica.version)
        finally:
            if informing is not None:
                informing.cancel()
                await asyncio.gather(informing, return_exceptions=True)
            await session.close()
            await asyncio.to_thread(server.stop)


async def _prepare(session: aiohttp.ClientSession, url: str) -> None:
    """Two namespaces and a definition."""
    for name in ("west", "east"):
        async with session.post(f"{url}/api/v1/namespaces", json={"metadata": {"name": name}}) as answer:
            assert answer.status == 201
    async with session.post(f"{url}/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json=CRD) as answer:
        assert answer.status == 201
    async with asyncio.timeout(30):
        while True:
            async with session.get(f"{url}/apis/example.com/v1/widgets") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.2)


async def _from_cache(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until the replica serves all of it, Tables included."""
    paths = ["/api/v1/configmaps", "/api/v1/serviceaccounts", "/apis/example.com/v1/widgets"]
    async with asyncio.timeout(60):
        while paths:
            async with session.get(url + paths[0], headers={"Accept": TABLE.format("v1")}) as answer:
                if answer.status == 200 and answer.headers["X-Larder-Source"] == "cache":
                    paths.pop(0)
                    continue
            await asyncio.sleep(0.2)


_AGE = re.compile(rb'"\d+(s|m\d*s?)"|"\\\\u003cinvalid\\\\u003e"')
_COLUMNS = re.compile(rb'"columnDefinitions":(null|\[.*?\]),"rows":')


def comparable(lines: list[bytes]) -> list[bytes]:
    """Events without the ages of their rows, and without columns beyond the first event's.

    Upstream shares encoded events among watchers: one that is the first for any of them has the columns for more.
    """
    return [_comparable(line, first=number == 0) for number, line in enumerate(lines)]


def _comparable(line: bytes, *, first: bool) -> bytes:
    if b'"kind":"Table"' not in line[:60]:
        return line
    return _AGE.sub(b'"<age>"', line if first else _COLUMNS.sub(b'"rows":', line))


@pytest.mark.parametrize("assets", every_server())
@pytest.mark.asyncio
@pytest.mark.timeout(240)
async def test_random_writes_seen_both_ways(assets: Path, tmp_path: Path) -> None:
    """Watchers with all kinds of paths, selectors and forms get the same lines from both servers."""
    async with both(assets, tmp_path) as pair:
        for _ in range(20):
            await pair.write()
        await asyncio.sleep(1)
        start = await _present(pair)
        for place in PLACES:
            for namespace in ("", "namespaces/west/"):
                if "{0}" not in place and namespace:
                    continue
                for selector in SELECTORS:
                    path = place.format(namespace) + f"?watch=true&resourceVersion={start}&{selector}"
                    if "/x1?" in path and "fieldSelector" in path:
                        continue
                    for accept in FORMS:
                        pair.real.watch(path, accept)
                        pair.larder.watch(path, accept)
        await asyncio.sleep(3)
        last = ""
        for _ in range(WRITES):
            last = await pair.write() or last
        await _quiet(pair)
        await pair.real.end()
        await pair.larder.end()
        told = 0
        for key, expected in pair.real.lines.items():
            assert comparable(pair.larder.lines[key]) == comparable(expected), key
            told += len(expected)
        assert told > 5000


@pytest.mark.parametrize("assets", every_server())
@pytest.mark.asyncio
@pytest.mark.timeout(120)
async def test_initial_events_and_refusals(assets: Path, tmp_path: Path) -> None:
    """A watch without an RV shows the same objects (an old server in no order), and what is wrong is refused alike."""
    async with both(assets, tmp_path) as pair:
        for _ in range(20):
            await pair.write()
        await asyncio.sleep(1)
        for query in ("", "&resourceVersion=0", "&resourceVersion=0&labelSelector=app", "&timeoutSeconds=-1",
                      "&resourceVersion=abc", "&resourceVersionMatch=Exact", "&includeObject=Foo",
                      "&resourceVersion=99999999"):  # fmt: skip
            for accept in (*FORMS, "application/yaml", METADATA.replace("Metadata", "MetadataList")):
                path = f"/api/v1/configmaps?watch=true&timeoutSeconds=1{query}"
                answers = [await _answer(side, path, accept) for side in (pair.real, pair.larder)]
                assert answers[0] == answers[1], (path, accept)


async def _answer(side: Side, path: str, accept: str) -> tuple[int, list[bytes]]:
    async with side.session.get(side.url + path, headers={"Accept": accept}) as answer:
        body = await answer.read()
        if answer.status != 200:
            return answer.status, [body]
        return answer.status, sorted(_comparable(line, first=False) for line in body.splitlines())


async def _present(pair: Both) -> str:
    """The RV of a list of everything, as the real server has it."""
    async with pair.real.session.get(pair.real.url + "/api/v1/configmaps") as answer:
        version: str = json.loads(await answer.read())["metadata"]["resourceVersion"]
        return version


async def _quiet(pair: Both) -> None:
    """Wait until no more lines come, and both have as many, or a while is over."""
    before, same = -1, 0
    for _ in range(100):
        counts = [sum(map(len, side.lines.values())) for side in (pair.real, pair.larder)]
        same = same + 1 if counts[0] == counts[1] == before else 0
        before = counts[0]
        if same >= 5:
            return
        await asyncio.sleep(0.2)
