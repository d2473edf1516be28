"""Random histories by two workers that fight for the lease, against a model that a child could check.

The model is one dictionary of objects, and a list of what happened. Whatever the workers do, the store equals the
model; the log from any RV that is not below the floor leads from the model's past to its present; and a worker
without the lease changes nothing.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from store.connection import Store
from store.entry import Entry
from store.errors import Fenced, NotSynced, PositionMismatch
from store.leases import Lease
from store.record import Record
from store.writer import Event, Refresh, Writer
from tests.store.stage import NODES, PODS, Stage, key_of, make

SHARDS = ["-", "oil", "gas"]
NAMESPACES = ["a", "a-b", "b"]
NAMES = ["x", "y", "z"]
_numbers = itertools.count()

worker = st.sampled_from([0, 0, 0, 1])
"""0: the one that holds the lease, 1: the other one."""

name = st.sampled_from(NAMES)
namespace = st.sampled_from(NAMESPACES)
shard = st.sampled_from(SHARDS)
change = st.tuples(st.sampled_from("AMMD"), namespace, name, shard, st.integers(0, 400))
step = st.one_of(
    st.tuples(st.just("apply"), worker, st.lists(change, min_size=1, max_size=6)),
    st.tuples(st.just("advance"), worker, st.integers(0, 3)),
    st.tuples(st.just("move"), worker, st.tuples(namespace, name, shard)),
    st.tuples(st.just("forget"), worker, namespace),
    st.tuples(st.just("refresh"), worker, st.tuples(namespace, name, st.booleans())),
    st.tuples(st.just("trim"), worker, st.integers(0, 3000)),
    st.tuples(st.just("load"), worker, st.integers(1, 500)),
    st.tuples(st.just("takeover"), worker, st.booleans()),
)


@dataclass
class Happened:
    """One entry that the log of the model has."""

    rv: int
    kind: str
    key: str
    record: Record
    prev: Record | None


@dataclass
class Model:
    """What the store should hold."""

    position: int
    objects: dict[str, Record] = field(default_factory=dict)
    history: list[Happened] = field(default_factory=list)
    states: dict[int, dict[str, Record]] = field(default_factory=dict)
    holder: int = 0

    def at(self, position: int) -> None:
        """Remember the state at a position."""
        self.position = position
        self.states[position] = dict(self.objects)

    def apply(self, happening: Event) -> None:
        """Take in one event, as a child would."""
        key = key_of(happening.record)
        prev = self.objects.get(key)
        if happening.kind == "D":
            if prev is not None:
                del self.objects[key]
                self.history.append(Happened(happening.rv, "D", key, happening.record, prev))
        else:
            self.objects[key] = happening.record
            self.history.append(Happened(happening.rv, "M" if prev else "A", key, happening.record, prev))
        self.at(happening.rv)


class Play:
    """Two workers, the store and the model."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.model = Model(stage.writer.position)
        self.model.at(stage.writer.position)
        self.writers = [stage.writer, Writer(stage.store, stage.gvr, 1)]

    async def act(self, what: str, who: int, how: object) -> None:
        """One step. A worker that has not the lease, or missed something, must fail and change nothing."""
        who = (self.model.holder + who) % 2
        if what == "takeover":
            await self._takeover(who, resumes=bool(how))
            return
        writer, model = self.writers[who], self.model
        if who != model.holder:
            before = await self.stage.dump()
            with pytest.raises((Fenced, NotSynced)):
                await getattr(self, f"_{what}")(writer, how, tried=True)
            assert await self.stage.dump() == before
            event("fenced")
        elif what in {"apply", "advance"} and writer.position != model.position:
            before = await self.stage.dump()
            with pytest.raises(PositionMismatch) as refused:
                await getattr(self, f"_{what}")(writer, how, tried=True)
            assert refused.value.position == model.position
            assert await self.stage.dump() == before
            event("did not resume")
            await writer.resume()
        else:
            await getattr(self, f"_{what}")(writer, how)

    async def _takeover(self, who: int, *, resumes: bool) -> None:
        stage = self.stage
        await stage.store.redis.delete(stage.keys.lease)
        fence = await Lease(stage.store, stage.gvr, f"worker-{who}").acquire()
        assert fence is not None
        old = self.writers[who].position
        self.writers[who] = Writer(
            stage.store,
            stage.gvr,
            fence,
            log_budget_bytes=stage.writer._budget,
            log_minimum_bytes=stage.writer._minimum,
        )
        self.writers[who].position = old
        if resumes:
            await self.writers[who].resume()
        self.model.holder = who

    async def _apply(
        self,
        writer: Writer,
        changes: Sequence[tuple[Literal["A", "M", "D"], str, str, str, int]],
        *,
        tried: bool = False,
    ) -> None:
        events = []
        for rv, (kind, ns, called, into, size) in enumerate(changes, writer.position + 1):
            record = make(called, rv, ns if self.stage.namespaced else "", bytes(size))
            events.append(Event(kind, rv, record, into))
        await writer.apply_many(events)
        assert not tried
        for happening in events:
            self.model.apply(happening)

    async def _advance(self, writer: Writer, gap: int, *, tried: bool = False) -> None:
        await writer.advance(writer.position + gap)
        assert not tried
        self.model.at(writer.position)

    async def _move(self, writer: Writer, how: tuple[str, str, str], *, tried: bool = False) -> None:
        ns, called, into = how
        namespaced = self.stage.namespaced
        await writer.move(ns if namespaced else called, into, namespaced=namespaced)
        assert not tried

    async def _forget(self, writer: Writer, ns: str, *, tried: bool = False) -> None:
        gone = await writer.forget(ns)
        assert not tried
        assert not (gone and any(key.startswith(f"{ns}/") for key in self.model.objects))

    async def _refresh(self, writer: Writer, how: tuple[str, str, bool], *, tried: bool = False) -> None:
        ns, called, current = how
        record = make(called, 1, ns if self.stage.namespaced else "")
        held = self.model.objects.get(key_of(record))
        old = held if held is not None and current else record
        new = Record(old.namespace, old.name, old.rv, old.uid, old.labels, old.fields, None, old.meta, 1, b"new")
        replaced = await writer.refresh_many([Refresh(old, new)])
        assert not tried
        assert replaced == int(old == held)
        if replaced:
            self.model.objects[key_of(new)] = new

    async def _trim(self, writer: Writer, budget: int, *, tried: bool = False) -> None:
        assert await writer.trim(budget) <= budget
        assert not tried

    async def _load(self, writer: Writer, back: int, *, tried: bool = False) -> None:
        """A new incarnation, which may begin at an older RV; one object that was not there before comes along."""
        position = max(1, self.model.position - 250 + back)
        extra = make("loaded", position, "a" if self.stage.namespaced else "")
        await writer.load_begin()
        assert not tried
        self.model = Model(position, {**self.model.objects, key_of(extra): extra}, holder=self.model.holder)
        await writer.load((record, SHARDS[len(key) % 3]) for key, record in self.model.objects.items())
        await writer.load_commit(position)
        self.model.at(position)

    async def check(self) -> None:
        """Compare everything."""
        await self._check_objects()
        await self._check_logs()

    async def _check_objects(self) -> None:
        stage, model = self.stage, self.model
        places = await stage.reader.places(stage.gvr)
        assert places.position == model.position
        found: dict[str, Record] = {}
        for into in SHARDS:
            held = await stage.objects(into)
            assert not set(held) & set(found)
            assert await stage.index(into) == sorted(held)
            for record in held.values():
                place = record.namespace or record.name
                assert places.places.get(place, (0, "-"))[1] == into
            found |= held
        assert found == model.objects
        for record in model.objects.values():
            assert await stage.reader.get(stage.gvr, record.namespace, record.name) == (record, model.position)

    async def _check_logs(self) -> None:
        stage, model = self.stage, self.model
        page = await stage.reader.log(stage.gvr, None, 0, limit=10_000)
        floors = await stage.reader.floors(stage.gvr)
        happened = {item.rv: item for item in model.history}
        for entry in page.entries:
            item = happened[entry.rv]
            assert (entry.type, key_of(entry.record), entry.record) == (item.kind, item.key, item.record)
            assert (entry.prev is None) == (item.prev is None)
            if entry.prev is not None and item.prev is not None:
                assert entry.prev.rv == item.prev.rv
        logged = {entry.rv for entry in page.entries}
        assert {rv for rv in happened if rv > page.floor} <= logged
        sizes: Any = await stage.store.redis.zrange(stage.keys.logsizes, 0, -1, withscores=True)
        assert (await stage.reader.meta(stage.gvr)).log_bytes == sum(int(size) for _, size in sizes)
        for rv, past in model.states.items():
            if rv >= page.floor:
                assert _versions(_replayed(past, page.entries, rv)) == _versions(model.objects)
        await self._check_places(floors)

    async def _check_places(self, floors: dict[str, int]) -> None:
        """From any RV that a place and its shard's floor allow, that one log tells all about the place."""
        stage, model = self.stage, self.model
        places = await stage.reader.places(stage.gvr)
        for place, (since, into) in places.places.items():
            page = await stage.reader.log(stage.gvr, [into], 0, limit=10_000)
            start = max(since, floors.get(into, page.floor), page.floor)
            for rv, past in model.states.items():
                if rv >= start:
                    of_place = {key: value for key, value in past.items() if key.split("/")[0] == place}
                    entries = [e for e in page.entries if (e.record.namespace or e.record.name) == place]
                    now = {key: value for key, value in model.objects.items() if key.split("/")[0] == place}
                    assert _versions(_replayed(of_place, entries, rv)) == _versions(now)


def _replayed(past: dict[str, Record], entries: Sequence[Entry], rv: int) -> dict[str, Record]:
    objects = dict(past)
    for entry in entries:
        if entry.rv > rv:
            record = entry.record
            if entry.type == "D":
                objects.pop(key_of(record), None)
            else:
                objects[key_of(record)] = record
    return objects


def _versions(objects: dict[str, Record]) -> dict[str, int]:
    """Objects without what a refresh changes."""
    return {key: record.rv for key, record in objects.items()}


@pytest.mark.parametrize("gvr", [PODS, NODES], ids=str)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(step, min_size=8, max_size=40),
    budget=st.sampled_from([3_000, 100_000]),
    minimum=st.sampled_from([0, 800]),
)
def test_two_workers_and_the_model_agree(
    redis_url: str, gvr: object, steps: list[tuple[str, int, object]], budget: int, minimum: int
) -> None:
    """Store = model, after any number of events, moves, trims, loads and takeovers."""

    async def scenario() -> None:
        async with Store(redis_url, f"property{next(_numbers)}") as store:
            stage = await Stage.set(store, namespaced=gvr == PODS, log_budget_bytes=budget, log_minimum_bytes=minimum)
            play = Play(stage)
            for what, who, how in steps:
                if gvr == NODES and what == "forget":
                    continue
                await play.act(what, who, how)
            await play.check()

    asyncio.run(scenario())
