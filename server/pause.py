"""Long work on the event loop, in steps that others do not notice."""

from __future__ import annotations

import asyncio
import time

STEP_SECONDS = 0.001
"""How long one piece of work keeps the loop, give or take its last step: 5 ms is the promise."""

TURNS = 3
"""Turns of the loop between two steps. A list from the cache takes three (its request comes, it asks the store for the
position, it is told), so it waits for one step of each long work under way, and not for three."""


class Pause:
    """Call it between steps: it lets others run once the time of a step is used up."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = time.perf_counter() + STEP_SECONDS

    @property
    def due(self) -> bool:
        """Whether the step has lasted long enough; saves the call of a coroutine in tight loops."""
        return time.perf_counter() >= self._until

    async def __call__(self) -> None:
        """Let others run, if the step has lasted long enough."""
        if self.due:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            self._until = time.perf_counter() + STEP_SECONDS
