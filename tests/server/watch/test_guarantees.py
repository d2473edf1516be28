"""The guarantees of a watch hold over random writes, for many watchers that begin, stall, end and resume at random."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from kube.selectors import FieldSelector, LabelSelector
from server import hub as hub_module
from server import watcher as watcher_module
from server.scope import ALL, Scope
from server.watch_start import StartPlan
from server.watch_stream import Framing
from server.watcher import Watcher
from store.record import Record
from tests.server.watch import validators
from tests.server.watch.harness import LATEST, FakeStream, World, pod, settled
from tests.server.watch.validators import Happening, Key, Seen, Told

LABELS = ("", "app=web", "app!=web", "!app", "app in (web,api),tier")
FIELDS = ("", "", "metadata.name=p1", "spec.nodeName=n1", "spec.nodeName!=n1")
SCOPES = (ALL, ALL, Scope.of_namespaces(["a"]), Scope.of_namespaces(["a", "c"]))


class Client:
    """A client that keeps its watch going: when a stream ends it resumes from the last RV that it was told."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world = world
        self.chance = chance
        self.labels, self.fields = chance.choice(LABELS), chance.choice(FIELDS)
        self.scope, self.namespace = chance.choice(SCOPES), chance.choice(("", "", "b"))
        self.seen = Seen(begin=0, selects=self._selects)
        self.rv = 0
        self.watcher: Watcher | None = None
        self.task: asyncio.Task[None] | None = None
        self.read = 0
        self.initial = self.began_with_state = False

    def begin(self) -> None:
        """List and watch from there, or ask for the initial events, or go on from an RV of the past."""
        way = self.chance.choice(("initial", "now", "past"))
        past = self.chance.randint(100, self.world.rv)
        self.rv = self.seen.begin = past if way == "past" else self.world.rv
        plan = StartPlan(initial=True, end_bookmark=True) if way == "initial" else StartPlan(after=self.rv)
        self.began_with_state = way == "initial"
        self._open(plan, initial=self.began_with_state)

    def _open(self, plan: StartPlan, *, initial: bool = False) -> None:
        framing = self.chance.choice((Framing.PLAIN, Framing.PLAIN, Framing.CHUNKED))
        self.watcher = self.world.watcher(
            labels=self.labels, fields=self.fields, scope=self.scope, namespace=self.namespace,
            stream=FakeStream(framing),
        )  # fmt: skip
        self.initial = initial
        self.read = 0
        self.task = asyncio.create_task(self.watcher.run(plan))

    def _selects(self, key: Key, record: object) -> bool:
        assert isinstance(record, Record)
        fields = {**record.fields, "metadata.name": key[1], "metadata.namespace": key[0]}
        return (
            (not self.namespace or key[0] == self.namespace)
            and (self.scope.all or key[0] in self.scope.members)
            and LabelSelector.parse(self.labels, LATEST).matches(record.labels)
            and FieldSelector.parse(self.fields).matches(fields)
        )

    def selected_at(self, rv: int, history: list[Happening], first: dict[Key, Record]) -> dict[Key, int]:
        """The selected objects as of an RV, with their own RVs."""
        state: dict[Key, object] = dict(first)
        for happened in history:
            if happened.rv > rv:
                break
            if happened.after is None:
                del state[happened.key]
            else:
                state[happened.key] = happened.after
        records = {key: record for key, record in state.items() if isinstance(record, Record)}
        return {key: record.rv for key, record in records.items() if self._selects(key, record)}

    def take(self) -> None:
        """Read what has come."""
        assert self.watcher is not None
        stream = self.watcher.stream
        assert isinstance(stream, FakeStream)
        if stream.framing is Framing.CHUNKED:
            stream = unchunked(stream)
        for event in stream.events[self.read :]:
            self.read += 1
            metadata = event["object"]["metadata"]
            rv = int(metadata["resourceVersion"])
            if event["type"] == "BOOKMARK" and metadata.get("annotations"):
                # Only now it is known which state the initial events were.
                self.initial = False
                self.rv = self.seen.begin = rv
                continue
            if event["type"] == "BOOKMARK":
                told: Told = ("BOOKMARK", ("", ""), rv)
            else:
                told = (event["type"], (metadata["namespace"], metadata["name"]), rv)
            if self.initial:
                assert told[0] == "ADDED"
                self.seen.state[told[1]] = rv
                continue
            self.seen.events.append(told)
            self.rv = max(self.rv, rv)

    async def end(self) -> None:
        """The stream ends; what was written to it has arrived."""
        assert self.watcher is not None
        assert self.task is not None
        stream = self.watcher.stream
        assert isinstance(stream, FakeStream)
        stream.resume()
        self.watcher.stop()
        await self.task
        self.take()
        self.world.watches.leave(self.watcher)

    async def reconnect(self) -> None:
        """End, and go on from the last RV."""
        await self.end()
        if self.initial:  # ended before the initial events were complete: begin anew
            self.seen.state.clear()
            self.begin()
        else:
            self._open(StartPlan(after=self.rv))


def unchunked(stream: FakeStream) -> FakeStream:
    """The same stream with HTTP's chunk heads taken off."""
    plain, rest = FakeStream(), bytes(stream.data)
    while rest:
        head, _, rest = rest.partition(b"\r\n")
        plain.data += rest[: int(head, 16)]
        assert rest[int(head, 16) :].startswith(b"\r\n")
        rest = rest[int(head, 16) + 2 :]
    return plain


def write(world: World, chance: random.Random) -> None:
    """One random write, or a bookmark of upstream's."""
    name, namespace = chance.choice(("p1", "p2", "p3")), chance.choice("abc")
    if chance.random() < 0.1:
        world.advance(world.rv + chance.randint(1, 3))
    elif (namespace, name) in world.objects and chance.random() < 0.25:
        world.delete(name, namespace)
    else:
        values = {"app": ("web", "api", "db"), "tier": ("x", "y")}
        labels = {key: chance.choice(values[key]) for key in values if chance.random() < 0.7}
        world.put(pod(name, world.rv + chance.randint(1, 2), namespace, node=chance.choice(("", "n1", "n2")), **labels))


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(12))
async def test_guarantees(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ordered, Unique, Filter, Reliable, Resumable and Bookmarkable, with small limits so that every path is taken."""
    chance = random.Random(seed)
    monkeypatch.setattr(hub_module, "SLICE_SECONDS", 0.0 if seed % 2 else 0.004)
    monkeypatch.setattr(hub_module, "MAX_QUEUED_CHANGES", 15)
    monkeypatch.setattr(hub_module, "RECENT_CHANGES", 10)
    monkeypatch.setattr(watcher_module, "MAX_BUFFERED_BYTES", 3000)
    monkeypatch.setattr(watcher_module, "WRITE_BYTES", 500)
    monkeypatch.setattr(watcher_module, "BOOKMARK_SECONDS", 0.003)
    world = World([pod(f"p{n}", 90 + n, "abc"[n % 3], app="web") for n in range(1, 4)])
    first = dict(world.objects)
    clients = [Client(world, random.Random(seed * 100 + number)) for number in range(30)]
    begun: list[Client] = []
    for _ in range(250):
        for _ in range(chance.choice((0, 1, 1, 3, 20) if chance.random() < 0.2 else (1,))):
            write(world, chance)
        if clients and chance.random() < 0.3:
            begun.append(clients.pop())
            begun[-1].begin()
        if begun and chance.random() < 0.3:
            await chance.choice(begun).reconnect()
        for client in chance.sample(begun, min(2, len(begun))):
            stream = client.watcher.stream if client.watcher is not None else None
            assert isinstance(stream, FakeStream)
            if stream.taking:
                stream.taking = False
            else:
                stream.resume()
        await settled(chance.choice((0, 1, 5)))
        if chance.random() < 0.05:
            await asyncio.sleep(0.004)
    for client in begun:
        stream = client.watcher.stream if client.watcher is not None else None
        assert isinstance(stream, FakeStream)
        stream.resume()
    await settled(300)
    history = [Happening(change.rv, change.key, change.old, change.new) for change in world.changes]
    for client in begun:
        client.take()
        client.seen.until = world.rv
        assert not client.initial
        validators.check_all(history, client.seen)
        if client.began_with_state:
            assert client.seen.state == client.selected_at(client.seen.begin, history, first)
        await client.end()
    assert sum(len(client.seen.events) for client in begun) > 1000


def a_seen(*events: Told) -> Seen:
    """A client that selects everything from 0 to 3."""
    return Seen(0, lambda _key, _record: True, events=list(events), until=3)


HISTORY = [Happening(rv, ("a", "p"), None if rv == 1 else rv - 1, rv) for rv in (1, 2, 3)]
RIGHT = (("ADDED", ("a", "p"), 1), ("MODIFIED", ("a", "p"), 2), ("MODIFIED", ("a", "p"), 3))


@pytest.mark.parametrize(
    ("seen", "broken"),
    [
        (a_seen(RIGHT[0], RIGHT[2], RIGHT[1]), validators.OrderedBroken),
        (a_seen(RIGHT[0], RIGHT[0]), validators.OrderedBroken),
        (a_seen(RIGHT[0], RIGHT[2]), validators.ReliableBroken),
        (a_seen(*RIGHT[1:]), validators.ResumableBroken),
        (a_seen(*RIGHT[:2]), validators.ResumableBroken),
        (a_seen(RIGHT[0], ("DELETED", ("a", "p"), 2), RIGHT[2]), validators.FilterBroken),
        (a_seen(("BOOKMARK", ("", ""), 3), *RIGHT), validators.OrderedBroken),
        (a_seen(RIGHT[0], ("BOOKMARK", ("", ""), 2), RIGHT[1], RIGHT[2]), validators.BookmarkableBroken),
    ],
)
def test_validators_catch(seen: Seen, broken: type[Exception]) -> None:
    """Each validator notices what it is there for."""
    caught = []
    for check in (validators.check_ordered, validators.check_unique):
        try:
            check(replace(seen))
        except Exception as error:  # noqa: BLE001 - compared below
            caught.append(type(error))
    for check_with in (
        validators.check_filter, validators.check_reliable, validators.check_resumable, validators.check_bookmarkable,
    ):  # fmt: skip
        try:
            check_with(HISTORY, seen)
        except Exception as error:  # noqa: BLE001 - compared below
            caught.append(type(error))
    assert broken in caught


def test_validators_accept() -> None:
    """What is right passes all of them."""
    validators.check_all(HISTORY, a_seen(*RIGHT, ("BOOKMARK", ("", ""), 3)))
