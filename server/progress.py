"""How far a view is, and who waits for it to get further."""

from __future__ import annotations

import asyncio
import heapq
import itertools

from kube import status

REACH_SECONDS = 3.0
"""How long a read waits for a position; upstream's own limit."""


class Progress:
    """A position that only grows, while the resource does not begin anew."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    async def reach(self, rv: int, seconds: float = REACH_SECONDS) -> None:
        """Wait until the view has the position `rv`.

        Raises:
            TooLargeResourceVersion: it has not, after `seconds`.
        """
        if self.position >= rv:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (rv, next(self._numbers), future)
        heapq.heappush(self._waiters, waiter)
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            raise status.too_large_rv(rv, self.position) from None
        finally:
            if not future.done() or future.cancelled():
                self._waiters = [other for other in self._waiters if other is not waiter]
                heapq.heapify(self._waiters)

    def advance(self, position: int) -> None:
        """Move the position on; who waits for it goes on."""
        self.position = max(self.position, position)
        while self._waiters and self._waiters[0][0] <= self.position:
            _, _, future = heapq.heappop(self._waiters)
            if not future.done():
                future.set_result(None)
