"""Real servers: one Redis and one Valkey for the whole session, and an empty prefix for every test."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from store.connection import Store
from store.embedded import EmbeddedRedis, wheel_server
from tests.store.stage import Stage

_numbers = itertools.count()


@pytest.fixture(scope="session", params=["redis", "valkey"])
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that keeps running; Redis where one is installed, and Valkey."""
    program = shutil.which("redis-server") if request.param == "redis" else wheel_server()
    if program is None:
        pytest.skip(f"no {request.param} server here")
    with EmbeddedRedis(program=program) as server:
        yield server.url


@pytest_asyncio.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    """An open store with a prefix of its own."""
    async with await Store.open(redis_url, f"test{next(_numbers)}") as opened:
        yield opened


@pytest_asyncio.fixture
async def pods(store: Store) -> Stage:
    """Pods, loaded empty at position 100 by a writer that holds the lease."""
    return await Stage.set(store)


@pytest_asyncio.fixture
async def nodes(store: Store) -> Stage:
    """Nodes, which are cluster-scoped, loaded empty at position 100."""
    return await Stage.set(store, namespaced=False)
