"""An answer that is complete when it is sent: its head is formatted once, and its body goes out as it is kept.

Sanic formats each header by itself, which costs more than a cached list does. Everything unusual (HEAD, 1xx expected,
no body allowed) goes Sanic's own way.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from sanic.http.constants import Stage
from sanic.response import HTTPResponse

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Mapping, Sequence

    from sanic.http import Http

_REASONS = {code.value: f"HTTP/1.1 {code.value} {code.phrase}\r\n" for code in HTTPStatus}

PIECE_BYTES = 96 << 10
"""What is written at once: six full TLS records. TLS copies what it is given twice, and copies of this size come from
memory that was used a moment ago. A longer one is mapped anew each time, which costs more than its encryption does
(measured with 730 KB: 1.8 ms of CPU in one write, 0.7 ms in pieces)."""


class WholeAnswer(HTTPResponse):
    """A response whose headers are known to be well-formed: our own, or upstream's as parsed, without line breaks.

    Its body is that of `parts`, one behind the other.
    """

    __slots__ = ("parts", "size")

    def __init__(self, parts: Sequence[bytes], status: int, headers: Mapping[str, str], content_type: str) -> None:
        super().__init__(None, status, dict(headers), content_type)
        self.parts = parts
        self.size = sum(map(len, parts))

    async def send_whole(self, http: Http) -> None:
        """Send it as the answer to the request that `http` is handling.

        Raises:
            RequestCancelled: the client is gone.
        """
        status = self.status
        if http.head_only or http.expecting_continue or status < 200 or status in (204, 304):
            self.body = b"".join(self.parts)
            http.respond(self)
            await self.send(end_stream=True)
            return
        http.respond(self)
        # From here on nothing else may be sent for this request.
        http.response_func = None  # type: ignore[assignment]
        pieces = _pieces((self._head(keep_alive=http.keep_alive), *self.parts))
        await http._send(next(pieces))  # noqa: SLF001 - what Sanic's own responses call
        for piece in pieces:
            cast("asyncio.Transport", http.protocol.transport).write(piece)
        http.stage = Stage.IDLE

    def _head(self, *, keep_alive: bool) -> bytes:
        lines = [_REASONS.get(self.status) or f"HTTP/1.1 {self.status} \r\n"]
        names = self.headers
        lines += [f"{name}: {value}\r\n" for name, value in names.items()]
        if self.content_type and "content-type" not in names:
            lines.append(f"content-type: {self.content_type}\r\n")
        connection = "keep-alive" if keep_alive else "close"
        lines.append(f"content-length: {self.size}\r\nconnection: {connection}\r\n\r\n")
        return "".join(lines).encode("utf-8", "surrogateescape")


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
