"""URL path and query → what is asked for: the tuple that authorization and the read both go by.

This is upstream's RequestInfo, made without knowing which resources exist. What does exist is checked
afterwards: `server.list_options.check_route`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from kube import status
from kube.query import MAX_CACHED_QUERY, Query, has_broken_escape, percent_decode
from kube.resources import GVR
from kube.selectors import FieldSelector, LabelSelector, SelectorError
from kube.strconv import NumError, parse_int, quote
from kube.version import ServerVersion

_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_LEGACY_PREFIXES = ("watch", "proxy")
_NAMESPACE_SUBRESOURCES = ("status", "finalize")
_LATEST = ServerVersion(1, 36)


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What a request asks for.

    `verb` is what RBAC decides on: `get`, `list`, `watch`, `create` … or the method in lower case for a
    path that is no resource. `namespace` is that of the path, "" otherwise; for a Namespace object it is
    the object's name. `name` is the path's or, on a list or watch, that of an exact `metadata.name` field
    selector (RBAC's resourceNames apply to it). `path` is decoded. `parts` are the segments from the
    resource on. `legacy_watch`: the deprecated `/watch/` form of the path. `nested`: the resource follows a namespace.
    """

    method: str
    path: str
    verb: str
    is_resource: bool = False
    gvr: GVR | None = None
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    legacy_watch: bool = False
    parts: tuple[str, ...] = ()
    nested: bool = False
    query: Query = field(default_factory=lambda: Query.parse(""))

    @property
    def path_name(self) -> str:
        """The name that the path itself has, "" if `name` is from a field selector."""
        return self.parts[1] if len(self.parts) >= 2 else ""

    @property
    def is_read(self) -> bool:
        """Whether it is a get, list or watch of a resource."""
        return self.is_resource and self.verb in ("get", "list", "watch")

    @property
    def is_collection(self) -> bool:
        """Whether it is a list or watch."""
        return self.is_resource and self.verb in ("list", "watch")


def parse(method: str, path: str, query: Query | str = "", version: ServerVersion = _LATEST) -> RequestInfo:
    """Understand a request line.

    Args:
        method: as on the wire, such as `GET`.
        path: percent-encoded, without the query.
        query: the raw query string, or already decoded.
        version: how the query string is decoded.

    >>> info = parse("GET", "/apis/apps/v1/namespaces/shop/deployments/web/scale")
    >>> info.verb, str(info.gvr), info.namespace, info.name, info.subresource
    ('get', 'deployments.v1.apps', 'shop', 'web', 'scale')

    Raises:
        PlainError: 400 for a broken percent escape, 500 for `/api/v1/watch` with nothing behind it.
    """
    if isinstance(query, str):
        query = Query.parse(query, version)
    if "%" in path:
        if has_broken_escape(path):
            raise status.malformed_request()
        decoded = percent_decode(path)
    else:
        decoded = path
    segments = _split(decoded)
    group, version_at = _locate(segments)
    if version_at < 0:
        return RequestInfo(method, decoded, method.lower(), query=query)
    parts = segments[version_at + 1 :]
    legacy = parts[0] in _LEGACY_PREFIXES
    if legacy:
        if len(parts) < 2:
            raise _undetermined(path, query)
        verb = parts[0]
        parts = parts[1:]
    else:
        verb = _VERBS.get(method, "")
    before = len(parts)
    namespace, parts = _namespace(parts)
    name = parts[1] if len(parts) >= 2 else ""
    subresource = parts[2] if len(parts) >= 3 and verb != "proxy" else ""
    if not name and verb == "get":
        verb, name = _collection_verb(query)
    elif not name and verb == "delete":
        verb = "deletecollection"
    return RequestInfo(
        method=method,
        path=decoded,
        verb=verb,
        is_resource=True,
        gvr=GVR(group, segments[version_at], parts[0]),
        namespace=namespace,
        name=name,
        subresource=subresource,
        legacy_watch=legacy and verb == "watch",
        parts=tuple(parts),
        nested=len(parts) < before,
        query=query,
    )


def parse_target(method: str, target: str, version: ServerVersion) -> RequestInfo:
    """As `parse`, of path and query in one; what is asked again and again is understood once.

    Raises:
        PlainError: as `parse`.
    """
    return (
        _parse_cached(method, target, version) if len(target) <= MAX_CACHED_QUERY else _parse(method, target, version)
    )


def invalid_name(name: str) -> str:
    """Why `name` cannot be a segment of a storage key, in upstream's words; "" if it can.

    >>> invalid_name(".."), invalid_name("web-0")
    ("may not be '..'", '')
    """
    if name in (".", ".."):
        return f"may not be '{name}'"
    return ";".join(f"may not contain '{character}'" for character in "/%" if character in name)


def _parse(method: str, target: str, version: ServerVersion) -> RequestInfo:
    path, _, query = target.partition("?")
    return parse(method, path, Query.parse(query, version), version)


_parse_cached = lru_cache(maxsize=4096)(_parse)


def _split(path: str) -> list[str]:
    path = path.strip("/")
    return path.split("/") if path else []


def _locate(segments: list[str]) -> tuple[str, int]:
    """The group, and where the version stands; -1 for a path that is no resource."""
    if len(segments) >= 3 and segments[0] == "api":
        return "", 1
    if len(segments) >= 4 and segments[0] == "apis":
        return segments[1], 2
    return "", -1


def _namespace(parts: list[str]) -> tuple[str, list[str]]:
    """The namespace, and the segments from the resource on."""
    if parts[0] != "namespaces" or len(parts) == 1:
        return "", parts
    if len(parts) > 2 and parts[2] not in _NAMESPACE_SUBRESOURCES:
        return parts[1], parts[2:]
    return parts[1], parts


def _collection_verb(query: Query) -> tuple[str, str]:
    """`list` or `watch`, and the name that the field selector fixes.

    A query that does not decode has no name; its `watch` counts all the same.
    """
    verb = "watch" if query.flag("watch") else "list"
    selector = query.text("fieldSelector")
    if "metadata.name" not in selector or not _decodes(query):
        return verb, ""
    name = FieldSelector.parse(selector).required("metadata.name") or ""
    return verb, "" if invalid_name(name) else name


def _decodes(query: Query) -> bool:
    """Whether upstream could decode the ListOptions of the query."""
    try:
        for name in ("limit", "timeoutSeconds"):
            if (value := query.get(name)) is not None:
                parse_int(value)
        FieldSelector.parse(query.text("fieldSelector"))
        LabelSelector.parse(query.text("labelSelector"), _LATEST)
    except (NumError, SelectorError):
        return False
    return True


def _undetermined(path: str, query: Query) -> status.PlainError:
    uri = f"{path}?{query.raw}" if query.raw else path
    problem = f"failed to create RequestInfo: unable to determine kind and namespace from url, {uri}"
    text = f"Internal Server Error: {quote(uri)}: {problem}"
    for character, escape in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, escape)
    return status.PlainError(500, f"{text}\n")
