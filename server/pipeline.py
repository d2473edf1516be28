"""A request's way: identify → parse → scope → delegate → read → render. Each step is another module.

What the first steps find out is the same for the same request by the same user until their rights, the covered
resources or upstream's version change: it is kept as a `Plan`, so that a list that is polled costs a lookup.

Invariants: authorization is decided on the very RequestInfo that addresses the data; nothing is read before it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, cast

from kube import paths, status
from kube.paths import RequestInfo
from kube.upstream_error import UpstreamUnreachable
from server import negotiation
from server.access_log import Line
from server.delegation import CACHE, CacheState, Delegation, Target, accept_without, delegate
from server.errors import form_for, response_for, to_api_error
from server.forward_headers import impersonation_refused
from server.handlers import discovery
from server.handlers.get import get_object
from server.handlers.list import list_objects
from server.handlers.proxy import NO_CONTROL_DATA, abort, forward, target_of
from server.handlers.watch import watch
from server.head import Head
from server.identify import identified, identify
from server.identity import ANONYMOUS, Credential, CredentialKind
from server.list_options import check_timeout
from server.metrics import OTHER
from server.negotiation import Representation
from server.plan import Plan, make_plan, negotiated, refuse_method
from server.request_context import RequestContext, warning_header
from server.view import AskUpstream, ResourceView, Unusable
from server.whole_answer import WholeAnswer

if TYPE_CHECKING:
    from sanic.http import Http
    from sanic.request import Request
    from sanic.response import HTTPResponse

    from server.connection import PolledRequest
    from server.replica import Replica
    from server.whole_answer import Answer
    from store.catalogue import CatalogueEntry

PLANS_LIMIT = 16_384
"""Plans kept: some 1 KB each. What is asked again and again are a few lists of each user."""

_UNPARSED = RequestInfo("", "", "")
_NO_CREDENTIAL = Credential(CredentialKind.NONE)
_UUID_MASK, _UUID_VERSION = (1 << 128) - 1 - (0xF000 << 64) - (0xC000 << 48), (0x4000 << 64) + (0x8000 << 48)
_chance = random.Random()  # noqa: S311 - an audit ID has to be unlike all others, and is no secret


class Pipeline:
    """Answers requests; one per replica."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._plans: OrderedDict[tuple[object, ...], Plan] = OrderedDict()
        self.open_requests = 0
        self.idle = asyncio.Event()
        """Set while no request is open."""
        self.idle.set()

    async def handle(self, request: Request) -> None:
        """Answer one request, whatever happens."""
        started = time.perf_counter()
        self.open_requests += 1
        self.idle.clear()
        ctx = RequestContext(self._replica, request, ANONYMOUS, _NO_CREDENTIAL, _UNPARSED, _audit_id(request))
        http = cast("Http", request.stream)
        try:
            try:
                response: Answer | None = await self._answer(ctx)
            except asyncio.CancelledError:
                ctx.status = ctx.status or 499
                raise
            except Exception as error:  # noqa: BLE001 - whatever it was, the client gets an answer
                response = self._failed(ctx, error)
            if isinstance(response, WholeAnswer):
                ctx.status = response.status
                await response.send_whole(http)
            elif response is not None:
                http.respond(response)
                ctx.status = response.status
                await response.send(end_stream=True)
        finally:
            self.open_requests -= 1
            if not self.open_requests:
                self.idle.set()
            self._note(ctx, time.perf_counter() - started)

    def _failed(self, ctx: RequestContext, error: Exception) -> HTTPResponse | None:
        if ctx.begun:
            # The answer's end must not look like one.
            ctx.status = ctx.status or 500
            to_api_error(error)
            abort(ctx)
            return None
        return response_for(
            error,
            form=form_for(ctx.request, self._replica.version),
            audit_id=ctx.audit_id,
            source=ctx.source,
            warnings=tuple(map(warning_header, ctx.warnings)),
            now=ctx.now(),
        )

    async def _answer(self, ctx: RequestContext) -> Answer | None:
        replica, request = self._replica, cast("PolledRequest", ctx.request)
        head = Head.of(request, certificates=bool(replica.settings.client_ca))
        plan = self._plans.get(head.asked)
        if plan is None or plan.generation != replica.catalogue.generation or not plan.standing.valid:
            return await self._decide(ctx, head)
        ctx.info = plan.info
        identity = identified(replica, request, head.presented) or await identify(replica, request, head.presented)
        ctx.user, ctx.credential = identity.user, identity.credential
        if identity.user is not plan.user and identity.user != plan.user:
            return await self._decide(ctx, head)
        self._plans.move_to_end(head.asked)
        if head.impersonates:
            raise impersonation_refused()
        return await self._follow(ctx, plan)

    # Decide

    async def _decide(self, ctx: RequestContext, head: Head) -> Answer | None:
        """The whole way, for a request that was not seen before."""
        replica = self._replica
        ctx.info = info = paths.parse_target(ctx.request.method, target_of(ctx.request), replica.version)
        seconds = check_timeout(info, replica.version)
        identity = await identify(replica, ctx.request, head.presented)
        ctx.user, ctx.credential = identity.user, identity.credential
        if head.impersonates:
            raise impersonation_refused()
        if not info.is_resource:
            return await discovery.answer(ctx)
        if info.path.startswith("//"):
            return await forward(ctx, "not_covered")  # understood as a resource, and no resource is there
        assert info.gvr is not None
        entry = replica.catalogue.resources.get(info.gvr)
        ctx.resource = entry.resource if entry is not None else None
        if entry is not None and not info.verb and not info.subresource and replica.control.held:
            await refuse_method(ctx, entry)
        if entry is None or not info.is_read or info.subresource or len(info.parts) > 2:
            return await forward(ctx, self._why_not_ours(info, entry))
        if paths.invalid_name(info.namespace):
            return await forward(ctx, "not_covered")
        if not replica.control.held:
            return await forward(ctx, NO_CONTROL_DATA)
        plan = await make_plan(ctx, entry)
        plan.timeout_seconds = seconds if "timeout" in info.query else None
        if info.verb != "watch":
            self._plans[head.asked] = plan
            if len(self._plans) > PLANS_LIMIT:
                self._plans.popitem(last=False)
        return await self._follow(ctx, plan)

    def _why_not_ours(self, info: RequestInfo, entry: CatalogueEntry | None) -> str:
        if not info.is_read:
            return "write"
        if entry is not None or info.subresource:
            return "subresource"
        return "not_covered" if self._replica.control.held else NO_CONTROL_DATA

    # Follow

    async def _follow(self, ctx: RequestContext, plan: Plan) -> Answer | None:
        """Delegate, and answer."""
        ctx.resource, ctx.scope, ctx.warnings, ctx.memo = plan.entry.resource, plan.scope, plan.warnings, plan.memo
        ctx.options, ctx.get_options, ctx.representation = plan.options, plan.get_options, plan.representation
        ctx.label = plan.label
        ctx.view = plan.view or await self._view(plan)
        state = _state(ctx.view)
        if state == plan.cached_in:
            return await self._from_cache(ctx, plan)
        options = plan.options or plan.get_options
        assert options is not None
        settings = self._replica.settings
        decision = delegate(
            state,
            plan.scope,
            plan.representation,
            options,
            foreign_token=plan.foreign_token,
            max_staleness=settings.max_staleness,
        )
        if decision is CACHE:
            plan.cached_in = state
        if decision.target is Target.OTHER_FORM:
            ctx.representation = self._other_form(ctx, plan, state)
        elif decision.target is Target.UPSTREAM:
            return await self._from_upstream(ctx, plan, decision)
        elif decision.error is not None:
            raise decision.error
        return await self._from_cache(ctx, plan)

    async def _view(self, plan: Plan) -> ResourceView | None:
        try:
            plan.view = await self._replica.views.open(plan.entry.resource.gvr)
        except Unusable:
            return None
        return plan.view

    def _other_form(self, ctx: RequestContext, plan: Plan, state: CacheState) -> Representation:
        """What else the client would take, where only the cache can answer.

        Raises:
            NotAcceptable: nothing that can be given.
        """
        representation, accept = plan.representation, ctx.request.headers.get("accept") or ""
        for _ in range(3):  # at most: a Table in protobuf clauses, then a Table, then an object
            left = accept_without(accept, representation)
            if left is None:
                break
            accept = left
            representation = negotiated(ctx, plan.entry, accept)
            table = representation.form is negotiation.Form.TABLE
            if representation.ours and (not table or state.tables):
                return representation
        raise status.not_acceptable(
            "across namespaces of which you may read only some, this server gives this resource as "
            "application/json and application/yaml only" + ("" if state.tables else ", and not as a Table")
        )

    async def _from_upstream(self, ctx: RequestContext, plan: Plan, decision: Delegation) -> Answer | None:
        warnings, ctx.warnings = ctx.warnings, ()  # upstream sends its own
        try:
            return await forward(ctx, decision.cause)
        except status.StatusError as error:
            if not (decision.else_cache and isinstance(error.__cause__, UpstreamUnreachable)):
                raise
        ctx.source, ctx.cause, ctx.warnings = "cache", "", warnings
        return await self._from_cache(ctx, plan)

    async def _from_cache(self, ctx: RequestContext, plan: Plan) -> Answer | None:
        try:
            if plan.timeout_seconds is None:
                return await self._handler(ctx)
            async with asyncio.timeout(plan.timeout_seconds):
                return await self._handler(ctx)
        except TimeoutError:
            raise status.request_timeout() from None
        except (AskUpstream, Unusable) as error:
            if ctx.begun:
                raise
            if not plan.scope.all:
                if isinstance(error, AskUpstream):
                    raise status.expired_list() from error
                raise status.service_unavailable(f"the cache cannot answer now: {error}", 1) from error
            ctx.warnings = ()
            return await forward(ctx, "history" if isinstance(error, AskUpstream) else "unusable")

    async def _handler(self, ctx: RequestContext) -> Answer | None:
        if ctx.info.verb == "list":
            return await list_objects(ctx)
        if ctx.info.verb == "get":
            return await get_object(ctx)
        return await watch(ctx)

    # Note

    def _note(self, ctx: RequestContext, seconds: float) -> None:
        replica, request, info = self._replica, ctx.request, ctx.info
        code = ctx.status or ctx.begun or 0
        verb = info.verb if info.verb in _VERBS else OTHER
        label = ctx.resource_label
        replica.metrics.answered(verb, label, ctx.source, code, seconds)
        scope = ctx.scope
        replica.access_log.add(
            Line(
                time.time(),
                ctx.user.name,
                request.method,
                request.raw_url.decode("latin-1"),
                code,
                ctx.source,
                round(seconds, 6),
                ctx.audit_id,
                info.verb,
                label,
                scope.label if scope is not None else "",
                request.ip or "",
            )
        )


_VERBS = frozenset(
    ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "proxy", "post", "put", "head")
)


def _state(view: ResourceView | None) -> CacheState:
    if view is None:
        return CacheState(synced=False, faithful_tables=False)
    table = view.meta.table
    served, kept = (table.served, table.kept) if table is not None else (False, False)
    return CacheState(view.meta.readable, served, view.stale_seconds, kept)


def _audit_id(request: Request) -> str:
    given: str | None = request.headers.get("audit-id")
    if given and len(given) <= 64 and given.isascii() and given.isprintable():
        return given
    # A UUID of version 4, as upstream's are.
    text = f"{_chance.getrandbits(128) & _UUID_MASK | _UUID_VERSION:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
