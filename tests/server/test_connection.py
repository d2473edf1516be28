"""A head that repeats the one before it is not parsed again, and makes the same request."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from sanic.exceptions import BadRequest
from sanic.http import Http
from sanic.http.constants import Stage
from sanic.request import Request

from server.app import HEADER_BYTES, create_app
from server.connection import PolledRequest, _PollingHttp, connection, lend

HEAD = (
    b"GET /api/v1/pods?limit=5 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nAccept: b\r\naccept: c\r\n"
    b"X-Odd:  \xc3\xa4\xff \r\nConnection: keep-alive\r\n\r\n"
)


class _Protocol:
    """As much of a connection as the parsing of heads needs."""

    def __init__(self) -> None:
        Http.set_header_max_size(HEADER_BYTES)
        self.app = SimpleNamespace(config=SimpleNamespace(KEEP_ALIVE=True), dispatch=_nobody_listens)
        self.recv_buffer = bytearray()
        self.transport = object()
        self.request_class = PolledRequest
        self.request_max_size = 1 << 20
        self.state = {"requests_count": 0}
        self.send = None

    async def receive_more(self) -> None:
        raise AssertionError("the head is not whole")


def _connection() -> Any:
    return _PollingHttp(_Protocol())  # type: ignore[arg-type]


async def _nobody_listens(*_: object, **__: object) -> None:
    """Sanic's signals."""


def _state(http: Any) -> dict[str, Any]:
    """Everything that Sanic keeps of a connection and its request, but for the objects themselves."""
    request = http.request
    of_http = {name: getattr(http, name, "unset") for name in Http.__slots__ if name not in {"request", "url"}}
    of_request = {name: getattr(request, name, "unset") for name in Request.__slots__ if name != "__weakref__"}
    of_request["headers"] = list(request.headers.items())
    of_request["_parsed_url"] = (request.path, request.query_string)
    assert request.stream is http
    return of_http | {f"request.{name}": value for name, value in of_request.items()}


def _parse(http: Any, received: bytes) -> dict[str, Any]:
    """What stands in the parser after one more request."""
    http.recv_buffer += received
    http.stage = Stage.REQUEST
    http.init_for_request()
    asyncio.run(http.http1_request_header())
    state = _state(http)
    state["recv_buffer"] = bytes(http.recv_buffer)
    return state


@pytest.mark.parametrize("rest", [b"", HEAD, b"GET / HTT"])
def test_a_repeated_head_is_understood_alike(rest: bytes) -> None:
    """All that Sanic sets as it parses a head is the same where the head was not parsed, also by a later Sanic."""
    http = _connection()
    first = _parse(http, HEAD)
    parsed = http.request
    http.request.headers["x-added"] = "by a handler"
    del http.request.headers["x-added"]
    second = _parse(http, HEAD + rest)
    assert second == first | {"recv_buffer": rest}
    assert http.request is not parsed
    assert http.request.headers is not parsed.headers
    assert http.request.known is parsed.known
    assert http.protocol.state["requests_count"] == 2


@pytest.mark.parametrize(
    "other",
    [
        HEAD.replace(b"Bearer a", b"Bearer b"),
        HEAD.replace(b"pods", b"nodes"),
        HEAD.replace(b"\r\n\r\n", b"\r\nX-More: 1\r\n\r\n"),
        HEAD.replace(b"GET", b"HEAD"),
        HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n") + b"abc",
    ],
    ids=["token", "path", "longer", "method", "body"],
)
def test_another_head_is_parsed(other: bytes) -> None:
    """What is known of one head is never taken for another's, nor for that of the one before the last."""
    http = _connection()
    alone = _connection()
    _parse(http, HEAD)
    http.request.known["whose"] = "the first"
    for received in (other, HEAD):
        got = _parse(http, received)
        wanted = _parse(alone, received)
        for state in (got, wanted):
            for name in ("protocol", "_receive_more", "dispatch", "request.transport", "request.app", "request.stream"):
                del state[name]
        assert got == wanted
        assert http.request.known == {}
        http.recv_buffer.clear()
        alone.recv_buffer.clear()


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace(b"keep-alive", b"close"),
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"keep-alive", b"close"),
        HEAD.replace(b"GET", b"HEAD"),
        HEAD.replace(b"\r\n\r\n", b"\r\nUpgrade: websocket\r\n\r\n"),
        HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ],
    ids=["close", "1.0", "head", "upgrade", "body"],
)
def test_only_plain_reads_are_kept(head: bytes) -> None:
    """A request that ends the connection, changes its protocol or has a body is parsed each time."""
    http = _connection()
    _parse(http, head)
    known = http.request.known
    http.recv_buffer.clear()
    _parse(http, head)
    assert http.request.known is not known


@pytest.mark.asyncio
async def test_a_stream_keeps_nothing_of_its_head() -> None:
    """Once a watch has begun, its head is not taken for that of a next request, which comes when the watch is over."""
    http = _connection()
    http.protocol._callback_check_timeouts = timer = asyncio.get_running_loop().call_later(60, _never)
    http.init_for_request()
    http.recv_buffer += HEAD
    await http.http1_request_header()
    lend(http)
    http.request.head = b""
    assert timer.cancelled()
    http.stage = Stage.IDLE
    http.init_for_request()
    http.recv_buffer += b"\r\n\r\n"
    with pytest.raises(BadRequest):
        await http.http1_request_header()


def _never() -> None:
    raise AssertionError("it was cancelled")


class _Transport:
    """A transport that only notes whether it is read."""

    def __init__(self) -> None:
        self.reading = True

    def get_extra_info(self, _: str) -> None:
        return None

    def set_write_buffer_limits(self, **_: int) -> None:
        """Of no account here."""

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


@pytest.mark.asyncio
async def test_a_connection_holds_no_more_than_its_buffer() -> None:
    """Who waits goes on with the first bytes; bytes that nobody takes are no longer read once they are many."""
    app = create_app(SimpleNamespace(handle=None))  # type: ignore[arg-type]
    protocol: Any = connection(loop=asyncio.get_running_loop(), app=app).protocol
    transport: Any = _Transport()
    protocol.connection_made(transport)
    protocol._task.cancel()
    waiting = asyncio.create_task(protocol.receive_more())
    await asyncio.sleep(0)
    assert not waiting.done()
    protocol.data_received(b"a")
    protocol.data_received(b"b")
    await waiting
    assert protocol.recv_buffer == b"ab"
    assert transport.reading
    protocol.data_received(bytes(app.config.REQUEST_BUFFER_SIZE))
    assert not transport.reading
    more = asyncio.create_task(protocol.receive_more())
    await asyncio.sleep(0)
    assert transport.reading
    more.cancel()
    protocol.data_received(b"c")
    protocol.connection_lost(None)
