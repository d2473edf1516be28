"""How a watch begins, what it tells of each change, and how it ends."""

from __future__ import annotations

import asyncio
import json

import pytest

from server import watcher as watcher_module
from server.list_options import ListOptions
from server.objects import ItemForm
from server.scope import NOTHING, Scope
from server.watch_start import StartPlan, plan
from tests.server.watch.harness import COLUMNS, Running, World, meta_of, pod, settled, until

INITIAL = StartPlan(initial=True)
NOW = StartPlan()
TABLE = ItemForm("table", "v1", "Metadata")


def after(rv: int) -> StartPlan:
    """Go on from an RV."""
    return StartPlan(after=rv)


@pytest.mark.parametrize(
    ("version", "send", "bookmarks", "expected"),
    [
        ("", None, True, StartPlan(fresh=True, initial=True)),
        ("0", None, True, StartPlan(initial=True)),
        ("7", None, True, StartPlan(after=7)),
        ("", True, True, StartPlan(fresh=True, initial=True, end_bookmark=True)),
        ("", True, False, StartPlan(fresh=True, initial=True)),
        ("0", True, True, StartPlan(initial=True, end_bookmark=True)),
        ("7", True, True, StartPlan(reach=7, initial=True, end_bookmark=True)),
        ("", False, True, StartPlan(fresh=True)),
        ("0", False, True, StartPlan()),
        ("7", False, True, StartPlan(after=7)),
    ],
)
def test_start_rules(version: str, send: bool | None, bookmarks: bool, expected: StartPlan) -> None:
    """Each combination of resourceVersion and sendInitialEvents begins as upstream's does."""
    options = ListOptions(resource_version=version, send_initial_events=send, allow_bookmarks=bookmarks)
    assert plan(options, int(version or 0)) == expected


@pytest.mark.asyncio
async def test_initial_events_in_key_order_then_changes() -> None:
    """The state comes first, each object with its own RV, then the end bookmark, then what happens."""
    world = World([pod("b", 7), pod("a", 9), pod("x", 8, "b")])
    async with Running(world) as running:
        stream = await running.start(StartPlan(initial=True, end_bookmark=True))
        world.change("a")
        await settled()
        assert [(e["type"], e["object"]["metadata"].get("name")) for e in stream.events] == [
            ("ADDED", "a"), ("ADDED", "b"), ("ADDED", "x"), ("BOOKMARK", None), ("MODIFIED", "a"),
        ]  # fmt: skip
        assert stream.events[3]["object"]["metadata"] == {
            "resourceVersion": "100", "annotations": {"k8s.io/initial-events-end": "true"},
        }  # fmt: skip


@pytest.mark.asyncio
async def test_resume_tells_what_happened_since() -> None:
    """A watch from an RV gets every later change, from the history and live, without a seam."""
    world = World([pod("a", 90)])
    async with Running(world) as running:
        await running.start(NOW)  # so that a hub exists
        for _ in range(5):
            world.change("a")
        stream = await running.start(after(102))
        world.delete("a")
        await settled()
        assert stream.told == [("MODIFIED", "a", 103), ("MODIFIED", "a", 104), ("MODIFIED", "a", 105),
                               ("DELETED", "a", 106)]  # fmt: skip


@pytest.mark.asyncio
async def test_rv_of_the_future_waits() -> None:
    """A watch from an RV that is not reached yet skips what is up to it."""
    world = World([pod("a", 90)])
    async with Running(world) as running:
        stream = await running.start(after(102))
        for _ in range(3):
            world.change("a")
        await settled()
        assert stream.told == [("MODIFIED", "a", 103)]


@pytest.mark.asyncio
async def test_selector_transitions() -> None:
    """The example of the protocol notes: in, changed, out with the old object at the new RV, in again, deleted."""
    world = World([pod("web", 90, x="1")])
    async with Running(world) as running:
        stream = await running.start(NOW, labels="x=1")
        world.change("web", x="1", data="v2")
        world.change("web", x="9", data="v3")
        world.change("web", x="9", data="v4")
        world.change("web", x="1", data="v5")
        world.delete("web")
        await settled()
        shown = [(e["type"], e["object"]["metadata"]["resourceVersion"], e["object"]["metadata"]["labels"],
                  e["object"]["spec"]["data"]) for e in stream.events]  # fmt: skip
        assert shown == [
            ("MODIFIED", "101", {"x": "1"}, "v2"),
            ("DELETED", "102", {"x": "1"}, "v2"),
            ("ADDED", "104", {"x": "1"}, "v5"),
            ("DELETED", "105", {"x": "1"}, "v5"),
        ]


@pytest.mark.asyncio
async def test_old_bytes_are_read_back() -> None:
    """An object whose bytes were let go still leaves a selector with its old state: the store has it."""
    world = World([pod("web", 90, x="1", data="old")])
    space = world.view.spaces["a"]
    world.log.packed[("a", "web"), 90] = space.blocks[0].records[0].packed
    space.evict(0)
    async with Running(world) as running:
        stream = await running.start(NOW, labels="x=1")
        world.change("web", x="2")
        await until(lambda: bool(stream.events))
        assert stream.events[0]["type"] == "DELETED"
        assert stream.events[0]["object"]["spec"]["data"] == "old"
        world.change("web", x="1", data="new")
        await settled()
        assert stream.told == [("DELETED", "web", 101), ("ADDED", "web", 102)]


@pytest.mark.asyncio
async def test_bytes_that_are_nowhere_expire_the_watch() -> None:
    """Where the old state cannot be shown any more, the stream ends with 410 instead of leaving the event out."""
    world = World([pod("web", 90, x="1")])
    world.view.spaces["a"].evict(0)
    async with Running(world) as running:
        stream = await running.start(NOW, labels="x=1")
        world.change("web", x="2")
        await running.last
        assert [(e["type"], e["object"]["reason"]) for e in stream.events] == [("ERROR", "Expired")]


@pytest.mark.asyncio
async def test_too_old() -> None:
    """An RV that the history does not reach back to: one ERROR with upstream's text, then the end."""
    world = World()
    world.log.floor = 96
    async with Running(world) as running:
        stream = await running.start(after(1))
        await running.last
        assert bytes(stream.data) == (
            b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
            b'"message":"too old resource version: 1 (96)","reason":"Expired","code":410}}\n'
        )


@pytest.mark.asyncio
async def test_unreached_rv_is_an_error_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Initial events of an RV that does not come: the 504 Status as an event, retryAfterSeconds included."""
    world = World()
    monkeypatch.setattr("server.view.ResourceView.reach.__defaults__", (0.01,))
    async with Running(world) as running:
        stream = await running.start(StartPlan(reach=500, initial=True))
        await running.last
        status = stream.events[0]["object"]
        assert (stream.events[0]["type"], status["code"], status["details"]["retryAfterSeconds"]) == ("ERROR", 504, 1)
        assert status["message"] == "Timeout: Too large resource version: 500, current: 100"


@pytest.mark.asyncio
async def test_reset_of_the_view_expires_all() -> None:
    """A view that lost touch with its past ends its watches with 410."""
    world = World([pod("a", 90)])
    async with Running(world) as running:
        stream = await running.start(NOW)
        world.view.begin_anew(meta_of(position=7), {}, ())
        world.view.tell_reset()
        await running.last
        assert stream.events[0]["object"]["reason"] == "Expired"


@pytest.mark.asyncio
async def test_nothing_of_the_new_history_is_told_before_the_reset() -> None:
    """Between the view's new beginning and the word of it neither a change nor a bookmark covers what was missed."""
    world = World([pod("a", 90)])
    async with Running(world) as running:
        stream = await running.start(NOW)
        world.view.begin_anew(meta_of(position=140), {}, ())
        world.view.places = dict.fromkeys(("a", "b", "c"), (0, "-"))
        world.view.adopt(("-",), {})
        world.rv = 140
        world.change("b")
        await settled()
        assert stream.events == []
        world.view.tell_reset()
        await running.last
        assert [event["object"]["code"] for event in stream.events] == [410]


@pytest.mark.asyncio
async def test_a_resume_waits_for_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the history cannot be read nothing is told, an error least of all; then everything, or a clean end."""
    monkeypatch.setattr(watcher_module, "UNREADABLE_PAUSE_SECONDS", 0.0)
    world = World([pod("a", 90)])
    world.change("a")
    world.view.shards["-"].since = world.rv
    world.log.unreadable = True
    async with Running(world) as running:
        stream = await running.start(StartPlan(after=100))
        assert stream.events == []
        assert not running.last.done()
        world.log.unreadable = False
        await settled()
        assert stream.told == [("MODIFIED", "a", 101)]
        world.view.shards["-"].since = world.rv
        world.log.unreadable = True
        monkeypatch.setattr(watcher_module, "UNREADABLE_SECONDS", 0.0)
        stream = await running.start(StartPlan(after=100))
        await running.last
        assert stream.events == []


@pytest.mark.asyncio
async def test_table_columns_come_once() -> None:
    """Only the first event of a Table watch has columns, a bookmark included; the Table's RV is the object's."""
    world = World([pod("a", 90)])
    async with Running(world) as running:
        stream = await running.start(StartPlan(initial=True, end_bookmark=True), form=TABLE)
        empty = await running.start(StartPlan(initial=True, end_bookmark=True), form=TABLE, labels="none")
        world.change("a")
        await settled()
        tables = [event["object"] for event in stream.events]
        assert [table["columnDefinitions"] for table in tables] == [json.loads(COLUMNS), None, None]
        assert [table["metadata"]["resourceVersion"] for table in tables] == ["90", "100", "101"]
        assert empty.events[0]["type"] == "BOOKMARK"
        assert empty.events[0]["object"]["columnDefinitions"] == json.loads(COLUMNS)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("include", "row_object"),
    [
        ("None", None),
        ("Metadata", {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                      "metadata": {"resourceVersion": "101"}}),
        ("Object", {"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "101"},
                    "spec": {"containers": None}, "status": {}}),
    ],
)  # fmt: skip
async def test_table_bookmarks(include: str, row_object: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bookmark of a Table watch is a row of the zero object, with what includeObject asks for."""
    monkeypatch.setattr(watcher_module, "BOOKMARK_SECONDS", 0.01)
    world = World()
    async with Running(world) as running:
        stream = await running.start(NOW, form=ItemForm("table", "v1", include))  # type: ignore[arg-type]
        world.advance(101)
        await until(lambda: bool(stream.events))
        assert stream.events[0]["object"]["rows"] == [{"cells": [""], "object": row_object}]


@pytest.mark.asyncio
async def test_metadata_events() -> None:
    """PartialObjectMetadata events show the metadata alone; selectors see the whole object."""
    world = World([pod("a", 90, node="n1")])
    async with Running(world) as running:
        stream = await running.start(INITIAL, form=ItemForm("partial", "v1beta1"), fields="spec.nodeName=n1")
        assert stream.events == [{"type": "ADDED", "object": {
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1beta1",
            "metadata": {"name": "a", "namespace": "a", "resourceVersion": "90", "labels": {}},
        }}]  # fmt: skip


@pytest.mark.asyncio
async def test_metadata_list_ends_at_its_first_event() -> None:
    """A watch asked for as PartialObjectMetadataList ends, without an event, as soon as there is one to send."""
    world = World([pod("a", 90)])
    async with Running(world) as running:
        initial = await running.start(INITIAL, form=None)
        assert running.last.done()
        live = await running.start(NOW, form=None)
        assert not running.last.done()
        world.change("a")
        await running.last
        assert not initial.data
        assert not live.data


@pytest.mark.asyncio
async def test_bookmarks_only_beyond_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A periodic bookmark says a position newer than the start, repeats it, and is left out where nothing moved."""
    monkeypatch.setattr(watcher_module, "BOOKMARK_SECONDS", 0.01)
    world = World([pod("a", 90)])
    async with Running(world) as running:
        stream = await running.start(NOW)
        silent = await running.start(NOW, bookmarks=False)
        await asyncio.sleep(0.05)
        assert not stream.data
        world.advance(120)
        await until(lambda: len(stream.events) >= 2)
        assert {(e["type"], e["object"]["metadata"]["resourceVersion"]) for e in stream.events} == {("BOOKMARK", "120")}
        assert not silent.data


@pytest.mark.asyncio
async def test_bookmark_before_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch gets one more bookmark shortly before its deadline, then ends cleanly."""
    monkeypatch.setattr(watcher_module, "BOOKMARK_BEFORE_END_SECONDS", 0.5)
    world = World([pod("a", 90)])
    async with Running(world) as running:
        stream = await running.start(NOW, seconds=1.5)
        world.change("a")
        await running.last
        assert [e["type"] for e in stream.events] == ["MODIFIED", "BOOKMARK"]


@pytest.mark.asyncio
async def test_short_watch_has_no_bookmark() -> None:
    """A watch shorter than two seconds gets no bookmark before its end."""
    world = World()
    async with Running(world) as running:
        stream = await running.start(NOW, seconds=0.02)
        world.advance(101)
        await running.last
        assert not stream.data


@pytest.mark.asyncio
async def test_negative_timeout() -> None:
    """A negative timeout is over at once: the stream opens and ends empty."""
    world = World([pod("a", 90)])
    async with Running(world) as running:
        stream = await running.start(INITIAL, seconds=-1.0)
        await running.last
        assert not stream.data


@pytest.mark.asyncio
async def test_drain_ends_with_a_bookmark() -> None:
    """A stopping replica says how far each stream is, so that the client resumes there on another."""
    world = World([pod("a", 90)])
    async with Running(world) as running:
        stream = await running.start(NOW)
        world.change("a")
        world.advance(130)
        watcher, task = running.tasks[0]
        task.add_done_callback(lambda _: world.watches.leave(watcher))
        await world.watches.drain(5.0)
        assert [(e["type"], e["object"]["metadata"]["resourceVersion"]) for e in stream.events] == [
            ("MODIFIED", "101"), ("BOOKMARK", "130"),
        ]  # fmt: skip


@pytest.mark.asyncio
async def test_scope_gained_and_lost() -> None:
    """Lost objects come as DELETED at the stream's RV, gained ones as ADDED with their own, then a bookmark."""
    world = World([pod("a1", 90), pod("b1", 91, "b"), pod("c1", 92, "c"), pod("c2", 93, "c", x="1")])
    async with Running(world) as running:
        stream = await running.start(INITIAL, scope=Scope.of_namespaces(["a", "b"]))
        watcher = running.tasks[-1][0]
        world.advance(110)
        watcher.rescope(Scope.of_namespaces(["b", "c"]))
        await settled()
        assert stream.told[2:] == [("DELETED", "a1", 110), ("ADDED", "c1", 92), ("ADDED", "c2", 93)]
        assert stream.events[-1]["object"]["metadata"]["resourceVersion"] == "110"
        world.put(pod("a1", 111))
        world.put(pod("c1", 112, "c"))
        await settled()
        assert stream.told[-1] == ("MODIFIED", "c1", 112)
        assert len(stream.told) == 6


@pytest.mark.asyncio
async def test_scope_lost_entirely_ends_the_stream() -> None:
    """A user who may read nothing any more is told that all is gone, and the stream ends."""
    world = World([pod("a1", 90), pod("b1", 91, "b")])
    async with Running(world) as running:
        stream = await running.start(NOW)
        running.tasks[-1][0].rescope(None)
        await running.last
        assert stream.told == [("DELETED", "a1", 100), ("DELETED", "b1", 100)]


@pytest.mark.asyncio
async def test_scope_of_nothing_stays_open() -> None:
    """An owner without namespaces watches nothing, and sees the first one that comes."""
    world = World([pod("b1", 91, "b")])
    async with Running(world) as running:
        stream = await running.start(INITIAL, scope=NOTHING)
        world.change("b1", "b")
        await settled()
        assert not stream.data
        running.tasks[-1][0].rescope(Scope.of_namespaces(["b"]))
        await settled()
        assert stream.told == [("ADDED", "b1", 101)]


@pytest.mark.asyncio
async def test_object_without_a_row_ends_that_stream_alone() -> None:
    """A Table watcher that cannot be shown an object ends in order, before it; the others go on."""
    from msgspec.structs import replace

    world = World([pod("a", 90)])
    async with Running(world) as running:
        table = await running.start(NOW, form=TABLE)
        plain = await running.start(NOW)
        world.put(replace(pod("a", 101), row=None))
        await settled()
        assert table.events == []
        assert running.tasks[0][1].done()
        assert not running.last.done()
        assert plain.told == [("MODIFIED", "a", 101)]
