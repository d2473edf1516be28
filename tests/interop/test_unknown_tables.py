"""Tables that larder cannot print, as a tenant's kubectl shows them: with upstream's own cells, across namespaces.

The sandbox plays the API server of a version to come: a kind that nobody here has heard of, columns and cells that
changed, a definition whose Tables have more than it declares, and HPAs in the form that has lost what is printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from informers import worker
from informers.settings import InformerSettings
from kube import gojson
from kube.resources import GVR, Resource
from sandbox import catalogue, kubeconfig, render
from sandbox.server import SandboxServer
from sandbox.settings import SandboxSettings
from server.app import Server, running
from server.settings import ServerSettings
from store.embedded import EmbeddedRedis
from tables.columns import ColumnDefinition, Columns
from tests.interop.kubectl import Following, Kubectl, without_ages

pytestmark = [pytest.mark.asyncio, pytest.mark.interop, pytest.mark.timeout(180)]

GIZMOS = GVR("future.k8s.io", "v1", "gizmos")
SERVICES = GVR("", "v1", "services")
WIDGETS = GVR("shop.example.com", "v1", "widgets")
HPAS = GVR("autoscaling", "v1", "horizontalpodautoscalers")
ALL = (GIZMOS, SERVICES, WIDGETS, HPAS)
NAMESPACES = ("storefront-prod", "storefront-staging")
"""Two of Alice's; in the third she may not see what is new."""
READY_SECONDS = 60
VERBS = frozenset(("get", "list", "watch", "create", "update", "patch", "delete"))


@dataclass(frozen=True)
class Strange:
    """How the sandbox prints a resource that it does not print as everybody does."""

    columns: Columns
    plain: Any
    null_rows: bool = False

    def row(self, obj: dict[str, Any]) -> Any:
        """The row as it was, with a cell that nobody can know in place of the second."""
        row = self.plain.row(obj)
        head, _, tail = row.parts[0].partition(b",")
        vibe = f'"<{obj["metadata"].get("namespace")} v{(obj.get("spec") or {}).get("vibe", 0)}>"'
        return type(row)((head + b"," + gojson.escape(vibe.encode()) + b"," + tail, *row.parts[1:]), row.times)


@pytest.fixture
def strange(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox prints one column more for some resources, between the name and the rest."""
    plain = render.printing

    def printing(served: catalogue.Served) -> Any:
        columns, printer = plain(served)
        if served.gvr not in ALL:
            return columns, printer
        if served.gvr == SERVICES:
            # The columns are known, one cell is another.
            return columns, Strange(columns, _Without(printer))
        vibe = ColumnDefinition("Vibe", "string", "", "How it feels.", 0)
        columns = Columns((columns[0], vibe, *columns[1:]))
        return columns, Strange(columns, printer)

    monkeypatch.setattr(render, "printing", printing)


@dataclass(frozen=True)
class _Without:
    """Prints a row without its second cell."""

    plain: Any

    def row(self, obj: dict[str, Any]) -> Any:
        row = self.plain.row(obj)
        head, _, rest = row.parts[0].partition(b",")
        return type(row)((head + b"," + rest.partition(b",")[2], *row.parts[1:]), row.times)


@dataclass
class System:
    """The sandbox, and larder in front of it; `kubectl` on both."""

    sandbox: SandboxServer
    server: Server
    program: Path
    directory: Path

    def kubectl(self, user: str, *, upstream: bool = False) -> Kubectl:
        """Somebody's kubectl."""
        home = self.directory / f"{user}-{upstream}"
        path = self.sandbox.kubeconfig(user)
        if not upstream:
            path = self.directory / f"{user}.kubeconfig"
            url = f"https://127.0.0.1:{self.server.port}"
            path.write_text(kubeconfig.text(url, self.sandbox.authority.pem, user, token=f"{user}-token"))
        return Kubectl(self.program, path, home)

    async def run(self, user: str, *arguments: str, upstream: bool = False) -> str:
        """What kubectl prints, ages left out."""
        ran = await asyncio.to_thread(self.kubectl(user, upstream=upstream).run, *arguments)
        assert (ran.code, ran.err) == (0, ""), ran
        return without_ages(ran.out)

    async def create(self, gvr: GVR, kind: str, namespace: str, name: str, **content: Any) -> None:
        """Create an object, or replace it, as an administrator."""
        body = {"apiVersion": gvr.api_version, "kind": kind, "metadata": {"name": name}, **content}
        tls = ssl.create_default_context(cafile=str(self.sandbox.ca))
        headers = {"Authorization": "Bearer admin-token", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), headers=headers) as http:
            async with http.post(self.sandbox.url + gvr.path(namespace), data=json.dumps(body)) as answer:
                if answer.status == 201:
                    return
                assert answer.status == 409, await answer.text()
            headers["Content-Type"] = "application/merge-patch+json"
            url = self.sandbox.url + gvr.path(namespace, name)
            async with http.patch(url, data=json.dumps(content), headers=headers) as answer:
                assert answer.status == 200, await answer.text()


@contextlib.asynccontextmanager
async def system(directory: Path, program: Path) -> AsyncIterator[System]:
    """All of it, with the new kinds served and some objects there."""
    with EmbeddedRedis() as redis:
        async with SandboxServer(directory / "sandbox", SandboxSettings(life_seconds=0)) as sandbox:
            for gvr, kind in ((GIZMOS, "Gizmo"), (HPAS, "HorizontalPodAutoscaler")):
                served = catalogue.Served(Resource(gvr, kind, True, VERBS, singular=kind.lower()))
                sandbox.sandbox.cluster.catalogue.served[gvr] = served
            sandbox.sandbox.cluster.catalogue.generation += 1
            admin = str(sandbox.kubeconfig("larder"))
            certificate, key = sandbox.authority.server().write(directory, "larder")
            settings = ServerSettings(
                kubeconfig=admin, redis_url=redis.url, listen="127.0.0.1:0", metrics_listen="",
                tls_cert=str(certificate), tls_key=str(key),
            )  # fmt: skip
            informer = InformerSettings(
                kubeconfig=admin, redis_url=redis.url, metrics_listen="",
                resources=["*", f"{HPAS}", f"{GIZMOS}"],
            )  # fmt: skip
            async with running(settings) as server:
                found = System(sandbox, server, program, directory)
                await _fill(found)
                informing = asyncio.create_task(worker.run(informer))
                try:
                    await _kept(found, informing)
                    yield found
                finally:
                    informing.cancel()
                    await asyncio.wait({informing})


async def _fill(found: System) -> None:
    rbac = GVR("rbac.authorization.k8s.io", "v1", "clusterroles")
    rules = [{"apiGroups": ["*"], "resources": [gvr.resource for gvr in ALL], "verbs": ["get", "list", "watch"]}]
    await found.create(rbac, "ClusterRole", "", "future", rules=rules)
    for namespace in NAMESPACES:
        await found.create(
            GVR(rbac.group, rbac.version, "rolebindings"), "RoleBinding", namespace, "future",
            roleRef={"apiGroup": rbac.group, "kind": "ClusterRole", "name": "future"},
            subjects=[{"apiGroup": rbac.group, "kind": "User", "name": "alice"}],
        )  # fmt: skip
    names = {"plural": "widgets", "kind": "Widget", "listKind": "WidgetList", "singular": "widget"}
    columns = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]
    version = {"name": "v1", "served": True, "storage": True, "additionalPrinterColumns": columns}
    await found.create(
        GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions"), "CustomResourceDefinition", "",
        "widgets.shop.example.com",
        spec={"group": WIDGETS.group, "scope": "Namespaced", "names": names, "versions": [version]},
    )  # fmt: skip
    for namespace in (*NAMESPACES, "payments-prod"):
        for gvr, kind in ((GIZMOS, "Gizmo"), (WIDGETS, "Widget"), (HPAS, "HorizontalPodAutoscaler")):
            await found.create(gvr, kind, namespace, f"one-{namespace}", spec={"vibe": 1, "size": 3})


async def _kept(found: System, informing: asyncio.Task[None]) -> None:
    async def ready() -> bool:
        metas = await found.server.replica.reader.metas(ALL)
        return all(meta.readable and meta.table is not None and meta.table.kept for meta in metas.values())

    async with asyncio.timeout(READY_SECONDS):
        while not (await ready() and found.server.replica.control.held):
            assert not informing.done(), informing.exception()
            await asyncio.sleep(0.1)
        while not all(gvr in found.server.replica.catalogue.resources for gvr in ALL):
            await asyncio.sleep(0.1)


async def test_a_tenant_sees_upstreams_cells(strange: None, program: Path, tmp_path: Path) -> None:
    """`get -A` of a tenant prints what `get -n` of upstream does in each namespace, of every unknown kind."""
    async with system(tmp_path, program) as found:
        for gvr in ALL:
            name = f"{gvr.resource}.{gvr.version}.{gvr.group}" if gvr.group else gvr.resource
            wanted: list[str] = []
            for namespace in NAMESPACES if gvr != SERVICES else ("storefront-preview", *NAMESPACES):
                one = await found.run("alice", "get", name, "-n", namespace, "-o", "wide", upstream=True)
                head, *rows = one.splitlines()
                wanted += [f"{namespace} {row}" for row in rows]
            shown = await found.run("alice", "get", name, "-A", "-o", "wide")
            assert shown.splitlines() == [f"NAMESPACE {head}", *wanted]
            assert "v1>" in shown or gvr == SERVICES
            alone = await found.run("admin", "get", name, "-A", "-o", "wide")
            assert alone == await found.run("admin", "get", name, "-A", "-o", "wide", upstream=True)


async def test_a_tenant_watches_upstreams_cells(strange: None, program: Path, tmp_path: Path) -> None:
    """`get -A -w` goes on with upstream's cells of each version, also while a watch of the informer is cut off."""
    async with system(tmp_path, program) as found:
        for gvr, kind in ((GIZMOS, "Gizmo"), (WIDGETS, "Widget"), (HPAS, "HorizontalPodAutoscaler")):
            name = f"{gvr.resource}.{gvr.version}.{gvr.group}"
            with found.kubectl("alice").follow("get", name, "-A", "-w") as following:
                await _until(following, lambda lines: len(lines) == 3)
                for vibe in range(2, 6):
                    if vibe == 4:
                        found.sandbox.sandbox.faults.drop_watches(gvr.resource)
                    for namespace in (*NAMESPACES, "payments-prod"):
                        await found.create(gvr, kind, namespace, f"one-{namespace}", spec={"vibe": vibe})
                await _until(following, lambda lines: len(lines) == 3 + 4 * len(NAMESPACES))
                shown = [line.split()[:4] for line in following.lines[3:]]
            wanted = [
                [namespace, f"one-{namespace}", f"<{namespace}", f"v{vibe}>"]
                for vibe in range(2, 6)
                for namespace in NAMESPACES
            ]
            assert shown == wanted


async def _until(following: Following, there: Callable[[list[str]], bool]) -> None:
    async with asyncio.timeout(30):
        while not there(following.lines):
            await asyncio.sleep(0.05)
