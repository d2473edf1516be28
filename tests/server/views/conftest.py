"""Views over a real Redis: one server for the session, an empty prefix for every test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest
import pytest_asyncio
import uvloop

from store.connection import Store
from store.embedded import EmbeddedRedis
from tests.server.views.cluster import Cluster

_numbers = itertools.count()


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop that a replica runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A server that keeps running."""
    with EmbeddedRedis() as server:
        yield server.url


@pytest_asyncio.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    """An open store with a prefix of its own."""
    async with await Store.open(redis_url, f"views{next(_numbers)}") as opened:
        yield opened


@pytest_asyncio.fixture
async def pods(store: Store) -> Cluster:
    """Pods, loaded empty at position 100."""
    return await Cluster.begin(store)


@pytest_asyncio.fixture
async def nodes(store: Store) -> Cluster:
    """Nodes, which are cluster-scoped, loaded empty at position 100."""
    return await Cluster.begin(store, namespaced=False)
