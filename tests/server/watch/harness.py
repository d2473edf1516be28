"""A view without a store, streams without a network: what the tests of watches are made of.

`History` plays upstream: it changes objects one after the other and remembers every state, so that a test can say
what any watcher must have seen. `Log` stands in for the store's log.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Self

from kube.resources import GVR
from kube.selectors import FieldSelector, LabelSelector
from kube.version import ServerVersion
from server.history import Change, Key
from server.hub import Hub, Watches
from server.objects import OBJECT, ItemForm
from server.rendering import Kept
from server.scope import ALL, Scope
from server.space import Space
from server.view import Gone, ResourceView, Unusable
from server.watch_index import Selection
from server.watch_start import StartPlan
from server.watch_stream import Framing, Stalled
from server.watcher import Lifetime, Watcher
from store.entry import Entry
from store.meta import Meta, TableInfo
from store.record import Record, pack
from tables.row import Row

PODS = GVR("", "v1", "pods")
LATEST = ServerVersion(1, 36)
KEPT = Kept(1 << 20)
COLUMNS = b'[{"name":"Name","type":"string","format":"name","description":"","priority":0}]'


def meta_of(gvr: GVR = PODS, **changes: Any) -> Meta:
    """The meta of a synced resource."""
    values: dict[str, Any] = {
        "gvr": gvr, "kind": "Pod", "list_kind": "PodList", "namespaced": True, "verbs": ("list", "watch"),
        "version": "v1.36.2", "state": "synced", "position": 100, "since": 1, "incarnation": "1",
        "table": TableInfo(columns=COLUMNS, served=True, zero_row=Row((b'{"cells":[""]',))),
    }  # fmt: skip
    return Meta(**{**values, **changes})


def pod(name: str, rv: int, namespace: str = "a", *, node: str = "", data: str = "", **labels: str) -> Record:
    """A pod-like record."""
    metadata = {"name": name, "namespace": namespace, "resourceVersion": str(rv), "labels": labels}
    body = json.dumps({"metadata": metadata, "spec": {"nodeName": node, "data": data}}, separators=(",", ":")).encode()
    start = len(b'{"metadata":')
    end = body.index(b',"spec"')
    row = Row((b'{"cells":["%b"]' % name.encode(),))
    fields = {"spec.nodeName": node}
    return Record(namespace, name, rv, f"uid-{name}", labels, fields, row, (start, end), len(body), pack(body))


@dataclass
class Log:
    """The view's source: a log that can be trimmed (`floor`) or unreadable, and bodies that were let go."""

    position: int = 100
    floor: int = 0
    unreadable: bool = False
    entries: list[Change] = field(default_factory=list)
    packed: dict[tuple[Key, int], bytes] = field(default_factory=dict)

    async def hydrate(self, shard: str | None) -> None:
        raise AssertionError(f"{shard} is held from the start")

    async def store_position(self) -> int:
        await asyncio.sleep(0)
        return self.position

    async def places(self) -> None:
        """All places are known from the start."""

    async def changes(self, shards: Collection[str], after: int, upto: int) -> list[Change]:
        await asyncio.sleep(0)
        if self.unreadable:
            raise Unusable("the store is away")
        if after < self.floor:
            raise Gone(after, self.floor)
        return [change for change in self.entries if after < change.rv <= upto and change.shard in shards]

    async def look_up(self, namespace: str, name: str) -> tuple[Record | None, int]:
        raise AssertionError(f"{namespace}/{name} is read from the view")

    async def bodies(self, records: Collection[Record]) -> dict[Key, bytes]:
        await asyncio.sleep(0)
        found = {}
        for record in records:
            key = (record.namespace, record.name)
            if (key, record.rv) in self.packed:
                found[key] = self.packed[key, record.rv]
        return found


class World:
    """A view of pods in the namespaces a, b and c, and what happens to them."""

    def __init__(self, records: Collection[Record] = (), *, meta: Meta | None = None, clock: float = 1000.0) -> None:
        self.meta = meta or meta_of()
        self.rv = self.meta.position
        self.log = Log(self.rv)
        self.view = ResourceView(self.meta.gvr, self.meta, clock=lambda: clock)
        self.view.source = self.log
        self.view.places = dict.fromkeys(("a", "b", "c"), (0, "-"))
        self.view.holds_all = True
        spaces: dict[str, list[Record]] = {}
        for record in sorted(records, key=lambda record: (record.namespace, record.name)):
            spaces.setdefault(record.namespace, []).append(record)
        self.view.adopt(("-",), {name: Space(name, held) for name, held in spaces.items()})
        self.objects: dict[Key, Record] = {(record.namespace, record.name): record for record in records}
        self.changes: list[Change] = []
        self.watches = Watches()

    def put(self, record: Record) -> Change:
        """Add or change an object; the record's RV is the next position."""
        key = (record.namespace, record.name)
        old = self.objects.get(key)
        self.objects[key] = record
        return self._happen(Change(record.rv, 0, "M" if old else "A", "-", record, old))

    def change(self, name: str, namespace: str = "a", **what: Any) -> Change:
        """Add or change an object at the next RV."""
        return self.put(pod(name, self.rv + 1, namespace, **what))

    def delete(self, name: str, namespace: str = "a") -> Change:
        """Delete an object at the next RV."""
        from server.watch_events import at_resource_version

        old = self.objects.pop((namespace, name))
        final = at_resource_version(old, self.rv + 1)
        return self._happen(Change(final.rv, 0, "D", "-", final, old))

    def _happen(self, change: Change) -> Change:
        before, self.rv = self.rv, change.rv
        self.changes.append(change)
        self.log.entries.append(change)
        self.log.position = change.rv
        self.view.apply(Entry(change.rv, before, 0, change.type, change.record, None, "-"), "-")
        return change

    def advance(self, rv: int) -> None:
        """Let the position move without an event."""
        self.rv = self.log.position = rv
        self.view.advance(rv)

    def watcher(
        self,
        *,
        labels: str = "",
        fields: str = "",
        namespace: str = "",
        scope: Scope = ALL,
        form: ItemForm | None = OBJECT,
        stream: FakeStream | None = None,
        seconds: float = 3600.0,
        bookmarks: bool = True,
    ) -> Watcher:
        """A watcher that has entered its hub."""
        selection = Selection(scope, namespace, LabelSelector.parse(labels, LATEST), FieldSelector.parse(fields))
        lifetime = Lifetime(asyncio.get_running_loop().time() + seconds, bookmarks)
        taken = stream or FakeStream()

        def make(hub: Hub) -> Watcher:
            return Watcher(hub, selection, form, taken, lifetime)

        return self.watches.enter(self.view, KEPT, make)


class FakeStream:
    """Collects what is written. `taking = False`: the client takes nothing, so all stays in the buffer."""

    def __init__(self, framing: Framing = Framing.PLAIN) -> None:
        self.framing = framing
        self.data = bytearray()
        self.writes = 0
        self.held = 0
        self.taking = True
        self.stalled = False
        self._resumed = asyncio.Event()

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.data += data
        if not self.taking:
            self.held += len(data)

    @property
    def crowded(self) -> bool:
        return not self.taking

    def buffered(self) -> int:
        return self.held

    async def drained(self) -> None:
        while not self.taking:
            if self.stalled:
                raise Stalled
            self._resumed.clear()
            await self._resumed.wait()
        await asyncio.sleep(0)

    def resume(self) -> None:
        """The client takes all that there is, and goes on taking."""
        self.taking, self.held = True, 0
        self._resumed.set()

    def give_up(self) -> None:
        """The wait for the client ends."""
        self.stalled = True
        self._resumed.set()

    async def finish(self) -> None:
        """Nothing to do."""

    def abort(self) -> None:
        """Nothing to do."""

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events, parsed."""
        return [json.loads(line) for line in bytes(self.data).splitlines()]

    @property
    def told(self) -> list[tuple[str, str, int]]:
        """Type, name and RV of every event about an object."""
        return [
            (event["type"], event["object"]["metadata"]["name"], int(event["object"]["metadata"]["resourceVersion"]))
            for event in self.events
            if event["type"] in ("ADDED", "MODIFIED", "DELETED")
        ]


class Running:
    """Watchers that run as tasks; leaves with all of them ended."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tasks: list[tuple[Watcher, asyncio.Task[None]]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for watcher, task in self.tasks:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.world.watches.leave(watcher)

    async def start(self, plan: StartPlan, **options: Any) -> FakeStream:
        """A new watcher, and its stream once it has caught up or cannot go on."""
        watcher = self.world.watcher(**options)
        self.tasks.append((watcher, asyncio.create_task(watcher.run(plan))))
        await settled()
        stream = watcher.stream
        assert isinstance(stream, FakeStream)
        return stream

    @property
    def last(self) -> asyncio.Task[None]:
        """The task of the watcher started last."""
        return self.tasks[-1][1]


async def settled(rounds: int = 30) -> None:
    """Let everything that is ready to run do so."""
    for _ in range(rounds):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for something that takes real time, such as a second process or a timer."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
