"""Whatever is not answered from the cache goes upstream, as the user, and comes back as it comes.

Bodies stream both ways and nothing is held back: logs that are followed arrive line by line, and a client that hangs up
ends the request upstream. The exception are the answers to writes of covered resources: small ones are held until the
store has the write's effect.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, cast

from sanic.response import HTTPResponse

from kube import status
from kube.upstream_error import UpstreamError, UpstreamUnreachable
from server import forward_headers, write_wait, written_object
from server.handlers import upgrade
from server.request_context import warning_header
from server.whole_answer import WholeAnswer, header_lines
from store.errors import StoreError

if TYPE_CHECKING:
    from sanic.http import Http
    from sanic.request import Request

    from kube.answer import Incoming
    from kube.resources import GVR
    from server.connection import PolledRequest
    from server.request_context import RequestContext
    from server.whole_answer import Answer

_log = logging.getLogger(__name__)

HELD_BYTES = 3 << 20
"""Answers to writes up to this size are read whole before they are passed on: upstream takes no bigger objects."""

NO_CONTROL_DATA = "no_control_data"
"""Why a read goes upstream while nobody's rights are known here. Upstream's refusal is then not the last word for
those who may read a part."""

_READS = frozenset(("GET", "HEAD", "OPTIONS"))


async def forward(ctx: RequestContext, cause: str) -> Answer | None:
    """Answer with what upstream says; None: the answer was streamed. `cause` is a word for the metrics.

    Raises:
        ApiError: the caller cannot be represented upstream, or upstream does not answer.
    """
    ctx.source = "upstream"
    ctx.cause = cause
    request, way = ctx.request, _way(ctx)
    headers = [*way.headers, ("audit-id", ctx.audit_id)]
    try:
        if way.upgrade:
            return await upgrade.tunnel(ctx, way.target, headers, own=way.own)
        answer = await ctx.replica.upstream.forward(
            request.method,
            way.target,
            headers,
            _body(ctx),
            own=way.own,
            verb=ctx.info.verb,
            resource=ctx.resource_label,
            cause=cause,
        )
        try:
            return await _pass_on(ctx, answer)
        finally:
            answer.close()
    except UpstreamError as error:
        if ctx.begun:
            # What was sent is not whole, and the client must not take it for that.
            _log.warning("upstream broke off an answer: %s", error)
            abort(ctx)
            return None
        sent = not isinstance(error, UpstreamUnreachable) and request.method not in _READS
        _log.warning("a request could not be forwarded: %s", error)
        raise forward_headers.upstream_failed(took_effect_unknown=sent) from error


class _Way(NamedTuple):
    """How a request goes upstream, as far as its head and its connection's certificate say it."""

    target: str
    headers: list[tuple[str, str]]
    own: bool
    upgrade: bool


def _way(ctx: RequestContext) -> _Way:
    """Worked out once for heads that are repeated: who the caller is follows from the head, or nobody asks for it.

    Raises:
        Forbidden: the caller cannot be represented upstream.
    """
    request = cast("PolledRequest", ctx.request)
    way = request.known.get(_Way)
    if way is None:
        wants_upgrade = upgrade.wanted(request.headers)
        identity = forward_headers.identity_headers(ctx.user, ctx.credential, request.headers.get("authorization"))
        headers = forward_headers.for_upstream(
            request.headers.items(), identity, client=request.ip or "", upgrade=wants_upgrade
        )
        own = forward_headers.impersonated(ctx.credential)
        way = request.known[_Way] = _Way(target_of(request), headers, own, wants_upgrade)
    return cast("_Way", way)


def target_of(request: Request) -> str:
    """Path and query as the client wrote them; of a request for a whole URL, what follows the host.

    Raises:
        PlainError: 400, it is neither.
    """
    target = request.raw_url.decode("ascii")
    if target.startswith("/"):
        return target
    if "://" in target:
        return "/" + target.partition("://")[2].partition("/")[2]
    raise status.malformed_request()


def abort(ctx: RequestContext) -> None:
    """Drop the client's connection in the middle of an answer."""
    transport = cast("asyncio.Transport | None", ctx.request.transport)
    if transport is not None:
        transport.abort()


def _body(ctx: RequestContext) -> AsyncIterator[bytes] | None:
    stream = cast("Http", ctx.request.stream)
    if not stream.request_body:
        return None
    # Upstream has its own limits, some resources (proxied pods) none.
    stream.request_max_size = cast("int", float("inf"))
    return _chunks(stream)


async def _chunks(stream: Http) -> AsyncIterator[bytes]:
    async for chunk in stream:
        yield chunk


async def _pass_on(ctx: RequestContext, answer: Incoming) -> Answer | None:
    if answer.status == 403 and ctx.cause == NO_CONTROL_DATA and not ctx.info.namespace and not ctx.info.name:
        raise status.service_unavailable("it is not known yet what this user may read across namespaces", 1)
    gvr = _written_resource(ctx)
    if gvr is None and answer.complete and answer.status not in (204, 304) and ctx.request.method != "HEAD":
        return await _at_once(ctx, answer)
    response = HTTPResponse(status=answer.status)
    content_type = None
    length = 0 if ctx.request.method == "HEAD" else None
    for name, value in forward_headers.for_client(answer.headers):
        if name == "content-length" and ctx.request.method != "HEAD":
            length = int(value)
        response.headers.add(name, value)
        if name == "content-type":
            content_type = value
    response.content_type = content_type
    response.headers["x-larder-source"] = "upstream"
    for text in ctx.warnings:
        response.headers.add("warning", warning_header(text))
    if answer.status in (204, 304):
        response.headers.pop("content-length", None)
    chunks = answer.chunks()
    if gvr is None or not 200 <= answer.status < 300 or (length or 0) > HELD_BYTES:
        await _stream(ctx, response, [], chunks)
        return None
    parts, whole = await _read(chunks)
    if not whole:
        await _stream(ctx, response, parts, chunks)
        return None
    await _until_stored(ctx, gvr, response, b"".join(parts))
    return response


async def _at_once(ctx: RequestContext, answer: Incoming) -> WholeAnswer:
    """An answer that has come whole, as the short ones do: it goes on in one write."""
    headers = [("x-larder-source", "upstream"), *forward_headers.for_client(answer.headers, whole=True)]
    if ctx.warnings:
        headers += [("warning", warning_header(text)) for text in ctx.warnings]
    return WholeAnswer((await answer.read(),), answer.status, header_lines(headers))


async def _stream(
    ctx: RequestContext, response: HTTPResponse, begun: list[bytes], chunks: AsyncIterator[bytes]
) -> None:
    started = await ctx.request.respond(response)
    if response.status in (204, 304) or ctx.request.method == "HEAD":
        await started.send(b"", end_stream=True)
        return
    if "content-length" not in response.headers:
        # Headers at once: of a log that is followed, the first line may be hours away.
        await started.send(b"".join(begun), end_stream=False)
        begun = []
    for part in begun:
        await started.send(part, end_stream=False)
    async for chunk in chunks:
        await started.send(chunk, end_stream=False)
    if cast("Http", ctx.request.stream).response_func is not None:
        await started.send(b"", end_stream=True)


async def _read(chunks: AsyncIterator[bytes]) -> tuple[list[bytes], bool]:
    """The beginning of a body, and whether that is all of it."""
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > HELD_BYTES:
            return parts, False
    return parts, True


async def _until_stored(ctx: RequestContext, gvr: GVR, response: HTTPResponse, body: bytes) -> None:
    """Hold the answer to a write until the store has its effect."""
    response.headers.pop("content-length", None)
    response.body = body
    written = written_object.read(response.content_type or "", _plain(response.headers, body))
    if written is not None:
        await _wait(ctx, gvr, written)


def _plain(headers: Mapping[str, str], body: bytes) -> bytes:
    if headers.get("content-encoding") != "gzip":
        return body
    try:
        return zlib.decompress(body, 31)
    except zlib.error:
        return b""


def _written_resource(ctx: RequestContext) -> GVR | None:
    """The covered resource whose object the request writes."""
    gvr = ctx.info.gvr
    if gvr is None or not write_wait.waits(ctx.info):
        return None
    return ctx.replica.catalogue.covered(gvr.group, gvr.resource)


async def _wait(ctx: RequestContext, gvr: GVR, written: written_object.WrittenObject) -> None:
    replica = ctx.replica
    seconds = replica.settings.write_wait_seconds
    try:
        stored = await write_wait.wait(replica.reader, gvr, ctx.info, written, seconds)
        if stored:
            await replica.control.caught_up(gvr, seconds)
    except (StoreError, TimeoutError) as error:
        _log.debug("a write's effect cannot be waited for: %s", error)
        stored = False
    if not stored:
        replica.metrics.write_waits_expired.inc()
