"""GET of a collection: which state, which objects, in which form; everything else was decided before."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from kube.version import ServerVersion
from server import continue_token, negotiation, reading
from server.assembly import Assembly
from server.continue_token import Token, subject_of
from server.matching import Selectors
from server.negotiation import PRETTY_CUSTOM_SINCE, Form, Representation
from server.objects import OBJECT, ItemForm, Shape
from server.pause import Pause
from server.render import GZIP_ABOVE_BYTES, Envelope, ListMeta, envelope, gzipped, pretty, yaml
from server.request_context import GZIP_LINES, warning_header
from server.snapshot import Page, Snapshot, narrowed, pick
from server.view import Gone, Unusable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from server.answers import Items
    from server.history import Key
    from server.list_options import ListOptions
    from server.reading import State, Wish
    from server.request_context import RequestContext
    from server.scope import Scope
    from server.view import ResourceView
    from server.views import Views
    from server.whole_answer import WholeAnswer
    from store.record import Record

_ATTEMPTS = 3

METADATA_COUNTED_SINCE = ServerVersion(1, 24)

_PART_BYTES = 64 * 1024
"""A long answer is sent in pieces of this size: some of what a socket takes at once."""


@dataclass(slots=True)
class _Asked:
    """What the request itself says: the same each time that it is made."""

    options: ListOptions
    scope: Scope
    representation: Representation
    form: ItemForm
    gzip: bool
    namespace: str
    namespaces: Collection[str] | None
    selectors: Selectors
    subject: str
    single: bool
    wish: Wish | None
    """None where it depends on more than the request: further pages'."""
    key: str
    """Equal for those whose answers are made of the same items."""
    shown_as: int = -1
    """`ResourceView.described` of the description of which it is known that it has this representation."""

    @classmethod
    def of(cls, ctx: RequestContext, view: ResourceView) -> _Asked:
        """Worked out once for requests that are repeated.

        Raises:
            BadRequest, StatusError: see `reading.wish_of`.
        """
        asked = ctx.memo.get(cls)
        if not isinstance(asked, cls) or asked.representation is not ctx.representation:
            asked = ctx.memo[cls] = cls._work_out(ctx, view)
        return asked

    @classmethod
    def _work_out(cls, ctx: RequestContext, view: ResourceView) -> _Asked:
        options, scope, representation = ctx.options, ctx.scope, ctx.representation
        assert options is not None
        assert scope is not None
        assert representation is not None
        namespaced = view.meta.namespaced
        namespace = ctx.info.namespace if namespaced else ""
        if not namespace and options.namespace_from_selector is not None:
            namespace = options.namespace_from_selector
        selectors = Selectors(options.label_selector, options.field_selector)
        subject, form = (
            subject_of(str(view.gvr), namespace, selectors),
            item_form(representation, options.include_object),
        )
        # One object, if it is there at all: upstream reads its key, and there is no next page.
        single = bool(options.single_name) and (bool(namespace) or not namespaced)
        wish = None
        if not options.continue_token:
            wish = reading.wish_of(options, view.gvr, ctx.replica.version, subject, b"", single=single)
        return cls(
            options,
            scope,
            representation,
            form,
            negotiation.gzip_accepted(ctx.request.headers.get("accept-encoding")),
            namespace,
            narrowed(scope, namespace, namespaced),
            selectors,
            subject,
            single,
            wish,
            repr((str(view.gvr), subject, scope.digest, form)),
        )


@dataclass(slots=True)
class _List:
    """One list on its way: what is asked of which state, in which form."""

    views: Views
    view: ResourceView
    asked: _Asked
    wish: Wish
    state: State
    now: float
    token_key: bytes

    @property
    def form(self) -> ItemForm:
        """How each object appears."""
        return self.asked.form

    @property
    def after(self) -> Key | None:
        """The key behind which the page begins."""
        token = self.wish.token
        return (token.namespace, token.name) if token is not None else None

    @property
    def limit(self) -> int:
        """Objects at most; 0: all."""
        return 0 if self.asked.single else self.wish.limit

    @property
    def key(self) -> tuple[object, ...]:
        """Under what the answer is kept."""
        view = self.view
        return self.asked.key, view.epoch, view.described, self.after, self.limit, self.state.past

    async def page(self, snapshot: Snapshot) -> Page:
        """The objects that the answer has."""
        return await pick(snapshot, self.asked.selectors, self.after, self.limit, Pause())

    def assembly(self, page: Page) -> Assembly:
        """Their items, ready to be made."""
        view = self.view

        async def fetch(records: Sequence[Record]) -> Sequence[Record]:
            return await view.with_bodies(records)

        table = view.meta.table
        sorted_rows = table is not None and table.sort_rows
        return Assembly(page, self.form, Shape.of(view.gvr, view.meta), self.now, self.views.kept, fetch, sorted_rows)

    def envelope(self, found: Page | Items) -> Envelope:
        """What stands around the items."""
        list_meta = self._list_meta(found)
        return envelope(self.view.gvr, self.view.meta, self.form, list_meta, empty=not found.count)

    def _list_meta(self, found: Page | Items) -> ListMeta:
        rv = self.state.rv
        if not found.following or found.last is None:
            return ListMeta(rv)
        token = Token(rv, self.view.incarnation, *found.last, self.asked.subject, self.asked.scope.digest)
        remaining = found.following if self.asked.options.selects_everything and self._counted else None
        return ListMeta(rv, continue_token.encode(token, self.token_key), remaining)

    @property
    def _counted(self) -> bool:
        """Whether upstream says how many objects are left: lists of metadata did not from the beginning."""
        version = self.view.meta.version
        return self.form.kind != "partial" or not version or ServerVersion.parse(version) >= METADATA_COUNTED_SINCE


async def list_objects(ctx: RequestContext) -> WholeAnswer | None:
    """Answer a list from the cache; None: the answer was streamed.

    Raises:
        StatusError: what upstream would answer.
        Unusable, AskUpstream: it is to be forwarded instead.
    """
    for _ in range(_ATTEMPTS):
        try:
            return await _answer(ctx)
        except Gone:
            # A body that was let go has been replaced, and its log trimmed, before it could be read again.
            if ctx.begun:
                raise
    raise Unusable("the objects change faster than they can be read")


async def _answer(ctx: RequestContext) -> WholeAnswer | None:
    """Answer once.

    Raises:
        Gone: some object of the state is nowhere any more.
    """
    found = await _read(ctx)
    # Between here and the snapshot nothing may be awaited: they are of one state.
    representation, gzip = found.asked.representation, found.asked.gzip
    encoded_otherwise = representation.yaml or representation.pretty
    answers, stamp, key = found.views.answers, found.state.stamp, found.key
    kept = None if encoded_otherwise else answers.kept(key, stamp, found.now)
    if kept is not None and (response := _respond(ctx, found, kept, gzip=gzip)) is not None:
        return response
    snapshot = found.state.take()
    if found.state.before:
        await found.state.rewind(snapshot)
    assembly = found.assembly(await found.page(snapshot))
    if encoded_otherwise:
        return await _encoded(ctx, found, assembly)
    if assembly.large and not gzip:
        await _streamed(ctx, found, assembly)
        return None
    # Which form is due shows when its length is known; it is guessed first, so that nothing is made in vain.
    probable = gzip and assembly.long
    for packed in (probable, not probable):
        make = assembly.packed if packed else assembly.joined
        items = await answers.make(key, stamp, partial(make, stamp), packed=packed)
        if (response := _respond(ctx, found, items, gzip=gzip)) is not None:
            return response
    raise Unusable("an age ticked between both forms, and the answer is now as long as upstream compresses, or not")


async def _read(ctx: RequestContext) -> _List:
    """Choose the state. Nothing is awaited after it."""
    gvr, views = ctx.info.gvr, ctx.replica.views
    assert gvr is not None
    view = ctx.view or await views.open(gvr)
    asked = _Asked.of(ctx, view)
    options, scope = asked.options, asked.scope
    token_key = await views.token_key() if options.limit or options.continue_token else b""
    wish = asked.wish or reading.wish_of(
        options, gvr, ctx.replica.version, asked.subject, token_key, single=asked.single
    )
    try:
        state = await reading.read(view, wish, scope, asked.namespaces, ctx.replica.reached)
    except Gone as error:
        raise reading.expired(error, wish, view, scope, token_key) from error
    if asked.shown_as != view.described:
        representation, meta = asked.representation, view.meta
        negotiation.check_shape(representation, verb="list", custom=meta.custom, gvr=gvr, kind=meta.kind)
        negotiation.check_include_object(representation, options.include_object)
        asked.shown_as = view.described
    if state.before and asked.form.kind == "table":
        table = view.meta.table
        if table is not None and wish.rv < table.since:
            raise reading.expired(Gone(wish.rv, table.since), wish, view, scope, token_key)
    return _List(views, view, asked, wish, state, ctx.now(), token_key)


def item_form(representation: Representation, include_object: str) -> ItemForm:
    """How each object appears in an answer of this representation."""
    version: Literal["v1", "v1beta1"] = "v1beta1" if representation.meta_version == "v1beta1" else "v1"
    if representation.form is Form.TABLE:
        include = {"None": "None", "Object": "Object"}.get(include_object, "Metadata")
        return ItemForm("table", version, include)  # type: ignore[arg-type]
    return ItemForm("partial", version) if representation.form is Form.METADATA else OBJECT


def _respond(ctx: RequestContext, found: _List, items: Items, *, gzip: bool) -> WholeAnswer | None:
    """The answer; None if the items are not there in the encoding that it must have."""
    around = items.enveloped(found.state.rv, found.envelope)
    if gzip and items.length + around.length > GZIP_ABOVE_BYTES:
        if items.packed is None:
            return None
        return ctx.respond(*items.file(around), age_seconds=found.view.age(), more=GZIP_LINES)
    return ctx.respond(*around.parts(items.plain), age_seconds=found.view.age()) if items.plain is not None else None


async def _encoded(ctx: RequestContext, found: _List, assembly: Assembly) -> WholeAnswer:
    """Indented JSON or YAML: made of the whole body each time, since people ask for it and not programs."""
    items = [part async for part in assembly.stream()]
    body = b"".join(found.envelope(assembly.page).parts(b"".join(items)))
    return await encoded(ctx, found.view, body)


async def encoded(ctx: RequestContext, view: ResourceView, body: bytes) -> WholeAnswer:
    """Answer a JSON body in the encoding that was asked for, compressed if that is due."""
    representation = ctx.representation
    assert representation is not None
    if representation.yaml:
        body = await yaml(body)
    elif representation.pretty:
        jsoniter = ctx.replica.version < PRETTY_CUSTOM_SINCE
        if jsoniter and view.meta.custom and representation.form is Form.JSON:
            body = body.rstrip(b"\n")
        else:
            body = await pretty(body, jsoniter=jsoniter)
    more = ""
    if len(body) > GZIP_ABOVE_BYTES and negotiation.gzip_accepted(ctx.request.headers.get("accept-encoding")):
        body = await gzipped(body)
        more = GZIP_LINES
    return ctx.respond(body, content_type=representation.content_type, age_seconds=view.age(), more=more)


async def _streamed(ctx: RequestContext, found: _List, assembly: Assembly) -> None:
    """Send a list too long to be held at once."""
    around = found.envelope(assembly.page)
    headers = ctx.headers("application/json", found.view.age())
    response = await ctx.request.respond(headers=headers, content_type="application/json")
    for text in ctx.warnings:
        response.headers.add("Warning", warning_header(text))
    async for part in _buffered(around, assembly):
        await response.send(part)
    await response.eof()


async def _buffered(around: Envelope, assembly: Assembly) -> AsyncIterator[bytes]:
    held = [around.head + around.columns + around.opening]
    size = len(held[0])
    async for part in assembly.stream():
        held.append(part)
        size += len(part)
        if size >= _PART_BYTES:
            yield b"".join(held)
            held, size = [], 0
    held.append(around.tail)
    yield b"".join(held)
