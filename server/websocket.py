"""Watches over WebSocket, as browsers need them: the handshake of an API server, and one text frame per event.

The subprotocol has no effect on the frames, but its rules are strict: at most one may be offered, it is echoed
as it is, and a browser's bearer token travels as a second one that is taken out before the count.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from sanic.response import HTTPResponse

from server.watch_stream import (
    FINISH_SECONDS,
    BorrowedConnection,
    Framing,
    connection_of,
    mark_answered,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sanic.request import Request

BEARER_PREFIX = "base64url.bearer.authorization.k8s.io."
"""Begins the subprotocol that carries a bearer token, base64url without padding."""

CLOSE_FRAME = b"\x88\x02\x03\xe8"
"""A close with code 1000 and no text."""

_ORIGIN = re.compile(r"/|[A-Za-z][A-Za-z0-9+.-]*:")
"""What Go takes for a URL of a request: an absolute one, or a path. `null`, as sandboxed pages send, is none."""

_CLOSE, _PING, _PONG = 0x8, 0x9, 0xA
_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Subprotocols(NamedTuple):
    """What a client offered: `token` is "" where no bearer protocol was among it; `rest` is what remains."""

    token: str
    rest: tuple[str, ...]


class HandshakeRefused(Exception):
    """An upgrade that is answered with `status` and a text without a length; then the connection ends."""

    def __init__(self, status: HTTPStatus, text: str = "", header: str = "") -> None:
        super().__init__(text or status.phrase)
        self.status = status
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *([header] if header else []), "", text]
        self.answer = "\r\n".join(lines).encode()


def is_websocket(headers: Mapping[str, str]) -> bool:
    """Whether a request asks for a WebSocket; `headers` has lower-case names or ignores case."""
    upgrade = headers.get("upgrade") or ""
    connection = [part.strip().lower() for part in (headers.get("connection") or "").split(",")]
    return upgrade.strip().lower() == "websocket" and "upgrade" in connection


def bearer_from_protocols(values: Sequence[str]) -> Subprotocols | None:
    """Take the bearer token out of the values of `Sec-WebSocket-Protocol` headers.

    Returns None where the bearer protocol is there but no credential: it stands alone, twice, or is no
    base64url of text. Upstream answers that with 401.

    >>> bearer_from_protocols(["base64url.bearer.authorization.k8s.io.c2VjcmV0, v4.channel.k8s.io"])
    Subprotocols(token='secret', rest=('v4.channel.k8s.io',))
    >>> bearer_from_protocols(["base64.binary.k8s.io"])
    Subprotocols(token='', rest=('base64.binary.k8s.io',))
    """
    offered = [protocol.strip() for value in values for protocol in value.split(",")]
    bearers = [protocol for protocol in offered if protocol.startswith(BEARER_PREFIX)]
    rest = tuple(protocol for protocol in offered if not protocol.startswith(BEARER_PREFIX))
    if not bearers:
        return Subprotocols("", rest)
    if len(bearers) > 1 or not rest:
        return None
    text = bearers[0][len(BEARER_PREFIX) :]
    try:
        token = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return Subprotocols(token, rest) if token else None


def offered_protocols(values: Sequence[str], *, token_taken: bool) -> tuple[str, ...]:
    """The subprotocols that count: of the first header alone, unless the token was taken out of all of them.

    >>> offered_protocols(["a, b", "c"], token_taken=False)
    ('a', 'b')
    """
    if token_taken and (taken := bearer_from_protocols(values)) is not None:
        return taken.rest
    first = values[0].strip() if values else ""
    return tuple(protocol.strip() for protocol in first.split(",")) if first else ()


def accept_handshake(headers: Mapping[str, str], protocols: Sequence[str]) -> bytes:
    """The bytes of the 101 answer. `protocols` are those that count.

    Raises:
        HandshakeRefused: with the status and text of Go's library, in its order.
    """
    key = (headers.get("sec-websocket-key") or "").strip()
    if not key:
        raise HandshakeRefused(HTTPStatus.BAD_REQUEST, "mismatch challenge/response")
    if (headers.get("sec-websocket-version") or "").strip() != "13":
        raise HandshakeRefused(HTTPStatus.BAD_REQUEST, "missing or bad WebSocket Version", "Sec-WebSocket-Version: 13")
    if not _ORIGIN.match(headers.get("origin") or ""):
        raise HandshakeRefused(HTTPStatus.FORBIDDEN)
    if len(protocols) > 1:
        raise HandshakeRefused(HTTPStatus.BAD_REQUEST)
    digest = hashlib.sha1(key.encode() + _KEY_SUFFIX, usedforsecurity=False)
    accept = base64.b64encode(digest.digest()).decode()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
        *(f"Sec-WebSocket-Protocol: {protocol}" for protocol in protocols),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class ControlFrame(NamedTuple):
    """A whole close, ping or pong of the client, unmasked."""

    opcode: int
    payload: bytes


class ClientFrames:
    """Cuts a client's bytes into frames and throws the data away as it comes: nothing of it is kept."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> list[ControlFrame]:
        """The control frames that these bytes complete.

        Raises:
            ValueError: a client's frame must be masked, and a control frame is short and whole.
        """
        found = []
        self._buffer += data
        while self._drop_skipped() and (head := self._head()) is not None:
            opcode, start, size = head
            if not opcode & 0x8:
                del self._buffer[:start]
                self._skip = size
                continue
            if len(self._buffer) < start + size:
                break
            mask = self._buffer[start - 4 : start]
            payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(self._buffer[start : start + size]))
            del self._buffer[: start + size]
            found.append(ControlFrame(opcode, payload))
        return found

    def _drop_skipped(self) -> bool:
        """Drop what is left of a data frame; False: more of it is to come."""
        dropped = min(self._skip, len(self._buffer))
        del self._buffer[:dropped]
        self._skip -= dropped
        return not self._skip

    def _head(self) -> tuple[int, int, int] | None:
        """Opcode, offset and size of the payload of the frame in front; None: not all of the head is here."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        final, opcode, masked, size = buffer[0] & 0x80, buffer[0] & 0x0F, buffer[1] & 0x80, buffer[1] & 0x7F
        if not masked or (opcode & 0x8 and (size > 125 or not final)):
            raise ValueError("a frame that no client may send")
        more = {126: 2, 127: 8}.get(size, 0)
        if len(buffer) < 2 + more + 4:
            return None
        return opcode, 2 + more + 4, int.from_bytes(buffer[2 : 2 + more]) if more else size


class WebSocketStream(BorrowedConnection):
    """A watch as text frames on an upgraded connection, which ends with the stream.

    It reads the client's frames: pings are answered, a close ends the stream, data is thrown away.
    """

    __slots__ = ("_frames", "_http")

    framing = Framing.WEBSOCKET

    def __init__(self, request: Request) -> None:
        self._http, transport = connection_of(request)
        super().__init__(self._http.protocol, transport)
        self._frames = ClientFrames()

    @classmethod
    async def open(cls, request: Request, handshake: bytes) -> WebSocketStream:
        """Take the connection over and answer 101 with `handshake`."""
        # Never sent: the server only has to know that this request has its answer.
        await request.respond(HTTPResponse(status=101))
        stream = cls(request)
        # No timeouts, no answer of the server's own, and nothing after it on this connection.
        stream._http.upgrade_websocket = True
        stream._http.keep_alive = False
        stream._transport.write(handshake)
        stream._transport.set_protocol(stream)
        early = bytes(stream._http.recv_buffer)
        if early:
            stream._http.recv_buffer.clear()
            stream.data_received(early)
        return stream

    @classmethod
    async def refuse(cls, request: Request, refusal: HandshakeRefused) -> None:
        """Answer with the refusal's own bytes, and hang up."""
        await request.respond(HTTPResponse(status=refusal.status))
        http, transport = connection_of(request)
        http.upgrade_websocket = True
        http.keep_alive = False
        transport.write(refusal.answer)
        transport.close()
        mark_answered(http)

    def data_received(self, data: bytes) -> None:
        """Answer pings; at the client's close, or at nonsense, hang up as for a lost connection."""
        if self._transport.is_closing():
            return
        try:
            frames = self._frames.feed(data)
        except ValueError:
            self._transport.close()
            return
        for opcode, payload in frames:
            if opcode == _PING:
                self._transport.write(bytes((0x80 | _PONG, len(payload))) + payload)
            elif opcode == _CLOSE:
                self._transport.write(CLOSE_FRAME)
                self._transport.close()
                return

    async def finish(self) -> None:
        """Send a close frame (1000, without text) and hang up, as upstream does without waiting for an answer."""
        self.write(CLOSE_FRAME)
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                await self._writable.wait()
        except TimeoutError:
            self.abort()
        self._transport.close()
        self._end()

    def abort(self) -> None:
        """Drop the connection: the client must not take what it has for a whole stream."""
        self._transport.abort()
        self._end()

    def _end(self) -> None:
        """Tell the server that this request is answered."""
        mark_answered(self._http)
