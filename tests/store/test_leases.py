"""Leases, fences, and who is alive."""

from __future__ import annotations

import asyncio

import pytest

from store.connection import Store
from store.errors import Fenced
from store.leases import Lease, check_in, check_out
from store.reader import Reader
from tests.store.stage import PODS

pytestmark = pytest.mark.asyncio


async def test_one_holder_at_a_time(store: Store) -> None:
    """Of two workers the first gets the lease; the second learns who has it, and gets it after a release."""
    one, two = Lease(store, PODS, "one"), Lease(store, PODS, "two")
    first = await one.acquire()
    assert first is not None
    assert await two.acquire() is None
    assert two.holder == one.owner
    assert (await Reader(store).lease_holders([PODS]))[PODS] == one.owner
    await one.release()
    second = await two.acquire()
    assert second is not None
    assert second > first


async def test_asking_again_is_the_same_acquisition(store: Store) -> None:
    """A repeated request (the first answer was lost) gets the same fence."""
    lease = Lease(store, PODS, "one")
    assert await lease.acquire() == await lease.acquire()


async def test_the_same_name_is_not_the_same_owner(store: Store) -> None:
    """A worker that was started anew under its old name has to wait like any other."""
    assert await Lease(store, PODS, "one").acquire() is not None
    assert await Lease(store, PODS, "one").acquire() is None


async def test_a_lease_ends_unless_renewed(store: Store) -> None:
    """Renewals keep it over its time; without them the next one gets it, and the old holder is fenced."""
    one, two = Lease(store, PODS, "one", seconds=0.3), Lease(store, PODS, "two")
    await one.acquire()
    for _ in range(4):
        await asyncio.sleep(0.1)
        await one.renew()
        assert await two.acquire() is None
    async with asyncio.timeout(10):
        while await two.acquire() is None:
            await asyncio.sleep(0.02)
    with pytest.raises(Fenced):
        await one.renew()
    assert one.fence is None
    with pytest.raises(Fenced):
        await one.renew()
    await one.release()
    assert (await Reader(store).lease_holders([PODS]))[PODS] == two.owner


async def test_a_lease_that_ended_unnoticed_is_taken_up_again(store: Store) -> None:
    """If nobody else came meanwhile, a late renewal restores the lease with the same fence."""
    lease = Lease(store, PODS, "one")
    fence = await lease.acquire()
    await store.redis.delete(store.keys(PODS).lease)
    await lease.renew()
    assert lease.fence == fence
    assert (await Reader(store).lease_holders([PODS]))[PODS] == lease.owner


async def test_a_lost_store_ends_the_lease(store: Store) -> None:
    """After Redis came back empty no fence holds: renewing fails, acquiring gives a greater fence than ever before."""
    lease = Lease(store, PODS, "one")
    first = await lease.acquire()
    await store.redis.delete(store.keys(PODS).lease, store.keys(PODS).meta)
    with pytest.raises(Fenced):
        await lease.renew()
    second = await lease.acquire()
    assert first is not None
    assert second is not None
    assert second > first


async def test_a_fence_taken_back_by_a_failover_is_not_given_out_again(store: Store) -> None:
    """When meta returns to an older fence, the next acquisition still gets a new one."""
    keys = store.keys(PODS)
    one = Lease(store, PODS, "one")
    first = await one.acquire()
    await one.release()
    await asyncio.sleep(0.002)
    lost = await Lease(store, PODS, "two").acquire()
    await store.redis.hset(keys.meta, "fence", str(first))
    await store.redis.delete(keys.lease)
    await asyncio.sleep(0.002)
    assert await Lease(store, PODS, "three").acquire() not in {first, lost}


async def test_workers_see_each_other(store: Store) -> None:
    """Those that were heard of lately are alive; asking alone does not make one so."""
    assert await check_in(store, "") == []
    assert await check_in(store, "b") == ["b"]
    assert await check_in(store, "a") == ["a", "b"]
    await check_out(store, "b")
    assert await check_in(store, "") == ["a"]
    await asyncio.sleep(0.05)
    assert await check_in(store, "c", seconds=0.02) == ["c"]
