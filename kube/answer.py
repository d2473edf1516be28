"""The answer to a forwarded request: its head, and its body as it comes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kube.http1 import Connection


class Incoming(ABC):
    """An answer whose head has come. `headers` are those of the message, in their order, names in lower case."""

    __slots__ = ()

    status: int
    headers: list[tuple[str, str]]

    @property
    @abstractmethod
    def complete(self) -> bool:
        """Whether the whole body has come: reading it waits for nothing."""

    @abstractmethod
    async def read(self) -> bytes:
        """What has come of the body, compressed as upstream sends it; empty at its end.

        Raises:
            UpstreamBroken: it ends before its end.
        """

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes.

        Raises:
            UpstreamBroken: it ends before its end.
        """
        while chunk := await self.read():
            yield chunk

    @abstractmethod
    def close(self) -> None:
        """Nobody reads on: the connection is free again, or closed if the answer was not read to its end."""


class UpstreamAnswer(Incoming):
    """That of a connection of our own."""

    __slots__ = ("_connection", "_ended", "_error", "_held", "_parts", "_waiter", "date", "headers", "status")

    def __init__(self, connection: Connection) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.date: str | None = None
        self._connection: Connection | None = connection
        self._parts: list[bytes] = []
        self._held = 0
        self._ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def complete(self) -> bool:
        """Whether the whole body has come: reading it waits for nothing."""
        return self._ended

    async def read(self) -> bytes:
        """See `Incoming`."""
        if not self._parts and not self._ended and self._error is None:
            await self.more()
        if self._parts:
            parts, self._parts, self._held = self._parts, [], 0
            if self._connection is not None:
                self._connection.resume()
            return parts[0] if len(parts) == 1 else b"".join(parts)
        if self._error is not None:
            raise self._error
        return b""

    def close(self) -> None:
        """Nobody reads on: the connection is free again, or closed if the answer has not come whole."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave()

    # The connection's side

    async def more(self) -> None:
        """Wait until something has come, or nothing will."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def begun(self) -> None:
        """The head is there. Raises what kept it from coming."""
        if self._error is not None and not self.status:
            raise self._error

    def add(self, part: bytes) -> int:
        """More of the body; returns how much of it waits to be read."""
        self._parts.append(part)
        self._held += len(part)
        self._wake()
        return self._held

    def end(self) -> None:
        """That was the whole body."""
        self._ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """No more of it will come."""
        if not self._ended and self._error is None:
            self._error = error
            self._wake()

    def head(self, code: int, headers: list[tuple[str, str]], date: str | None) -> None:
        """The head has come."""
        self.status, self.headers, self.date = code, headers, date
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
