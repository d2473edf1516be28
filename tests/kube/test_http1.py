from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kube.answer import UpstreamAnswer
from kube.buffered import BUFFER
from kube.http1 import HEAD_BYTES, READ_AHEAD_BYTES, Connection, request_head
from kube.status import MalformedRequest
from kube.upstream_error import UpstreamBroken

pytestmark = pytest.mark.asyncio

JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Transport:
    """A transport that remembers what is done with it."""

    def __init__(self) -> None:
        self.sent = b""
        self.closed = False
        self.paused = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    close = abort

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Peer:
    """A connection, and upstream's side of it."""

    def __init__(self) -> None:
        self.freed: list[Connection] = []
        self.connection = Connection(False, None, self.freed.append)
        self.transport = Transport()
        transport: Any = self.transport
        self.connection.connection_made(transport)

    def waits(self) -> bool:
        """Whether upstream must not send more."""
        return self.transport.paused

    def says(self, data: bytes, pieces: int = len(BUFFER)) -> None:
        """Send, so many bytes at once; nothing more once the connection is closed."""
        for begin in range(0, len(data), pieces):
            piece = data[begin : begin + pieces]
            if self.transport.closed:
                return
            BUFFER[: len(piece)] = piece
            self.connection.buffer_updated(len(piece))

    async def asked(self, method: str = "GET") -> asyncio.Task[UpstreamAnswer]:
        """A request that has been sent."""
        asking = self.connection.ask(b"request", None, length=None, bodiless=method == "HEAD")
        task = asyncio.create_task(asking)
        await asyncio.sleep(0)
        return task


async def whole(answer: UpstreamAnswer) -> bytes:
    """All of the body."""
    return b"".join([chunk async for chunk in answer.chunks()])


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n"
    b"5;why=not\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n"
)
ANSWERS = {
    "a length": ("GET", JSON, 200, [("content-type", "application/json"), ("content-length", "2")], b"{}", True),
    "chunks": ("GET", CHUNKED, 200, [("x-two", "1"), ("x-two", "2")], b"hello world", True),
    "no content": ("DELETE", b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n", 204, [("x-a", "b")], b"", True),
    "not modified": (
        "GET", b"HTTP/1.1 304 Not Modified\r\nEtag: x\r\nContent-Length: 7\r\n\r\n",
        304, [("etag", "x"), ("content-length", "7")], b"", True,
    ),
    "the answer to a HEAD": (
        "HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", 200, [("content-length", "7")], b"", True,
    ),
    "the answer to a HEAD, in chunks": (
        "HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, [], b"", True,
    ),
    "an empty body": ("GET", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, [("content-length", "0")],
                      b"", True),
    "others before it": (
        "GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + JSON,
        200, [("content-type", "application/json"), ("content-length", "2")], b"{}", True,
    ),
    "the last one": (
        "GET", b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\n{}",
        200, [("content-length", "2")], b"{}", False,
    ),
    "an old version": ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, [("content-length", "2")], b"{}",
                       False),
}  # fmt: skip


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 64, 4096])
@pytest.mark.parametrize("name", list(ANSWERS))
async def test_answers(name: str, pieces: int) -> None:
    """However its bytes are cut, an answer is understood: head, body, and whether another may follow."""
    method, raw, code, headers, body, again = ANSWERS[name]
    peer = Peer()
    asked = await peer.asked(method)
    peer.says(raw, pieces)
    answer = await asked
    assert (answer.status, answer.headers, answer.complete) == (code, headers, True)
    assert await whole(answer) == body
    answer.close()
    assert (peer.freed == [peer.connection]) is again
    assert peer.transport.closed is not again
    if again:
        asked = await peer.asked()
        peer.says(JSON, pieces)
        assert await whole(await asked) == b"{}", "the next request is answered over the same connection"


async def test_values_are_passed_on_as_they_are() -> None:
    """Values keep their bytes, but for the blanks around them; they need be no UTF-8."""
    peer = Peer()
    asked = await peer.asked()
    peer.says(
        b"HTTP/1.1 200 OK\r\nX-Empty:\r\nX-Space: \t a  b \t \r\nX-Odd: \xff\xc3\xa9\r\nContent-Length: 0\r\n\r\n"
    )
    answer = await asked
    assert answer.headers[:2] == [("x-empty", ""), ("x-space", "a  b")]
    assert answer.headers[2][1].encode("utf-8", "surrogateescape") == b"\xff\xc3\xa9"


async def test_body_that_ends_with_the_connection() -> None:
    """Without a length the end of the connection is the end of the body, unless it broke."""
    for error in (None, ConnectionResetError(104, "reset")):
        peer = Peer()
        asked = await peer.asked()
        peer.says(b"HTTP/1.1 200 OK\r\n\r\nall that")
        answer = await asked
        assert await answer.read() == b"all that"
        assert not answer.complete
        peer.connection.connection_lost(error)
        if error is None:
            assert await answer.read() == b""
        else:
            with pytest.raises(UpstreamBroken, match="Connection reset by peer"):
                await answer.read()
        answer.close()
        assert peer.freed == []


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01 this is TLS",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 xyz\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (HEAD_BYTES + len(BUFFER)),
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (HEAD_BYTES // 4),
        b"HTTP/1.1 100 Continue\r\n\r\n" * (HEAD_BYTES // 20),
    ],
)
async def test_what_is_no_answer(raw: bytes) -> None:
    """What is no answer, or has no end, ends the request and the connection."""
    peer = Peer()
    asked = await peer.asked()
    peer.says(raw)
    with pytest.raises(UpstreamBroken, match="upstream sent"):
        await asked
    assert peer.transport.closed
    assert peer.freed == []


@pytest.mark.parametrize(
    "rest",
    [b"xyz\r\n", b"5\r\nhello!!\r\n", b"5;" + b"x" * (HEAD_BYTES + len(BUFFER)), b"0\r\nX: " + b"y" * 2 * HEAD_BYTES],
)
async def test_bodies_that_go_wrong(rest: bytes) -> None:
    """What has come of a body is given out; that it is not whole is an error, never its end."""
    peer = Peer()
    asked = await peer.asked()
    peer.says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" + rest)
    answer = await asked
    assert (await answer.read()).startswith(b"abc")
    with pytest.raises(UpstreamBroken):
        await answer.read()
    answer.close()
    assert peer.transport.closed


async def test_connection_that_is_closed_too_early() -> None:
    """A connection that ends before the head, or within a body of known length, breaks the answer."""
    for raw in (b"", b"HTTP/1.1 200", JSON[:-1], CHUNKED[:-2]):
        peer = Peer()
        asked = await peer.asked()
        peer.says(raw)
        peer.transport.closed = True
        peer.connection.connection_lost(None)
        with pytest.raises(UpstreamBroken, match="the connection was closed"):
            await whole(await asked)
        assert peer.freed == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_answers_that_nobody_asked_for(method: str) -> None:
    """Bytes behind an answer end the connection, so that they are never taken for the answer to another request."""
    head = JSON.partition(b"{}")[0]
    for behind in (JSON, b"{}", b"HTTP/1.1"):
        peer = Peer()
        asked = await peer.asked(method)
        peer.says((JSON if method == "GET" else head) + behind)
        answer = await asked
        assert await whole(answer) == (b"{}" if method == "GET" else b"")
        answer.close()
        assert peer.transport.closed
        assert peer.freed == []
    peer = Peer()
    asked = await peer.asked()
    peer.says(JSON)
    (await asked).close()
    assert peer.freed == [peer.connection]
    peer.says(JSON)
    assert peer.transport.closed
    assert not peer.connection.open


async def test_answer_that_is_not_read() -> None:
    """An answer that is left before its end closes the connection; one that has come whole need not be read."""
    peer = Peer()
    asked = await peer.asked()
    peer.says(JSON[:-1])
    (await asked).close()
    assert peer.transport.closed
    peer = Peer()
    asked = await peer.asked()
    peer.says(JSON)
    answer = await asked
    answer.close()
    answer.close()
    assert peer.freed == [peer.connection], "once"


async def test_cancelled_request() -> None:
    """Who stops waiting for an answer closes the connection."""
    peer = Peer()
    asked = await peer.asked()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert peer.transport.closed
    assert peer.freed == []


async def test_body_that_nobody_reads() -> None:
    """Upstream has to wait when so much has come that nobody reads; reading lets it go on."""
    peer = Peer()
    asked = await peer.asked()
    size = 4 * READ_AHEAD_BYTES
    peer.says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    answer = await asked
    came = 0
    while not peer.waits():
        peer.says(b"x" * 50_000)
        came += 50_000
    assert READ_AHEAD_BYTES < came <= READ_AHEAD_BYTES + len(BUFFER)
    assert len(await answer.read()) == came
    assert not peer.waits()
    while not peer.waits():
        peer.says(b"x" * 50_000)
        came += 50_000
    peer.says(b"x" * (size - came))
    answer.close()
    assert not peer.waits(), "the next request's answer is read"
    assert peer.freed == [peer.connection]


@pytest.mark.parametrize(
    ("target", "header"),
    [
        ("/a", ("x", "a\nimpersonate-user: admin")),
        ("/a", ("x", "a\rimpersonate-user: admin")),
        ("/a", ("x", "a\r\nimpersonate-user: admin")),
        ("/a", ("x", "a\r\n\r\nGET /secrets HTTP/1.1")),
        ("/a", ("x\nimpersonate-user", "admin")),
        ("/a", (" x", "continues the line before")),
        ("/a", ("x", "a\0b")),
        ("/a\nimpersonate-user:admin", ("x", "a")),
    ],
)
async def test_headers_that_would_be_others(target: str, header: tuple[str, str]) -> None:
    """Nothing that a client sends becomes a line of its own upstream."""
    with pytest.raises(MalformedRequest):
        request_head("GET", target, "host", [header, ("authorization", "Bearer x")])
