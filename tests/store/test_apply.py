"""Events, one by one and in batches: every branch of apply.lua and advance.lua."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from store.connection import Store
from store.errors import Fenced, NotSynced, PositionMismatch
from store.leases import Lease
from store.reader import Reader
from store.scripts import Call
from store.writer import Event, Writer
from tests.store.stage import PODS, Stage, make, published

pytestmark = pytest.mark.asyncio


async def test_an_event_changes_object_index_log_and_position(pods: Stage) -> None:
    """One call stores the object, its place, its log entry and the new position."""
    made = await pods.put("web", shard="oil")
    assert await pods.reader.get(pods.gvr, "a", "web") == (made, 101)
    assert await pods.objects("oil") == {"a/web": made}
    assert await pods.index("oil") == ["a/web"]
    (entry,) = await pods.log(100)
    assert (entry.rv, entry.before, entry.type, entry.record, entry.prev, entry.shard) == (
        101,
        100,
        "A",
        made,
        None,
        "oil",
    )
    assert (await pods.reader.places(pods.gvr)).places == {"a": (0, "oil")}


async def test_a_change_remembers_what_was_before(pods: Stage) -> None:
    """The log entry of a modification and of a deletion carries the record that it replaced."""
    first = await pods.put("web", payload=b"1")
    second = await pods.put("web", payload=b"2")
    last = await pods.delete("web")
    entries = await pods.log(101)
    assert [(e.type, e.record, e.prev) for e in entries] == [("M", second, first), ("D", last, second)]
    assert await pods.objects("-") == {}
    assert await pods.index("-") == []
    assert await pods.reader.get(pods.gvr, "a", "web") == (None, 103)


async def test_the_kind_is_corrected_by_what_is_stored(pods: Stage) -> None:
    """Added for a known object is a modification, modified for an unknown one an addition."""
    await pods.writer.apply_many([Event("M", 101, make("web", 101)), Event("A", 102, make("web", 102))])
    assert [entry.type for entry in await pods.log(100)] == ["A", "M"]


async def test_deleting_the_unknown_only_advances(pods: Stage) -> None:
    """A deletion of what is not there moves the position, and tells it as a bookmark."""
    feeds, entries = await published(pods, "-", act=lambda: pods.delete("nobody"))
    assert [(message.what, message.position, message.before) for message in feeds] == [("b", 101, 100)]
    assert not entries
    assert await pods.log(100) == []
    assert await pods.reader.position(pods.gvr) == 101


async def test_both_messages_are_published(pods: Stage) -> None:
    """The record goes to the shard's channel, then the position to the feed."""
    await pods.put("web", shard="oil")
    feeds, entries = await published(pods, "oil", act=lambda: pods.put("web"))
    assert [(m.what, m.position, m.before, m.shard, m.old_shard) for m in feeds] == [("e", 102, 101, "oil", "")]
    assert [(e.type, e.rv, e.before, e.record.rv, e.prev) for e in entries] == [("M", 102, 101, 102, None)]
    assert entries[0].time_ms == feeds[0].time_ms


async def test_a_new_namespace_is_announced_before_its_event(pods: Stage) -> None:
    """A place that appears is told on the feed, without a move and ahead of the event."""
    feeds, _ = await published(pods, act=lambda: pods.put("web", shard="oil"))
    assert [(m.what, m.position) for m in feeds] == [("p", 100), ("e", 101)]
    assert (feeds[0].place, feeds[0].old_shard, feeds[0].shard, feeds[0].moves) == ("a", "", "oil", 0)


async def test_a_known_namespace_keeps_its_shard(pods: Stage) -> None:
    """The shard that comes with an event counts only while the namespace is unknown."""
    await pods.put("one", shard="oil")
    await pods.put("two", shard="gas")
    assert set(await pods.objects("oil")) == {"a/one", "a/two"}
    assert await pods.objects("gas") == {}


async def test_a_wrong_fence_changes_nothing(pods: Stage) -> None:
    """After another worker took over, the first one's writes are refused, whatever they are."""
    await pods.put("web")
    await pods.rival()
    before = await pods.dump()
    writer = pods.writer
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: writer.apply_many([Event("M", 102, make("web", 102))]),
        lambda: writer.advance(200),
        writer.heartbeat,
        lambda: writer.move("a", "oil"),
        lambda: writer.forget("a"),
        writer.load_begin,
        lambda: writer.load([(make("x", 1), "-")]),
        lambda: writer.load_commit(300),
        lambda: writer.trim(0),
        writer.mark_stale,
        writer.resume,
    ]
    for attempt in attempts:
        with pytest.raises(Fenced):
            await attempt()
    assert await pods.dump() == before


async def test_an_event_that_does_not_follow_changes_nothing(pods: Stage) -> None:
    """Compare and set: an event after another position than the store's is refused, and says where the store is."""
    writer = await pods.rival()
    await writer.apply_many([Event("A", 105, make("web", 105))])
    late = Writer(pods.store, pods.gvr, writer.fence)
    late.position = 100
    before = await pods.dump()
    with pytest.raises(PositionMismatch) as refused:
        await late.apply_many([Event("A", 106, make("db", 106))])
    assert (refused.value.position, refused.value.applied) == (105, 0)
    with pytest.raises(PositionMismatch):
        await late.advance(200)
    assert await pods.dump() == before


@pytest.mark.parametrize("rv", [100, 99])
async def test_an_rv_that_is_not_newer_is_refused(pods: Stage, rv: int) -> None:
    """An event must advance the position; so must a bookmark, except that it may repeat it."""
    with pytest.raises(PositionMismatch):
        await pods.writer.apply_many([Event("A", rv, make("web", rv))])
    with pytest.raises(PositionMismatch):
        await pods.writer.advance(99)
    await pods.writer.advance(100)
    assert await pods.reader.position(pods.gvr) == 100


async def test_positions_are_exact_beyond_doubles(store: Store) -> None:
    """RVs next to each other near 2^64 are told apart, and nine follows eight although ten has more digits."""
    stage = await Stage.set(store, position=9)
    await stage.put("ten")
    huge = 2**64 - 1000
    await stage.writer.advance(huge)
    first, second = await stage.put("one"), await stage.put("two")
    assert (first.rv, second.rv) == (huge + 1, huge + 2)
    assert [entry.rv for entry in await stage.log(huge + 1)] == [huge + 2]
    assert [entry.rv for entry in await stage.log(0)] == [10, huge + 1, huge + 2]
    with pytest.raises(PositionMismatch) as refused:
        await stage.writer.advance(huge + 1)
    assert refused.value.position == huge + 2


async def test_after_a_failing_event_all_later_ones_fail(pods: Stage) -> None:
    """A batch stops at its first refusal: what came before is in the store, nothing of what comes after is."""
    events = [Event("A", rv, make(f"p{rv}", rv)) for rv in range(101, 111)]
    events[4] = Event("A", 90, make("bad", 90))
    with pytest.raises(PositionMismatch) as refused:
        await pods.writer.apply_many(events)
    assert (refused.value.applied, refused.value.position) == (4, 104)
    assert pods.writer.position == 104
    assert set(await pods.objects("-")) == {"a/p101", "a/p102", "a/p103", "a/p104"}
    await pods.writer.apply_many(events[5:])
    assert await pods.reader.position(pods.gvr) == 110


async def test_a_store_that_went_back_is_repaired_by_going_on_from_there(pods: Stage) -> None:
    """After a failover to an older copy the writer is told the position, and the events since then make it whole."""
    events = [Event("M", rv, make(f"p{rv % 3}", rv)) for rv in range(101, 111)]
    await pods.writer.apply_many(events[:5])
    keys = [key async for key in pods.store.redis.scan_iter(match=f"{pods.keys.base}*")]
    copy = {key: await pods.store.redis.dump(key) or b"" for key in keys}
    await pods.writer.apply_many(events[5:9])
    for key, value in copy.items():
        await pods.store.redis.restore(key, 0, value, replace=True)
    with pytest.raises(PositionMismatch) as refused:
        await pods.writer.apply_many(events[9:])
    assert refused.value.position == 105
    await pods.writer.resume()
    await pods.writer.apply_many([event for event in events if event.rv > pods.writer.position])
    assert [entry.rv for entry in await pods.log(100)] == list(range(101, 111))
    assert {record.rv for record in (await pods.objects("-")).values()} == {108, 109, 110}


async def test_a_fence_lost_within_a_batch_tells_how_far_it_came(pods: Stage) -> None:
    """Batches are cut; a takeover between two of them leaves the first whole and the rest undone."""
    events = [Event("A", 101 + i, make(f"p{i}", 101 + i, payload=bytes(500_000))) for i in range(6)]
    run = pods.store.scripts.write_many
    calls = 0

    async def interrupted(batch: Sequence[Call]) -> list[Any]:
        nonlocal calls
        calls += 1
        if calls == 2:
            await pods.rival()
        return await run(batch)

    pods.store.scripts.write_many = interrupted  # type: ignore[method-assign,assignment]
    with pytest.raises(Fenced) as refused:
        await pods.writer.apply_many(events)
    assert refused.value.applied == 3
    assert await pods.reader.position(pods.gvr) == 103


async def test_nothing_is_applied_before_a_load(store: Store) -> None:
    """A resource that was never loaded, or is being loaded, takes in no events."""
    fence = await Lease(store, PODS, "worker").acquire()
    assert fence is not None
    writer = Writer(store, PODS, fence)
    for _ in range(2):
        with pytest.raises(NotSynced):
            await writer.apply_many([Event("A", 1, make("web", 1))])
        with pytest.raises(NotSynced):
            await writer.advance(1)
        with pytest.raises(NotSynced):
            await writer.move("a", "oil")
        with pytest.raises(NotSynced):
            await Reader(store).get(PODS, "a", "web")
        await writer.load_begin()


async def test_scripts_are_taught_again_after_they_were_lost(pods: Stage) -> None:
    """A Redis that forgot the scripts gets them again in the middle of the work, and no event is lost or doubled."""
    await pods.store.redis.script_flush()
    await pods.writer.apply_many([Event("A", rv, make(f"p{rv}", rv)) for rv in range(101, 111)])
    assert [entry.rv for entry in await pods.log(100)] == list(range(101, 111))
    await pods.store.redis.script_flush()
    assert (await pods.reader.get(pods.gvr, "a", "p101"))[1] == 110
    await pods.store.redis.script_flush()
    await pods.writer.heartbeat()


async def test_a_cluster_scoped_object_changes_its_shard(nodes: Stage) -> None:
    """With an event that says so it moves: old shard emptied, told on both channels, entry in the new log."""
    first = await nodes.put("n1", shard="oil")
    assert (await nodes.reader.places(nodes.gvr)).places == {"n1": (100, "oil")}
    feeds, entries = await published(nodes, "oil", "gas", act=lambda: nodes.put("n1", shard="gas"))
    assert await nodes.objects("oil") == {}
    assert await nodes.index("oil") == []
    assert await nodes.index("gas") == ["n1"]
    places = await nodes.reader.places(nodes.gvr)
    assert (places.places, places.moves) == ({"n1": (101, "gas")}, 1)
    assert [(m.what, m.shard, m.old_shard) for m in feeds] == [("p", "gas", "oil"), ("e", "gas", "oil")]
    assert sorted((e.shard, e.rv) for e in entries) == [("gas", 102), ("oil", 102)]
    (entry,) = await nodes.log(101)
    assert (entry.shard, entry.prev) == ("gas", first)


async def test_a_cluster_scoped_object_without_tenant_has_no_place(nodes: Stage) -> None:
    """The shard of no tenant is not written down, until something was forgotten that it could be mistaken for."""
    await nodes.put("n1")
    await nodes.put("n1")
    assert (await nodes.reader.places(nodes.gvr)).places == {}
    assert (await nodes.reader.get(nodes.gvr, "", "n1"))[0] is not None
    await nodes.put("n2", shard="oil")
    await nodes.put("n2", shard="-")
    assert (await nodes.reader.places(nodes.gvr)).places == {"n2": (103, "-")}
    await nodes.delete("n2")
    assert (await nodes.reader.places(nodes.gvr)).places == {}
    await nodes.put("n2")
    assert (await nodes.reader.places(nodes.gvr)).places == {"n2": (105, "-")}


async def test_bookmarks_are_told(pods: Stage) -> None:
    """A bookmark advances the position on the feed; one that repeats it is silent."""
    feeds, _ = await published(pods, act=lambda: pods.writer.advance(150))
    assert [(m.what, m.position, m.before) for m in feeds] == [("b", 150, 100)]
    feeds, _ = await published(pods, act=lambda: pods.writer.advance(150))
    assert not feeds


async def test_heartbeats_tell_position_and_freshness(pods: Stage) -> None:
    """A heartbeat carries when upstream was last in touch, by the store's clock, and meta has it too."""
    await pods.put("web")
    feeds, _ = await published(pods, act=lambda: pods.writer.heartbeat(2.5))
    (beat,) = feeds
    assert (beat.what, beat.position, beat.before) == ("h", 101, 101)
    assert beat.time_ms - beat.fresh_ms == 2500
    assert (await pods.reader.meta(pods.gvr)).fresh_ms == beat.fresh_ms
