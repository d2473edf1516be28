"""A worker on a real kube-apiserver: what it stores is what that serves, byte by byte, also after trouble."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from informers.settings import InformerSettings
from informers.worker import run
from kube import credentials, tasks
from kube.client import UpstreamClient
from kube.list_watch import list_pages
from kube.resources import GVR
from kube.upstream_error import UpstreamError
from store.connection import Store
from store.reader import Reader
from tests.informers.eventually import until
from tests.informers.upstream import widget_definition
from tests.real.apiserver import RealApiServer
from tests.real.every import every_server

pytestmark = pytest.mark.real

CONFIG_MAPS = GVR("", "v1", "configmaps")
WIDGETS = GVR("shop.example.com", "v1", "widgets")


@pytest.fixture(scope="module", params=every_server())
def api(request: pytest.FixtureRequest) -> Iterator[RealApiServer]:
    """A running API server."""
    with RealApiServer(request.param) as server:
        yield server


@pytest_asyncio.fixture
async def writer(api: RealApiServer) -> AsyncIterator[UpstreamClient]:
    """A client that may do anything."""
    async with UpstreamClient(credentials.load(api.kubeconfig()), user_agent="test/1") as client:
        yield client


async def create(client: UpstreamClient, path: str, body: dict[str, Any]) -> None:
    """Create an object; one that is there already is all right."""
    answer = await client.request("POST", path, body=json.dumps(body).encode())
    assert answer.status in {201, 409}, answer.body


async def churn(client: UpstreamClient, number: int) -> None:
    """One random write."""
    name, path = f"c{random.randrange(30)}", CONFIG_MAPS.path("team-a")
    if random.random() < 0.3:
        await client.request("DELETE", f"{path}/{name}")
        return
    body = {"metadata": {"name": name, "labels": {"n": str(number % 3)}}, "data": {"text": f"<{number}>"}}
    if (await client.request("POST", path, body=json.dumps(body).encode())).status == 409:
        await client.request("PUT", f"{path}/{name}", body=json.dumps(body).encode())


async def upstream_objects(client: UpstreamClient, gvr: GVR) -> dict[tuple[str, str], bytes]:
    """What upstream lists, byte by byte."""
    found = {}
    async for page in list_pages(client, gvr):
        for item in page.items:
            metadata = json.loads(item)["metadata"]
            found[metadata.get("namespace", ""), metadata["name"]] = item
    return found


async def stored_objects(reader: Reader, gvr: GVR) -> dict[tuple[str, str], bytes]:
    """What the store holds."""
    found: dict[tuple[str, str], bytes] = {}
    for shard in await reader.shards(gvr):
        async for chunk in reader.scan(gvr, shard):
            found |= {(record.namespace, record.name): record.body() for record in chunk}
    return found


async def same(client: UpstreamClient, reader: Reader, gvr: GVR) -> bool:
    """Whether the store has just what upstream lists."""
    return await upstream_objects(client, gvr) == await stored_objects(reader, gvr)


@pytest.mark.asyncio
@pytest.mark.timeout(300)
async def test_everything_is_as_upstream_has_it(api: RealApiServer, writer: UpstreamClient, store: Store) -> None:
    """All resources of a real API server, through writes, a restart of it and a new CRD; all Tables are faithful."""
    await create(writer, "/api/v1/namespaces", {"metadata": {"name": "team-a", "labels": {"team": "oil"}}})
    for number in range(60):
        await churn(writer, number)
    settings = InformerSettings(
        kubeconfig=str(api.kubeconfig()), redis_url=store.url, prefix=store.prefix, metrics_listen="",
        tenant_label=["team"],
    )  # fmt: skip
    worker = asyncio.create_task(run(settings))
    reader = Reader(store)
    try:
        await until(lambda: _all_synced(reader))
        for number in range(60):
            await churn(writer, number)
        await until(lambda: same(writer, reader, CONFIG_MAPS))
        assert (await reader.places(CONFIG_MAPS)).places["team-a"][1] == "oil"

        await asyncio.to_thread(api.stop)
        await asyncio.to_thread(api.start)
        await until(lambda: _answers(writer))
        incarnation = (await reader.meta(CONFIG_MAPS)).incarnation
        for number in range(60):
            await churn(writer, number)
        await until(lambda: same(writer, reader, CONFIG_MAPS))
        assert (await reader.meta(CONFIG_MAPS)).incarnation == incarnation

        column = {"name": "Size", "type": "integer", "jsonPath": ".spec.size"}
        definition: dict[str, Any] = widget_definition([column])
        definition["spec"]["versions"][0]["schema"] = {
            "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        }
        await create(
            writer, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
             "metadata": {"name": "widgets.shop.example.com"}, "spec": definition["spec"]},
        )  # fmt: skip
        widget = {"apiVersion": "shop.example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 3}}
        path = WIDGETS.path("team-a")
        await until(lambda: _created(writer, path, widget))
        await until(lambda: _covered(reader, WIDGETS))
        await until(lambda: same(writer, reader, WIDGETS))

        for gvr in await reader.resources():
            await until(lambda gvr=gvr: same(writer, reader, gvr))  # type: ignore[misc]
        tables = {gvr: meta.table for gvr, meta in (await reader.metas(await reader.resources())).items()}
        assert {str(gvr): table.reason for gvr, table in tables.items() if table and not table.served} == {}
    finally:
        await tasks.end(worker)


async def _all_synced(reader: Reader) -> bool:
    metas = await reader.metas(await reader.resources())
    return len(metas) > 30 and all(meta.readable for meta in metas.values())


async def _covered(reader: Reader, gvr: GVR) -> bool:
    return (await reader.meta(gvr)).readable


async def _answers(client: UpstreamClient) -> bool:
    try:
        return (await client.request("GET", "/readyz")).status == 200
    except UpstreamError:
        return False


async def _created(client: UpstreamClient, path: str, body: dict[str, Any]) -> bool:
    return (await client.request("POST", path, body=json.dumps(body).encode())).status in {201, 409}
