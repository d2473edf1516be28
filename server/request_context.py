"""One request, identified, parsed, authorized and delegated: all that a handler needs, and nothing left to decide.

Handlers never look at RBAC or tenants: they read what `scope` covers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kube.clock import http_date
from server.metrics import OTHER
from server.whole_answer import WholeAnswer, header_lines, header_pairs

if TYPE_CHECKING:
    from sanic.request import Request

    from kube.paths import RequestInfo
    from kube.resources import Resource
    from server.identity import Credential, User
    from server.list_options import GetOptions, ListOptions
    from server.negotiation import Representation
    from server.replica import Replica
    from server.scope import Scope
    from server.view import ResourceView

GZIP_LINES = header_lines([("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")])
"""Of an answer that is compressed."""


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
    """Of a list or watch."""
    get_options: GetOptions | None = None
    label: str = ""
    """Of the resource, where it is known already: see `resource_label`."""
    view: ResourceView | None = None
    """The resource's, for reads from the cache."""
    source: str = "cache"
    """`cache` or `upstream`: the answer's X-Larder-Source, and a label of the metrics."""
    cause: str = ""
    """Why the request is forwarded: a word for the metrics."""
    warnings: tuple[str, ...] = ()
    """Texts of Warning headers, such as the deprecation of the API."""
    status: int = 0
    """The code that was answered, where that is not the response's."""
    memo: dict[object, object] = field(default_factory=dict)
    """Kept as long as the same request by the same user comes to the same decisions: handlers may remember here
    what they worked out from them alone."""

    @property
    def begun(self) -> int:
        """The code of the answer that has begun to be sent, 0 if none has."""
        response = getattr(self.request.stream, "response", None)
        return response.status if response is not None else 0

    @property
    def resource_label(self) -> str:
        """The `resource` of the metrics: bounded, since only what is covered has a name of its own."""
        if self.label:
            return self.label
        return str(self.resource.gvr) if self.resource is not None else OTHER

    def now(self) -> float:
        """Unix seconds by the replica's clock, which follows upstream's."""
        return self.replica.clock()

    def headers(self, content_type: str, age_seconds: float | None = None) -> dict[str, str]:
        """The headers that every answer from the cache carries; `age_seconds` is the age of the data."""
        return dict(header_pairs(self._lines(content_type, age_seconds)))

    def _lines(self, content_type: str, age_seconds: float | None) -> str:
        lines = (
            f"Audit-Id: {self.audit_id}\r\nCache-Control: no-cache, private\r\nContent-Type: {content_type}\r\n"
            f"Date: {http_date(int(self.now()))}\r\nX-Larder-Source: {self.source}\r\n"
        )
        return lines if age_seconds is None else f"{lines}X-Larder-Age: {max(age_seconds, 0.0):.1f}\r\n"

    def respond(
        self,
        *body: bytes,
        content_type: str = "application/json",
        status: int = 200,
        age_seconds: float | None = None,
        more: str = "",
    ) -> WholeAnswer:
        """A whole answer, its body in parts. `more` are lines behind those of `self.headers` (Vary, for instance)."""
        lines = self._lines(content_type, age_seconds) + more
        if self.warnings:
            lines += header_lines([("Warning", warning_header(text)) for text in self.warnings])
        return WholeAnswer(body, status, lines)


def warning_header(text: str) -> str:
    """The value of a Warning header with a text of our own or of a deprecation.

    >>> warning_header("v1 Endpoints is deprecated in v1.33+")
    '299 - "v1 Endpoints is deprecated in v1.33+"'
    """
    escaped = " ".join(text.splitlines()).replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{escaped}"'
