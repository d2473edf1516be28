"""A connection of its own for what is asked or written thousands of times a second.

Nobody waits for another's reply: commands go out as they come, and replies are given out in their order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from redis import exceptions

from store.redis_errors import translate, translated
from store.wire import Wire, pack

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis.asyncio as aioredis

    from store.wire import Command


class _Question:
    """Commands that went out together, and the replies that have come so far."""

    __slots__ = ("answer", "asked_at", "count", "replies")

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self.count = count
        self.replies: list[Any] = []
        self.answer: asyncio.Future[list[Any]] = loop.create_future()
        self.asked_at = loop.time()


class Line:
    """A connection that is made when it is first needed, and anew when it broke.

    Whoever gives up waiting leaves nothing behind but a reply that is thrown away. There are never more questions
    open than there are callers.
    """

    def __init__(self, pool: aioredis.ConnectionPool, *, seconds: float, repeats: bool) -> None:
        """`pool` says how connections are made; this one is not among its own.

        `seconds` is the time for a reply. `repeats`: what a broken connection left open is sent once more, for reads.
        """
        self._pool = pool
        self._seconds = seconds
        self._tries = 2 if repeats else 1
        self._wire: Wire | None = None
        self._opening = asyncio.Lock()
        self._open: deque[_Question] = deque()
        self._watch: asyncio.TimerHandle | None = None

    async def ask(self, *command: str | bytes | int) -> Any:
        """The reply.

        Raises:
            StoreError: as `store.redis_errors.translate` names it.
        """
        (reply,) = await self.ask_all((command,))
        if isinstance(reply, Exception):
            raise translate(reply) from reply
        return reply

    async def ask_all(self, commands: Sequence[Command]) -> list[Any]:
        """The replies, or redis-py's errors in their place, of commands that go out together.

        Raises:
            StoreError: the connection broke. What does not repeat leaves open how many were carried out.
        """
        packed = pack(commands)
        for left in reversed(range(self._tries)):
            try:
                wire = self._wire
                if wire is None or wire.lost.done():
                    wire = await self._connect()
                # From here to the reply nothing is awaited: questions are noted in the order that they go out.
                return await self._put(wire, packed, len(commands))
            except exceptions.ConnectionError as error:
                if not left:
                    raise translate(error) from error
            except exceptions.RedisError as error:
                raise translate(error) from error
        raise AssertionError("the last try returns or raises")

    def _put(self, wire: Wire, packed: bytes, count: int) -> asyncio.Future[list[Any]]:
        loop = asyncio.get_running_loop()
        question = _Question(count, loop)
        self._open.append(question)
        wire.send(packed)
        if self._watch is None:
            self._watch = loop.call_later(self._seconds, self._look)
        return question.answer

    def _replied(self, reply: Any) -> None:
        question = self._open[0]
        question.replies.append(reply)
        if len(question.replies) == question.count:
            self._open.popleft()
            if not question.answer.done():
                question.answer.set_result(question.replies)

    def _look(self) -> None:
        """Whether the oldest question has waited too long. One timer for all, since a reply takes far less time."""
        self._watch = None
        if not self._open or self._wire is None:
            return
        loop = asyncio.get_running_loop()
        due = self._open[0].asked_at + self._seconds
        if due <= loop.time():
            self._wire.fail(exceptions.TimeoutError(f"no answer within {self._seconds:g} s"))
        else:
            self._watch = loop.call_at(due, self._look)

    async def _connect(self) -> Wire:
        async with self._opening:
            wire = self._wire
            if wire is None or wire.lost.done():
                if wire is not None:
                    self._wire = None
                    await wire.close()
                with translated():
                    wire = self._wire = await Wire.open(self._pool, self._replied)
                wire.lost.add_done_callback(self._ended)
            return wire

    def _ended(self, lost: asyncio.Future[None]) -> None:
        """Tell all who wait: nobody has asked on a next connection yet, since making one takes longer than this."""
        error = lost.exception()
        waiting, self._open = self._open, deque()
        for question in waiting:
            if not question.answer.done():
                question.answer.set_exception(error or exceptions.ConnectionError("the connection ended"))

    async def close(self) -> None:
        """Close the connection."""
        wire, self._wire = self._wire, None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if wire is not None:
            await wire.close()
