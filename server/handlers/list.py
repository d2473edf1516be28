"""GET of a collection: which state, which objects, in which form; everything else was decided before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from server import continue_token, negotiation, reading
from server.answers import Items
from server.assembly import Assembly, compressed
from server.continue_token import Token, subject_of
from server.list_options import ListOptions
from server.matching import Selectors
from server.negotiation import PRETTY_CUSTOM_SINCE, Form, Representation
from server.objects import OBJECT, ItemForm, Shape
from server.pause import Pause
from server.render import GZIP_ABOVE_BYTES, Envelope, ListMeta, envelope, gzipped, pretty, yaml
from server.request_context import warning_header
from server.snapshot import Page, Snapshot, narrowed, pick
from server.view import Gone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sanic.response import HTTPResponse

    from server.request_context import RequestContext
    from server.view import ResourceView
    from server.views import Views
    from store.record import Record

_PART_BYTES = 64 * 1024
"""A long answer is sent in pieces of this size: some of what a socket takes at once."""


@dataclass(slots=True)
class _List:
    """One list on its way: what was asked, and what was found."""

    views: Views
    view: ResourceView
    options: ListOptions
    representation: Representation
    form: ItemForm
    page: Page
    snapshot: Snapshot
    now: float
    key: tuple[object, ...]
    list_meta: ListMeta

    @property
    def assembly(self) -> Assembly:
        """The items, ready to be made."""
        view = self.view

        async def fetch(records: Sequence[Record]) -> Sequence[Record]:
            return await view.with_bodies(records)

        table = view.meta.table
        return Assembly(
            self.page.pieces,
            self.form,
            Shape.of(view.gvr, view.meta),
            self.now,
            self.views.kept,
            fetch,
            sorted_rows=table is not None and table.sort_rows,
        )

    def envelope(self) -> Envelope:
        """What stands around the items."""
        return envelope(self.view.gvr, self.view.meta, self.form, self.list_meta, empty=not self.page.count)


async def list_objects(ctx: RequestContext) -> HTTPResponse | None:
    """Answer a list from the cache; None: the answer was streamed.

    Raises:
        StatusError: what upstream would answer.
        Unusable, AskUpstream: it is to be forwarded instead.
    """
    found = await _find(ctx)
    assembly = found.assembly
    if found.representation.yaml or found.representation.pretty:
        return await _encoded(ctx, found, assembly)
    gzip = negotiation.gzip_accepted(ctx.request.headers.get("accept-encoding"))
    if assembly.large:
        if not gzip:
            await _streamed(ctx, found, assembly)
            return None
        items = await found.views.answers.get(
            (*found.key, "gzip"), found.snapshot.stamp, found.now, lambda: assembly.packed(found.snapshot.stamp)
        )
    else:
        items = await _items(found, assembly)
    return await _respond(ctx, found, items, assembly, gzip=gzip)


async def _find(ctx: RequestContext) -> _List:
    """Choose the state and pick the objects."""
    options, representation, scope, gvr = ctx.options, ctx.representation, ctx.scope, ctx.info.gvr
    assert representation is not None
    assert scope is not None
    assert gvr is not None
    assert isinstance(options, ListOptions)
    views = ctx.replica.views
    view = await views.open(gvr)
    namespace = ctx.info.namespace
    if not namespace and options.namespace_from_selector is not None:
        namespace = options.namespace_from_selector
    selectors = Selectors(options.label_selector, options.field_selector)
    subject = subject_of(str(gvr), namespace, selectors)
    key = await views.token_key() if options.limit or options.continue_token else b""
    wish = reading.wish_of(options, gvr, ctx.replica.version, subject, key)
    namespaces = narrowed(scope, namespace, view.meta.namespaced)
    try:
        snapshot, rv = await reading.read(view, wish, scope, namespaces)
    except Gone as error:
        raise reading.expired(error, wish, view, scope, key) from error
    negotiation.check_shape(representation, verb="list", custom=view.meta.custom, gvr=gvr, kind=view.meta.kind)
    negotiation.check_include_object(representation, options.include_object)
    after = (wish.token.namespace, wish.token.name) if wish.token is not None else None
    # One object, if it is there at all: upstream reads its key, and there is no next page.
    single = bool(options.single_name) and (bool(namespace) or not view.meta.namespaced)
    limit = 0 if single else wish.limit
    page = await pick(snapshot, selectors, after, limit, Pause())
    form = item_form(representation, options.include_object)
    answer = (gvr, view.incarnation, view.described, subject, scope.digest, after, limit, form, snapshot.past)
    list_meta = _list_meta(page, rv, view, subject, scope.digest, options, key)
    return _List(views, view, options, representation, form, page, snapshot, ctx.now(), answer, list_meta)


def item_form(representation: Representation, include_object: str) -> ItemForm:
    """How each object appears in an answer of this representation."""
    version: Literal["v1", "v1beta1"] = "v1beta1" if representation.meta_version == "v1beta1" else "v1"
    if representation.form is Form.TABLE:
        include = {"None": "None", "Object": "Object"}.get(include_object, "Metadata")
        return ItemForm("table", version, include)  # type: ignore[arg-type]
    return ItemForm("partial", version) if representation.form is Form.METADATA else OBJECT


def _list_meta(
    page: Page, rv: int, view: ResourceView, subject: str, scope_digest: str, options: ListOptions, key: bytes
) -> ListMeta:
    if not page.following or page.last is None:
        return ListMeta(rv)
    namespace, name = page.last
    token = continue_token.encode(Token(rv, view.incarnation, namespace, name, subject, scope_digest), key)
    return ListMeta(rv, token, page.following if options.selects_everything else None)


async def _items(found: _List, assembly: Assembly) -> Items:
    stamp = found.snapshot.stamp
    return await found.views.answers.get(found.key, stamp, found.now, lambda: assembly.joined(stamp))


async def _respond(ctx: RequestContext, found: _List, items: Items, assembly: Assembly, *, gzip: bool) -> HTTPResponse:
    around = found.envelope()
    age = found.view.age()
    if gzip and items.length + around.length > GZIP_ABOVE_BYTES:
        if items.packed is None:
            await compressed(items, assembly)
            found.views.answers.keep(found.key, items)
        assert items.packed is not None
        body = b"".join(around.gzip(items.packed))
        headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return ctx.respond(body, age_seconds=age, headers=headers)
    return ctx.respond(around.body(items.plain or b""), age_seconds=age)


async def _encoded(ctx: RequestContext, found: _List, assembly: Assembly) -> HTTPResponse:
    """Indented JSON or YAML: made of the whole body each time, since people ask for it and not programs."""
    items = [part async for part in assembly.stream()]
    body = found.envelope().body(b"".join(items))
    return await encoded(ctx, found.view, found.representation, body)


async def encoded(ctx: RequestContext, view: ResourceView, representation: Representation, body: bytes) -> HTTPResponse:
    """Answer a JSON body in the encoding that was asked for, compressed if that is due."""
    if representation.yaml:
        body = await yaml(body)
    elif representation.pretty:
        body = await pretty(body, jsoniter=ctx.replica.version < PRETTY_CUSTOM_SINCE)
    headers = {}
    if len(body) > GZIP_ABOVE_BYTES and negotiation.gzip_accepted(ctx.request.headers.get("accept-encoding")):
        body = await gzipped(body)
        headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return ctx.respond(body, content_type=representation.content_type, age_seconds=view.age(), headers=headers)


async def _streamed(ctx: RequestContext, found: _List, assembly: Assembly) -> None:
    """Send a list too long to be held at once."""
    around = found.envelope()
    response = await ctx.request.respond(
        headers=ctx.headers("application/json", found.view.age()), content_type="application/json"
    )
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
