"""A watch whose user gains and loses rights: what of the lost objects is still shown, and what is not."""

from __future__ import annotations

import pytest

from server.history import Change
from server.objects import OBJECT, ItemForm
from server.scope import ALL, NOTHING, Scope
from server.watch_start import StartPlan
from server.watcher import Watcher
from tests.server.watch.harness import FakeStream, Running, World, pod, settled

pytestmark = pytest.mark.asyncio

INITIAL = StartPlan(initial=True)
NOW = StartPlan()
TABLE = ItemForm("table", "v1", "Object")
A_AND_B, ONLY_B = Scope.of_namespaces(["a", "b"]), Scope.of_namespaces(["b"])
SECRET = "told after the loss"


def held(stream: FakeStream) -> dict[str, str]:
    """What a client has that applied every event: name → data."""
    objects: dict[str, str] = {}
    for event in stream.events:
        shown = event["object"]
        if event["type"] in ("ADDED", "MODIFIED"):
            objects[shown["metadata"]["name"]] = shown["spec"]["data"]
        elif event["type"] == "DELETED":
            del objects[shown["metadata"]["name"]]
    return objects


class FullAtALoss(FakeStream):
    """The client takes nothing after the first DELETED, until it resumes."""

    def write(self, data: bytes) -> None:
        self.taking = self.taking and (b"DELETED" in self.data or b"DELETED" not in data)
        super().write(data)


def rows(stream: FakeStream) -> list[tuple[str, str, str]]:
    """Type, name and RV of every row of a Table's events."""
    metas = [
        (event["type"], row["object"]["metadata"])
        for event in stream.events
        if event["type"] != "BOOKMARK"
        for row in event["object"]["rows"]
    ]
    return [(kind, meta["name"], meta["resourceVersion"]) for kind, meta in metas]


async def test_lost_objects_are_shown_as_they_were() -> None:
    """What happened before the loss and was not handed over yet is told of what remains, not of what is lost."""
    world = World([pod("a1", 90, data="known"), pod("a2", 91), pod("b1", 92, "b")])
    async with Running(world) as running:
        streams = [await running.start(INITIAL, scope=A_AND_B, form=form) for form in (OBJECT, OBJECT, TABLE)]
        world.change("a1", data=SECRET)
        world.delete("a2")
        world.change("a3", data=SECRET)
        world.change("b1", "b")
        for watcher, _ in running.tasks:
            watcher.rescope(ONLY_B)
        world.change("a1", data=SECRET)
        await settled()
        expected = [("DELETED", "a1", 100), ("DELETED", "a2", 100), ("MODIFIED", "b1", 104)]
        assert [stream.told[3:] for stream in streams[:2]] == [expected, expected]
        assert [(kind, name, int(rv)) for kind, name, rv in rows(streams[2])[3:]] == expected
        assert [SECRET.encode() in stream.data for stream in streams] == [False] * 3
        assert b"known" in streams[0].data[streams[0].data.index(b"DELETED") :]


async def test_changes_while_the_word_is_on_its_way() -> None:
    """A watcher that was not told yet is asked before it is handed anything, live and in the history."""
    world = World([pod("a1", 90), pod("b1", 92, "b")])
    async with Running(world) as running:
        streams = [await running.start(INITIAL, scope=A_AND_B) for _ in range(3)]
        waiting: dict[Watcher, None] = {}

        def settle(watcher: Watcher) -> None:
            if watcher in waiting:
                del waiting[watcher]
                watcher.rescope(ONLY_B)

        for watcher, _ in running.tasks:
            watcher.settle = lambda watcher=watcher: settle(watcher)  # type: ignore[misc]
        running.tasks[2][0].hub.fall_behind(running.tasks[2][0])
        waiting.update(dict.fromkeys(watcher for watcher, _ in running.tasks))
        world.change("a1", data=SECRET)
        await settled()
        assert not waiting
        assert [stream.told[2:] for stream in streams] == [[("DELETED", "a1", 100)]] * 3
        assert [SECRET.encode() in stream.data for stream in streams] == [False] * 3


async def test_a_change_that_is_itself_the_loss() -> None:
    """Who decides on rights hears first of a change, whenever it began to listen; the change itself is not shown."""
    world = World([pod("a1", 90, data="known"), pod("b1", 92, "b")])
    async with Running(world) as running:
        lose, gain = (
            await running.start(INITIAL, scope=A_AND_B, bookmarks=False),
            await running.start(INITIAL, scope=ONLY_B, bookmarks=False),
        )
        order: list[int] = []

        def decide(change: Change) -> None:
            order.append(world.view.told)
            running.tasks[0][0].rescope(ONLY_B)
            running.tasks[1][0].rescope(A_AND_B)

        world.view.observe(lambda _: order.append(-1))
        world.view.observe(decide, first=True)
        world.change("a1", data=SECRET)
        assert order == [100, -1]
        assert world.view.told == 101
        await settled()
        assert lose.told[2:] == [("DELETED", "a1", 100)]
        assert SECRET.encode() not in lose.data
        assert gain.told[1:] == [("ADDED", "a1", 101)]


async def test_a_slow_client_loses_rights() -> None:
    """A client that takes nothing has the rest told by the rights that it has when it goes on."""
    world = World([pod("a1", 90), pod("b1", 92, "b")])
    async with Running(world) as running:
        stream = await running.start(INITIAL, scope=A_AND_B)
        watcher, stream.taking = running.tasks[0][0], False
        world.change("b1", "b", data="x" * 300_000)
        await settled()
        assert watcher.standing.value == "slow"
        world.change("a1", data=SECRET)
        world.change("b1", "b", data="last")
        watcher.rescope(ONLY_B)
        world.change("a1", data=SECRET)
        await settled()
        stream.resume()
        await settled()
        assert stream.told[2:] == [("MODIFIED", "b1", 101), ("DELETED", "a1", 101), ("MODIFIED", "b1", 103)]
        assert SECRET.encode() not in stream.data
        assert held(stream) == {"b1": "last"}


async def test_rights_change_again_while_the_loss_is_told() -> None:
    """What is lost and given back meanwhile is taken away and shown anew; what was only promised is never shown."""
    world = World([*(pod(f"a{n}", 50 + n, data="x" * 9000) for n in range(9)), pod("b", 80, "b"), pod("c", 81, "c")])
    async with Running(world) as running:
        stream = await running.start(INITIAL, scope=A_AND_B, stream=FullAtALoss())
        watcher = running.tasks[0][0]
        watcher.rescope(Scope.of_namespaces(["b", "c"]))
        await settled()
        assert not stream.taking
        watcher.rescope(A_AND_B)
        world.change("c", "c", data=SECRET)
        stream.resume()
        await settled(200)
        assert [kind for kind, _, _ in stream.told[10:]] == ["DELETED"] * 9 + ["ADDED"] * 9
        assert held(stream).keys() == {*(f"a{n}" for n in range(9)), "b"}
        assert SECRET.encode() not in stream.data


async def test_rights_that_changed_before_anything_was_shown() -> None:
    """A watch begins with what the user may read when it is shown first; a resume is told what was lost since."""
    world = World([pod("a1", 90), pod("b1", 92, "b")])
    world.change("a1", data=SECRET)
    for plan, told in (
        (INITIAL, [("ADDED", "b1", 92)]),
        (NOW, []),
        (StartPlan(after=100), [("DELETED", "a1", 100)]),
    ):
        watcher = world.watcher(scope=A_AND_B, seconds=0.05)
        stream = watcher.stream
        assert isinstance(stream, FakeStream)
        watcher.rescope(ONLY_B)
        await watcher.run(plan)
        world.watches.leave(watcher)
        assert stream.told == told
        assert SECRET.encode() not in stream.data


async def test_no_rights_before_anything_was_shown() -> None:
    """A stream whose user may read nothing by then is empty, and ends."""
    world = World([pod("a1", 90)])
    watcher = world.watcher(scope=A_AND_B)
    watcher.rescope(None)
    await watcher.run(INITIAL)
    world.watches.leave(watcher)
    assert isinstance(watcher.stream, FakeStream)
    assert not watcher.stream.data


async def test_lost_past_ends_with_410() -> None:
    """Where it is not known any more what the user saw last, the client is told to list again, and shown nothing."""
    world = World([pod("a1", 90), pod("b1", 92, "b")])
    async with Running(world) as running:
        stream = await running.start(INITIAL, scope=A_AND_B)
        watcher, _ = running.tasks[0]
        watcher.hub.withdraw(watcher)
        world.change("a1", data=SECRET)
        world.view.history.shrink(0)
        watcher.rescope(ONLY_B)
        await running.last
        assert stream.events[-1]["object"]["code"] == 410
        assert SECRET.encode() not in stream.data


async def test_scopes_within_and_without() -> None:
    """What two scopes share and what one has alone cover each object as the two say."""
    scopes = [ALL, NOTHING, A_AND_B, ONLY_B, Scope.of_names(["a", "b"]), Scope.of_names(["c"])]
    objects = [("a", "x"), ("b", "x"), ("c", "x"), ("", "a"), ("", "c")]
    for one in scopes:
        for other in scopes:
            for key in objects:
                assert one.within(other).covers(*key) == (one.covers(*key) and other.covers(*key))
                if one.covers(*key) and not other.covers(*key):
                    assert one.without(other).covers(*key)
