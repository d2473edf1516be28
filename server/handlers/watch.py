"""A watch, from an authorized request to the end of its stream."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from kube import status
from kube.status import TooLargeResourceVersion
from server.authn import bearer_token
from server.handlers.list import item_form
from server.identity import CredentialKind
from server.list_options import resource_version
from server.negotiation import check_include_object, check_stream
from server.reading import reach
from server.request_context import warning_header
from server.snapshot import narrowed
from server.watch_index import Selection
from server.watch_start import plan
from server.watch_stream import HttpStream, Stalled, WatchStream
from server.watcher import Lifetime, Watcher
from server.websocket import (
    HandshakeRefused,
    WebSocketStream,
    accept_handshake,
    is_websocket,
    offered_protocols,
)

if TYPE_CHECKING:
    from server.list_options import ListOptions
    from server.request_context import RequestContext
    from server.view import ResourceView
    from server.watch_start import StartPlan
    from server.whole_answer import WholeAnswer

MIN_SECONDS = 1800.0
"""A watch without `timeoutSeconds` lasts this long at least and twice this at most, at random as upstream has it,
so that the watches which began together after a failure do not end together."""


async def watch(ctx: RequestContext) -> WholeAnswer | None:
    """Answer a watch. Returns None when a stream was sent, else a response that refuses the upgrade.

    Raises:
        ApiError: before the stream begins; afterwards errors are events of the stream.
        Unusable: the cache cannot answer now.
    """
    started = asyncio.get_running_loop().time()
    resource, scope, options, representation = ctx.resource, ctx.scope, ctx.options, ctx.representation
    assert resource is not None
    assert scope is not None
    assert options is not None
    assert representation is not None
    views, watches = ctx.replica.views, ctx.replica.watches
    view = await views.open(resource.gvr)
    rv = resource_version(options.resource_version, verb="watch", version=ctx.replica.version)
    check_include_object(representation, options.include_object)
    check_stream(representation)
    begin = plan(options, rv)
    path_namespace = ctx.info.namespace if resource.namespaced else ""
    selection = Selection(
        scope,
        path_namespace or options.namespace_from_selector or "",
        options.label_selector,
        options.field_selector,
    )
    await view.ensure(narrowed(scope, selection.namespace, resource.namespaced))
    if ctx.request.method == "HEAD":
        return ctx.respond(b"")  # custom resources have it: the head of a stream, and no stream
    fault = await _late(ctx, view, begin.reach)
    if fault is not None:
        started = asyncio.get_running_loop().time()  # it is told, also where the wait was longer than the watch may be
    if begin.resumes and not path_namespace:
        fault = await _resume_fault(ctx, view, begin)
    # A list of metadata is nothing that an event could show.
    form = None if representation.metadata_list else item_form(representation, options.include_object)
    table = view.meta.table
    if form is not None and form.kind == "table" and table is not None and (begin.after or table.since) < table.since:
        # Rows from before are of another kind, for other columns.
        fault = status.expired_watch(begin.after or 0, table.since)
    try:
        stream = await _open(ctx)
    except HandshakeRefused as refusal:
        ctx.status = refusal.status
        await WebSocketStream.refuse(ctx.request, refusal)
        return None
    lifetime = Lifetime(started + _seconds(options), options.allow_bookmarks)
    watcher = watches.enter(view, views.kept, lambda hub: Watcher(hub, selection, form, stream, lifetime))
    try:
        if fault is not None:
            watcher.fail(fault)
        await _follow(ctx, watcher, begin)
    finally:
        watches.leave(watcher)
    return None


async def _follow(ctx: RequestContext, watcher: Watcher, begin: StartPlan) -> None:
    """The stream, with the user's scope followed as long as it lasts."""
    user, resource, namespace, name = ctx.user, ctx.resource, ctx.info.namespace, ctx.info.name
    assert resource is not None
    control = ctx.replica.control
    subscription = control.subscribe(user, resource, watcher.rescope, verb="watch", namespace=namespace, name=name)
    watcher.settle = subscription.settle
    try:
        # Between the decision on this request and the subscription the scope may have become another.
        present = control.scope(user, resource, "watch", namespace, name)
        if present != ctx.scope:
            watcher.rescope(present)
        await watcher.run(begin)
    except Stalled:
        # Whole events only, and an end if the client should come back to it: it resumes from what it has.
        ctx.replica.metrics.slow_watchers_closed.inc()
        await watcher.stream.finish()
    except Exception:
        # The client must not take what it has for a whole stream.
        watcher.stream.abort()
        raise
    else:
        await watcher.stream.finish()
    finally:
        subscription.cancel()


async def _open(ctx: RequestContext) -> WatchStream:
    """Begin the answer: the headers go out at once."""
    request = ctx.request
    if is_websocket(request.headers) and request.version != "1.0":
        values = request.headers.getall("sec-websocket-protocol", [])
        # A token in the subprotocols counts, and is taken out, where there is no other.
        token_taken = ctx.credential.kind is CredentialKind.TOKEN and not bearer_token(
            request.headers.get("authorization")
        )
        handshake = accept_handshake(request.headers, offered_protocols(values, token_taken=token_taken))
        ctx.status = 101
        return await WebSocketStream.open(request, handshake)
    warnings = [("Warning", warning_header(text)) for text in ctx.warnings]
    return await HttpStream.open(request, ctx.headers("application/json"), warnings)


async def _late(ctx: RequestContext, view: ResourceView, rv: int) -> Exception | None:
    """504 where the state that is to be shown first does not come in time.

    Raises:
        AskUpstream: upstream has it.
    """
    assert ctx.scope is not None
    try:
        await reach(view, rv, ctx.scope, ctx.replica.reached)
    except TooLargeResourceVersion as error:
        return error
    return None


async def _resume_fault(ctx: RequestContext, view: ResourceView, begin: StartPlan) -> Exception | None:
    """410 where the user's scope may have changed since the RV that the client goes on from.

    What it gained or lost then is in no later event, so the client must list again.
    """
    assert ctx.resource is not None
    assert begin.after is not None
    if ctx.user.master:
        return None
    if begin.after >= view.position:
        time_ms: int | None = int(ctx.now() * 1000)
    else:
        time_ms = await ctx.replica.reader.rv_time(view.gvr, begin.after)
    if time_ms is not None and ctx.replica.control.changed_since(ctx.user, ctx.resource, time_ms) is False:
        return None
    return status.expired_watch(begin.after, view.position)


def _seconds(options: ListOptions) -> float:
    """How long the watch lasts."""
    if options.timeout_seconds is not None:
        return float(options.timeout_seconds)
    return random.uniform(MIN_SECONDS, 2 * MIN_SECONDS)  # noqa: S311 - spreads load, guards nothing
