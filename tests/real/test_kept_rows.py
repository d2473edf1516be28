"""Upstream's own rows beside a real API server: what they come with, and what a union shows of them.

No version that there is has kinds that larder does not know, so some are made unknown here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from informers import worker
from informers.extract import type_prefix
from informers.settings import InformerSettings
from kube.printed import QUERY, TABLE
from kube.resources import GVR
from server.app import Server, running
from server.settings import ServerSettings
from store.embedded import EmbeddedRedis
from tables import registry
from tests.informers.upstream import widget_definition
from tests.real.apiserver import RealApiServer, chosen_assets
from tests.replay.wire import Exchange, ask

pytestmark = [pytest.mark.real, pytest.mark.asyncio, pytest.mark.timeout(300)]

CONFIG_MAPS = GVR("", "v1", "configmaps")
SERVICES = GVR("", "v1", "services")
PODS = GVR("", "v1", "pods")
EVENTS = GVR("", "v1", "events")
DEPLOYMENTS = GVR("apps", "v1", "deployments")
HPAS = GVR("autoscaling", "v1", "horizontalpodautoscalers")
WIDGETS = GVR("shop.example.com", "v1", "widgets")
MADE_UNKNOWN = (CONFIG_MAPS, SERVICES, PODS, EVENTS, DEPLOYMENTS, HPAS)
NAMESPACES = ("team-a", "team-b")
"""Those in which alice may read; there are others."""
SYNC_SECONDS = 120.0
INCLUDED = "&".join(f"{name}={value}" for name, value in QUERY.items())

TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i<&>:1"}]}}
CONTENT: dict[GVR, tuple[str, dict[str, Any]]] = {
    CONFIG_MAPS: ("ConfigMap", {"data": {"text": "<a> & \u2028"}}),
    SERVICES: (
        "Service",
        {"spec": {"ports": [{"port": 80, "name": "p"}, {"port": 443, "name": "s"}], "selector": {"app": "x"}}},
    ),
    PODS: ("Pod", {"spec": TEMPLATE["spec"]}),
    EVENTS: ("Event", {"message": "it\nhappened", "reason": "R", "count": 3, "type": "Normal", "involvedObject": {}}),
    DEPLOYMENTS: ("Deployment", {"spec": {"selector": {"matchLabels": {"app": "x"}}, "template": TEMPLATE}}),
    HPAS: (
        "HorizontalPodAutoscaler",
        {
            "spec": {
                "maxReplicas": 3,
                "scaleTargetRef": {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"},
                "targetCPUUtilizationPercentage": 60,
            }
        },
    ),
    WIDGETS: ("Widget", {"spec": {"size": 3, "text": "<b>"}}),
}


class _Row(msgspec.Struct):
    cells: msgspec.Raw
    object: msgspec.Raw


class _Listed(msgspec.Struct):
    kind: str
    items: list[msgspec.Raw] | None = None
    rows: list[_Row] | None = None


class _Event(msgspec.Struct):
    object: msgspec.Raw


_decode = msgspec.json.Decoder(_Event).decode


@dataclass
class Api:
    """A running API server, asked as an administrator."""

    real: RealApiServer
    tls: ssl.SSLContext

    async def get(self, target: str, accept: str = "application/json") -> bytes:
        """The body of a list."""
        answer = await ask(self.real.url, "GET", target, _headers("admin-token", accept), tls=self.tls)
        assert answer.status == 200, (target, answer.body)
        return answer.content

    async def create(self, path: str, body: dict[str, Any]) -> None:
        """Create an object, once its kind is served."""
        headers = {**_headers("admin-token", "application/json"), "Content-Type": "application/json"}
        async with asyncio.timeout(SYNC_SECONDS):
            while True:
                answer = await ask(self.real.url, "POST", path, headers, json.dumps(body).encode(), tls=self.tls)
                if answer.status in (201, 409):
                    return
                assert answer.status in (404, 503), answer.body
                await asyncio.sleep(0.2)

    async def put(self, gvr: GVR, namespace: str, name: str, **labels: str) -> None:
        """Create an object of those in CONTENT."""
        kind, content = CONTENT[gvr]
        metadata: dict[str, Any] = {"name": name, "labels": labels}
        body = {"apiVersion": gvr.api_version, "kind": kind, "metadata": metadata, **content}
        if gvr == EVENTS:
            body["involvedObject"] = {"kind": "Pod", "name": "p", "namespace": namespace}
        await self.create(gvr.path(namespace), body)

    async def label(self, gvr: GVR, namespace: str, name: str, value: str) -> None:
        """Change an object."""
        headers = _headers("admin-token", "application/json") | {"Content-Type": "application/merge-patch+json"}
        body = json.dumps({"metadata": {"labels": {"n": value}}}).encode()
        path = gvr.path(namespace, name)
        assert (await ask(self.real.url, "PATCH", path, headers, body, tls=self.tls)).status == 200

    async def served(self) -> list[GVR]:
        """What can be listed and watched."""
        groups = json.loads(await self.get("/apis"))["groups"]
        versions = ["/api/v1"] + [f"/apis/{one['groupVersion']}" for group in groups for one in group["versions"]]
        found = []
        for path in versions:
            listed = json.loads(await self.get(path))
            group, _, version = listed["groupVersion"].rpartition("/")
            found += [
                GVR(group, version, one["name"])
                for one in listed["resources"]
                if {"list", "watch"} <= set(one["verbs"])
            ]
        return found


@pytest.fixture(scope="module")
def real() -> Iterator[RealApiServer]:
    """An API server with every API that it has."""
    assets = chosen_assets()
    if assets is None:
        pytest.skip("no kube-apiserver here: see tests/real/apiserver.py")
    with RealApiServer(assets, extra_flags=("--runtime-config=api/all=true",)) as server:
        yield server


async def filled(real: RealApiServer) -> Api:
    """Namespaces, and some objects in each."""
    api = Api(real, real.ssl_context())
    column = {"name": "Size", "type": "integer", "jsonPath": ".spec.size"}
    date = {"name": "Born", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    definition = widget_definition([column, date])
    definition["spec"]["versions"][0]["schema"] = {
        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    }
    await api.create(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.shop.example.com"},
            "spec": definition["spec"],
        },
    )
    rbac = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": ["*"], "resources": [gvr.resource for gvr in CONTENT], "verbs": ["get", "list", "watch"]}]
    await api.create(f"/apis/{rbac}/v1/clusterroles", {"metadata": {"name": "reader"}, "rules": rules})
    for namespace in (*NAMESPACES, "team-c"):
        await api.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        for gvr in CONTENT:
            for number in range(2):
                await api.put(gvr, namespace, f"{namespace}-{number}")
        if namespace in NAMESPACES:
            binding = {
                "metadata": {"name": "alice"},
                "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "reader"},
                "subjects": [{"apiGroup": rbac, "kind": "User", "name": "alice"}],
            }
            await api.create(f"/apis/{rbac}/v1/namespaces/{namespace}/rolebindings", binding)
    return api


async def test_objects_in_tables_are_those_of_lists_and_watches(real: RealApiServer) -> None:
    """What larder stands on: with includeObject=Object every resource's Tables carry its objects, to the byte."""
    api = await filled(real)
    at_once = asyncio.Semaphore(8)

    async def compare(gvr: GVR) -> int:
        async with at_once:
            for _ in range(5):  # what changes between the two (leases) is asked again
                wanted, found = await _objects(api, gvr)
                if found == wanted:
                    break
            assert found == wanted, gvr
            path = f"{gvr.path()}?watch=1&timeoutSeconds=1&resourceVersion=0"
            plain, printed = await asyncio.gather(api.get(path), api.get(f"{path}&{INCLUDED}", TABLE))
            watched = [bytes(_decode(line).object) for line in plain.splitlines()]
            tables = [msgspec.json.decode(_decode(line).object, type=_Listed) for line in printed.splitlines()]
            seen = [bytes(table.rows[0].object) for table in tables if table.rows]
            assert gvr.resource == "leases" or sorted(seen) == sorted(watched), gvr
            return len(found)

    assert sum(await asyncio.gather(*map(compare, await api.served()))) > 100


async def _objects(api: Api, gvr: GVR) -> tuple[set[bytes], set[bytes]]:
    """Those of a list, and those of a Table as they would stand in the list."""
    listed = msgspec.json.decode(await api.get(gvr.path()), type=_Listed)
    table = msgspec.json.decode(await api.get(f"{gvr.path()}?{INCLUDED}", TABLE), type=_Listed)
    prefix = type_prefix(gvr, listed.kind.removesuffix("List"))
    printed = [bytes(row.object) for row in table.rows or ()]
    plain = {b"{" + one.removeprefix(prefix) if one.startswith(prefix) else one for one in printed}
    return {bytes(item) for item in listed.items or ()}, plain


@dataclass
class Beside:
    """Larder in front of the API server."""

    api: Api
    server: Server

    async def rows(self, gvr: GVR, token: str, namespace: str = "", *, upstream: bool = False) -> dict[str, Any]:
        """A Table; of upstream, or of larder."""
        if upstream:
            answer: dict[str, Any] = json.loads(await self.api.get(gvr.path(namespace), TABLE))
            return answer
        url = f"http://127.0.0.1:{self.server.port}"
        given = await ask(url, "GET", gvr.path(namespace), _headers(token, TABLE))
        assert (given.status, given.header("x-larder-source")) == (200, "cache"), given.body
        found: dict[str, Any] = json.loads(given.content)
        return found


@contextlib.asynccontextmanager
async def beside(real: RealApiServer, directory: Path) -> AsyncIterator[Beside]:
    """An informer and a replica, once they know all."""
    api = await filled(real)
    config = str(real.kubeconfig("larder-token", "larder"))
    with EmbeddedRedis() as redis:
        informer = InformerSettings(
            kubeconfig=config, redis_url=redis.url, resources=[str(gvr) for gvr in CONTENT], metrics_listen=""
        )
        settings = ServerSettings(kubeconfig=config, redis_url=redis.url, listen="127.0.0.1:0", metrics_listen="")
        informing = asyncio.create_task(worker.run(informer))
        try:
            async with running(settings) as server, asyncio.timeout(SYNC_SECONDS):
                while not await _ready(server):
                    assert not informing.done(), informing.exception()
                    await asyncio.sleep(0.1)
                yield Beside(api, server)
        finally:
            informing.cancel()
            await asyncio.wait({informing})


async def _ready(server: Server) -> bool:
    metas = await server.replica.reader.metas(CONTENT)
    kept = all(meta.readable and meta.table is not None and meta.table.kept for meta in metas.values())
    return kept and server.replica.control.held and all(gvr in server.replica.catalogue.resources for gvr in CONTENT)


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A larder that has not heard of some kinds, nor of the columns of custom resources."""
    for gvr in MADE_UNKNOWN:
        monkeypatch.delitem(registry.KIND_TABLES, gvr)
    monkeypatch.setattr("informers.columns.crd_printer", lambda _: registry.crd_printer(()))


async def test_a_union_has_upstreams_rows(real: RealApiServer, unknown: None, tmp_path: Path) -> None:
    """A list across the namespaces in which a user may read is upstream's rows of these, with their ages."""
    async with beside(real, tmp_path) as found:
        for gvr in CONTENT:
            for _ in range(20):  # an age may tick in between
                parts = [await found.rows(gvr, "", namespace, upstream=True) for namespace in NAMESPACES]
                union = await found.rows(gvr, "alice-token")
                if union["rows"] == [row for part in parts for row in part["rows"]]:
                    break
                await asyncio.sleep(0.1)
            assert union["rows"] == [row for part in parts for row in part["rows"]]
            assert len(union["rows"]) == 2 * len(NAMESPACES)
            assert union["columnDefinitions"] == parts[0]["columnDefinitions"]


async def test_a_watched_union_has_upstreams_rows(real: RealApiServer, unknown: None, tmp_path: Path) -> None:
    """A Table watch across these namespaces tells what upstream's watches of each tell, but for ages."""
    async with beside(real, tmp_path) as found, contextlib.AsyncExitStack() as stack:
        for gvr in CONTENT:
            start = (await found.rows(gvr, "alice-token"))["metadata"]["resourceVersion"]
            query = f"?watch=1&resourceVersion={start}"
            url = f"http://127.0.0.1:{found.server.port}"
            ours = await stack.enter_async_context(
                Exchange(url, "GET", gvr.path() + query, _headers("alice-token", TABLE))
            )
            theirs = [
                await stack.enter_async_context(
                    Exchange(
                        real.url, "GET", gvr.path(namespace) + query, _headers("admin-token", TABLE), tls=found.api.tls
                    )
                )
                for namespace in NAMESPACES
            ]
            for number in range(4):
                for namespace in (*NAMESPACES, "team-c"):
                    await found.api.label(gvr, namespace, f"{namespace}-{number % 2}", str(number))
            await ours.lines(4 * len(NAMESPACES))
            wanted = [event for one in theirs for event in _events(await one.lines(4))]
            assert sorted(_events(ours.answer.lines)) == sorted(wanted), gvr


def _events(lines: list[bytes]) -> list[tuple[int, str, str]]:
    """Version, type, and the row without what follows the clock, of each event."""
    found = []
    columns: list[str] = []
    for line in lines:
        event = json.loads(line)
        table = event["object"]
        columns = [column["name"] for column in table["columnDefinitions"] or ()] or columns
        (row,) = table["rows"]
        for index, name in enumerate(columns):
            if name in ("Age", "Born", "Last Seen", "First Seen"):
                row["cells"][index] = ""
        found.append((int(table["metadata"]["resourceVersion"]), event["type"], json.dumps(row)))
    return found


def _headers(token: str, accept: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "User-Agent": "kept/1", "Accept": accept}
