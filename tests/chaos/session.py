"""A time of writing and trouble: clients that begin anywhere, and a judge who is asked after each trouble."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.clients import KeptWatch, Place, Twin
from tests.chaos.judgement import History, Judge
from tests.chaos.wishes import RESOURCES, Wish
from tests.chaos.writing import Writers

CATCH_UP_SECONDS = 90.0
"""For everything to be told after a trouble, on a loaded machine: leases end, Redis is filled, clients back off."""

FIRST_WRITES, LEAST_WRITES = 30, 250
QUIET_SECONDS = 1.0


@dataclass
class Session:
    """Writers and clients at work."""

    upstream: Place
    larder: Place
    chance: random.Random
    judge: Judge
    writers: Writers
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, work: Any) -> None:
        """Run something until the end of the session."""
        self.tasks.append(asyncio.create_task(work))

    def join(self, count: int) -> None:
        """So many clients, each beside a twin at upstream: from a list, or from anywhere in the history."""
        for _ in range(count):
            wish = Wish.random(self.chance)
            versions = self.writers.latest[wish.resource][-100:]
            begin = self.chance.choice(versions[-20:]) if self.chance.random() < 0.5 else 0
            client = KeptWatch(self.larder, wish, random.Random(self.chance.random()), begin)
            # The list of one that lists may be a moment older than what upstream has, never older than this.
            twin = Twin(self.upstream, wish, begin or versions[0])
            self.judge.pairs.append((client, twin))
            self.start(twin.run())
            self.start(client.run())

    async def through(self, trouble: Callable[[], None], seconds: float) -> int:
        """Let something happen, write on, and wait until all have been told; how often clients had to list again.

        Relists of mallory do not count: whose rights cover a part alone lists again when these may have changed.
        """
        before = self._relists()
        await asyncio.to_thread(trouble)
        await self._while_healthy(asyncio.sleep(seconds))
        goals = {resource: versions[-1] for resource, versions in self.writers.latest.items()}
        await self._while_healthy(self._caught_up(goals))
        return self._relists() - before

    async def end(self) -> None:
        """Writers stop once they have written enough; the clients are told the rest."""
        while self.writers.writes < LEAST_WRITES:
            await self._while_healthy(asyncio.sleep(0.1))
        writing = self.tasks.pop(0)
        writing.cancel()
        await asyncio.wait({writing})
        goals: dict[str, int] = {}
        while goals != (goals := self.judge.newest()):  # upstream's own watches are a moment behind its answers
            await self._while_healthy(asyncio.sleep(QUIET_SECONDS))
        await self._while_healthy(self._caught_up(goals))
        await asyncio.sleep(QUIET_SECONDS)  # for what should not come any more
        self.judge.check()

    def _relists(self) -> int:
        return sum(client.relists for client, _ in self.judge.pairs if client.wish.user == "admin")

    async def _caught_up(self, goals: dict[str, int]) -> None:
        until = asyncio.get_running_loop().time() + CATCH_UP_SECONDS
        while True:
            behind = self.judge.behind(goals)
            if not behind:
                return
            if asyncio.get_running_loop().time() > until:
                self.judge.check()  # says which guarantee it is
                raise AssertionError(f"{len(behind)} clients are behind, such as {behind[0].wish}")
            await asyncio.sleep(0.2)

    async def _while_healthy(self, work: Any) -> None:
        """Wait for something; a client or writer that fails meanwhile fails the test."""
        waited = asyncio.ensure_future(work)
        await asyncio.wait({waited, *self.tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in self.tasks:
            if task.done():
                waited.cancel()
                task.result()
        await waited


@asynccontextmanager
async def session(upstream: Place, larder: Place, *, seed: int, exact: bool) -> AsyncIterator[Session]:
    """Histories are recorded, and a writer is at work."""
    chance = random.Random(seed)
    histories = [await History.begin(upstream, resource) for resource in RESOURCES]
    writers = Writers(upstream, chance)
    found = Session(upstream, larder, chance, Judge(histories, exact=exact), writers)
    try:
        found.start(writers.run())
        for history in histories:
            found.start(history.twin.run())
        async with asyncio.timeout(CATCH_UP_SECONDS):
            while writers.writes < FIRST_WRITES or not all(writers.latest.values()):
                await asyncio.sleep(0.05)
        yield found
    finally:
        for task in found.tasks:
            task.cancel()
        await asyncio.gather(*found.tasks, return_exceptions=True)
