"""What is decided about a read of a covered resource before anything is read: authorized and understood, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from kube import status
from kube.paths import RequestInfo
from server import continue_token
from server.delegation import CacheState, accept_without
from server.identity import User
from server.list_options import (
    GetOptions,
    ListOptions,
    check_route,
    check_scope,
    check_version_of_page,
    check_watchable,
    parse,
    parse_get,
)
from server.negotiation import Representation, Verb, check_gate, negotiate
from server.policy import Standing
from server.scope import Scope

if TYPE_CHECKING:
    from server.request_context import RequestContext
    from server.view import ResourceView
    from store.catalogue import CatalogueEntry


@dataclass(slots=True)
class Plan:
    """All that was decided about a read of a covered resource, for one user."""

    user: User
    info: RequestInfo
    entry: CatalogueEntry
    standing: Standing
    generation: int
    scope: Scope
    representation: Representation
    options: ListOptions | None
    get_options: GetOptions | None
    warnings: tuple[str, ...]
    foreign_token: bool
    timeout_seconds: float | None
    label: str
    """Of the resource, in metrics and the access log."""
    view: ResourceView | None = None
    """Once it is open: views stay so."""
    cached_in: CacheState | None = None
    """A state of the cache in which it is the cache that answers."""
    memo: dict[object, object] = field(default_factory=dict)


async def make_plan(ctx: RequestContext, entry: CatalogueEntry) -> Plan:
    """Authorize and understand a read of a covered resource.

    Raises:
        ApiError: it is refused, as upstream would.
    """
    replica, info, resource, version = ctx.replica, ctx.info, entry.resource, ctx.replica.version
    accept = ctx.request.headers.get("accept")
    standing = replica.control.standing(ctx.user)
    scope = _scope(ctx, entry)
    ctx.scope = scope
    warnings = await replica.catalogue.warnings(entry)
    check_route(info, resource, custom=entry.custom)
    if not entry.custom:
        check_gate(accept, verb=_read_verb(info), version=version)
    # What the router in front of the handlers refuses, it refuses without a warning.
    ctx.warnings = warnings
    representation = negotiated(ctx, entry, accept)
    options, get_options, foreign = None, None, False
    if info.verb == "get":
        get_options = parse_get(info.query, version)
    else:
        selectable = (await replica.views.open(resource.gvr)).meta.selectable if entry.custom else ()
        options = parse(info, info.query, version, resource, custom=entry.custom, selectable=selectable)
        check_watchable(info, resource)
        check_version_of_page(options, version)
        if options.continue_token and not options.watch and not continue_token.is_ours(options.continue_token):
            continue_token.check_foreign(options.continue_token, version)
            foreign = True
    return Plan(
        ctx.user,
        info,
        entry,
        standing,
        replica.catalogue.generation,
        scope,
        representation,
        options,
        get_options,
        warnings,
        foreign,
        None,
        str(resource.gvr),
    )


async def refuse_method(ctx: RequestContext, entry: CatalogueEntry) -> None:
    """A method that means nothing to an API server: authorized like any other, then there is no route for it.

    Raises:
        Forbidden, StatusError: 403 or 405.
    """
    info = ctx.info
    assert info.gvr is not None
    decision = ctx.replica.control.verdict(ctx.user, info)
    if not decision.allowed:
        raise status.forbidden(ctx.user.name, info.verb, info.gvr, "", info.namespace, info.name, decision.reason)
    if entry.custom:
        check_scope(info, entry.resource)
        ctx.warnings = await ctx.replica.catalogue.warnings(entry)
    check_route(info, entry.resource, custom=entry.custom)


def negotiated(ctx: RequestContext, entry: CatalogueEntry, accept: str | None) -> Representation:
    """What the Accept header comes to; where that is not ours to give, the best of what it names besides.

    Typed clients name JSON behind protobuf: the former comes from the cache, the latter only from upstream.
    """
    representation = _negotiated(ctx, entry, accept)
    if representation.ours or (left := accept_without(accept or "", representation)) is None:
        return representation
    try:
        other = _negotiated(ctx, entry, left)
    except status.NotAcceptable:
        return representation
    return other if other.ours else representation


def _negotiated(ctx: RequestContext, entry: CatalogueEntry, accept: str | None) -> Representation:
    info = ctx.info
    return negotiate(
        accept,
        verb=_read_verb(info),
        custom=entry.custom,
        query=info.query,
        user_agent=ctx.request.headers.get("user-agent") or "",
        version=ctx.replica.version,
    )


def _scope(ctx: RequestContext, entry: CatalogueEntry) -> Scope:
    info, control = ctx.info, ctx.replica.control
    assert info.gvr is not None
    scope = control.scope(ctx.user, entry.resource, info.verb, info.namespace, info.name)
    if scope is None:
        reason = control.verdict(ctx.user, info).reason
        raise status.forbidden(ctx.user.name, info.verb, info.gvr, "", info.namespace, info.name, reason)
    return scope


def _read_verb(info: RequestInfo) -> Verb:
    return cast("Verb", info.verb)
