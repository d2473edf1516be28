"""A replica as a whole: a real store, a scripted upstream, real connections."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sanic import Sanic

from server.app import Server, running
from server.settings import ServerSettings
from store.connection import Store
from store.embedded import EmbeddedRedis
from tests.authz.objects import PODS, binding, namespace, record, role, rule, tenant
from tests.server.program.stored import Stored
from tests.server.program.upstream import ScriptedUpstream

Sanic.test_mode = True
_numbers = itertools.count()

Start = Callable[..., Awaitable[Server]]


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis for all tests of this folder."""
    with EmbeddedRedis() as server:
        yield server.url


@pytest_asyncio.fixture
async def stored(redis_url: str) -> AsyncIterator[Stored]:
    """A store with a prefix of its own, still empty."""
    async with await Store.open(redis_url, f"program{next(_numbers)}") as store:
        yield Stored(store)


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """An upstream that knows admin, alice, bob and carol."""
    scripted = ScriptedUpstream()
    scripted.user("admin-token", "admin", "system:masters")
    scripted.user("alice-token", "alice", "devs")
    scripted.user("bob-token", "bob")
    scripted.user("carol-token", "carol")
    await scripted.start()
    yield scripted
    await scripted.stop()


def world() -> list[tuple[Any, Any]]:
    """Alice owns oil and may read pods in oil-dev; bob may read pods everywhere; carol may nothing."""
    return [
        role("pod-reader", "", rule("get list watch", "pods")),
        role("public", "", rule("get", "", urls="/version /version/ /api /api/* /apis /apis/* /openapi/*")),
        binding("alice", "oil-dev", "ClusterRole/pod-reader", "User/alice"),
        binding("bob", "", "ClusterRole/pod-reader", "User/bob"),
        binding("public", "", "ClusterRole/public", "Group/system:authenticated"),
        tenant("oil", "User/alice"),
        namespace("oil-dev", "oil"),
        namespace("oil-prod", "oil"),
        namespace("gas-dev", "gas"),
        (PODS, record("web-0", "oil-dev", 900)),
        (PODS, record("web-1", "oil-dev", 901)),
        (PODS, record("db-0", "gas-dev", 902)),
    ]


@pytest_asyncio.fixture
async def start(stored: Stored, upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a replica with some settings, ready unless told otherwise; it is stopped at the end."""
    async with AsyncExitStack() as stack:

        async def started(*, ready: bool = True, **changed: Any) -> Server:
            config = tmp_path / "kubeconfig"
            config.write_text(kubeconfig(changed.pop("upstream_url", upstream.url)))
            settings = ServerSettings(
                **{
                    "kubeconfig": str(config),
                    "redis_url": stored.store.url,
                    "prefix": stored.store.prefix,
                    "listen": "127.0.0.1:0",
                    "metrics_listen": "127.0.0.1:0",
                    "drain_seconds": 0.5,
                    **changed,
                }
            )
            server = await stack.enter_async_context(running(settings))
            if ready:
                await wait_ready(server)
            return server

        yield started


def kubeconfig(url: str) -> str:
    """Leads to an upstream, as a user of ours."""
    cluster = {"server": url, "insecure-skip-tls-verify": True}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": "larder-token"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    )


async def wait_ready(server: Server) -> None:
    """Wait for /readyz."""
    async with httpx.AsyncClient() as probe:
        for _ in range(200):
            found = await probe.get(f"http://127.0.0.1:{server.metrics_port}/readyz")
            if found.status_code == 200:
                return
            await asyncio.sleep(0.05)
    raise AssertionError(f"not ready: {found.text}")


def client(server: Server, token: str = "", **options: Any) -> httpx.AsyncClient:
    """A client of the replica, with a token or none."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers=headers, timeout=10, **options)
