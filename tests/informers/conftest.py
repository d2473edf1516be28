"""A real Redis, an empty prefix for every test, a scripted upstream, and pauses that are short."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from informers import catalogue, follow, pulse, reflector, worker
from informers.backoff import Backoff
from kube.client import UpstreamClient
from kube.credentials import Credentials, _Fixed
from store.connection import Store
from store.embedded import EmbeddedRedis
from tests.informers.stage import Stage
from tests.informers.upstream import Upstream

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is a second in a cluster is a moment here."""
    monkeypatch.setattr(reflector, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(reflector, "SHORT_SECONDS", 0.05)
    monkeypatch.setattr(Backoff.__init__, "__kwdefaults__", {"first": 0.02, "longest": 0.2, "jitter": 0.5})
    monkeypatch.setattr(worker, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(catalogue, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(catalogue, "DISCOVERY_SECONDS", 0.5)
    monkeypatch.setattr(pulse, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(pulse, "NEWEST_SECONDS", 0.0)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A server that keeps running."""
    with EmbeddedRedis() as server:
        yield server.url


@pytest_asyncio.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    """An open store with a prefix of its own."""
    async with await Store.open(redis_url, f"informers{next(_numbers)}") as opened:
        yield opened


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A scripted upstream with two namespaces, of which one has a tenant."""
    server = Upstream()
    server.namespace("free")
    server.namespace("team-a", {"capsule.clastix.io/tenant": "oil"})
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def client(upstream: Upstream) -> AsyncIterator[UpstreamClient]:
    """A client of it, as informers have it."""
    async with UpstreamClient(Credentials(upstream.url, _Fixed("")), user_agent="larder-informer/test") as made:
        yield made


@pytest_asyncio.fixture
async def stage(store: Store, upstream: Upstream, client: UpstreamClient) -> AsyncIterator[Stage]:
    """Where reflectors are started and stopped."""
    made = Stage(store, upstream, client)
    yield made
    await made.stop_all()
