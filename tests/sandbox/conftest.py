"""A sandbox on the test's own loop, a client for it, and a cluster without HTTP."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from sandbox.cluster import Cluster
from sandbox.company import found
from sandbox.server import SandboxServer
from sandbox.settings import SandboxSettings

ClientFor = Callable[[str], httpx.AsyncClient]


@pytest.fixture
def cluster() -> Cluster:
    """The company, without a server and without life."""
    filled = Cluster(pod_end_seconds=0.05)
    filled.access.tokens.update(found(filled))
    return filled


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[SandboxServer]:
    """A sandbox that listens; nothing happens in it by itself."""
    settings = SandboxSettings(life_seconds=0, pod_end_seconds=0.1, bookmark_seconds=0.2, history=500)
    async with SandboxServer(tmp_path, settings) as running:
        yield running


@pytest_asyncio.fixture
async def client_for(server: SandboxServer) -> AsyncIterator[ClientFor]:
    """Makes a client that is somebody, by their name."""
    context = ssl.create_default_context(cafile=str(server.ca))
    clients: list[httpx.AsyncClient] = []

    def make(user: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {server.token(user)}"} if user else {}
        client = httpx.AsyncClient(base_url=server.url, verify=context, headers=headers, timeout=10)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def admin(client_for: ClientFor) -> httpx.AsyncClient:
    """Somebody who may do everything."""
    return client_for("admin")
