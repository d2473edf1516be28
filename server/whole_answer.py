"""An answer that is complete when it is sent: head and body go out in one write, formatted once.

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

    from sanic.http import Http

_REASONS = {code.value: f"HTTP/1.1 {code.value} {code.phrase}\r\n" for code in HTTPStatus}

_JOINED_BYTES = 64 << 10
"""Above this size head and body are handed over apart: copying the body would cost more than a second write."""


class WholeAnswer(HTTPResponse):
    """A response whose headers are known to be well-formed: names and values of our own, without line breaks."""

    async def send_whole(self, http: Http) -> None:
        """Send it as the answer to the request that `http` is handling.

        Raises:
            RequestCancelled: the client is gone.
        """
        body = self.body or b""
        status = self.status
        if http.head_only or http.expecting_continue or status < 200 or status in (204, 304):
            http.respond(self)
            await self.send(end_stream=True)
            return
        http.respond(self)
        # From here on nothing else may be sent for this request.
        http.response_func = None  # type: ignore[assignment]
        head = self._head(len(body), keep_alive=http.keep_alive)
        if len(body) <= _JOINED_BYTES:
            await http._send(head + body)  # noqa: SLF001 - what Sanic's own responses call
        else:
            await http._send(head)  # noqa: SLF001
            cast("asyncio.Transport", http.protocol.transport).write(body)
        http.stage = Stage.IDLE

    def _head(self, size: int, *, keep_alive: bool) -> bytes:
        lines = [_REASONS.get(self.status) or f"HTTP/1.1 {self.status} \r\n"]
        names = self.headers
        lines += [f"{name}: {value}\r\n" for name, value in names.items()]
        if self.content_type and "content-type" not in names:
            lines.append(f"content-type: {self.content_type}\r\n")
        connection = "keep-alive" if keep_alive else "close"
        lines.append(f"content-length: {size}\r\nconnection: {connection}\r\n\r\n")
        return "".join(lines).encode("utf-8", "surrogateescape")
