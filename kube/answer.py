"""The answer to a forwarded request: its head, and its body as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from kube.upstream_error import UpstreamTimeout

if TYPE_CHECKING:
    from kube.http1 import Connection


class UpstreamAnswer:
    """An answer whose head has come. `headers` are those of the message, in their order, names in lower case."""

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

    async def read(self, deadline: float | None = None) -> bytes:
        """What has come of the body, as upstream sends it; empty at its end. `deadline`: by the loop's time.

        Raises:
            UpstreamBroken: it ends before its end. UpstreamTimeout: nothing came until the deadline.
        """
        if not self._parts and not self._ended and self._error is None:
            try:
                async with asyncio.timeout_at(deadline):
                    await self.more()
            except TimeoutError:
                raise UpstreamTimeout("upstream neither continued nor ended an answer in time") from None
        if self._parts:
            parts, self._parts, self._held = self._parts, [], 0
            if self._connection is not None:
                self._connection.resume()
            return parts[0] if len(parts) == 1 else b"".join(parts)
        if self._error is not None:
            raise self._error
        return b""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes.

        Raises:
            UpstreamBroken: it ends before its end.
        """
        while chunk := await self.read():
            yield chunk

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
