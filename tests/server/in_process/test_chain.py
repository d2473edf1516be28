"""From the sandbox through an informer and Redis to a replica, all on one event loop, served by pytest-sanic."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from informers.settings import InformerSettings
from informers.worker import run
from larder.up import free_port, probe
from sandbox.server import SandboxServer
from sandbox.settings import SandboxSettings
from server.app import create_app
from server.pipeline import Pipeline
from server.replica import Replica
from server.settings import ServerSettings
from store.embedded import EmbeddedRedis

START_SECONDS = 60
SanicClient = Callable[..., Awaitable[Any]]
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A Redis for the tests of this file."""
    with EmbeddedRedis() as server:
        yield server.url


class Chain:
    """The sandbox, and clients of the replica in front of it."""

    def __init__(self, sandbox: SandboxServer, app: Any, sanic_client: SanicClient) -> None:
        self.sandbox = sandbox
        self._app = app
        self._sanic_client = sanic_client
        self._client: Any = None

    async def get(self, path: str, user: str = "admin", **options: Any) -> httpx.Response:
        """Ask the replica as somebody."""
        return await self.send("GET", path, user, **options)

    async def send(self, method: str, path: str, user: str = "admin", **options: Any) -> httpx.Response:
        """Send the replica any request."""
        if self._client is None:
            self._client = await self._sanic_client(self._app)
        headers = {"Authorization": f"Bearer {user}-token", **options.pop("headers", {})}
        url = self._client.make_url(path)
        response: httpx.Response = await self._client.session.request(method, url, headers=headers, **options)
        return response

    @contextlib.asynccontextmanager
    async def watching(self, path: str, user: str, **params: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """The events of a watch of the replica."""
        url = self._client.make_url(path)
        headers = {"Authorization": f"Bearer {user}-token"}
        async with self._client.session.stream("GET", url, headers=headers, params={"watch": "1", **params}) as answer:
            assert answer.status_code == 200

            async def events() -> AsyncIterator[dict[str, Any]]:
                async for line in answer.aiter_lines():
                    yield json.loads(line)

            yield events()

    async def upstream(self, path: str, **options: Any) -> httpx.Response:
        """Ask the sandbox itself, as admin."""
        headers = {"Authorization": "Bearer admin-token", **options.pop("headers", {})}
        async with httpx.AsyncClient(verify=False, base_url=self.sandbox.url) as client:
            return await client.get(path, headers=headers, **options)


@contextlib.asynccontextmanager
async def chain(redis_url: str, directory: Path, sanic_client: SanicClient) -> AsyncIterator[Chain]:
    """Everything, ready; the client's server is stopped by pytest-sanic."""
    async with SandboxServer(directory, SandboxSettings(life_seconds=0)) as sandbox:
        kubeconfig, prefix = str(sandbox.kubeconfig("larder")), directory.name
        health = f"127.0.0.1:{free_port()}"
        settings = InformerSettings(kubeconfig=kubeconfig, redis_url=redis_url, prefix=prefix, metrics_listen=health)
        informer = asyncio.create_task(run(settings))
        try:
            server = ServerSettings(kubeconfig=kubeconfig, redis_url=redis_url, prefix=prefix, metrics_listen="")
            async with Replica(server, "test") as replica:
                async with asyncio.timeout(START_SECONDS):
                    await _ready(health, informer)
                    await _ready(f"127.0.0.1:{await replica.health.start('127.0.0.1', 0)}", informer)
                yield Chain(sandbox, create_app(Pipeline(replica)), sanic_client)
                await replica.health.close()
        finally:
            informer.cancel()
            await asyncio.wait({informer})


async def _ready(health: str, informer: asyncio.Task[None]) -> None:
    while await asyncio.to_thread(probe, health):
        assert not informer.done(), informer.exception()
        await asyncio.sleep(0.05)


async def test_an_admin_reads_what_upstream_would_send(
    redis_url: str, tmp_path: Path, sanic_client: SanicClient
) -> None:
    """Lists, objects and pages are the sandbox's own bytes, and it was not asked for them."""
    async with chain(redis_url, tmp_path, sanic_client) as system:
        for path in ("/api/v1/pods", "/api/v1/namespaces", "/apis/capsule.clastix.io/v1beta2/tenants", "/api/v1/nodes"):
            system.sandbox.sandbox.ledger.clear()
            ours = await system.get(path)
            assert ours.headers["x-larder-source"] == "cache"
            assert system.sandbox.sandbox.ledger.reads_by("client") == 0
            theirs = await system.upstream(path)
            assert ours.json()["items"] == theirs.json()["items"]
            assert ours.content[-200:] == theirs.content[-200:]
        ours = await system.get("/api/v1/pods", params={"limit": 3})
        theirs = await system.upstream("/api/v1/pods", params={"limit": 3})
        assert ours.json()["items"] == theirs.json()["items"]
        assert ours.json()["metadata"]["remainingItemCount"] == theirs.json()["metadata"]["remainingItemCount"]


async def test_a_tenant_sees_their_part(redis_url: str, tmp_path: Path, sanic_client: SanicClient) -> None:
    """An owner lists the union of their namespaces, is refused elsewhere, and a stranger everywhere."""
    async with chain(redis_url, tmp_path, sanic_client) as system:
        table = (await system.get("/api/v1/pods", "bob", headers=TABLE)).json()
        assert {row["object"]["metadata"]["namespace"] for row in table["rows"]} == {
            "payments-prod",
            "payments-staging",
        }
        assert (await system.get("/api/v1/namespaces/storefront-prod/pods", "bob")).status_code == 403
        assert (await system.get("/api/v1/pods", "mallory")).status_code == 403
        assert (await system.get("/api/v1/pods", "nobody")).status_code == 401


async def test_a_write_is_forwarded_and_then_read_and_watched(
    redis_url: str, tmp_path: Path, sanic_client: SanicClient
) -> None:
    """A tenant's own write is in their next read, and in their watch; another tenant's watch is silent."""
    async with chain(redis_url, tmp_path, sanic_client) as system:
        maps = "/api/v1/namespaces/payments-prod/configmaps"
        rv = (await system.get("/api/v1/configmaps", "bob")).json()["metadata"]["resourceVersion"]
        options = {"resourceVersion": rv, "timeoutSeconds": "10"}
        async with (
            system.watching("/api/v1/configmaps", "bob", **options) as his,
            system.watching("/api/v1/configmaps", "alice", resourceVersion=rv, timeoutSeconds="1") as hers,
        ):
            made = await system.send("POST", maps, "bob", json={"metadata": {"name": "fresh"}})
            assert made.status_code == 201
            names = [item["metadata"]["name"] for item in (await system.get(maps, "bob")).json()["items"]]
            assert "fresh" in names
            event = await anext(his)
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "fresh")
            assert [event async for event in hers if event["type"] != "BOOKMARK"] == []
        assert (await system.send("POST", maps, "alice", json={"metadata": {"name": "x"}})).status_code == 403
