"""Whatever happens to upstream, the store and the worker: in the end the store is what upstream has."""

from __future__ import annotations

import asyncio
import random

import pytest
import redis.asyncio as redis

from store.errors import StoreUnavailable
from tests.informers.eventually import until
from tests.informers.stage import Running, Stage
from tests.informers.upstream import CONFIG_MAPS, Fault, Upstream

STEPS = 120


class Trouble:
    """Random writes and misfortunes."""

    def __init__(self, stage: Stage, upstream: Upstream, seed: int) -> None:
        self.stage = stage
        self.upstream = upstream
        self.random = random.Random(seed)
        self.workers = 0
        self.saved = (upstream.rv, dict(upstream.objects[CONFIG_MAPS]))

    async def step(self) -> None:
        if self.random.random() < 0.8:
            self.write()
        else:
            await self.random.choice(
                (self.drop, self.cut, self.refuse, self.compact, self.skip, self.bookmark, self.take_over, self.outage,
                 self.expire_together, self.restore, self.cut_store)
            )()  # fmt: skip
        if self.random.random() < 0.3:
            await asyncio.sleep(self.random.choice((0.0, 0.001, 0.02)))

    def write(self) -> None:
        objects = self.upstream.objects[CONFIG_MAPS]
        name = f"c{self.random.randrange(12)}"
        key = ("free", name)
        if key in objects and self.random.random() < 0.4:
            self.upstream.delete(CONFIG_MAPS, *key)
        else:
            self.upstream.put(CONFIG_MAPS, *key, data={"n": str(self.random.randrange(9))})

    async def drop(self) -> None:
        self.upstream.drop_watches(CONFIG_MAPS)

    async def cut(self) -> None:
        self.upstream.cut_event(CONFIG_MAPS)

    async def refuse(self) -> None:
        verb = self.random.choice(("watch", "list"))
        kind, status = self.random.choice((("status", 503), ("status", 429), ("reset", 0), ("status", 410)))
        self.upstream.misbehave(verb, str(CONFIG_MAPS), Fault(kind, self.random.randrange(1, 3), status))

    async def compact(self) -> None:
        self.upstream.compact()
        self.upstream.drop_watches(CONFIG_MAPS)

    async def skip(self) -> None:
        self.upstream.rv += self.random.randrange(20)

    async def bookmark(self) -> None:
        self.upstream.bookmark(CONFIG_MAPS)

    async def take_over(self) -> None:
        running = self.stage.running.pop()
        await running.stop(release=False)
        await until(lambda: _released(running))
        self.workers += 1
        await self.stage.start(CONFIG_MAPS, name=f"w{self.workers}")

    async def outage(self) -> None:
        await self.upstream.stop()
        await asyncio.sleep(self.random.choice((0.0, 0.03)))
        await self.upstream.start()

    async def expire_together(self) -> None:
        objects = list(self.upstream.objects[CONFIG_MAPS])
        chosen = self.random.sample(objects, min(4, len(objects)))
        rv = self.upstream.rv + 1
        for key in chosen:
            self.upstream.delete(CONFIG_MAPS, *key, rv=rv)

    async def cut_store(self) -> None:
        """Every connection to Redis breaks: nobody knows which writes have happened."""
        async with redis.from_url(self.stage.store.url) as admin:
            await admin.client_kill_filter(_type="normal", skipme=True)

    async def restore(self) -> None:
        if self.random.random() < 0.7:
            self.saved = (self.upstream.rv, dict(self.upstream.objects[CONFIG_MAPS]))
            return
        rv, objects = self.saved
        await self.upstream.stop()
        self.upstream.restore(rv, {CONFIG_MAPS: objects})
        await self.upstream.start()
        # Found by versions alone: nobody can see it once upstream has used the same ones again.
        await until(self._noticed)

    async def _noticed(self) -> bool:
        return (await self.stage.meta(CONFIG_MAPS)).position <= self.upstream.rv


async def _released(running: Running) -> bool:
    try:
        await running.lease.release()
    except StoreUnavailable:
        return False
    return True


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(12))
async def test_the_store_converges(stage: Stage, upstream: Upstream, seed: int) -> None:
    """After any sequence of writes and faults: equal objects, and a log that tells how they came about."""
    trouble = Trouble(stage, upstream, seed)
    await stage.start(CONFIG_MAPS)
    for _ in range(STEPS):
        await trouble.step()
    trouble.upstream.faults.clear()
    trouble.upstream.rv += 20
    trouble.write()
    await until(lambda: stage.matches_upstream(CONFIG_MAPS))
    meta = await stage.meta(CONFIG_MAPS)
    assert meta.state == "synced"
    await _is_a_history(stage)


async def _is_a_history(stage: Stage) -> None:
    """Versions grow, each event follows from what was before, and the last state is what is stored."""
    events = await stage.events(CONFIG_MAPS)
    assert [event.rv for event in events] == sorted({event.rv for event in events})
    state: dict[str, int] = {}
    for event in events:
        known = state.get(event.record.name)
        if event.prev is not None and known is not None:
            assert event.prev.rv == known
        if event.type == "A":
            assert known is None
        if event.type == "D":
            state.pop(event.record.name, None)
        else:
            state[event.record.name] = event.record.rv
    stored = {record.name: record.rv for record in (await stage.objects(CONFIG_MAPS)).values()}
    assert state.items() <= stored.items()
