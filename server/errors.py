"""Any exception → the answer that upstream would give. The only place in the server that does this."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from sanic.exceptions import (
    BadRequest,
    ExpectationFailed,
    PayloadTooLarge,
    RequestTimeout,
    SanicException,
)
from sanic.exceptions import ServiceUnavailable as SanicServiceUnavailable
from sanic.response import HTTPResponse

from kube import status
from kube.clock import http_date
from kube.query import Query
from kube.status import ApiError, ErrorForm, StatusError
from kube.version import ServerVersion
from server.negotiation import error_form
from server.view import Unusable
from store.errors import StoreError

if TYPE_CHECKING:
    from sanic.request import Request

_log = logging.getLogger(__name__)


def to_api_error(error: BaseException) -> ApiError:
    """What the client is told of an exception. Unexpected ones are logged here, and told without their text."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Unusable | StoreError):
        return status.service_unavailable(f"the cache cannot answer now: {error}", 1)
    if isinstance(error, SanicException):
        return _of_http_server(error)
    _log.error("a request failed", exc_info=error)
    return status.internal(f"unexpected {type(error).__name__}, see the replica's log")


def _of_http_server(error: SanicException) -> ApiError:
    """Faults found while the request was still being read."""
    if isinstance(error, PayloadTooLarge) and "header" in str(error):
        return StatusError(
            431,
            "RequestEntityTooLarge",
            "Request header fields too large: the request line and headers must not exceed 16384 bytes",
            details={},
        )
    if isinstance(error, PayloadTooLarge):
        return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: {error}", details={})
    if isinstance(error, BadRequest):
        return status.bad_request(str(error) or "the request cannot be read")
    if isinstance(error, RequestTimeout):
        return StatusError(408, "Timeout", "the request was not received in time", details={})
    if isinstance(error, ExpectationFailed):
        return StatusError(417, "", str(error))
    if isinstance(error, SanicServiceUnavailable):
        return status.request_timeout()
    if error.status_code < 500:
        return StatusError(error.status_code, "", str(error))
    _log.error("the HTTP server failed", exc_info=error)
    return status.internal("the HTTP server failed, see the replica's log")


def form_for(request: Request, version: ServerVersion) -> ErrorForm:
    """How this request's errors are written."""
    headers = request.headers
    accept = headers.get("accept")
    agent = headers.get("user-agent", "")
    try:
        raw = request.query_string
    except (AttributeError, ValueError):  # a head that could not be read has no URL
        raw = ""
    return error_form(accept, query=Query.parse(raw, version), user_agent=agent, version=version)


def response_for(
    error: BaseException,
    *,
    form: ErrorForm = ErrorForm.JSON,
    audit_id: str = "",
    source: str = "cache",
    warnings: tuple[str, ...] = (),
    now: float | None = None,
) -> HTTPResponse:
    """The answer to a request that ended in an exception, at `now` (Unix seconds; None: by our own clock).

    `warnings` are values of Warning headers.
    """
    rendered = to_api_error(error).render(form)
    date = http_date(int(time.time() if now is None else now))
    headers = {"Date": date, "X-Larder-Source": source, **rendered.headers}
    if not isinstance(error, status.MalformedRequest):
        headers["Cache-Control"] = "no-cache, private"
    if audit_id:
        headers["Audit-Id"] = audit_id
    response = HTTPResponse(rendered.body, rendered.status, headers, rendered.headers.get("Content-Type"))
    for warning in warnings:
        response.headers.add("Warning", warning)
    return response
