"""Redis out of memory: logs go first, then the resource is stale, and never is an event half applied."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from store.connection import Store
from store.errors import StoreFull
from store.leases import Lease, check_in
from store.writer import Event, Refresh
from tests.store.stage import NODES, Stage, make, published

pytestmark = pytest.mark.asyncio

MAXMEMORY = 16 << 20


@pytest_asyncio.fixture
async def small(redis_url: str) -> AsyncIterator[Stage]:
    """A resource whose logs may grow without end in a Redis that may not."""
    async with await Store.open(redis_url, f"small{os.getpid()}") as store:
        await store.redis.flushall()
        await store.redis.config_set("maxmemory", MAXMEMORY)
        try:
            yield await Stage.set(store, log_budget_bytes=1 << 40)
        finally:
            await store.redis.config_set("maxmemory", 0)
            await store.redis.flushall()


def events(stage: Stage, count: int) -> Iterator[Event]:
    """Changes of twenty objects, 3 KB each, that follow the writer's position."""
    for rv in range(stage.writer.position + 1, stage.writer.position + 1 + count):
        yield Event("M", rv, make(f"p{rv % 20}", rv, payload=os.urandom(3000)))


async def fill(stage: Stage) -> None:
    """Let something else take all the memory that is left, and the logs'."""
    await stage.writer.trim(0)
    used = (await stage.store.ask("INFO", "memory"))["used_memory"]
    # Well beyond the limit: what clients' buffers give back meanwhile must not make room for an event.
    await stage.store.redis.setrange("ballast", MAXMEMORY - used + (1 << 20), b"x")


async def test_logs_are_trimmed_to_make_room(small: Stage) -> None:
    """Far more events than fit into memory are all taken in, at the cost of the oldest history."""
    await small.writer.apply_many(list(events(small, 6000)))
    meta = await small.reader.meta(small.gvr)
    assert (meta.state, meta.position) == ("synced", 6100)
    entries = await small.log(0)
    floor = (await small.reader.log(small.gvr, None, 0)).floor
    assert floor > 100
    assert [entry.rv for entry in entries] == list(range(floor + 1, 6101))
    assert {record.rv for record in (await small.objects("-")).values()} == set(range(6081, 6101))


async def test_when_trimming_does_not_help_the_resource_is_stale(small: Stage) -> None:
    """With no history left to give up, an event is refused whole, and readers are told that the resource is stale."""
    await small.writer.apply_many(list(events(small, 100)))
    await fill(small)
    before = await small.dump()

    async def refused() -> None:
        with pytest.raises(StoreFull) as full:
            await small.writer.apply_many(list(events(small, 3)))
        assert full.value.applied == 0

    feeds, entries = await published(small, "-", act=refused)
    assert [message.what for message in feeds] == ["x"]
    assert not entries
    after = await small.dump()
    assert after.pop("meta") == {**before.pop("meta"), b"state": b"stale"}
    assert after == before
    meta = await small.reader.meta(small.gvr)
    assert meta.readable
    assert (await small.reader.get(small.gvr, "a", "p1"))[1] == 200


async def test_the_next_event_that_fits_ends_it(small: Stage) -> None:
    """Once there is memory again the same events are taken in, and the resource is synced."""
    await fill(small)
    lost = list(events(small, 3))
    with pytest.raises(StoreFull):
        await small.writer.apply_many(lost)
    await small.store.redis.delete("ballast")
    feeds, entries = await published(small, "-", act=lambda: small.writer.apply_many(lost))
    assert [message.what for message in feeds] == ["p", "e", "x", "e", "e"]
    assert [entry.rv for entry in entries] == [101, 102, 103]
    assert (await small.reader.meta(small.gvr)).state == "synced"


async def test_what_needs_no_memory_goes_on(small: Stage) -> None:
    """Leases, heartbeats, bookmarks, moves and reads work in a full Redis; a bookmark ends staleness."""
    await small.put("web", payload=b"1")
    await fill(small)
    writer = small.writer
    assert await writer.mark_stale()
    assert not await writer.mark_stale()
    await writer.heartbeat()
    await writer.advance(150)
    assert (await small.reader.meta(small.gvr)).state == "synced"
    assert await writer.move("a", "oil") == 1
    assert not await writer.forget("a")
    await small.lease.renew()
    assert await check_in(small.store, "worker") == ["worker"]
    assert await Lease(small.store, NODES, "worker").acquire() is not None
    assert len(await small.log(0)) == 0
    assert (await small.reader.get(small.gvr, "a", "web"))[1] == 150
    await small.lease.release()


async def test_a_load_that_does_not_fit_is_refused(small: Stage) -> None:
    """Loads and refreshes say that the store is full; what was loaded stays invisible."""
    old = await small.put("web", payload=b"1")
    await fill(small)
    with pytest.raises(StoreFull):
        await small.writer.refresh_many([Refresh(old, make("web", 101, payload=b"2"))])
    await small.writer.load_begin()
    with pytest.raises(StoreFull):
        await small.writer.load([(make("web", 1), "-")])
    assert not (await small.reader.meta(small.gvr)).readable
