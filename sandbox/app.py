"""The sandbox over HTTP: one handler, which goes the way of a request through an API server."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sanic import Request, Sanic
from sanic.response import HTTPResponse

from kube import gojson, paths, status
from kube.paths import RequestInfo
from kube.status import ApiError, StatusError
from sandbox import admin, discovery, openapi, render, reviews, scale, writing
from sandbox.access import Attributes, Person
from sandbox.catalogue import Served
from sandbox.cluster import Cluster
from sandbox.discovery import Discovery
from sandbox.faults import ConnectionCut, Faults
from sandbox.ledger import Ledger
from sandbox.negotiation import Form, negotiate
from sandbox.people import identify
from sandbox.reading import page, wanted_rv
from sandbox.watching import Watch

MAX_BODY_BYTES = 3 << 20
GZIP_FROM_BYTES = 131_072
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_HEALTH = ("/healthz", "/livez", "/readyz")
_JSON = "application/json"


@dataclass
class Sandbox:
    """One sandbox: its cluster, what it was asked, how it misbehaves, and the Sanic application that serves it."""

    cluster: Cluster = field(default_factory=Cluster)
    bookmark_seconds: float = 10.0
    faults: Faults = field(init=False)
    ledger: Ledger = field(default_factory=Ledger)
    app: Sanic[Any, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.faults = Faults(self.cluster)
        self._discovery = Discovery(self.cluster.catalogue)
        self.app = Sanic(f"sandbox-{uuid.uuid4().hex[:8]}", configure_logging=False)
        self.app.config.update(
            ACCESS_LOG=False,
            FALLBACK_ERROR_FORMAT="text",
            REQUEST_MAX_SIZE=MAX_BODY_BYTES + 65_536,
            REQUEST_MAX_HEADER_SIZE=16_384,
            RESPONSE_TIMEOUT=7_200,  # Sanic counts a quiet watch as a response that takes too long
            KEEP_ALIVE_TIMEOUT=120,
            TOUCHUP=False,  # rewriting the code of Sanic's classes fails for the second application of a process
            GRACEFUL_SHUTDOWN_TIMEOUT=2,
        )
        self.app.add_route(self._root, "/", methods=_METHODS)
        self.app.add_route(self._handle, "/<path:path>", methods=_METHODS, unquote=False)

    async def _root(self, request: Request) -> HTTPResponse | None:
        return await self._handle(request, "")

    async def _handle(self, request: Request, path: str) -> HTTPResponse | None:
        if request.path.startswith("/sandbox/"):
            return await self._answer(request, admin.answer(self, request))
        try:
            return await self._api(request)
        except ConnectionCut:
            transport: Any = request.transport
            transport.abort()
            return None
        except ApiError as error:
            rendered = error.render()
            return _response(request, rendered.status, rendered.body, rendered.headers)

    async def _answer(self, request: Request, answer: tuple[int, Any]) -> HTTPResponse:
        return _response(request, answer[0], gojson.dumps(answer[1]) + b"\n", {"Content-Type": _JSON})

    async def _api(self, request: Request) -> HTTPResponse | None:
        if self.faults.down:
            raise ConnectionCut
        info = paths.parse(request.method, request.path, request.query_string, render.SERVER_VERSION)
        self.ledger.note(info, request.headers.get("user-agent", ""), request.headers.get("accept", ""))
        await self.faults.wait_while_paused()
        resource = info.gvr.resource if info.gvr else ""
        if code := self.faults.take_failure(resource, info.verb):
            raise StatusError(code, "InternalError" if code >= 500 else "", f"the sandbox was told to answer {code}")
        person = identify(request, self.cluster.access)
        self._authorize(person, info)
        group = info.gvr.group if info.gvr else info.path.removeprefix("/apis/").partition("/")[0]
        if group in self.faults.broken_groups:
            raise status.plain_service_unavailable()
        if not info.is_resource or info.gvr is None:
            return self._document(request, info)
        served = self.cluster.catalogue.find(info.gvr)
        if served is None:
            return self._unknown(info)
        request.ctx.warning = served.warning
        if served.gvr.group in reviews.GROUPS:
            return self._review(request, person, served)
        if info.verb not in served.resource.verbs:
            raise status.method_not_allowed_route()
        if not served.resource.namespaced:
            info = replace(info, namespace="")  # of a Namespace it is the object's own name, for authorization
        if info.verb == "watch":
            return await self._watch(request, info, served)
        return await self._resource(request, info, served)

    def _authorize(self, person: Person, info: RequestInfo) -> None:
        wanted = Attributes(
            verb=info.verb, gvr=info.gvr, subresource=info.subresource, namespace=info.namespace, name=info.name,
            path=info.path,
        )  # fmt: skip
        if self.cluster.access.allowed(person, wanted):
            return
        if info.gvr is None:
            raise status.forbidden_path(person.name, info.verb, info.path)
        raise status.forbidden(person.name, info.verb, info.gvr, info.subresource, info.namespace, info.name)

    def _document(self, request: Request, info: RequestInfo) -> HTTPResponse:
        """A path that is no resource: discovery, OpenAPI, version, health."""
        path = f"/{info.path.strip('/')}"
        if info.verb not in {"get", "head"}:
            raise status.method_not_allowed_route()
        if path in _HEALTH or path.startswith(tuple(f"{one}/" for one in _HEALTH)):
            return _response(request, 200, b"ok", {"Content-Type": "text/plain; charset=utf-8"})
        if path == "/version":
            return _response(request, 200, discovery.version_document(), {"Content-Type": _JSON})
        accept = request.headers.get("accept", "")
        if discovery.wants_aggregated(accept) and (found := self._discovery.aggregated(path)):
            return _with_etag(request, found[0], found[1], discovery.AGGREGATED)
        if (document := self._discovery.document(path)) is not None:
            return _response(request, 200, document, {"Content-Type": _JSON})
        return self._openapi(request, path, accept)

    def _openapi(self, request: Request, path: str, accept: str) -> HTTPResponse:
        if path == "/openapi/v2":
            if any(name in accept for name in openapi.V2_PROTOBUF_ASKED):
                return _response(request, 200, openapi.v2_protobuf(), {"Content-Type": openapi.V2_PROTOBUF})
            return _response(request, 200, openapi.v2(), {"Content-Type": _JSON})
        if path == "/openapi/v3":
            body = openapi.v3_index(self.cluster.catalogue)
            return _response(request, 200, body, {"Content-Type": "text/plain; charset=utf-8"})
        found = openapi.v3(self.cluster.catalogue, path.removeprefix("/openapi/v3/"))
        if path.startswith("/openapi/v3/") and found is not None:
            return _with_etag(request, found, f'"{openapi.digest(found)}"', _JSON)
        if path.startswith("/openapi"):
            raise status.plain_404()
        raise status.plain_404() if path.startswith("/apis/") else status.not_found_route()

    def _unknown(self, info: RequestInfo) -> HTTPResponse:
        """A resource that is not served: the words differ between built-in groups and others."""
        built_in = any(one.gvr.group == info.gvr.group and not one.custom for one in self.cluster.catalogue if info.gvr)
        raise status.not_found_route() if built_in else status.plain_404()

    def _review(self, request: Request, person: Person, served: Served) -> HTTPResponse:
        if request.method != "POST":
            raise status.method_not_allowed_route()
        cluster = self.cluster
        review = reviews.answer(
            cluster.access, person, served.gvr, served.resource.kind, writing.body(request), cluster.clock()
        )
        return _response(request, 201, gojson.dumps(review) + b"\n", {"Content-Type": _JSON})

    async def _watch(self, request: Request, info: RequestInfo, served: Served) -> HTTPResponse | None:
        form = negotiate(request.headers.get("accept", ""), info.query)
        watch = Watch(self.cluster, served, info, form, self.faults, self.bookmark_seconds)
        response = await request.respond(headers=_common_headers(request, {}), content_type=_JSON)
        assert response is not None
        await response.send(b"")
        async for lines in watch.lines():
            await response.send(lines)
        await response.eof()
        return None

    async def _resource(self, request: Request, info: RequestInfo, served: Served) -> HTTPResponse | None:
        cluster, now = self.cluster, self.cluster.clock()
        form = negotiate(request.headers.get("accept", ""), info.query)
        if info.subresource and info.subresource not in served.subresources:
            raise status.not_found_route()
        if info.subresource == "log":
            return await self._log(request, info, served)
        if info.subresource == "scale":
            code, body = scale.answer(cluster, served, info, request)
            return _response(request, code, body, {"Content-Type": _JSON})
        if info.verb == "get":
            item = cluster.get(served, info.namespace, info.name)
            return _response(request, 200, render.one(served, item, form, now), {"Content-Type": _JSON})
        if info.verb == "list":
            return self._list(request, info, served, form)
        code, body = writing.answer(cluster, served, info, request, form)
        return _response(request, code, body, {"Content-Type": _JSON})

    def _list(self, request: Request, info: RequestInfo, served: Served, form: Form) -> HTTPResponse:
        storage = self.cluster.storage
        if wanted_rv(info) > storage.rv:
            raise status.too_large_rv(wanted_rv(info), storage.rv)
        found = page(storage.collection(served), info, storage.rv)
        body = render.listed(
            served, found.items, form, self.cluster.clock(), rv=found.rv, token=found.token, remaining=found.remaining
        )
        return _response(request, 200, body, {"Content-Type": _JSON})

    async def _log(self, request: Request, info: RequestInfo, served: Served) -> HTTPResponse | None:
        """A pod's log: that it started, for every pod."""
        item = self.cluster.get(served, info.namespace, info.name)
        line = f"{item.name} started in {item.namespace}\n".encode()
        response = await request.respond(content_type="text/plain")
        assert response is not None
        await response.send(line)
        if info.query.flag("follow"):
            collection = self.cluster.storage.collection(served)
            while (present := collection.get(item.namespace, item.name)) is not None and present.uid == item.uid:
                await collection.changed.wait()
        await response.eof()
        return None


def _with_etag(request: Request, body: bytes, etag: str, content_type: str) -> HTTPResponse:
    headers = {"ETag": etag, "Vary": "Accept", "Cache-Control": "public"}
    if request.headers.get("if-none-match") == etag:
        return HTTPResponse(b"", 304, headers=headers)
    return _response(request, 200, body, {**headers, "Content-Type": content_type})


def _common_headers(request: Request, headers: Mapping[str, str]) -> dict[str, str]:
    audit = request.headers.get("audit-id") or str(uuid.uuid4())
    warning = getattr(request.ctx, "warning", "")
    warnings = {"Warning": f'299 - "{warning}"'} if warning else {}
    return {"Cache-Control": "no-cache, private", "Audit-Id": audit, **warnings, **headers}


def _response(request: Request, code: int, body: bytes, headers: Mapping[str, str]) -> HTTPResponse:
    sent = _common_headers(request, headers)
    content_type = sent.pop("Content-Type", _JSON)
    encodings = {part.strip() for part in request.headers.get("accept-encoding", "").split(",")}
    if len(body) > GZIP_FROM_BYTES and "gzip" in encodings:
        body = zlib.compress(body, 1, wbits=31)
        sent |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    if request.method == "HEAD":
        body = b""
    return HTTPResponse(body, code, headers=sent, content_type=content_type)
