"""Requests for another protocol (exec, attach, port-forward; SPDY or WebSocket): a tunnel of raw bytes.

The handshake is upstream's to accept or refuse. Until it has accepted, nothing but the one request passes: the client's
connection must not become a way to send upstream what was not looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, cast

from sanic.http.constants import Stage
from sanic.response import HTTPResponse

from kube.http1 import request_head
from kube.upstream_error import UpstreamBroken, UpstreamTimeout
from server import forward_headers

if TYPE_CHECKING:
    from sanic.http import Http

    from server.request_context import RequestContext

HANDSHAKE_SECONDS = 30.0
"""For upstream's answer: it asks the kubelet before it gives one."""

_HEAD_BYTES = 64 << 10
_REFUSAL_BYTES = 3 << 20
_PIECE_BYTES = 64 << 10


def wanted(headers: Mapping[str, str]) -> bool:
    """Whether a request asks for another protocol; `headers` ignores case or has lower-case names."""
    named = (headers.get("connection") or "").lower()
    return bool(headers.get("upgrade")) and "upgrade" in (part.strip() for part in named.split(","))


class _Head(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    raw: bytes


async def tunnel(ctx: RequestContext, target: str, headers: list[tuple[str, str]], *, own: bool) -> HTTPResponse | None:
    """Ask upstream for the upgrade; once it agrees, pass bytes both ways until one side ends. Else: its refusal.

    Raises:
        UpstreamError: no connection, or no answer.
    """
    replica = ctx.replica
    if own and (authorization := await replica.upstream.credentials.authorization()):
        headers = [*headers, ("authorization", authorization)]
    replica.metrics.sent_upstream(ctx.info.verb, ctx.resource_label, "upgrade")
    reader, writer = await replica.upstream.connect(own=own)
    try:
        writer.write(_request_head(ctx, target, headers))
        await writer.drain()
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                head = await _read_head(reader)
                if head.status != 101:
                    return await _refusal(head, reader)
        except TimeoutError:
            raise UpstreamTimeout("upstream did not answer the upgrade in time") from None
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise UpstreamBroken(f"upstream broke off the upgrade: {error}") from error
        await _pass_bytes(ctx, head.raw, reader, writer)
        return None
    finally:
        writer.close()


def _request_head(ctx: RequestContext, target: str, headers: list[tuple[str, str]]) -> bytes:
    host, _, prefix = ctx.replica.upstream.server.partition("://")[2].partition("/")
    return request_head(ctx.request.method, f"/{prefix}{target}" if prefix else target, host, headers)


async def _read_head(reader: asyncio.StreamReader) -> _Head:
    raw = await reader.readuntil(b"\r\n\r\n")
    if len(raw) > _HEAD_BYTES:
        raise ValueError("the head of the answer is too long")
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return _Head(int(first.split(" ")[1]), [(name.strip().lower(), value.strip()) for name, _, value in pairs], raw)


async def _refusal(head: _Head, reader: asyncio.StreamReader) -> HTTPResponse:
    """An ordinary answer instead of the upgrade."""
    fields = dict(head.headers)
    if head.status in (204, 304):
        body = b""
    elif "chunked" in fields.get("transfer-encoding", ""):
        body = await _dechunked(reader)
    elif "content-length" in fields:
        body = await reader.readexactly(min(int(fields["content-length"]), _REFUSAL_BYTES))
    else:
        body = await reader.read(_REFUSAL_BYTES)
    response = HTTPResponse(body, head.status, content_type=fields.get("content-type"))
    for name, value in forward_headers.for_client(forward_headers.of_message(head.headers)):
        if name != "content-length":
            response.headers.add(name, value)
    response.headers["x-larder-source"] = "upstream"
    return response


async def _dechunked(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    total = 0
    while True:
        size = int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16)
        total += size
        if total > _REFUSAL_BYTES:
            raise ValueError("the refusal is too long")
        part = await reader.readexactly(size + 2)
        if not size:
            return b"".join(parts)
        parts.append(part[:-2])


class _ClientSide(asyncio.Protocol):
    """The client's connection while it is a tunnel: its bytes go upstream, with upstream's backpressure."""

    def __init__(self, owner: asyncio.Protocol, transport: asyncio.Transport, upstream: asyncio.StreamWriter) -> None:
        self._owner = owner
        self._transport = transport
        self._upstream = upstream
        self._drains: asyncio.Task[None] | None = None
        self.writable = asyncio.Event()
        self.writable.set()
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Pass on; read no more while upstream has not taken it."""
        self._upstream.write(data)
        if self._upstream.transport.get_write_buffer_size() > _PIECE_BYTES and self._drains is None:
            self._transport.pause_reading()
            self._drains = asyncio.get_running_loop().create_task(self._drained(), name="tunnel drain")

    async def _drained(self) -> None:
        try:
            await self._upstream.drain()
            self._transport.resume_reading()
        except OSError:
            self.ended.set()
        finally:
            self._drains = None

    def eof_received(self) -> bool:
        """The client has said all: upstream is told, and may go on answering."""
        if self._upstream.can_write_eof():
            self._upstream.write_eof()
            return True
        return False

    def pause_writing(self) -> None:
        """The client takes too little."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self.writable.set()
        self.ended.set()
        if self._drains is not None:
            self._drains.cancel()
        self._owner.connection_lost(exc)


async def _pass_bytes(
    ctx: RequestContext, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    http = cast("Http", ctx.request.stream)
    transport = cast("asyncio.Transport", ctx.request.transport)
    # From here on the HTTP server has no part in this connection: no timeout, no response, no next request.
    http.upgrade_websocket = True
    http.keep_alive = False
    http.request_body = None
    side = _ClientSide(http.protocol, transport, writer)
    transport.write(head)
    if http.recv_buffer:
        writer.write(bytes(http.recv_buffer))
        http.recv_buffer.clear()
    transport.set_protocol(side)
    transport.resume_reading()
    ctx.source = "upstream"
    ctx.status = 101
    try:
        await _until_ended(side, reader, transport)
    finally:
        http.stage = Stage.FAILED  # whatever happens now, the HTTP server must not write to this connection
        transport.close()


async def _until_ended(side: _ClientSide, reader: asyncio.StreamReader, transport: asyncio.Transport) -> None:
    """Upstream's bytes to the client, until upstream has said all or the client is gone."""
    ended = asyncio.create_task(side.ended.wait(), name="tunnel end")
    try:
        while not side.ended.is_set():
            piece = asyncio.create_task(reader.read(_PIECE_BYTES), name="tunnel read")
            try:
                await asyncio.wait((piece, ended), return_when=asyncio.FIRST_COMPLETED)
                if not piece.done():
                    return
                data = piece.result()
            except OSError:
                return
            finally:
                piece.cancel()
            if not data:
                return
            transport.write(data)
            await side.writable.wait()
    finally:
        ended.cancel()
