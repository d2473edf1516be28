"""Loads, moves between shards, namespaces that go, and refreshed records."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from kube.resources import GVR
from store.connection import Store
from store.errors import NotSynced
from store.meta import Description
from store.writer import Event, Refresh
from tests.store.stage import Stage, make, published

pytestmark = pytest.mark.asyncio


async def test_a_load_becomes_readable_at_its_commit(pods: Stage) -> None:
    """Until the commit there is nothing to read; afterwards everything is, at the list's RV, without history."""
    await pods.writer.load_begin()
    objects = [(make(f"p{i}", i + 1, namespace=f"ns{i % 3}"), "oil" if i % 3 else "-") for i in range(600)]
    await pods.writer.load(objects)
    with pytest.raises(NotSynced):
        await pods.reader.places(pods.gvr)
    assert (await pods.reader.meta(pods.gvr)).state == "syncing"
    assert await pods.reader.positions([pods.gvr]) == {pods.gvr: None}
    await pods.writer.load_commit(5000)
    meta = await pods.reader.meta(pods.gvr)
    assert (meta.state, meta.position, meta.since) == ("synced", 5000, 5000)
    places = await pods.reader.places(pods.gvr)
    assert places.places == {"ns0": (0, "-"), "ns1": (0, "oil"), "ns2": (0, "oil")}
    assert (len(await pods.objects("-")), len(await pods.objects("oil"))) == (200, 400)
    assert await pods.index("-") == sorted(await pods.objects("-"))
    assert (await pods.reader.log(pods.gvr, None, 0)).floor == 5000
    await pods.put("p0", "ns0")
    assert await pods.reader.position(pods.gvr) == 5001


async def test_a_load_begins_a_new_incarnation_without_the_old_one(nodes: Stage) -> None:
    """Objects, logs, floors, places and clock of the old history are gone, and the floor is the new position."""
    await nodes.put("n1", shard="oil")
    await nodes.put("n2", shard="gas")
    await nodes.delete("n2")
    old = await nodes.reader.meta(nodes.gvr)
    feeds, _ = await published(nodes, act=nodes.writer.load_begin)
    assert [(m.what, m.position) for m in feeds] == [("x", 0)]
    assert feeds[0].incarnation != old.incarnation
    left = await nodes.dump()
    assert set(left) == {"meta"}
    assert set(left["meta"]) == {b"fence", b"incarnation", b"state"}
    await nodes.writer.load([(make("n3", 7, namespace=""), "gas")])
    feeds, _ = await published(nodes, act=lambda: nodes.writer.load_commit(50))
    assert [(m.what, m.position) for m in feeds] == [("x", 50)]
    meta = await nodes.reader.meta(nodes.gvr)
    assert meta.incarnation == feeds[0].incarnation
    assert await nodes.reader.floors(nodes.gvr) == {"gas": 50}
    assert (await nodes.reader.places(nodes.gvr)).places == {"n3": (0, "gas")}
    assert (await nodes.reader.get(nodes.gvr, "", "n1"))[0] is None


async def test_a_load_needs_its_beginning_and_a_real_position(pods: Stage) -> None:
    """Objects cannot be loaded into a synced resource, and no list has the RV 0."""
    with pytest.raises(NotSynced):
        await pods.writer.load([(make("web", 1), "-")])
    with pytest.raises(NotSynced):
        await pods.writer.load_commit(200)
    with pytest.raises(ValueError):
        await pods.writer.load_commit(0)


async def test_moving_a_namespace_moves_its_objects_and_nothing_else(pods: Stage) -> None:
    """All objects change their shard at once, neighbours with similar names stay, no event is told."""
    for i in range(450):
        await pods.put(f"p{i:03}", "a")
    for neighbour in ("a-b", "a0", "ab", "b"):
        await pods.put("web", neighbour)
    held = await pods.objects("-")
    log = await pods.log(0)
    moved: list[int] = []

    async def move() -> None:
        moved.append(await pods.writer.move("a", "oil"))

    feeds, entries = await published(pods, "-", "oil", act=move)
    assert moved == [450]
    assert not entries
    (message,) = feeds
    assert (message.what, message.position, message.before) == ("p", 554, 554)
    assert (message.place, message.old_shard, message.shard, message.moves) == ("a", "-", "oil", 1)
    assert await pods.objects("oil") == {key: value for key, value in held.items() if key.startswith("a/")}
    assert sorted(await pods.objects("-")) == ["a-b/web", "a0/web", "ab/web", "b/web"]
    for shard in ("-", "oil"):
        assert await pods.index(shard) == sorted(await pods.objects(shard))
    places = await pods.reader.places(pods.gvr)
    assert (places.places["a"], places.places["b"], places.moves) == ((554, "oil"), (0, "-"), 1)
    assert await pods.log(0) == log
    await pods.put("p000", "a")
    assert [entry.shard for entry in await pods.log(554)] == ["oil"]


async def test_a_move_that_changes_nothing_is_silent(pods: Stage) -> None:
    """Unknown namespaces, and those that are there already, are no move."""
    await pods.put("web", shard="oil")
    before = await pods.dump()
    assert await pods.writer.move("nowhere", "oil") == 0
    assert await pods.writer.move("a", "oil") == 0
    assert await pods.dump() == before


async def test_an_empty_namespace_can_be_moved(pods: Stage) -> None:
    """A namespace whose objects are all gone still has its place, and its next object finds the new one."""
    await pods.put("web")
    await pods.delete("web")
    assert await pods.writer.move("a", "oil") == 0
    await pods.put("web", shard="-")
    assert set(await pods.objects("oil")) == {"a/web"}


async def test_a_cluster_scoped_object_can_be_moved_without_an_event(nodes: Stage) -> None:
    """When the tenant label is another one, objects move although upstream sent nothing."""
    made = await nodes.put("n1")
    assert await nodes.writer.move("n1", "oil", namespaced=False) == 1
    assert await nodes.writer.move("n1", "oil", namespaced=False) == 0
    assert await nodes.writer.move("n2", "oil", namespaced=False) == 0
    assert await nodes.objects("oil") == {"n1": made}
    assert await nodes.objects("-") == {}
    assert (await nodes.reader.places(nodes.gvr)).places == {"n1": (101, "oil")}


async def test_a_forgotten_namespace_that_comes_back_has_no_past(pods: Stage) -> None:
    """A deleted namespace leaves `places`; whatever is new there later says from when on its log is whole."""
    await pods.put("web", shard="oil")
    assert not await pods.writer.forget("a")
    await pods.delete("web")
    feeds, _ = await published(pods, act=lambda: pods.writer.forget("a"))
    assert [(m.what, m.place, m.old_shard, m.shard, m.moves) for m in feeds] == [("p", "a", "oil", "", 1)]
    assert not await pods.writer.forget("a")
    assert (await pods.reader.places(pods.gvr)).places == {}
    await pods.put("web", shard="gas")
    assert (await pods.reader.places(pods.gvr)).places == {"a": (102, "gas")}


async def test_a_refresh_is_no_event(pods: Stage) -> None:
    """Other bytes of the same version replace the record: told as R, without a log entry, at the same position."""
    old = await pods.put("web", payload=b"old")
    new = replace(old, packed=b"new")
    log = await pods.log(0)
    feeds, entries = await published(pods, "-", act=lambda: pods.writer.refresh_many([Refresh(old, new)]))
    assert [(m.what, m.position, m.before, m.shard, m.refreshes) for m in feeds] == [("r", 101, 101, "-", 1)]
    assert (await pods.reader.meta(pods.gvr)).refreshes == 1
    assert [(e.type, e.rv, e.before, e.record) for e in entries] == [("R", 101, 101, new)]
    assert (await pods.reader.get(pods.gvr, "a", "web"))[0] == new
    assert await pods.log(0) == log


async def test_a_refresh_never_overwrites_a_newer_version(pods: Stage) -> None:
    """If the object has changed, moved on or gone since it was read, its refresh does nothing."""
    old = await pods.put("web", payload=b"1")
    gone = await pods.put("db")
    await pods.put("web", payload=b"2")
    await pods.delete("db")
    await pods.writer.move("a", "oil")
    before = await pods.dump()
    refreshes = [Refresh(record, replace(record, packed=b"x")) for record in (old, gone, make("never", 1))]
    assert await pods.writer.refresh_many(refreshes) == 0
    assert await pods.dump() == before


async def test_a_refresh_finds_objects_that_moved(pods: Stage) -> None:
    """A record that is current is replaced wherever its namespace is by now."""
    old = await pods.put("web", payload=b"1")
    await pods.writer.move("a", "oil")
    assert await pods.writer.refresh_many([Refresh(old, replace(old, packed=b"x"))]) == 1
    assert (await pods.objects("oil"))["a/web"].packed == b"x"


async def test_descriptions_are_told_when_they_change(pods: Stage) -> None:
    """Kind, columns and the rest come back as they were written, and only a change is announced."""
    description = Description(
        kind="Pod", list_kind="PodList", namespaced=True, verbs=("get",), selectable=("spec.nodeName",)
    )
    feeds, _ = await published(pods, act=lambda: pods.writer.describe(description))
    assert [message.what for message in feeds] == ["x"]
    assert not await pods.writer.describe(description)
    meta = await pods.reader.meta(pods.gvr)
    assert (meta.kind, meta.list_kind, meta.namespaced, meta.selectable) == ("Pod", "PodList", True, ("spec.nodeName",))
    assert (meta.gvr, meta.position, meta.readable) == (pods.gvr, 100, True)
    await pods.writer.load_begin()
    assert (await pods.reader.meta(pods.gvr)).kind == "Pod"


EVENTS = GVR("", "v1", "events")


async def test_many_resources_are_read_in_one_go(pods: Stage, nodes: Stage, store: Store) -> None:
    """Metas, positions and lease holders of several resources come back under their names."""
    await nodes.writer.apply_many([Event("A", 200, make("n1", 200, namespace=""))])
    gvrs = [pods.gvr, nodes.gvr]
    assert await pods.reader.positions(gvrs) == {pods.gvr: 100, nodes.gvr: 200}
    assert {gvr: meta.position for gvr, meta in (await pods.reader.metas(gvrs)).items()} == {
        pods.gvr: 100,
        nodes.gvr: 200,
    }
    assert await pods.reader.lease_holders(gvrs) == {pods.gvr: pods.lease.owner, nodes.gvr: nodes.lease.owner}
    assert await pods.reader.unreadable([*gvrs, EVENTS]) == [EVENTS]
    await pods.writer.mark_stale()
    await nodes.writer.load_begin()
    assert await pods.reader.unreadable([*gvrs, EVENTS]) == [nodes.gvr, EVENTS]
