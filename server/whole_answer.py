"""An answer that is complete when it is sent: its head is formatted once, and its body goes out as it is kept.

Sanic's responses hold headers in a dictionary and format each by itself, which costs more than a cached list does.
Everything unusual (HEAD, 1xx expected, no body allowed) goes Sanic's own way.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from sanic.compat import Header
from sanic.http.constants import Stage
from sanic.response import BaseHTTPResponse, HTTPResponse

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator, Sequence

    from sanic.http import Http

_REASONS = {code.value: f"HTTP/1.1 {code.value} {code.phrase}\r\n" for code in HTTPStatus}

PIECE_BYTES = 96 << 10
"""What is written at once: six full TLS records. TLS copies what it is given twice, and copies of this size come from
memory that was used a moment ago. A longer one is mapped anew each time, which costs more than its encryption does
(measured with 730 KB: 1.8 ms of CPU in one write, 0.7 ms in pieces)."""


def header_lines(headers: Iterable[tuple[str, str]]) -> str:
    r"""Headers as they go over the wire.

    >>> header_lines([("Vary", "Accept"), ("Warning", "a"), ("Warning", "b")])
    'Vary: Accept\r\nWarning: a\r\nWarning: b\r\n'
    """
    return "".join([f"{name}: {value}\r\n" for name, value in headers])


def header_pairs(lines: str) -> list[tuple[str, str]]:
    """The headers of which `header_lines` made these."""
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines.split("\r\n")[:-1])]


class WholeAnswer:
    """A status, headers (see `header_lines`) and a body: that of `parts`, one behind the other.

    The headers are known to be well-formed: our own, or upstream's as parsed, without line breaks. Those that HTTP
    itself needs are added as the answer is sent.
    """

    __slots__ = ("lines", "parts", "size", "status", "stream")

    def __init__(self, parts: Sequence[bytes], status: int, lines: str) -> None:
        self.parts = parts
        self.status = status
        self.lines = lines
        self.size = sum(map(len, parts))
        self.stream: Http | None = None
        """As Sanic's own responses have it: which request it is the answer to."""

    @property
    def headers(self) -> Header:
        """The headers, one by one."""
        return Header(header_pairs(self.lines))

    async def send_whole(self, http: Http) -> None:
        """Send it as the answer to the request that `http` is handling.

        Raises:
            RequestCancelled: the client is gone.
        """
        status = self.status
        if http.head_only or http.expecting_continue or status < 200 or status in (204, 304):
            response = HTTPResponse(b"".join(self.parts), status, self.headers, "")
            http.respond(response)
            await response.send(end_stream=True)
            return
        # For Sanic it is the response: it looks at `status` and `stream` alone.
        http.respond(cast("BaseHTTPResponse", self))
        # From here on nothing else may be sent for this request.
        http.response_func = None  # type: ignore[assignment]
        head = self._head(keep_alive=http.keep_alive)
        if len(head) + self.size <= PIECE_BYTES:
            await http._send(b"".join((head, *self.parts)))  # noqa: SLF001 - what Sanic's own responses call
        else:
            pieces = _pieces((head, *self.parts))
            await http._send(next(pieces))  # noqa: SLF001
            for piece in pieces:
                cast("asyncio.Transport", http.protocol.transport).write(piece)
        http.stage = Stage.IDLE

    def _head(self, *, keep_alive: bool) -> bytes:
        begin = _REASONS.get(self.status) or f"HTTP/1.1 {self.status} \r\n"
        connection = "keep-alive" if keep_alive else "close"
        text = f"{begin}{self.lines}content-length: {self.size}\r\nconnection: {connection}\r\n\r\n"
        return text.encode("utf-8", "surrogateescape")


Answer = WholeAnswer | HTTPResponse
"""What a handler returns."""


def _pieces(parts: Sequence[bytes]) -> Iterator[bytes | memoryview]:
    """The same bytes in pieces of at most `PIECE_BYTES`, at least one; what is cut out of a long part is no copy."""
    held: list[bytes | memoryview] = []
    size = 0
    for part in parts:
        begin = PIECE_BYTES - size
        if len(part) <= begin:
            held.append(part)
            size += len(part)
            continue
        view = memoryview(part)
        yield b"".join((*held, view[:begin]))
        while len(part) - begin > PIECE_BYTES:
            yield view[begin : begin + PIECE_BYTES]
            begin += PIECE_BYTES
        held = [view[begin:]]
        size = len(part) - begin
    yield b"".join(held)
