"""Create, update, patch and delete as HTTP has them: bodies in, status codes and bodies out."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml
from sanic import Request

from kube import gojson, status
from kube.paths import RequestInfo
from kube.status import StatusError
from sandbox import patch, protobuf, render
from sandbox.catalogue import Served
from sandbox.cluster import PODS, Change, Cluster, DeleteOptions
from sandbox.negotiation import Form
from sandbox.objects import Object
from sandbox.reading import page
from sandbox.storage import Item

MAX_BODY_BYTES = 3 << 20
"""As upstream's --max-request-body default."""


def answer(cluster: Cluster, served: Served, info: RequestInfo, request: Request, form: Form) -> tuple[int, bytes]:
    """Do what the request asks for; status code and body.

    Raises:
        StatusError: why it was not done.
    """
    dry_run = info.query.text("dryRun") == "All"
    now = cluster.clock()
    match info.verb:
        case "create" if not info.name:
            posted = body(request)
            if "status" in served.subresources and isinstance(posted, dict):
                posted.pop("status", None)  # a client has none to give: `kubectl run` sends an empty one
            item = cluster.create(served, info.namespace, posted, dry_run=dry_run)
            return 201, render.one(served, item, form, now)
        case "update":
            posted = body(request)
            item = cluster.change(
                served, info.namespace, info.name, lambda _old: posted, subresource=info.subresource, dry_run=dry_run
            )
            return 200, render.one(served, item, form, now)
        case "patch":
            item = cluster.change(
                served, info.namespace, info.name, patcher(request, custom=served.custom),
                subresource=info.subresource, dry_run=dry_run,
            )  # fmt: skip
            return 200, render.one(served, item, form, now)
        case "delete":
            item, gone = cluster.delete(served, info.namespace, info.name, _delete_options(request, info))
            return 200, render.one(served, item, form, now) if not gone or served.gvr == PODS else _gone(served, item)
        case "deletecollection":
            return 200, _delete_collection(cluster, served, info, request, form)
    raise status.method_not_allowed_route()


def body(request: Request) -> Any:
    """The decoded body of a request, None if it has none.

    Raises:
        StatusError: 413 for too much of it, 400 for what is not JSON or, if it says so, YAML or protobuf.
    """
    data = request.body
    if not data:
        return None
    if len(data) > MAX_BODY_BYTES:
        raise StatusError(
            413, "RequestEntityTooLarge", f"Request entity too large: limit is {MAX_BODY_BYTES}", details={}
        )
    content_type = request.headers.get("content-type", "")
    if "cbor" in content_type:
        raise _unsupported("application/json", "application/yaml", protobuf.CONTENT_TYPE)
    try:
        if protobuf.CONTENT_TYPE in content_type:
            return protobuf.decode(data)
        if "yaml" in content_type:
            return yaml.safe_load(data)
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, yaml.YAMLError, UnicodeDecodeError, protobuf.Unreadable) as error:
        raise status.bad_request(f"the object provided is unrecognized: {error}") from None


def patcher(request: Request, *, custom: bool) -> Change:
    """What the request's patch does to an object.

    Raises:
        StatusError: 415 for a kind of patch that is not known, server-side apply among them.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip()
    posted = body(request)
    match content_type:
        case "application/merge-patch+json":
            return lambda old: _as_object(patch.merge(old, posted))
        case "application/json-patch+json":
            return lambda old: _as_object(patch.json_patch(old, posted))
        case "application/strategic-merge-patch+json" if not custom:
            return lambda old: _as_object(patch.strategic(old, posted))
    known = ["application/json-patch+json", "application/merge-patch+json"]
    if not custom:
        known.append("application/strategic-merge-patch+json")
    raise _unsupported(*known)


def _unsupported(*known: str) -> StatusError:
    """415: a form of body or of patch that is not read here."""
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(known)}"
    return StatusError(415, "UnsupportedMediaType", message, details={})


def _as_object(patched: Any) -> Object:
    if not isinstance(patched, dict):
        raise status.bad_request("the patch leaves no object")
    return patched


def _delete_options(request: Request, info: RequestInfo) -> DeleteOptions:
    posted = body(request)
    posted = posted if isinstance(posted, dict) else {}
    seconds: Any = info.query.get("gracePeriodSeconds") or posted.get("gracePeriodSeconds")
    preconditions = posted.get("preconditions") or {}
    policy = info.query.get("propagationPolicy") or posted.get("propagationPolicy")
    try:
        grace = None if seconds is None else int(seconds)
    except (TypeError, ValueError):
        raise status.bad_request(f"gracePeriodSeconds is no number: {seconds!r}") from None
    return DeleteOptions(
        grace_seconds=grace,
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        orphan=policy == "Orphan",
        dry_run=info.query.text("dryRun") == "All" or "All" in (posted.get("dryRun") or ()),
    )


def _gone(served: Served, item: Item) -> bytes:
    details = {"name": item.name, "group": served.gvr.group, "kind": served.gvr.resource, "uid": item.uid}
    answer = {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {key: value for key, value in details.items() if value},
    }  # fmt: skip
    return gojson.dumps(answer) + b"\n"


def _delete_collection(cluster: Cluster, served: Served, info: RequestInfo, request: Request, form: Form) -> bytes:
    options = _delete_options(request, info)
    found = page(cluster.storage.collection(served), info, cluster.storage.rv)
    gone = [cluster.delete(served, item.namespace, item.name, options)[0] for item in found.items]
    return render.listed(served, gone, form, cluster.clock(), rv=cluster.storage.rv)
