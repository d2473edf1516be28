from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from informers import reflector as reflectors
from informers.backoff import Backoff
from kube import tasks
from store.errors import Fenced, StoreUnavailable
from store.writer import Event, Writer
from tests.informers.eventually import until
from tests.informers.stage import Stage, rv_in
from tests.informers.upstream import (
    CONFIG_MAPS,
    CRDS,
    EVENTS,
    NAMESPACES,
    WIDGETS,
    Fault,
    Served,
    Upstream,
    widget_definition,
)


async def synced(stage: Stage, upstream: Upstream, count: int = 3) -> int:
    """Config maps in the store, followed; returns the position."""
    for number in range(count):
        upstream.put(CONFIG_MAPS, "free", f"c{number}", data={"n": str(number)})
    await stage.start(CONFIG_MAPS)
    return (await stage.watched(CONFIG_MAPS)).position


@pytest.mark.asyncio
async def test_first_sync_and_watch(stage: Stage, upstream: Upstream) -> None:
    """Lists, watches, and has every object byte by byte as an item of upstream's list."""
    position = await synced(stage, upstream)
    assert position == upstream.rv
    upstream.put(CONFIG_MAPS, "free", "c1", labels={"a": "b"}, data={"text": "<é>"})
    upstream.put(CONFIG_MAPS, "team-a", "new")
    last = upstream.delete(CONFIG_MAPS, "free", "c0")
    await stage.caught_up(CONFIG_MAPS, last)
    assert await stage.matches_upstream(CONFIG_MAPS)
    events = await stage.events(CONFIG_MAPS, position)
    assert [(event.type, event.rv) for event in events] == [("M", position + 1), ("A", position + 2), ("D", last)]
    assert [rv_in(event.record) for event in events] == [event.rv for event in events]
    assert (await stage.objects(CONFIG_MAPS))["free/c1"].labels == {"a": "b"}
    assert upstream.count("list", CONFIG_MAPS) == 1


@pytest.mark.asyncio
async def test_many_pages(stage: Stage, upstream: Upstream) -> None:
    """A resource of several pages is complete."""
    for number in range(1203):
        upstream.put(CONFIG_MAPS, "free", f"c{number}")
    await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    assert await stage.matches_upstream(CONFIG_MAPS)
    assert upstream.count("list", CONFIG_MAPS) == 3


@pytest.mark.asyncio
async def test_list_that_expires_between_pages(
    stage: Stage, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list whose pages expire is begun anew, at last in one piece."""
    for number in range(1203):
        upstream.put(CONFIG_MAPS, "free", f"c{number}")
    plain = upstream._list

    def forgetful(request: Any, gvr: Any, *, table: bool) -> Any:
        if request.query.get("continue"):
            upstream.forget_pages()
        return plain(request, gvr, table=table)

    monkeypatch.setattr(upstream, "_list", forgetful)
    await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    assert await stage.matches_upstream(CONFIG_MAPS)
    assert "limit" not in next(q for v, r, q in reversed(upstream.requests) if (v, r) == ("list", str(CONFIG_MAPS)))


@pytest.mark.asyncio
async def test_takeover_resumes_without_a_list(stage: Stage, upstream: Upstream) -> None:
    """Another worker goes on at the store's position: it lists nothing, and nobody sees a gap."""
    position = await synced(stage, upstream)
    incarnation = (await stage.meta(CONFIG_MAPS)).incarnation
    await stage.running[0].stop()
    missed = upstream.put(CONFIG_MAPS, "free", "missed")
    upstream.requests.clear()
    await stage.start(CONFIG_MAPS, name="two")
    await stage.caught_up(CONFIG_MAPS, missed)
    assert [(event.type, event.rv) for event in await stage.events(CONFIG_MAPS, position)] == [("A", missed)]
    assert (await stage.meta(CONFIG_MAPS)).incarnation == incarnation
    assert upstream.count("list", CONFIG_MAPS) == upstream.count("table", CONFIG_MAPS) == 0
    watch = next(query for verb, _, query in upstream.requests if verb == "watch")
    assert watch["resourceVersion"] == str(position)


@pytest.mark.asyncio
async def test_relist_is_told_as_events(stage: Stage, upstream: Upstream) -> None:
    """After 410 the difference is written in order, deletions with versions of their own, in their bytes too."""
    position = await synced(stage, upstream)
    incarnation = (await stage.meta(CONFIG_MAPS)).incarnation
    await stage.running[0].stop()
    upstream.delete(CONFIG_MAPS, "free", "c0")
    changed = upstream.put(CONFIG_MAPS, "free", "c1", data={"n": "changed"})
    upstream.delete(CONFIG_MAPS, "free", "c2")
    again = upstream.put(CONFIG_MAPS, "free", "c2", uid="another")
    added = upstream.put(CONFIG_MAPS, "free", "new")
    upstream.rv += 5
    upstream.compact()
    await stage.start(CONFIG_MAPS, name="two")
    await stage.caught_up(CONFIG_MAPS, upstream.rv)
    assert await stage.matches_upstream(CONFIG_MAPS)
    events = await stage.events(CONFIG_MAPS, position)
    versions = [event.rv for event in events]
    assert versions == sorted(set(versions))
    assert position < versions[0]
    assert versions[-1] <= upstream.rv
    told = {(event.type, event.record.name): event.rv for event in events}
    assert told.keys() == {("D", "c0"), ("M", "c1"), ("D", "c2"), ("A", "c2"), ("A", "new")}
    assert (told["M", "c1"], told["A", "c2"], told["A", "new"]) == (changed, again, added)
    assert told["D", "c2"] < again
    assert [rv_in(event.record) for event in events] == versions
    assert (await stage.meta(CONFIG_MAPS)).incarnation == incarnation


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["error-event", "status"])
async def test_watch_that_expires(stage: Stage, upstream: Upstream, kind: str) -> None:
    """410 under a running worker: it lists once, and goes on."""
    await synced(stage, upstream)
    upstream.misbehave("watch", str(CONFIG_MAPS), Fault(kind, status=410))
    upstream.drop_watches(CONFIG_MAPS)
    await until(lambda: upstream.count("list", CONFIG_MAPS) == 2)
    last = upstream.put(CONFIG_MAPS, "free", "later")
    await stage.caught_up(CONFIG_MAPS, last)
    assert await stage.matches_upstream(CONFIG_MAPS)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "fault", [Fault("status", 3, 429), Fault("status", 2, 503), Fault("reset", 4), Fault("status", 1, 403)]
)
async def test_refused_watches_are_tried_again(stage: Stage, upstream: Upstream, fault: Fault) -> None:
    """Whatever upstream refuses a watch with, it is resumed where it was, without a list."""
    position = await synced(stage, upstream)
    upstream.misbehave("watch", str(CONFIG_MAPS), fault)
    upstream.drop_watches(CONFIG_MAPS)
    last = upstream.put(CONFIG_MAPS, "free", "later")
    await stage.caught_up(CONFIG_MAPS, last)
    assert [event.rv for event in await stage.events(CONFIG_MAPS, position)] == [last]
    assert upstream.count("list", CONFIG_MAPS) == 1


@pytest.mark.asyncio
async def test_cut_event(stage: Stage, upstream: Upstream) -> None:
    """An event that was cut off comes whole with the next watch."""
    position = await synced(stage, upstream)
    upstream.cut_event(CONFIG_MAPS)
    last = upstream.put(CONFIG_MAPS, "free", "later")
    await stage.caught_up(CONFIG_MAPS, last)
    assert [event.rv for event in await stage.events(CONFIG_MAPS, position)] == [last]


@pytest.mark.asyncio
async def test_upstream_restarts(stage: Stage, upstream: Upstream) -> None:
    """While upstream is away the store stays as it is; then the watch is resumed."""
    position = await synced(stage, upstream)
    await upstream.stop()
    await until(lambda: not stage.running[0].reflector.watching)
    silent = stage.running[0].reflector.silent_seconds
    await until(lambda: stage.running[0].reflector.silent_seconds > silent)
    assert (await stage.meta(CONFIG_MAPS)).state == "synced"
    await upstream.start()
    last = upstream.put(CONFIG_MAPS, "free", "later")
    await stage.caught_up(CONFIG_MAPS, last)
    assert [event.rv for event in await stage.events(CONFIG_MAPS, position)] == [last]
    assert upstream.count("list", CONFIG_MAPS) == 1


@pytest.mark.asyncio
async def test_upstream_is_followed_as_soon_as_it_is_there_again(stage: Stage, upstream: Upstream) -> None:
    """A pause that has grown over a long outage ends with the outage, and the next one is short again."""
    await synced(stage, upstream)
    reflector = stage.running[0].reflector
    reflector._backoff = Backoff(first=3600.0)
    pulse = asyncio.create_task(reflector._pulse.run())
    await upstream.stop()
    await until(lambda: reflector._pulse._silent and not reflector.watching)
    await upstream.start()
    await stage.caught_up(CONFIG_MAPS, upstream.put(CONFIG_MAPS, "free", "later"))
    await tasks.end(pulse)


@pytest.mark.asyncio
async def test_a_watch_that_told_something_was_no_failure(stage: Stage, upstream: Upstream) -> None:
    """However it breaks: the pause before the next one is the first again, not the one that an old outage led to."""
    await synced(stage, upstream)
    reflector = stage.running[0].reflector
    grown = [reflector._backoff.next() for _ in range(8)]
    assert grown[-1] > grown[0]
    await stage.caught_up(CONFIG_MAPS, upstream.put(CONFIG_MAPS, "free", "told"))
    await until(lambda: reflector._backoff.next() < grown[2])


@pytest.mark.asyncio
async def test_bookmarks_advance_the_position(stage: Stage, upstream: Upstream) -> None:
    """A bookmark moves the position of a quiet resource, so that its resume does not grow old."""
    position = await synced(stage, upstream)
    upstream.rv += 1000
    upstream.bookmark(CONFIG_MAPS)
    await stage.caught_up(CONFIG_MAPS, position + 1000)
    assert await stage.events(CONFIG_MAPS, position) == []


@pytest.mark.asyncio
async def test_restored_upstream_found_at_the_start(stage: Stage, upstream: Upstream) -> None:
    """Upstream came back from a backup: everything is stored anew, as another incarnation."""
    saved = {gvr: dict(objects) for gvr, objects in upstream.objects.items()}
    saved_rv = upstream.rv
    await synced(stage, upstream)
    before = await stage.meta(CONFIG_MAPS)
    await stage.running[0].stop()
    upstream.restore(saved_rv, saved)
    upstream.put(CONFIG_MAPS, "free", "after")
    await stage.start(CONFIG_MAPS, name="two")
    await until(lambda: stage.matches_upstream(CONFIG_MAPS))
    after = await stage.watched(CONFIG_MAPS)
    assert after.incarnation != before.incarnation
    assert after.position < before.position


@pytest.mark.asyncio
async def test_restored_upstream_found_by_its_events(stage: Stage, upstream: Upstream) -> None:
    """A watch that stays open over a restore is given away by the first version that is too old."""
    await synced(stage, upstream)
    before = await stage.meta(CONFIG_MAPS)
    upstream.restore(50, {CONFIG_MAPS: {}})
    upstream.put(CONFIG_MAPS, "free", "after")
    await until(lambda: stage.matches_upstream(CONFIG_MAPS))
    await until(lambda: _incarnation_changed(stage, before.incarnation))


async def _incarnation_changed(stage: Stage, before: str) -> bool:
    meta = await stage.meta(CONFIG_MAPS)
    return meta.readable and meta.incarnation != before


@pytest.mark.asyncio
async def test_restored_upstream_found_after_an_outage(stage: Stage, upstream: Upstream) -> None:
    """After an outage the worker asks how far upstream is before it waits for the future."""
    await synced(stage, upstream)
    before = await stage.meta(CONFIG_MAPS)
    await upstream.stop()
    upstream.restore(101, {})
    await upstream.start()
    await until(lambda: _incarnation_changed(stage, before.incarnation))
    assert await stage.objects(CONFIG_MAPS) == {}


@pytest.mark.asyncio
async def test_restored_upstream_found_after_trouble_with_the_store(
    stage: Stage, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that stopped watching for the store's sake does not wait for a future that upstream lost meanwhile."""
    await synced(stage, upstream)
    before = await stage.meta(CONFIG_MAPS)
    plain = Writer.apply_many

    async def restored(self: Writer, events: Sequence[Event]) -> None:
        monkeypatch.setattr(Writer, "apply_many", plain)
        upstream.restore(101, {})
        raise StoreUnavailable("cut off")

    monkeypatch.setattr(Writer, "apply_many", restored)
    upstream.put(CONFIG_MAPS, "free", "lost")
    await until(lambda: _incarnation_changed(stage, before.incarnation))
    assert await stage.objects(CONFIG_MAPS) == {}


@pytest.mark.asyncio
async def test_a_stale_worker_cannot_write(stage: Stage, upstream: Upstream) -> None:
    """A worker whose lease went to another one ends with Fenced, whatever it still receives."""
    await synced(stage, upstream)
    old = stage.running[0]
    await stage.store.writes.delete(stage.store.keys(CONFIG_MAPS).lease)
    await stage.start(CONFIG_MAPS, name="two")
    await asyncio.wait({old.task})
    error: BaseException | None = old.task.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Fenced)
    writer = Writer(stage.store, CONFIG_MAPS, old.reflector._writer.fence)
    record = (await stage.objects(CONFIG_MAPS))["free/c0"]
    writer.position = (await stage.meta(CONFIG_MAPS)).position
    with pytest.raises(Fenced):
        await writer.apply_many([Event("D", writer.position + 1, record)])


@pytest.mark.asyncio
async def test_a_store_that_is_elsewhere_is_repaired(stage: Stage, upstream: Upstream) -> None:
    """After a failover to an older state the watch begins again at the store's position."""
    position = await synced(stage, upstream)
    keys = stage.store.keys(CONFIG_MAPS)
    first = upstream.put(CONFIG_MAPS, "free", "first")
    await stage.caught_up(CONFIG_MAPS, first)
    # As if the last event had never reached the replica that is master now.
    await stage.store.writes.hset(keys.meta, "position", position)
    await stage.store.writes.hdel(keys.objects("-"), "free/first")
    await stage.store.writes.delete(keys.log("-"))
    second = upstream.put(CONFIG_MAPS, "free", "second")
    await stage.caught_up(CONFIG_MAPS, second)
    assert await stage.matches_upstream(CONFIG_MAPS)
    assert upstream.count("list", CONFIG_MAPS) == 1


@pytest.mark.asyncio
async def test_redis_that_was_emptied(stage: Stage, upstream: Upstream) -> None:
    """A worker whose store is gone ends; the next one stores everything anew."""
    await synced(stage, upstream)
    names = [name async for name in stage.store.writes.scan_iter(f"{stage.store.prefix}:*")]
    await stage.store.writes.delete(*names)
    await asyncio.wait({stage.running[0].task})
    await stage.start(CONFIG_MAPS, name="two")
    await until(lambda: stage.matches_upstream(CONFIG_MAPS))


@pytest.mark.asyncio
async def test_unreadable_objects_are_left_out(stage: Stage, upstream: Upstream) -> None:
    """An event that is no object is left out; what follows is not."""
    await synced(stage, upstream)
    upstream.raw(CONFIG_MAPS, b'{"type":"ADDED","object":{"kind":"ConfigMap","metadata":{"namespace":"free"}}}\n')
    last = upstream.put(CONFIG_MAPS, "free", "later")
    await stage.caught_up(CONFIG_MAPS, last)
    assert await stage.matches_upstream(CONFIG_MAPS)


@pytest.mark.asyncio
async def test_big_objects(stage: Stage, upstream: Upstream) -> None:
    """Objects of two megabytes come through a list and a watch."""
    upstream.put(CONFIG_MAPS, "free", "listed", data={"text": "x" * (2 << 20)})
    await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    last = upstream.put(CONFIG_MAPS, "free", "watched", data={"text": "y" * (2 << 20)})
    await stage.caught_up(CONFIG_MAPS, last)
    assert await stage.matches_upstream(CONFIG_MAPS)


@pytest.mark.asyncio
async def test_custom_resources_keep_their_kind(stage: Stage, upstream: Upstream) -> None:
    """Objects of custom resources carry kind and apiVersion, in the store as in upstream's lists."""
    upstream.serve(Served(WIDGETS, "Widget", True, typed=False))
    upstream.put(CRDS, "", "widgets.shop.example.com", **widget_definition())
    upstream.put(WIDGETS, "free", "w1", spec={"size": 1})
    await stage.start(WIDGETS)
    await stage.watched(WIDGETS)
    last = upstream.put(WIDGETS, "free", "w2", spec={"size": 2})
    await stage.caught_up(WIDGETS, last)
    assert await stage.matches_upstream(WIDGETS)
    record = (await stage.objects(WIDGETS))["free/w2"]
    assert record.metadata() == b'{"name":"w2","namespace":"free","uid":"uid-%d","resourceVersion":"%d"}' % (last, last)
    assert (await stage.meta(WIDGETS)).custom


@pytest.mark.asyncio
async def test_tenants_and_moves(stage: Stage, upstream: Upstream) -> None:
    """Objects go into the shard of their namespace's tenant, and move with it without an event."""
    stage.tenancy.tell("team-a", {"capsule.clastix.io/tenant": "oil"})
    upstream.put(CONFIG_MAPS, "team-a", "mine")
    position = await synced(stage, upstream)
    assert (await stage.reader.places(CONFIG_MAPS)).places["team-a"][1] == "oil"
    assert stage.tenancy.tell("team-a", {"capsule.clastix.io/tenant": "gas"})
    await stage.running[0].reflector.move("team-a", "gas")
    assert (await stage.reader.places(CONFIG_MAPS)).places["team-a"][1] == "gas"
    assert await stage.events(CONFIG_MAPS, position) == []
    await stage.running[0].stop()
    stage.tenancy.tell("team-a", {})
    await stage.start(CONFIG_MAPS, name="two")
    await until(lambda: _place(stage, "team-a", "-"))


async def _place(stage: Stage, namespace: str, shard: str) -> bool:
    return (await stage.reader.places(CONFIG_MAPS)).places[namespace][1] == shard


@pytest.mark.asyncio
async def test_cluster_scoped_tenants(stage: Stage, upstream: Upstream) -> None:
    """Cluster-scoped objects are in the shard that their own label names, also when it changes."""
    await stage.start(NAMESPACES)
    await stage.watched(NAMESPACES)
    assert (await stage.reader.places(NAMESPACES)).places["team-a"][1] == "oil"
    last = upstream.namespace("team-a", {"capsule.clastix.io/tenant": "gas"})
    await stage.caught_up(NAMESPACES, last)
    assert (await stage.reader.places(NAMESPACES)).places["team-a"][1] == "gas"


async def with_events(stage: Stage, upstream: Upstream, count: int) -> int:
    """Core events in the store; returns the position."""
    upstream.serve(Served(EVENTS, "Event", True))
    for number in range(count):
        upstream.put(EVENTS, "free", f"e{number}")
    await stage.start(EVENTS)
    return (await stage.watched(EVENTS)).position


@pytest.mark.asyncio
async def test_deletions_of_one_revision(stage: Stage, upstream: Upstream) -> None:
    """Events that expire together share a version: each deletion is told with one of its own."""
    position = await with_events(stage, upstream, 5)
    upstream.rv += 10
    together = upstream.rv + 1
    for number in range(4):
        upstream.delete(EVENTS, "free", f"e{number}", rv=together)
    await until(lambda: stage.matches_upstream(EVENTS))
    events = await stage.events(EVENTS, position)
    assert [event.type for event in events] == ["D"] * 4
    assert len({event.rv for event in events}) == 4
    assert events[-1].rv == together
    assert not (await stage.meta(EVENTS)).unsettled
    assert upstream.count("list", EVENTS) == 1


@pytest.mark.asyncio
async def test_deletions_that_have_to_wait(stage: Stage, upstream: Upstream) -> None:
    """Where no version is free, deletions wait for those that other resources use, and follow in order."""
    position = await with_events(stage, upstream, 5)
    together = upstream.rv + 1
    for number in range(4):
        upstream.delete(EVENTS, "free", f"e{number}", rv=together)
    await stage.caught_up(EVENTS, together)
    await until(lambda: _unsettled(stage))
    upstream.rv += 10
    last = upstream.put(EVENTS, "free", "next")
    await stage.caught_up(EVENTS, last)
    assert await stage.matches_upstream(EVENTS)
    events = await stage.events(EVENTS, position)
    assert [event.type for event in events] == ["D"] * 4 + ["A"]
    assert [event.rv for event in events] == sorted({event.rv for event in events})
    await until(lambda: _settled(stage))
    assert upstream.count("list", EVENTS) == 1


async def _unsettled(stage: Stage) -> bool:
    return (await stage.meta(EVENTS)).unsettled


async def _settled(stage: Stage) -> bool:
    return not await _unsettled(stage)


@pytest.mark.asyncio
async def test_deletions_that_wait_too_long(stage: Stage, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing comes after them, a list makes room."""
    monkeypatch.setattr(reflectors, "PENDING_SECONDS", 0.1)
    await with_events(stage, upstream, 5)
    together = upstream.rv + 1
    for number in range(4):
        upstream.delete(EVENTS, "free", f"e{number}", rv=together)
    upstream.rv += 10
    await until(lambda: stage.matches_upstream(EVENTS))
    await until(lambda: _settled(stage))


@pytest.mark.asyncio
async def test_deletions_for_which_nothing_makes_room(
    stage: Stage, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If nobody writes anything at all, everything is stored anew without them."""
    monkeypatch.setattr(reflectors, "PENDING_SECONDS", 0.05)
    monkeypatch.setattr(reflectors, "STUCK_SECONDS", 0.3)
    await with_events(stage, upstream, 5)
    together = upstream.rv + 1
    for number in range(4):
        upstream.delete(EVENTS, "free", f"e{number}", rv=together)
    await until(lambda: stage.matches_upstream(EVENTS))
    await until(lambda: _settled(stage))


@pytest.mark.asyncio
async def test_waiting_deletions_outlive_their_worker(stage: Stage, upstream: Upstream) -> None:
    """A worker that takes over while deletions wait lists, and tells them."""
    await with_events(stage, upstream, 5)
    together = upstream.rv + 1
    for number in range(4):
        upstream.delete(EVENTS, "free", f"e{number}", rv=together)
    await stage.caught_up(EVENTS, together)
    await until(lambda: _unsettled(stage))
    await stage.running[0].stop(release=True)
    upstream.rv += 10
    await stage.start(EVENTS, name="two")
    await until(lambda: stage.matches_upstream(EVENTS))
    await until(lambda: _settled(stage))


@pytest.mark.asyncio
async def test_heartbeats_tell_the_truth(stage: Stage, upstream: Upstream) -> None:
    """While the watch is open and upstream answers, the data is fresh; a silent upstream makes it old."""
    await synced(stage, upstream)
    await stage.client.request("GET", "/version")
    assert stage.running[0].reflector.silent_seconds < 5
    first = (await stage.meta(CONFIG_MAPS)).fresh_ms
    await stage.client.request("GET", "/version")
    await until(lambda: _fresher(stage, first))


async def _fresher(stage: Stage, than: int) -> bool:
    return (await stage.meta(CONFIG_MAPS)).fresh_ms > than
