"""An answer without end, written straight to the client's connection.

A watch's events are framed once and shared by all its watchers, so they are written with `transport.write`
(half the cost of a streamed response's `send`). That goes past the server's own backpressure, therefore each
stream knows how much its client has not taken yet (`buffered`), and waits for it (`drained`) with a limit.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Protocol, cast

from sanic.compat import Header
from sanic.http import Http
from sanic.http.constants import Stage
from sanic.response import BaseHTTPResponse, HTTPResponse

from server.connection import lend, take_back
from server.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sanic.request import Request

STALL_SECONDS = 30.0
"""How long a client may take nothing of what is written before it is given up.
Long enough for a laptop that changes networks, short enough that dead peers do not pile up memory."""

FINISH_SECONDS = 5.0
"""How long the end of a stream waits for the client to take the rest."""

_NO_HEADERS = Header()
"""Stands for headers that nobody needs any more."""


class Stalled(Exception):
    """The client took nothing for too long."""


class Framing(Enum):
    """How one event stands on the wire; events are shared by the watchers that have the same."""

    CHUNKED = "chunked"
    PLAIN = "plain"
    WEBSOCKET = "websocket"


def frame(framing: Framing, line: bytes) -> bytes:
    r"""One event as it is written to the connection.

    >>> frame(Framing.CHUNKED, b"{}\n"), frame(Framing.WEBSOCKET, b"{}\n")
    (b'3\r\n{}\n\r\n', b'\x81\x03{}\n')
    """
    if framing is Framing.CHUNKED:
        return b"%x\r\n%b\r\n" % (len(line), line)
    if framing is Framing.WEBSOCKET:
        return text_frame_header(len(line)) + line
    return line


def text_frame_header(size: int) -> bytes:
    """The head of an unmasked, unfragmented WebSocket text frame of `size` bytes."""
    if size < 126:
        return bytes((0x81, size))
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2)
    return b"\x81\x7f" + size.to_bytes(8)


class WatchStream(Protocol):
    """What the hub and a watcher know of a connection."""

    framing: Framing

    @property
    def crowded(self) -> bool:
        """Whether there is more before the client than its transport likes to hold: worth asking how much."""

    def write(self, data: bytes) -> None:
        """Write framed events without waiting; nothing happens on a lost connection."""

    def buffered(self) -> int:
        """Bytes that the client has not taken yet (without what the kernel holds)."""

    async def drained(self) -> None:
        """Wait until the client has taken most of it.

        Raises:
            Stalled: it took nothing for `STALL_SECONDS`.
        """

    async def finish(self) -> None:
        """End cleanly: the client sees the end of the stream and may use the connection again."""

    def abort(self) -> None:
        """Drop the connection: the client must not take what it has for a whole stream."""


class BorrowedConnection(asyncio.Protocol):
    """Stands between a transport and the server's own protocol while a stream is open.

    It passes everything on, so that a lost connection cancels the handler as always;
    for itself it notes whether the transport wants more.
    """

    __slots__ = ("_owner", "_transport", "_writable", "crowded")

    def __init__(self, owner: asyncio.Protocol, transport: asyncio.Transport) -> None:
        self._owner = owner
        self._transport = transport
        self._writable = Gate(is_open=True)
        self.crowded = False

    def data_received(self, data: bytes) -> None:
        """Bytes of a next request: kept by the owner until this answer is over."""
        self._owner.data_received(data)

    def eof_received(self) -> bool | None:
        """A half-closed connection counts as gone, as it does for every other request."""
        return self._owner.eof_received()

    def pause_writing(self) -> None:
        """The client takes too little."""
        self.crowded = True
        self._writable.clear()
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        self.crowded = False
        self._writable.set()
        self._owner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: the owner cancels the handler."""
        self._writable.set()
        self._owner.connection_lost(exc)

    # --- what streams have in common --------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write framed events without waiting; nothing happens on a lost connection."""
        transport = self._transport
        if not transport.is_closing():
            transport.write(data)

    def buffered(self) -> int:
        """Bytes that the client has not taken yet (without what the kernel holds)."""
        return self._transport.get_write_buffer_size()

    async def drained(self) -> None:
        """Wait until the transport wants more.

        Raises:
            Stalled: it took nothing for `STALL_SECONDS`.
        """
        while not self._writable.is_set():
            before = self._transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    await self._writable.wait()
            except TimeoutError:
                if self._transport.get_write_buffer_size() >= before:
                    raise Stalled from None


def connection_of(request: Request) -> tuple[Http, asyncio.Transport]:
    """The server's state of the connection that a request came on, and its transport.

    Raises:
        ConnectionError: the client is gone.
    """
    http, transport = cast("Http | None", request.stream), cast("asyncio.Transport | None", request.transport)
    if http is None or transport is None or transport.is_closing():
        raise ConnectionError("the client is gone")
    return http, transport


def mark_answered(http: Http) -> None:
    """What the server itself does after a response's last chunk."""
    http.response_func = None  # type: ignore[assignment]
    http.stage = Stage.IDLE


class HttpStream(BorrowedConnection):
    """A watch as an HTTP answer: chunked, or for HTTP/1.0 until the connection closes."""

    __slots__ = ("_http", "_lent", "_response", "framing")

    def __init__(self, request: Request, response: BaseHTTPResponse) -> None:
        self._http, transport = connection_of(request)
        super().__init__(self._http.protocol, transport)
        self._response = response
        self._lent = transport.get_protocol()
        self.framing = Framing.PLAIN if request.version == "1.0" else Framing.CHUNKED

    @classmethod
    async def open(
        cls, request: Request, headers: Mapping[str, str], more: Iterable[tuple[str, str]] = ()
    ) -> HttpStream:
        """Answer 200 and send the headers at once, long before the first event. `more` are repeated headers."""
        response: BaseHTTPResponse = HTTPResponse(b"", 200, dict(headers), headers.get("Content-Type"))
        for name, value in more:
            response.headers.add(name, value)
        response = await request.respond(response)
        stream = cls(request, response)
        if stream.framing is Framing.CHUNKED:
            await response.send(b"", end_stream=False)
        else:
            stream._http.keep_alive = False
            lines = [f"{name}: {value}\r\n" for name, value in response.headers.items()]
            head = "".join(["HTTP/1.0 200 OK\r\n", *lines, "Connection: close\r\n\r\n"])
            stream.write(head.encode("latin-1"))
            stream._http.stage = Stage.RESPONSE
        stream._let_go_of(request)
        stream._transport.set_protocol(stream)
        return stream

    def _let_go_of(self, request: Request) -> None:
        """Free what the two heads take: some 3 KB, and a token's twice more, would be held for hours."""
        lend(self._http)
        request.head = b""
        request.headers = self._response.headers = _NO_HEADERS
        if not self._http.recv_buffer:
            self._http.recv_buffer.clear()  # an emptied buffer keeps its size otherwise

    async def finish(self) -> None:
        """End cleanly. A client that takes nothing any more loses its connection soon after."""
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                await self._writable.wait()
        except TimeoutError:
            self._http.keep_alive = False
        if not self._transport.is_closing():
            self._transport.set_protocol(self._lent)
        if self.framing is Framing.CHUNKED and self._writable.is_set():
            await self._response.send(end_stream=True)
            take_back(self._http)
            return
        if self.framing is Framing.CHUNKED:
            self.write(b"0\r\n\r\n")
        mark_answered(self._http)

    def abort(self) -> None:
        """Drop the connection: the client must not take what it has for a whole stream."""
        self._transport.abort()
