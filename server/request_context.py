"""One request, identified, parsed, authorized and delegated: all that a handler needs, and nothing left to decide.

Handlers never look at RBAC or tenants: they read what `scope` covers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sanic.response import HTTPResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kube.list_options import ListOptions
    from kube.negotiation import Representation
    from kube.request_info import RequestInfo
    from sanic.request import Request

    from kube.resources import Resource
    from server.identity import Credential, User
    from server.replica import Replica
    from server.scope import Scope


@dataclass(slots=True)
class RequestContext:
    """What the pipeline found out.

    `resource` is None for paths that are no covered resource; `scope` is None only for forwarded requests,
    whose authorization is upstream's. `options` are parsed and validated for reads from the cache.
    """

    replica: Replica
    request: Request
    user: User
    credential: Credential
    info: RequestInfo
    audit_id: str
    resource: Resource | None = None
    scope: Scope | None = None
    representation: Representation | None = None
    options: ListOptions | None = None
    source: str = "cache"
    """`cache` or `upstream`: the answer's X-Larder-Source, and a label of the metrics."""
    warnings: tuple[str, ...] = ()
    """Texts of Warning headers, such as the deprecation of the API."""

    def now(self) -> float:
        """Unix seconds by the replica's clock, which follows upstream's."""
        return self.replica.clock()

    def headers(self, content_type: str, age_seconds: float | None = None) -> dict[str, str]:
        """The headers that every answer from the cache carries; `age_seconds` is the age of the data."""
        headers = {
            "Audit-Id": self.audit_id,
            "Cache-Control": "no-cache, private",
            "Content-Type": content_type,
            "X-Larder-Source": self.source,
        }
        if age_seconds is not None:
            headers["X-Larder-Age"] = f"{max(age_seconds, 0.0):.1f}"
        return headers

    def respond(
        self,
        body: bytes,
        *,
        content_type: str = "application/json",
        status: int = 200,
        age_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HTTPResponse:
        """A whole answer. `headers` are added to those of `self.headers` (Content-Encoding, Vary …)."""
        merged = self.headers(content_type, age_seconds)
        if headers:
            merged.update(headers)
        response = HTTPResponse(body, status, merged, content_type)
        for text in self.warnings:
            response.headers.add("Warning", warning_header(text))
        return response


def warning_header(text: str) -> str:
    """The value of a Warning header with a text of our own or of a deprecation.

    >>> warning_header("v1 Endpoints is deprecated in v1.33+")
    '299 - "v1 Endpoints is deprecated in v1.33+"'
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{escaped}"'
