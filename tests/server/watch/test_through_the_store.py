"""Watches over a real store: several shards, moves between them, lost messages, bodies let go, unknown namespaces."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from server.history import Change
from server.hub import Watches
from server.scope import Scope
from server.view import ResourceView, Unusable
from server.views import Views
from server.watch_start import StartPlan
from store.connection import Store
from store.embedded import EmbeddedRedis
from store.leases import Lease
from store.meta import Description, TableInfo
from store.reader import Reader
from store.record import Record
from store.writer import Event, Writer
from tests.server.watch import validators
from tests.server.watch.harness import COLUMNS, PODS, FakeStream, Running, World, pod, until
from tests.server.watch.test_guarantees import Client, write
from tests.server.watch.validators import Happening

SHARDS = {"a": "oil", "b": "gas", "c": "-"}


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A server for this module."""
    with EmbeddedRedis() as server:
        yield server.url


class StoredWorld(World):
    """A world whose changes go through Redis: they happen for the view when its feed brings them."""

    def __init__(self, store: Store, writer: Writer, views: Views, view: ResourceView) -> None:
        self.store, self.writer, self.views = store, writer, views
        self.view = view
        self.meta = view.meta
        self.rv = 100
        self.objects: dict[tuple[str, str], Record] = {}
        self.changes: list[Change] = []
        self.watches = Watches()
        self._pending: list[Event | int] = []

    def _happen(self, change: Change) -> Change:
        self.rv = change.rv
        self.changes.append(change)
        shard = SHARDS.get(change.record.namespace, "-")
        self._pending.append(Event(change.type, change.rv, change.record, shard))
        return change

    def advance(self, rv: int) -> None:
        """The position moves without an event."""
        self.rv = rv
        self._pending.append(rv)

    async def commit(self) -> None:
        """Write what has happened."""
        for event in self._pending:
            if isinstance(event, int):
                await self.writer.advance(event)
            else:
                await self.writer.apply_many([event])
        self._pending.clear()

    async def seen(self) -> None:
        """Wait until the view has everything."""
        await self.commit()
        await until(lambda: self.view.position >= self.rv)

    async def lose_messages(self) -> None:
        """Cut every subscription's connection."""
        await self.store.redis.client_kill_filter(_type="pubsub")


@pytest_asyncio.fixture
async def world(redis_url: str) -> AsyncIterator[StoredWorld]:
    """Pods, loaded empty at position 100."""
    async with await Store.open(redis_url, f"watch-{time.monotonic_ns()}") as store:
        lease = Lease(store, PODS, "worker", seconds=600)
        fence = await lease.acquire()
        assert fence is not None
        writer = Writer(store, PODS, fence)
        table = TableInfo(columns=COLUMNS, served=True)
        about = Description(kind="Pod", list_kind="PodList", namespaced=True, table=table, version="v1.36.2")
        await writer.describe(about)
        await writer.load_begin()
        await writer.load_commit(100)
        async with Views(store, Reader(store), clock=time.time) as views:
            yield StoredWorld(store, writer, views, await views.open(PODS))


@pytest.mark.asyncio
async def test_first_object_of_an_unknown_namespace(world: StoredWorld) -> None:
    """A watch on a namespace that has no place yet sees its first object, wherever that lands."""
    world.put(pod("p", 101, "a"))
    await world.seen()
    async with Running(world) as running:
        await running.start(StartPlan(initial=True), namespace="a")
        await until(lambda: world.view.holds(("a",)))
        assert not world.view.holds_all
        new = await running.start(StartPlan(initial=True), namespace="new")
        union = await running.start(StartPlan(initial=True), scope=Scope.of_namespaces(["a", "new"]))
        await until(lambda: union.told == [("ADDED", "p", 101)])
        world.put(pod("first", 102, "new"))
        world.put(pod("second", 103, "new"))
        world.put(pod("third", 104, "other"))
        await world.seen()
        await until(lambda: len(new.told) == 2)
        assert new.told == [("ADDED", "first", 102), ("ADDED", "second", 103)]
        await until(lambda: len(union.told) == 3)
        assert union.told[1:] == new.told


@pytest.mark.asyncio
async def test_resume_from_before_the_view(world: StoredWorld) -> None:
    """A watch from an RV before the shard was hydrated reads the store's log; from before the log it is too old."""
    for rv in range(101, 121):
        world.put(pod("p", rv, "a", data=str(rv)))
    await world.seen()
    async with Running(world) as running:
        stream = await running.start(StartPlan(after=110))
        await until(lambda: len(stream.told) == 10)
        assert [rv for _, _, rv in stream.told] == list(range(111, 121))
        old = await running.start(StartPlan(after=50))
        await until(lambda: bool(old.events))
        assert old.events[0]["object"]["message"] == "too old resource version: 50 (100)"


@pytest.mark.asyncio
async def test_evicted_bodies(world: StoredWorld) -> None:
    """Initial events and objects that leave a selector have their bytes also where memory has let them go."""
    from server.pause import Pause

    for number in range(40):
        world.put(pod(f"p{number:02}", 101 + number, "a", app="web", data="x" * 100))
    await world.seen()
    await world.view.ensure()
    await world.view.evict("oil", Pause())
    assert not any(record.packed for record in world.view.records())
    async with Running(world) as running:
        stream = await running.start(StartPlan(initial=True), labels="app=web")
        await until(lambda: len(stream.told) == 40)
        world.put(pod("p07", 150, "a", app="db"))
        await world.seen()
        await until(lambda: len(stream.told) == 41)
        assert stream.told[-1] == ("DELETED", "p07", 150)
        assert stream.events[-1]["object"]["spec"]["data"] == "x" * 100


@pytest.mark.asyncio
async def test_new_incarnation_expires_all(world: StoredWorld) -> None:
    """A resource that is loaded anew ends its watches with 410, without a bookmark of the new history."""
    world.put(pod("p", 101, "a"))
    await world.seen()
    async with Running(world) as running:
        stream = await running.start(StartPlan(initial=True))
        await until(lambda: bool(stream.told))
        await world.writer.load_begin()
        await world.writer.load([(pod("p", 40, "a"), "oil")])
        await world.writer.load_commit(50)
        async with asyncio.timeout(10):
            await running.last
        assert [event["type"] for event in stream.events] == ["ADDED", "ERROR"]
        assert stream.events[-1]["object"]["code"] == 410


@pytest.mark.asyncio
async def test_resume_in_a_namespace_that_the_new_history_does_not_know(world: StoredWorld) -> None:
    """It had an object when the client was told last, and has none now: list again, for the DELETED is nowhere."""
    world.put(pod("p", 101, "a"))
    await world.seen()
    await world.writer.load_begin()
    await world.writer.load([(pod("q", 140, "b"), "gas")])
    await world.writer.load_commit(150)
    await until(lambda: world.view.position == 150)
    async with Running(world) as running:
        old = await running.start(StartPlan(after=101), namespace="a")
        async with asyncio.timeout(10):
            await running.last
        assert [event["object"]["code"] for event in old.events] == [410]
        new = await running.start(StartPlan(after=150), namespace="a")
        assert new.events == []
        assert not running.last.done()


@pytest.mark.asyncio
async def test_a_store_behind_the_view_is_no_history(world: StoredWorld) -> None:
    """A store that came back as an older copy of itself has yet to learn the rest: its log is not taken for whole."""
    world.put(pod("p", 101, "a"))
    await world.seen()
    source = world.view.source
    assert source is not None
    assert [change.rv for change in await source.changes(("oil",), 100, 101)] == [101]
    with pytest.raises(Unusable, match="behind 105"):
        await source.changes(("oil",), 100, 105)


class StoredClient(Client):
    """A client that lists again when it is told 410, and counts that."""

    expired = 0

    def take(self) -> None:
        """Read what has come; after a 410 begin anew."""
        assert self.watcher is not None
        stream = self.watcher.stream
        assert isinstance(stream, FakeStream)
        data = stream.data
        if b'"type":"ERROR"' in data and b'"code":410' in data:
            self.expired += 1
            self.world.watches.leave(self.watcher)
            self.seen.events.clear()
            self.seen.state.clear()
            self._open(StartPlan(initial=True, end_bookmark=True), initial=True)
            self.began_with_state = True
            return
        super().take()


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(6))
async def test_guarantees_through_the_store(world: StoredWorld, seed: int) -> None:
    """All guarantees hold while messages are lost and, with some seeds, namespaces move between shards."""
    chance = random.Random(seed)
    moving = seed % 2 == 1
    clients = [StoredClient(world, random.Random(seed * 100 + number)) for number in range(16)]
    begun: list[StoredClient] = []
    for step in range(120):
        for _ in range(chance.choice((1, 1, 2, 8))):
            write(world, chance)
        await world.commit()
        if clients and chance.random() < 0.3:
            begun.append(clients.pop())
            begun[-1].begin()
        if begun and chance.random() < 0.2:
            client = chance.choice(begun)
            client.take()
            await client.reconnect()
        if step % 30 == 17:
            await world.lose_messages()
        if moving and step % 15 == 7:
            await world.writer.move(chance.choice("abc"), chance.choice(("oil", "gas", "-")))
        await asyncio.sleep(0.001)
    await world.seen()
    history = [Happening(change.rv, change.key, change.old, change.new) for change in world.changes]
    for client in begun:
        await until(lambda client=client: settled_at(client, world), 10)  # type: ignore[misc]
        await client.end()
        client.seen.until = world.rv
        validators.check_all(history, client.seen)
        if client.began_with_state:
            assert client.seen.state == client.selected_at(client.seen.begin, history, {})
    assert moving or not any(client.expired for client in begun)
    assert sum(len(client.seen.events) for client in begun) > 200


def settled_at(client: StoredClient, world: World) -> bool:
    """Whether the client's watch has everything."""
    client.take()
    assert client.watcher is not None
    return client.watcher.standing.value == "synced" and client.watcher.hub.reached(client.watcher) >= world.rv
