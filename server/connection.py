"""A client's connection, on Sanic's own HTTP/1.1: a head that repeats the connection's last one is not parsed again.

Who polls sends the same bytes again and again: the same path, token and headers over one kept connection. What was
read out of them is taken over, and what follows from them alone is kept beside it (`PolledRequest.known`).
Each request is an object of its own all the same, and who it is and what it may read is asked each time.

This leans on Sanic's inside, which is pinned (requirements.lock); `tests/server/test_connection.py` fails when it
changes. It is: `Http.http1_request_header` takes a head off `recv_buffer` and sets `request`, `keep_alive`,
`request_body` and `request_bytes`; before it, `Http.init_for_request` sets all that is of one request to nothing.
`HttpProtocol.data_received` adds to `recv_buffer` and notes the `_time`, `receive_more` waits for that.

Invariant: of a connection's heads the last one is kept, with its credentials, and it goes when the connection goes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from sanic.http import Http
from sanic.request import Request
from sanic.server.protocols.http_protocol import HttpProtocol

from kube.buffered import Buffered
from server.gate import Gate

if TYPE_CHECKING:
    import asyncio
    from collections.abc import MutableMapping

_END = b"\r\n\r\n"


class PolledRequest(Request[Any, Any]):
    """A request that may be like the one before it on its connection."""

    __slots__ = ("known",)

    def __init__(self, *args: Any, **options: Any) -> None:
        """The arguments are those of Sanic's own."""
        super().__init__(*args, **options)
        self.known: MutableMapping[object, object] = {}
        """What follows from the head and the connection's certificate alone; shared by requests of the same head."""


class _PollingHttp(Http):
    """The HTTP/1.1 of one connection."""

    __slots__ = ("_last",)

    def __init__(self, protocol: HttpProtocol) -> None:
        super().__init__(protocol)  # type: ignore[no-untyped-call]
        self._last: PolledRequest | None = None

    async def http1_request_header(self) -> None:
        """Take the next request off the buffer."""
        last, received = self._last, self.recv_buffer
        if last is not None:
            if received.startswith(last.head) and received.startswith(_END, len(last.head)):
                self._repeat(last)
                return
            self._last = None
        await super().http1_request_header()  # type: ignore[no-untyped-call]
        # One that has a body, changes the protocol or ends the connection is not one that is polled.
        if self.request.method == "GET" and not self.request_body and not self.upgrade_websocket and self.keep_alive:
            self._last = cast("PolledRequest", self.request)

    def _repeat(self, last: PolledRequest) -> None:
        """Another request with the same head."""
        protocol = self.protocol
        del self.recv_buffer[: len(last.head) + len(_END)]
        request = PolledRequest(
            last.raw_url, last.headers, last.version, last.method, protocol.transport, protocol.app, last.head
        )
        request.known = last.known
        self.head_only = False
        self.request_bytes_left = self.request_bytes = 0
        self.request, request.stream = request, self
        protocol.state["requests_count"] += 1


class _Protocol(HttpProtocol):
    """Sanic's protocol with that HTTP/1.1, and with less than asyncio's events: nobody but `Http` waits for bytes."""

    HTTP_CLASS = _PollingHttp
    __slots__ = ("_more", "_pause_at")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._can_write = Gate(is_open=True)  # type: ignore[assignment]
        self._data_received = None  # type: ignore[assignment]  # `_more` is instead of it
        self._more: asyncio.Future[None] | None = None
        self._pause_at: int = self.app.config.REQUEST_BUFFER_SIZE

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._time = time.monotonic()
        self.recv_buffer += data
        if len(self.recv_buffer) >= self._pause_at and self.transport is not None:
            self.transport.pause_reading()
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def receive_more(self) -> None:
        """Wait for more bytes."""
        assert self.transport is not None
        self.transport.resume_reading()
        self._more = self.loop.create_future()
        await self._more


def connection(**options: Any) -> Buffered:
    """A new connection's protocol; `options` are those of Sanic's own."""
    return Buffered(_Protocol(**options))


def lend(http: Http) -> None:
    """A stream without end begins: nothing of its head is kept for hours, and that it is quiet is no fault.

    Sanic looks for timeouts of each connection twice a minute, by a timer that takes 0.5 KB.
    """
    if isinstance(http, _PollingHttp):
        http._last = None  # noqa: SLF001 - of this module
    protocol = http.protocol
    timer = cast("asyncio.TimerHandle | None", protocol._callback_check_timeouts)  # noqa: SLF001 - no other way to it
    if timer is not None:
        timer.cancel()
        protocol._callback_check_timeouts = None  # noqa: SLF001


def take_back(http: Http) -> None:
    """The stream has ended and the connection waits for its next request."""
    http.protocol.check_timeouts()  # type: ignore[no-untyped-call]
