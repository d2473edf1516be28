"""GET of one object: from the view where its shard is hot, else by one look into the store."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kube import paths, status
from server import negotiation
from server.handlers.list import encoded, item_form
from server.list_options import check_name, resource_version, without_watch_cache
from server.negotiation import Form
from server.objects import Shape
from server.reading import reach
from server.render import single_table
from server.view import Gone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.request_context import RequestContext
    from server.view import ResourceView
    from server.whole_answer import WholeAnswer

    Wait = Callable[[], Awaitable[None]]
    from store.record import Record


async def get_object(ctx: RequestContext) -> WholeAnswer:
    """Answer a get from the cache.

    Raises:
        StatusError: what upstream would answer.
        Unusable, AskUpstream: it is to be forwarded instead.
    """
    representation, scope, gvr, options = ctx.representation, ctx.scope, ctx.info.gvr, ctx.get_options
    assert representation is not None
    assert scope is not None
    assert gvr is not None
    assert options is not None
    view = ctx.view or await ctx.replica.views.open(gvr)
    check_name(ctx.info.name, paths.invalid_name(ctx.info.name))
    etcd = without_watch_cache(gvr)
    rv = resource_version(options.resource_version, verb="get", version=ctx.replica.version, from_etcd=etcd)
    namespace, name = ctx.info.namespace if view.meta.namespaced else "", ctx.info.name
    if options.resource_version:
        wait: Wait = partial(reach, view, rv, scope, ctx.replica.reached, at_once=etcd)
    else:
        wait = view.fresh
    record = await _find(view, namespace, name, rv, wait)
    if record is None or not scope.covers(namespace, name):
        raise status.not_found(gvr, name)
    negotiation.check_shape(representation, verb="get", custom=view.meta.custom, gvr=gvr, kind=view.meta.kind)
    negotiation.check_include_object(representation, options.include_object)
    shape, form = Shape.of(gvr, view.meta), item_form(representation, options.include_object)
    if representation.form is Form.TABLE:
        body = single_table(view.meta, form, record.rv, shape.item(record, form, ctx.now()))
    elif representation.form is Form.METADATA:
        body = shape.partial(record, form.version) + b"\n"
    else:
        body = shape.whole(record) + b"\n"
    return await encoded(ctx, view, body)


async def _find(view: ResourceView, namespace: str, name: str, rv: int, wait: Wait) -> Record | None:
    """The object with its body, at least as new as was asked: `wait` is until the view is."""
    place = (namespace,) if view.meta.namespaced else None
    if not view.holds(place):
        return await _in_store(view, namespace, name, rv, wait)
    await wait()
    if not view.holds(place):
        return await _in_store(view, namespace, name, rv, wait)
    record = view.get(namespace, name)
    if record is None or record.packed:
        return record
    try:
        return (await view.with_bodies((record,)))[0]
    except Gone:
        return await _in_store(view, namespace, name, rv, wait)


async def _in_store(view: ResourceView, namespace: str, name: str, rv: int, wait: Wait) -> Record | None:
    """One round trip, once the store is new enough."""
    record, position = await view.look_up(namespace, name)
    if position >= rv:
        return record
    await wait()
    return (await view.look_up(namespace, name))[0]
