"""Fan-out: each change reaches those who want it, is rendered once, and a slow client costs the others nothing."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from kube.selectors import FieldSelector, LabelSelector
from server import hub as hub_module
from server.hub import Standing
from server.objects import ItemForm
from server.pause import Pause
from server.scope import ALL, NOTHING, Scope
from server.watch_events import EventWriter
from server.watch_index import Index, Selection
from server.watch_start import StartPlan
from store.record import Record
from tests.server.watch.harness import LATEST, FakeStream, Running, World, pod, settled, until

NOW = StartPlan()
LABELS = ("", "app=web", "app==api,tier", "app in (web,api)", "app!=web", "!app", "tier=x,app=web", "tier notin (x)")
FIELDS = ("", "metadata.name=p1", "metadata.name!=p1", "spec.nodeName=n1", "spec.nodeName=", "spec.nodeName!=n1",
          "metadata.namespace=b", "metadata.name=p2,spec.nodeName=n2")  # fmt: skip
SCOPES = (ALL, NOTHING, Scope.of_namespaces(["a"]), Scope.of_namespaces(["a", "c"]))


class Noting(FakeStream):
    """Keeps each write as it came."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        super().write(data)
        self.pieces.append(data)


class Member:
    """What the index knows of a watcher."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection


def random_selection(chance: random.Random) -> Selection:
    """Any combination of what can be selected."""
    return Selection(
        chance.choice(SCOPES),
        chance.choice(("", "", "a", "b")),
        LabelSelector.parse(chance.choice(LABELS), LATEST),
        FieldSelector.parse(chance.choice(FIELDS)),
    )


def random_pod(chance: random.Random, rv: int = 1, name: str = "", namespace: str = "") -> Record:
    """A pod with some labels on some node."""
    values = {"app": ("web", "api", "db"), "tier": ("x", "y")}
    labels = {key: chance.choice(values[key]) for key in values if chance.random() < 0.7}
    node = chance.choice(("", "n1", "n2"))
    return pod(name or chance.choice(("p1", "p2")), rv, namespace or chance.choice("abc"), node=node, **labels)


@pytest.mark.parametrize("seed", range(20))
def test_index_finds_what_asking_everyone_would(seed: int) -> None:
    """For random selections and changes the index names every group that matches before or after, each once."""
    chance = random.Random(seed)
    index = Index()
    members: list[Any] = [Member(random_selection(chance)) for _ in range(60)]
    for member in members:
        index.add(member)
    for member in chance.sample(members, 20):
        index.discard(member)
        members.remove(member)
    assert len(index) == len(members)
    for _ in range(60):
        new = random_pod(chance)
        old = chance.choice((None, random_pod(chance, 1, new.name, new.namespace)))
        found = list(index.candidates(old, new))
        assert len(found) == len(set(map(id, found)))
        reached = {member for group in found for member in group.members}
        for member in members:
            matches = member.selection.matcher()
            if matches(new) or (old is not None and matches(old)):
                assert member in reached
    for member in members:
        index.discard(member)
    assert not len(index)
    assert not list(index.candidates(None, pod("p1", 1)))


def test_index_does_not_ask_strangers() -> None:
    """A change meets the groups of its namespace, name, node and labels, however many others there are."""
    index = Index()
    for number in range(200):
        for namespace, labels, fields in (
            (f"ns{number}", "", ""),
            ("a", "", f"metadata.name=p{number}"),
            ("a", f"app=x{number}", ""),
            ("", "", f"spec.nodeName=n{number}"),
        ):
            selection = Selection(ALL, namespace, LabelSelector.parse(labels, LATEST), FieldSelector.parse(fields))
            index.add(Member(selection))  # type: ignore[arg-type]
    found = list(index.candidates(pod("p7", 1, node="n3", app="x5"), pod("p7", 2, node="n4", app="x5")))
    assert len(found) == 4


@pytest.mark.asyncio
async def test_a_line_is_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watchers with the same form share the bytes, also where their selectors differ."""
    world, lines = World([pod("a", 90)]), []
    real = EventWriter.line

    def counted(self: EventWriter, *args: object, **named: object) -> bytes:
        lines.append(args)
        return real(self, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(EventWriter, "line", counted)
    async with Running(world) as running:
        streams = [await running.start(NOW, labels=f"x!={number % 7}") for number in range(50)]
        world.change("a")
        await settled()
        assert len(lines) == 1
        assert all(len(stream.events) == 1 for stream in streams)


@pytest.mark.asyncio
async def test_changes_are_joined_into_one_write() -> None:
    """Several changes at once are one write for each watcher."""
    world = World([pod("a", 90)])
    async with Running(world) as running:
        stream = await running.start(NOW)
        for _ in range(20):
            world.change("a")
        await settled()
        assert len(stream.events) == 20
        assert stream.writes == 1


@pytest.mark.asyncio
async def test_several_changes_are_joined_once_for_all() -> None:
    """Watchers that get the same are written the very same bytes; a Table begins with its columns all the same."""
    world = World([pod("a", 90)])
    table = ItemForm("table", "v1", "None")
    async with Running(world) as running:
        streams = [await running.start(NOW, stream=Noting()) for _ in range(5)]
        seasoned = await running.start(NOW, form=table)
        world.change("a")
        await settled()
        fresh = await running.start(StartPlan(after=world.rv), form=table)
        for _ in range(3):
            world.change("a")
        await settled()
        second = [stream.pieces[1] for stream in streams if isinstance(stream, Noting)]
        assert len(second) == 5
        assert all(piece is second[0] for piece in second)
        assert [bool(event["object"]["columnDefinitions"]) for event in seasoned.events] == [True, False, False, False]
        assert [bool(event["object"]["columnDefinitions"]) for event in fresh.events] == [True, False, False]


@pytest.mark.asyncio
async def test_one_event_that_cannot_be_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one of several changes cannot be shown to a look, what came before it is; others get all of them."""
    world = World([pod("a", 90), pod("b", 91)])
    async with Running(world) as running:
        whole = await running.start(NOW)
        leaving = await running.start(NOW, labels="app=x")
        world.put(pod("a", 101, app="x"))
        await settled()
        # Its old bytes are let go, and the store has them no more: what has left the selector cannot be shown.
        await world.view.evict("-", Pause())
        world.put(pod("b", 102, app="x"))
        world.put(pod("a", 103))
        await settled()
        assert [rv for _, _, rv in whole.told] == [101, 102, 103]
        assert [rv for _, _, rv in leaving.told] == [101, 102]
        assert leaving.events[-1]["object"]["code"] == 410


@pytest.mark.asyncio
async def test_big_fan_out_yields(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fan-out that takes longer than a slice lets others run in between, and loses nothing for it."""
    monkeypatch.setattr(hub_module, "SLICE_SECONDS", 0.0)
    world = World([pod("a", 90)])
    async with Running(world) as running:
        streams = [await running.start(NOW) for _ in range(100)]
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count_turns())
        world.change("a")
        world.change("a")
        await until(lambda: all(len(stream.events) == 2 for stream in streams))
        counting.cancel()
        assert turns > 10


@pytest.mark.asyncio
async def test_joining_in_the_middle_of_a_fan_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watchers that begin while changes are being handed over get each change once."""
    monkeypatch.setattr(hub_module, "SLICE_SECONDS", 0.0)
    world = World([pod("a", 90)])
    async with Running(world) as running:
        for _ in range(40):
            await running.start(NOW)
        late = []
        for _ in range(30):
            world.change("a")
            await asyncio.sleep(0)
            watcher = world.watcher()
            running.tasks.append((watcher, asyncio.create_task(watcher.run(StartPlan(after=100)))))
            late.append(watcher.stream)
        await settled(400)
        for stream in late:
            assert [rv for _, _, rv in stream.told] == list(range(101, 131))  # type: ignore[attr-defined]


def standing_of(running: Running, number: int) -> Standing:
    """The group that the watcher is in now."""
    return running.tasks[number][0].standing


@pytest.mark.asyncio
async def test_slow_reader_waits_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes nothing is written no more than the bound; later it gets what it missed, in order."""
    monkeypatch.setattr(hub_module, "MAX_BUFFERED_BYTES", 2000)
    monkeypatch.setattr("server.watcher.MAX_BUFFERED_BYTES", 2000)
    world = World([pod("a", 90)])
    async with Running(world) as running:
        fast = await running.start(NOW)
        slow = FakeStream()
        await running.start(NOW, stream=slow)
        slow.taking = False
        for _ in range(100):
            world.change("a")
            await settled(3)
        assert len(fast.events) == 100
        assert slow.held < 2500
        assert standing_of(running, 1) is Standing.SLOW
        slow.resume()
        await settled()
        assert slow.told == fast.told
        world.change("a")
        await settled()
        assert slow.told == fast.told
        assert standing_of(running, 1) is Standing.SYNCED


@pytest.mark.asyncio
async def test_client_that_never_takes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes nothing in time ends its stream; the others never notice."""
    from server.watch_stream import Stalled

    monkeypatch.setattr("server.watcher.MAX_BUFFERED_BYTES", 2000)
    world = World([pod("a", 90)])
    async with Running(world) as running:
        fast = await running.start(NOW)
        slow = FakeStream()
        await running.start(NOW, stream=slow)
        slow.taking = False
        for _ in range(50):
            world.change("a")
            await settled(3)
        slow.give_up()
        with pytest.raises(Stalled):
            await running.last
        world.change("a")
        await settled()
        assert len(fast.events) == 51


@pytest.mark.asyncio
async def test_more_changes_than_the_queue_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where changes come faster than they are handed over, watchers read them from the history: none is lost."""
    monkeypatch.setattr(hub_module, "MAX_QUEUED_CHANGES", 10)
    world = World([pod("a", 90)])
    async with Running(world) as running:
        streams = [await running.start(NOW) for _ in range(5)]
        for _ in range(100):
            world.change("a")
        await settled(300)
        for stream in streams:
            assert [rv for _, _, rv in stream.told] == list(range(101, 201))


def is_observed(world: World) -> bool:
    """Whether someone follows the view now."""
    return world.view.observed


@pytest.mark.asyncio
async def test_hubs_go_with_their_last_watcher() -> None:
    """A resource that nobody watches costs nothing: its view is not observed any more."""
    world = World()
    async with Running(world) as running:
        await running.start(NOW)
        assert dict(world.watches.counts()) == {("pods.v1", "synced"): 1}
        assert is_observed(world)
    assert not is_observed(world)
    assert not len(world.watches)
