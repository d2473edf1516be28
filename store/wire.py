"""A connection to Redis whose replies are handed over as they come, without a task or a stream in between.

redis-py opens it: addresses, TLS, logins and names are its business. From then on the bytes come here. Its own way of
asking (a pool's turn, a timeout around each step, a task for each send) takes longer than Redis does: measured, 125 µs
of CPU for a small question and 220 µs for a script, and by a wire 16 and 30 µs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self, cast

import hiredis
from redis import exceptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import redis.asyncio as aioredis
    from redis.asyncio.connection import AbstractConnection

Command = tuple[str | bytes | int | float, ...]

_NOTHING_YET = object()


class Wire(asyncio.Protocol):
    """One open connection. `replied` is called with each reply (errors too) in order, and must not block.

    What it raises ends the connection. `lost` is done once it has ended, with the reason as its exception.
    """

    def __init__(
        self, connection: AbstractConnection, transport: asyncio.Transport, replied: Callable[[Any], None]
    ) -> None:
        """Use `Wire.open`."""
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._transport = transport
        self._replied = replied
        self._reader = hiredis.Reader(
            protocolError=exceptions.InvalidResponse,
            replyError=connection._parser.parse_error,  # noqa: SLF001 - the names of errors are the library's
            notEnoughData=_NOTHING_YET,
        )

    @classmethod
    async def open(cls, pool: aioredis.ConnectionPool, replied: Callable[[Any], None]) -> Self:
        """A new connection, made as those of the pool are; it is not among them.

        Raises:
            RedisError, OSError: there is none.
        """
        connection = cast("AbstractConnection", pool.make_connection())  # type: ignore[no-untyped-call]
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            # All that was asked so far is answered, so nothing is left in the stream that was before.
            writer = connection._writer  # noqa: SLF001 - the one way to its transport
            assert writer is not None, "it has just connected"
            transport = cast("asyncio.Transport", writer.transport)
            wire = cls(connection, transport, replied)
            transport.set_protocol(wire)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return wire

    def send(self, packed: bytes) -> None:
        """Send commands; nothing happens on a connection that has ended."""
        if not self._transport.is_closing():
            self._transport.write(packed)

    def fail(self, reason: Exception) -> None:
        """End it at once, for this reason."""
        if not self.lost.done():
            self.lost.set_exception(reason)
            self.lost.exception()  # seen: whoever is interested asks
        self._transport.abort()

    async def close(self) -> None:
        """End it."""
        self.fail(exceptions.ConnectionError("the connection was closed"))
        await self._connection.disconnect(nowait=True)

    def data_received(self, data: bytes) -> None:
        """Hand over the replies that are whole now."""
        if self.lost.done():
            return
        reader = self._reader
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _NOTHING_YET:
                self._replied(reply)
        except Exception as error:  # noqa: BLE001 - it is told to all who wait
            self.fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Redis, or the way to it, has gone."""
        self.fail(exceptions.ConnectionError(f"the connection ended: {exc or 'closed by the server'}"))


def pack(commands: Iterable[Command]) -> bytes:
    r"""Commands as Redis reads them; a path's bytes that are no UTF-8 are what they were.

    >>> pack([("GET", "a\udcff"), ("PING",)])
    b'*2\r\n$3\r\nGET\r\n$2\r\na\xff\r\n*1\r\n$4\r\nPING\r\n'
    """
    words = (tuple(map(_word, command)) for command in commands)
    return b"".join(map(hiredis.pack_command, words))  # type: ignore[arg-type]  # its stub knows of one word alone


def _word(word: str | bytes | float) -> str | bytes | float:
    return word.encode("utf-8", "surrogateescape") if isinstance(word, str) else word
