"""Discovery, /version and OpenAPI from the store: a fresh kubectl works while upstream is away.

Whoever upstream's RBAC lets `get` the path gets the document that upstream gave the informer; everyone else is sent on.
Forms of a document that are not stored (YAML, most protobuf) are upstream's to give.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING

from sanic.response import HTTPResponse

from server.handlers.proxy import forward
from server.negotiation import gzip_accepted
from server.rbac import Attributes
from server.render import GZIP_ABOVE_BYTES, gzipped
from store.errors import StoreError

if TYPE_CHECKING:
    from server.request_context import RequestContext
    from server.whole_answer import Answer
    from store.documents import StoredDocument

_PLAIN_TYPES = frozenset(("*/*", "application/*", "application/json"))
_OPENAPI_PROTOBUF = frozenset(
    (
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    )
)
_REPEATED = (
    ("cache-control", "Cache-Control"),
    ("etag", "Etag"),
    ("vary", "Vary"),
    ("last-modified", "Last-Modified"),
)
_YEAR_SECONDS = 365 * 86_400

_PACKED_LIMIT = 50
"""Documents kept compressed: the big ones are aggregated discovery and OpenAPI of some groups."""

_packed: dict[bytes, bytes] = {}


async def answer(ctx: RequestContext) -> Answer | None:
    """Answer a path that is no resource."""
    info = ctx.info
    if info.method not in ("GET", "HEAD"):
        return await forward(ctx, "path")
    if not ctx.replica.control.held or not _allowed(ctx):
        return await forward(ctx, "path")
    path = "/" + info.path.strip("/")
    document = await _stored(ctx, path)
    wanted = info.query.get("hash")
    if document is None or (wanted and wanted != document.headers.get("etag", "").strip('"')):
        return await forward(ctx, "document")
    return await _respond(ctx, document, addressed=bool(wanted), openapi_group=path.startswith("/openapi/v3/"))


def _allowed(ctx: RequestContext) -> bool:
    return ctx.replica.control.decide(ctx.user, Attributes("get", path=ctx.info.path)).allowed


async def _stored(ctx: RequestContext, path: str) -> StoredDocument | None:
    if "pretty" in ctx.info.query:
        return None
    for variant in variants(path, ctx.request.headers.get("accept") or ""):
        try:
            document = await ctx.replica.catalogue.document(path, variant)
        except StoreError:
            return None
        if document is not None:
            return document if document.status == 200 else None
    return None


def variants(path: str, accept: str) -> list[str]:
    """The stored forms of a document that an Accept header would take, best first, up to one that is never stored.

    >>> variants("/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json")
    ['v2', '']
    >>> variants("/version", "*/*"), variants("/api", "application/yaml")
    ([''], [])
    """
    found: list[str] = []
    for clause in accept.split(",") if accept else ("*/*",):
        media_type, *parameters = (part.strip() for part in clause.split(";"))
        wanted = dict(parameter.replace(" ", "").partition("=")[::2] for parameter in parameters)
        if path == "/openapi/v2" and media_type in _OPENAPI_PROTOBUF:
            found.append("protobuf")
        elif media_type not in _PLAIN_TYPES:
            break
        elif not wanted.keys() & {"as", "g", "v"}:
            found.append("")
        elif (wanted.get("g"), wanted.get("as")) == ("apidiscovery.k8s.io", "APIGroupDiscoveryList"):
            # Below /api and /apis these clauses are skipped, and so they are where a version is not served.
            if path in ("/api", "/apis"):
                found.append(wanted.get("v", ""))
        else:
            break
    return found


async def _respond(
    ctx: RequestContext, document: StoredDocument, *, addressed: bool, openapi_group: bool
) -> HTTPResponse:
    """The document, or 304. `addressed`: by its hash, so that it never changes."""
    headers = ctx.headers(document.headers.get("content-type", "application/json"))
    headers |= {title: document.headers[name] for name, title in _REPEATED if name in document.headers}
    if addressed:
        headers["Cache-Control"] = "public, immutable"
        headers["Expires"] = formatdate(ctx.now() + _YEAR_SECONDS, usegmt=True)
    elif openapi_group:
        headers["Cache-Control"] = "no-cache, private"
    tag = document.headers.get("etag")
    if tag and tag in (part.strip() for part in (ctx.request.headers.get("if-none-match") or "").split(",")):
        del headers["Content-Type"]
        return HTTPResponse(b"", 304, headers)
    body = document.body
    if len(body) > GZIP_ABOVE_BYTES and gzip_accepted(ctx.request.headers.get("accept-encoding")):
        body = await _compressed(body)
        vary = headers.get("Vary")
        headers |= {"Content-Encoding": "gzip", "Vary": f"{vary}, Accept-Encoding" if vary else "Accept-Encoding"}
    return HTTPResponse(body, document.status, headers, headers["Content-Type"])


async def _compressed(body: bytes) -> bytes:
    """The body in gzip; the same few documents are asked for again and again."""
    found = _packed.get(body)
    if found is None:
        found = await gzipped(body)
        if len(_packed) >= _PACKED_LIMIT:
            _packed.clear()
        _packed[body] = found
    return found
