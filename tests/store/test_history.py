"""Logs: how they are cut, what is left of them, and how they are read."""

from __future__ import annotations

from typing import Any

import pytest

from store.connection import Store
from store.errors import NotSynced
from store.keys import ResourceKeys
from store.reader import LogPage, Reader
from store.writer import Event
from tests.store.stage import NODES, PODS, Stage, make

pytestmark = pytest.mark.asyncio


async def log_sizes(stage: Stage) -> dict[str, int]:
    """Bytes by shard, as the store counts them."""
    found: Any = await stage.store.redis.zrange(stage.keys.logsizes, 0, -1, withscores=True)
    return {shard.decode(): int(size) for shard, size in found}


async def test_the_biggest_log_is_trimmed_and_minimums_are_kept(store: Store) -> None:
    """A noisy shard loses its own oldest entries; a quiet one keeps all of its few."""
    stage = await Stage.set(store, log_budget_bytes=20_000, log_minimum_bytes=3_000)
    await stage.put("quiet", "calm", shard="calm")
    for i in range(100):
        await stage.put(f"p{i % 5}", "noise", payload=bytes(500), shard="noise")
    sizes = await log_sizes(stage)
    assert 18_000 < sum(sizes.values()) <= 20_000
    assert (await stage.reader.meta(stage.gvr)).log_bytes == sum(sizes.values())
    entries = await stage.log(0)
    assert entries[0].record.name == "quiet"
    noise = [entry.rv for entry in entries[1:]]
    floors = await stage.reader.floors(stage.gvr)
    assert floors == {"calm": 100, "noise": noise[0] - 1}
    assert noise == list(range(noise[0], 202))


async def test_minimums_go_before_the_budget(store: Store) -> None:
    """No log is cut below the minimum, even if all together are over the budget."""
    stage = await Stage.set(store, log_budget_bytes=1_000, log_minimum_bytes=5_000)
    for i in range(60):
        await stage.put("web", f"ns{i % 3}", payload=bytes(500), shard=f"s{i % 3}")
    for size in (await log_sizes(stage)).values():
        assert 5_000 <= size < 7_000


async def test_a_smaller_budget_is_reached_step_by_step(store: Store) -> None:
    """When the budget was lowered, the next events bring the logs down to it."""
    stage = await Stage.set(store, log_minimum_bytes=0)
    for i in range(200):
        await stage.put(f"p{i}", payload=bytes(100))
    stage.writer._budget = 2_000
    for i in range(7):
        await stage.put(f"q{i}")
    assert (await stage.reader.meta(stage.gvr)).log_bytes <= 2_000


async def test_trimming_to_nothing_leaves_only_floors(pods: Stage) -> None:
    """After all history is given up the floor is the last event, and the objects are untouched."""
    for i in range(1200):
        await pods.put(f"p{i}", f"ns{i % 2}", shard=f"s{i % 2}")
    held = await pods.objects("s0"), await pods.objects("s1")
    assert await pods.writer.trim(0) == 0
    assert await pods.reader.floors(pods.gvr) == {"s0": 1299, "s1": 1300}
    assert await pods.log(0) == []
    assert (await pods.objects("s0"), await pods.objects("s1")) == held
    page = await pods.reader.log(pods.gvr, ["s0"], 0)
    assert (page.floor, page.position) == (1299, 1300)


async def test_logs_of_many_shards_are_merged_by_rv(pods: Stage) -> None:
    """Entries come in the order of positions whatever their shards, on however many pages."""
    await pods.writer.apply_many(
        [Event("A", 101 + i, make(f"p{i}", 101 + i, f"ns{i * 7 % 11}"), f"s{i * 7 % 11}") for i in range(300)]
    )
    everything = list(range(101, 401))
    assert [entry.rv for entry in await pods.log(0)] == everything
    assert [entry.rv for entry in await pods.log(0, limit=7)] == everything
    assert [entry.rv for entry in await pods.log(250)] == list(range(251, 401))
    some = ["s3", "s7", "never"]
    expected = [rv for rv in everything if f"s{(rv - 101) * 7 % 11}" in some]
    assert [entry.rv for entry in await pods.log(0, some, limit=5)] == expected
    assert {entry.shard for entry in await pods.log(0, some)} == {"s3", "s7"}


async def test_a_page_is_one_snapshot(pods: Stage) -> None:
    """Entries, position, incarnation, moves and floor belong together; `upto` is included."""
    for i in range(10):
        await pods.put(f"p{i}")
    await pods.writer.move("a", "oil")
    meta = await pods.reader.meta(pods.gvr)
    page = await pods.reader.log(pods.gvr, None, 103, upto=106)
    assert [entry.rv for entry in page.entries] == [104, 105, 106]
    assert (page.more, page.position, page.incarnation, page.moves) == (False, 110, meta.incarnation, 1)
    assert (page.state, page.floor) == ("synced", 100)
    page = await pods.reader.log(pods.gvr, None, 103, upto=106, limit=2)
    assert ([entry.rv for entry in page.entries], page.more) == ([104, 105], True)
    page = await pods.reader.log(pods.gvr, None, 103, limit=7)
    assert (len(page.entries), page.more) == (7, False)


async def test_a_page_ends_after_some_bytes(pods: Stage) -> None:
    """Big records make short pages, but never empty ones."""
    for i in range(4):
        await pods.put(f"p{i}", payload=bytes(700_000))
    page = await pods.reader.log(pods.gvr, None, 0)
    assert (len(page.entries), page.more) == (2, True)
    await pods.put("huge", payload=bytes(1_500_000))
    page = await pods.reader.log(pods.gvr, None, 104)
    assert (len(page.entries), page.more) == (1, False)


async def test_a_log_of_nothing_is_refused(pods: Stage) -> None:
    """An empty collection of shards is a mistake, not "all"."""
    with pytest.raises(ValueError):
        await pods.reader.log(pods.gvr, [], 0)


async def test_a_resource_that_is_not_there_has_an_empty_page(pods: Stage) -> None:
    """Whoever follows a resource that was never loaded, or was lost, sees it by the state."""
    page = await pods.reader.log(NODES, None, 0)
    assert page == LogPage("", 0, "", 0, 0, more=False, entries=[])
    with pytest.raises(NotSynced):
        await pods.reader.position(NODES)
    with pytest.raises(NotSynced):
        await pods.reader.floors(NODES)


async def test_the_clock_says_when_a_position_was_reached(pods: Stage) -> None:
    """The time given for an RV is one at which the store was not yet past it; unknown before the load."""
    loaded = await pods.reader.rv_time(pods.gvr, 100)
    assert loaded is not None
    await pods.put("one")
    assert await pods.reader.rv_time(pods.gvr, 101) == loaded
    assert await pods.reader.rv_time(pods.gvr, 99) is None
    await pods.store.redis.hset(pods.keys.meta, "clock_ms", loaded - 20_000)
    await pods.put("two")
    await pods.put("three")
    later = await pods.reader.rv_time(pods.gvr, 103)
    assert later is not None
    assert loaded <= later <= await pods.reader.now_ms()
    assert await pods.reader.rv_time(pods.gvr, 102) == later
    assert await pods.reader.rv_time(pods.gvr, 101) == loaded
    assert await pods.store.redis.xlen(pods.keys.clock) == 2


async def test_bookmarks_keep_the_clock_going(pods: Stage) -> None:
    """A quiet resource that only has bookmarks still knows when it was where."""
    await pods.store.redis.hset(pods.keys.meta, "clock_ms", 0)
    await pods.writer.advance(500)
    assert await pods.store.redis.xlen(pods.keys.clock) == 2


async def test_a_hydration_and_the_log_make_the_shard(pods: Stage) -> None:
    """A scan during which everything changes, completed by the log, is the shard at the log's position."""
    await pods.writer.apply_many([Event("A", 101 + i, make(f"p{i}", 101 + i)) for i in range(1000)])
    hydration = await pods.reader.hydrate(pods.gvr, "-")
    copy = {}
    async for chunk in hydration.chunks():
        assert len(chunk) <= 100
        copy.update({record.name: record for record in chunk})
        for i in range(0, 1000, 97):
            await pods.put(f"p{i}")
            await pods.delete(f"p{(i + 31) % 1000}")
            await pods.put(f"new{pods.writer.position}")
    after = hydration.position
    while True:
        page = await pods.reader.log(pods.gvr, ["-"], after)
        for entry in page.entries:
            if entry.type == "D":
                copy.pop(entry.record.name, None)
            else:
                copy[entry.record.name] = entry.record
        if not page.more:
            break
        after = page.entries[-1].rv
    assert not hydration.outdated(page)
    assert copy == {key.removeprefix("a/"): record for key, record in (await pods.objects("-")).items()}


async def test_big_records_are_scanned_in_smaller_chunks(pods: Stage) -> None:
    """A scan asks for fewer records at once where they are big, and still finds them all."""
    await pods.writer.load_begin()
    await pods.writer.load([(make(f"p{i}", i + 1, payload=bytes(40_000)), "-") for i in range(400)])
    await pods.writer.load_commit(500)
    chunks = [chunk async for chunk in pods.reader.scan(pods.gvr, "-")]
    assert {record.name for chunk in chunks for record in chunk} == {f"p{i}" for i in range(400)}
    assert max(len(chunk) for chunk in chunks[1:]) < 40


async def test_a_hydration_is_outdated_by_moves_loads_and_cut_logs(pods: Stage) -> None:
    """What the log cannot complete is noticed: a namespace moved, the history began anew, the log is cut."""
    await pods.put("web")
    for act in (lambda: pods.writer.move("a", "oil"), lambda: _cut(pods), lambda: _load(pods)):
        hydration = await pods.reader.hydrate(pods.gvr, "-")
        assert not hydration.outdated(await pods.reader.log(pods.gvr, ["-"], hydration.position))
        await act()
        assert hydration.outdated(await pods.reader.log(pods.gvr, ["-", "oil"], hydration.position))


async def _cut(stage: Stage) -> None:
    await stage.put("web")
    await stage.writer.trim(0)


async def _load(stage: Stage) -> None:
    await stage.writer.load_begin()
    await stage.writer.load_commit(1)


async def test_records_are_read_back_by_key(pods: Stage) -> None:
    """Bodies that were let go are found again by their keys, as they are now; what is gone is None."""
    first, second = await pods.put("one"), await pods.put("two")
    assert await pods.reader.records(pods.gvr, "-", ["a/two", "a/none", "a/one"]) == [second, None, first]
    many = [f"a/p{i}" for i in range(250)]
    assert await pods.reader.records(pods.gvr, "-", many) == [None] * 250
    assert await pods.reader.shards(pods.gvr) == ["-"]


async def test_prefixes_share_a_server_without_meeting(pods: Stage) -> None:
    """Two stores in one Redis, with other prefixes, do not see each other."""
    await pods.put("web")
    async with await Store.open(pods.store.url, "elsewhere") as other:
        assert (await Reader(other).meta(PODS)).state == ""
        assert ResourceKeys("elsewhere", PODS).meta != pods.keys.meta
