from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from informers import catalogue
from informers.settings import InformerSettings
from informers.worker import preferred_worker, run
from kube import tasks
from kube.resources import GVR
from store.connection import Store
from store.errors import StoreUnsuitable
from store.leases import check_in
from store.reader import Reader
from tests.informers.eventually import until
from tests.informers.upstream import (
    CONFIG_MAPS,
    CRDS,
    NAMESPACES,
    SECRETS,
    WIDGETS,
    Fault,
    Served,
    Upstream,
    widget_definition,
)

Start = Callable[..., asyncio.Task[None]]


@pytest_asyncio.fixture
async def start(store: Store, upstream: Upstream, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts workers on the store; those that still run are ended."""
    started: list[asyncio.Task[None]] = []
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        f"clusters: [{{name: c, cluster: {{server: '{upstream.url}'}}}}]\n"
        "contexts: [{name: c, context: {cluster: c}}]\ncurrent-context: c\n"
    )

    def begin(name: str = "one", **settings: Any) -> asyncio.Task[None]:
        defaults = {"metrics_listen": "", "lease_seconds": 2.0}
        made = InformerSettings(
            kubeconfig=str(kubeconfig), redis_url=store.url, prefix=store.prefix, worker_id=name,
            **{**defaults, **settings},
        )  # fmt: skip
        task = asyncio.create_task(run(made), name=name)
        started.append(task)
        return task

    yield begin
    await tasks.end(*started)


class Look:
    """What readers see."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.reader = Reader(store)

    async def synced(self, gvr: GVR) -> bool:
        return (await self.reader.meta(gvr)).state == "synced"

    async def reached(self, gvr: GVR, position: int) -> bool:
        return (await self.reader.meta(gvr)).position >= position

    async def holder(self, gvr: GVR) -> str:
        """The name of the worker that has the lease."""
        owner = (await self.reader.lease_holders([gvr]))[gvr]
        return (owner or "").partition(" ")[0]

    async def place(self, gvr: GVR, namespace: str) -> str:
        return (await self.reader.places(gvr)).places.get(namespace, (0, ""))[1]

    async def covered(self) -> set[GVR]:
        return set(await self.reader.resources())


@pytest.fixture
def look(store: Store) -> Look:
    """A reader's view of the store."""
    return Look(store)


async def _facts(look: Look, wanted: str) -> dict[str, str] | None:
    """What the store knows of upstream, once `wanted` is among it."""
    facts = await look.reader.upstream()
    return facts if wanted in facts else None


@pytest.mark.asyncio
async def test_everything_is_covered(start: Start, look: Look, upstream: Upstream) -> None:
    """A worker covers what the patterns say, namespaces first, and keeps discovery in the store."""
    upstream.serve(Served(SECRETS, "Secret", True))
    upstream.put(CONFIG_MAPS, "team-a", "c")
    start()
    for gvr in (NAMESPACES, CONFIG_MAPS, CRDS):
        await until(lambda gvr=gvr: look.synced(gvr))  # type: ignore[misc]
    assert await look.covered() == {NAMESPACES, CONFIG_MAPS, CRDS}
    assert await look.place(CONFIG_MAPS, "team-a") == "oil"
    lists = [resource for verb, resource, query in upstream.requests if verb == "list" and query.get("limit") == "500"]
    assert lists[0] == str(NAMESPACES)
    document = await until(lambda: look.reader.document("/apis"))
    assert json.loads(document.body)["kind"] == "APIGroupList"
    assert (await look.reader.document("/api/v1")) is not None
    facts = {"uid": upstream.cluster_uid, "version": "v1.20.2", "documented": "v1.20.2"}
    assert await until(lambda: _facts(look, "documented")) == facts
    assert {headers["user-agent"].partition("/")[0] for headers in upstream.headers_seen} == {"larder-informer"}


@pytest.mark.asyncio
async def test_workers_share_and_replace_each_other(start: Start, look: Look, upstream: Upstream) -> None:
    """Two workers divide the resources; when one ends or dies the other goes on with its share, without a list."""
    one = start("one")
    await until(lambda: look.synced(CONFIG_MAPS))
    start("two")
    wanted = {gvr: preferred_worker(gvr, ["one", "two"]) for gvr in (NAMESPACES, CONFIG_MAPS, CRDS)}
    assert set(wanted.values()) == {"one", "two"}
    for gvr, worker in wanted.items():
        await until(lambda gvr=gvr, worker=worker: _holds(look, gvr, worker))  # type: ignore[misc]
    upstream.requests.clear()
    await tasks.end(one)
    for gvr in wanted:
        await until(lambda gvr=gvr: _holds(look, gvr, "two"))  # type: ignore[misc]
        await until(lambda gvr=gvr: upstream.watching(gvr) == 1)  # type: ignore[misc]
    for gvr in (NAMESPACES, CONFIG_MAPS):
        last = upstream.put(gvr, "free" if gvr == CONFIG_MAPS else "", "later")
        await until(lambda gvr=gvr, last=last: look.reached(gvr, last))  # type: ignore[misc]
        assert upstream.count("list", gvr) == 0


async def _holds(look: Look, gvr: GVR, worker: str | None) -> bool:
    return await look.holder(gvr) == worker


@pytest.mark.asyncio
async def test_a_dead_worker_is_replaced(start: Start, look: Look, upstream: Upstream) -> None:
    """Leases that nobody renews any more, of a worker that is not heard of, are taken over when they end."""
    one = start("one")
    await until(lambda: look.synced(CONFIG_MAPS))
    # As if killed: its leases stay, and nobody says good-bye.
    leases = {gvr: await look.store.redis.get(look.store.keys(gvr).lease) for gvr in (NAMESPACES, CONFIG_MAPS)}
    await tasks.end(one)
    for gvr, owner in leases.items():
        assert owner is not None
        await look.store.writes.set(look.store.keys(gvr).lease, owner, px=500)
    await check_in(look.store, "one", seconds=2.0)
    upstream.requests.clear()
    start("two")
    await until(lambda: _holds(look, CONFIG_MAPS, "two"))
    last = upstream.put(CONFIG_MAPS, "free", "later")
    await until(lambda: look.reached(CONFIG_MAPS, last))
    assert upstream.count("list", CONFIG_MAPS) == 0


@pytest.mark.asyncio
async def test_custom_resources_come_and_go(start: Start, look: Look, upstream: Upstream) -> None:
    """A new CRD is covered within moments, and dropped when it is gone; then all over again."""
    start()
    await until(lambda: look.synced(CRDS))
    for _ in range(2):
        upstream.serve(Served(WIDGETS, "Widget", True, typed=False))
        upstream.put(CRDS, "", "widgets.shop.example.com", **widget_definition())
        rv = upstream.put(WIDGETS, "free", "w")
        await until(lambda rv=rv: look.reached(WIDGETS, rv))  # type: ignore[misc]
        entry = (await look.reader.resources())[WIDGETS]
        assert (entry.custom, entry.typed, entry.resource.kind) == (True, False, "Widget")
        upstream.delete(WIDGETS, "free", "w")
        upstream.unserve(WIDGETS)
        upstream.delete(CRDS, "", "widgets.shop.example.com")
        await until(lambda: _uncovered(look))
        await until(lambda: _holds(look, WIDGETS, ""))


async def _uncovered(look: Look) -> bool:
    return WIDGETS not in await look.covered()


@pytest.mark.asyncio
async def test_columns_follow_the_definition(start: Start, look: Look, upstream: Upstream) -> None:
    """Another spec of a CRD reaches the rows of its resource, though nothing happened to the objects."""
    upstream.serve(Served(WIDGETS, "Widget", True, typed=False))
    upstream.put(CRDS, "", "widgets.shop.example.com", **widget_definition())
    upstream.objects[CRDS]["", "widgets.shop.example.com"]["metadata"]["generation"] = 1
    upstream.put(WIDGETS, "free", "w", spec={"size": 3})
    start()
    await until(lambda: look.synced(WIDGETS))
    await asyncio.sleep(0.2)
    served = upstream.served[WIDGETS]
    served.columns = [*served.columns[:1], {**served.columns[0], "name": "Size", "type": "integer", "format": ""}]
    served.cells = lambda obj: [obj["metadata"]["name"], obj["spec"]["size"]]
    size = {"name": "Size", "type": "integer", "jsonPath": ".spec.size"}
    upstream.rv += 1
    metadata = upstream.objects[CRDS]["", "widgets.shop.example.com"]["metadata"]
    metadata = {**metadata, "generation": 2, "resourceVersion": str(upstream.rv)}
    changed = {"metadata": metadata, **widget_definition([size])}
    upstream.objects[CRDS]["", "widgets.shop.example.com"] = changed
    upstream._record(CRDS, upstream.rv, "MODIFIED", changed)
    await until(lambda: _has_column(look, b'"Size"'))


async def _has_column(look: Look, name: bytes) -> bool:
    table = (await look.reader.meta(WIDGETS)).table
    return table is not None and table.served and name in table.columns


@pytest.mark.asyncio
async def test_a_namespace_changes_its_tenant(start: Start, look: Look, upstream: Upstream) -> None:
    """A namespace that gets another label takes its objects to another shard, without events."""
    upstream.put(CONFIG_MAPS, "free", "c")
    start()
    await until(lambda: look.synced(CONFIG_MAPS))
    assert await look.place(CONFIG_MAPS, "free") == "-"
    position = (await look.reader.meta(CONFIG_MAPS)).position
    upstream.namespace("free", {"capsule.clastix.io/tenant": "gas"})
    await until(lambda: _is_at(look, "gas"))
    upstream.namespace("free", {})
    await until(lambda: _is_at(look, "-"))
    assert (await look.reader.log(CONFIG_MAPS, None, position)).entries == []


async def _is_at(look: Look, shard: str) -> bool:
    return await look.place(CONFIG_MAPS, "free") == shard


@pytest.mark.asyncio
async def test_several_tenant_labels(start: Start, look: Look, upstream: Upstream) -> None:
    """Of several label keys the first that a namespace has names its tenant."""
    upstream.namespace("both", {"team": "shop", "org": "acme"})
    upstream.namespace("second", {"org": "acme"})
    for namespace in ("both", "second", "free"):
        upstream.put(CONFIG_MAPS, namespace, "c")
    start(tenant_label=["team", "org"])
    await until(lambda: look.synced(CONFIG_MAPS))
    assert [await look.place(CONFIG_MAPS, name) for name in ("both", "second", "free")] == ["shop", "acme", "-"]


@pytest.mark.asyncio
async def test_a_broken_group_does_no_harm(start: Start, look: Look, upstream: Upstream) -> None:
    """An aggregated API that is down keeps nobody from syncing, and what is known of it stays covered."""
    metrics = GVR("metrics.example.com", "v1", "nodes")
    upstream.serve(Served(metrics, "NodeMetrics", False))
    upstream.extra_groups["dead.example.com"] = "v1"
    upstream.broken_groups.add("dead.example.com")
    start()
    await until(lambda: look.synced(metrics))
    upstream.broken_groups.add("metrics.example.com")
    asked = len(upstream.requests)
    await until(lambda: ("get", "/apis/metrics.example.com/v1", {}) in upstream.requests[asked:])
    await until(lambda: ("get", "/apis", {}) in upstream.requests[asked + 1 :])
    assert metrics in await look.covered()
    assert (await look.reader.document("/apis/metrics.example.com/v1")) is not None


@pytest.mark.asyncio
async def test_another_cluster_is_refused(start: Start, look: Look, upstream: Upstream) -> None:
    """A store that mirrors another cluster is left alone, and the error says what to do."""
    one = start("one")
    await until(lambda: look.synced(CONFIG_MAPS))
    await tasks.end(one)
    before = (await look.reader.meta(CONFIG_MAPS)).fence
    upstream.cluster_uid = "22222222-0000-0000-0000-000000000000"
    with pytest.raises(StoreUnsuitable, match=r"mirrors the cluster 11111111.*its own Redis database or prefix"):
        await start("two")
    assert (await look.reader.meta(CONFIG_MAPS)).fence == before


@pytest.mark.asyncio
async def test_redis_that_lost_everything(start: Start, look: Look, upstream: Upstream) -> None:
    """After Redis came back empty, catalogue, documents and resources are there again."""
    upstream.put(CONFIG_MAPS, "free", "c")
    start()
    await until(lambda: look.synced(CONFIG_MAPS))
    await until(lambda: look.reader.document("/apis"))
    names = [name async for name in look.store.writes.scan_iter(f"{look.store.prefix}:*")]
    await look.store.writes.delete(*names)
    await until(lambda: look.synced(CONFIG_MAPS))
    await until(lambda: look.reader.document("/apis"))
    assert CONFIG_MAPS in await look.covered()
    assert (await look.reader.upstream())["uid"] == upstream.cluster_uid


@pytest.mark.asyncio
async def test_redis_that_lost_everything_while_upstream_is_away(
    start: Start, look: Look, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the store lost is there again soon after upstream is, however long discovery need not be looked at."""
    monkeypatch.setattr(catalogue, "DISCOVERY_SECONDS", 300.0)
    upstream.put(CONFIG_MAPS, "free", "c")
    start()
    await until(lambda: look.synced(CONFIG_MAPS))
    await until(lambda: look.reader.document("/apis"))
    for path in ("/apis", "/api", "/version"):
        upstream.misbehave("get", path, Fault("status", times=3, status=503))
    names = [name async for name in look.store.writes.scan_iter(f"{look.store.prefix}:*")]
    await look.store.writes.delete(*names)
    await until(lambda: look.synced(CONFIG_MAPS))
    assert CONFIG_MAPS in await look.covered()


@pytest.mark.asyncio
async def test_an_upgrade_is_noticed(start: Start, look: Look, upstream: Upstream) -> None:
    """When upstream's version changes under a running worker, everything is described by the new one."""
    start()
    await until(lambda: look.synced(CONFIG_MAPS))
    upstream.version = "v1.21.3"
    await until(lambda: _described(look, "v1.21.3"))


async def _described(look: Look, version: str) -> bool:
    meta = await look.reader.meta(CONFIG_MAPS)
    return meta.version == version and "unfinished" not in meta.digest


@pytest.mark.asyncio
async def test_ending_leaves_nothing_behind(start: Start, look: Look) -> None:
    """A worker that ends gives its leases back and says good-bye, so nobody waits for it."""
    one = start("one")
    await until(lambda: look.synced(CONFIG_MAPS))
    await tasks.end(one)
    assert [await look.holder(gvr) for gvr in (NAMESPACES, CONFIG_MAPS, CRDS)] == ["", "", ""]
    assert await check_in(look.store, "", seconds=60.0) == []


@pytest.mark.asyncio
async def test_metrics_and_health(start: Start, look: Look, upstream: Upstream) -> None:
    """The worker's own port says that it lives, whether it is ready, and what it did."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start(metrics_listen=f"127.0.0.1:{port}")
    await until(lambda: asyncio.to_thread(_get, port, "/readyz"))
    assert await asyncio.to_thread(_get, port, "/livez") == "ok\n"
    upstream.put(CONFIG_MAPS, "free", "c")
    await until(lambda: _counted(port, f'larder_informer_events_total{{resource="{CONFIG_MAPS}"}}'))
    text = await asyncio.to_thread(_get, port, "/metrics")
    for name in ("larder_upstream_requests_total", "larder_informer_relists_total", "larder_informer_silence_seconds",
                 "larder_informer_table_served", "larder_informer_position"):  # fmt: skip
        assert name in text


async def _counted(port: int, name: str) -> bool:
    return name in await asyncio.to_thread(_get, port, "/metrics")


def _get(port: int, path: str) -> str:
    """The body; empty while there is no success."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text
    except urllib.error.HTTPError as error:
        error.close()
        return ""
    except urllib.error.URLError:
        return ""
