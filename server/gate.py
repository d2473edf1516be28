"""A flag that can be waited for, for things of which there are tens of thousands.

asyncio's own Event makes room for sixty waiters when it is made: 0.8 KB, and a connection with a watch had four.
"""

from __future__ import annotations

import asyncio


class Gate:
    """What `asyncio.Event` is, in 50 bytes while nobody waits."""

    __slots__ = ("_open", "_waiting")

    def __init__(self, *, is_open: bool = False) -> None:
        self._open = is_open
        self._waiting: tuple[asyncio.Future[bool], ...] = ()

    def is_set(self) -> bool:
        """Whether it is open."""
        return self._open

    def set(self) -> None:
        """Open it; all who wait go on."""
        self._open = True
        waiting, self._waiting = self._waiting, ()
        for future in waiting:
            if not future.done():
                future.set_result(True)

    def clear(self) -> None:
        """Close it."""
        self._open = False

    def wait(self) -> asyncio.Future[bool]:
        """To be awaited: done once it is opened, at once if it is open. Who gave up waiting is forgotten here."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._open:
            future.set_result(True)
        else:
            self._waiting = (*(other for other in self._waiting if not other.done()), future)
        return future
