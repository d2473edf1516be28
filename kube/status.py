"""Errors as an API server answers them: what goes wrong is raised as one of these, and rendered once.

`StatusError` becomes a metav1.Status in the form that the request's Accept header calls for, `PlainError`
a line of text. Only `server/errors.py` (and the sandbox) turns them into responses: `error.render(form)`.
The texts are upstream's, letter by letter: clients match on them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Any, NamedTuple

from kube import gojson, goyaml
from kube.resources import GVR
from kube.status_protobuf import encode_status
from kube.strconv import quote, utf8

_DETAILS_ORDER = ("name", "group", "kind", "uid", "causes", "retryAfterSeconds")
_TEXT = "text/plain; charset=utf-8"
_NO_SNIFF = {"X-Content-Type-Options": "nosniff"}
_FORBIDDEN_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class ErrorForm(Enum):
    """How the Status of an error is written, see `server.negotiation.error_form`."""

    JSON = auto()
    """Compact, with a newline at the end."""
    INDENTED = auto()
    """Two spaces, no newline: `?pretty=1`, and wherever Accept has no clause that fits a Status."""
    JSONITER = auto()
    """INDENTED as API servers before 1.23 did it for pretty answers: empty objects take two lines."""
    YAML = auto()
    PROTOBUF = auto()


class RenderedError(NamedTuple):
    """An error's answer. `headers` hold Content-Type and what belongs to this error, not what all answers carry."""

    status: int
    headers: dict[str, str]
    body: bytes


class ApiError(Exception):
    """An error with an answer of its own."""

    code: int

    def render(self, form: ErrorForm = ErrorForm.JSON) -> RenderedError:
        """Status code, headers and body."""
        raise NotImplementedError


class PlainError(ApiError):
    """An error that is a line of text, whatever the request accepts."""

    def __init__(self, code: int, text: str, headers: Mapping[str, str] = _NO_SNIFF) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.headers = dict(headers)

    def render(self, form: ErrorForm = ErrorForm.JSON) -> RenderedError:
        """Status code, headers and body; the form does not matter."""
        return RenderedError(
            self.code,
            {"Content-Type": _TEXT, **self.headers},
            utf8(self.text),
        )


class StatusError(ApiError):
    """A metav1.Status with `status: Failure`.

    `details` is None (left out) or a dict, empty members left out; `retry_after_seconds` is its
    member of that name and the Retry-After header. `metadata_continue` is the token of an expired
    page's `metadata`. `headers` are sent in addition to Content-Type.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        retry_after_seconds: int = 0,
        metadata_continue: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = None if details is None else dict(details)
        self.retry_after_seconds = retry_after_seconds
        self.metadata_continue = metadata_continue
        self.headers = dict(headers or {})

    def status(self) -> dict[str, Any]:
        """The Status object, its keys in the order of the wire."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": self.metadata_continue} if self.metadata_continue else {},
            "status": "Failure",
        }
        if self.message:
            status["message"] = self.message
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None or self.retry_after_seconds:
            members = {**(self.details or {})}
            if self.retry_after_seconds:
                members["retryAfterSeconds"] = self.retry_after_seconds
            status["details"] = {key: members[key] for key in _DETAILS_ORDER if members.get(key)}
        status["code"] = self.code
        return status

    def body(self) -> bytes:
        """Compact JSON and a newline. As the object of a watch's ERROR event: without the newline."""
        return gojson.dumps(self.status()) + b"\n"

    def render(self, form: ErrorForm = ErrorForm.JSON) -> RenderedError:
        """Status code, headers and body in one of the forms."""
        content_type = "application/json"
        if form is ErrorForm.JSON:
            body = self.body()
        elif form is ErrorForm.YAML:
            content_type = "application/yaml"
            body = goyaml.dumps(self.status())
        elif form is ErrorForm.PROTOBUF:
            content_type = "application/vnd.kubernetes.protobuf"
            body = encode_status(self.status())
        else:
            body = gojson.indent(gojson.dumps(self.status()), jsoniter=form is ErrorForm.JSONITER)
        headers = {"Content-Type": content_type, **self.headers}
        if self.retry_after_seconds > 0:
            headers["Retry-After"] = str(self.retry_after_seconds)
        return RenderedError(self.code, headers, body)

    @classmethod
    def from_response(cls, code: int, body: bytes) -> StatusError:
        """The error that an upstream answered with; a body that is no Status becomes the message."""
        try:
            status = json.loads(body)
        except ValueError:
            status = None
        if not isinstance(status, dict) or status.get("kind") != "Status":
            return _of_code(code)(code, "", body.decode("utf-8", "replace").strip())
        return cls.from_status(status, code)

    @classmethod
    def from_status(cls, status: Mapping[str, Any], code: int = 500) -> StatusError:
        """The error of a Status object, such as that of an ERROR event; `code` where it has none."""
        code = status.get("code") or code
        details = status.get("details")
        details = dict(details) if isinstance(details, dict) else None
        retry_after_seconds = int(details.pop("retryAfterSeconds", 0)) if details else 0
        metadata = status.get("metadata")
        return _of_code(code)(
            code,
            str(status.get("reason") or ""),
            str(status.get("message") or ""),
            details=details,
            retry_after_seconds=retry_after_seconds,
            metadata_continue=str(metadata.get("continue") or "") if isinstance(metadata, dict) else "",
        )


# Classes for what someone catches; the code decides, so errors read from upstream have them too.


class BadRequest(StatusError):
    """400."""


class Unauthorized(StatusError):
    """401: nobody is known by these credentials."""


class Forbidden(StatusError):
    """403."""


class NotFound(StatusError):
    """404, of an object or of a route."""


class NotAcceptable(StatusError):
    """406."""


class Expired(StatusError):
    """410: the history that was asked for is gone; list again."""


class TooManyRequests(StatusError):
    """429."""


class ServiceUnavailable(StatusError):
    """503."""


class Timeout(StatusError):
    """504, `TooLargeResourceVersion` among them."""


class TooLargeResourceVersion(Timeout):
    """504: the store did not reach the wanted resource version in time."""


_CLASSES: dict[int, type[StatusError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    406: NotAcceptable,
    410: Expired,
    429: TooManyRequests,
    503: ServiceUnavailable,
    504: Timeout,
}


def _of_code(code: int) -> type[StatusError]:
    return _CLASSES.get(code, StatusError)


def _kind_details(gvr: GVR, name: str = "") -> dict[str, Any]:
    return {"name": name, "group": gvr.group, "kind": gvr.resource}


def unauthorized() -> Unauthorized:
    """No or wrong credentials."""
    return Unauthorized(401, "Unauthorized", "Unauthorized")


def forbidden(
    user: str,
    verb: str,
    gvr: GVR,
    subresource: str = "",
    namespace: str = "",
    name: str = "",
    reason: str = "",
) -> Forbidden:
    """A resource that the user may not read so; `reason` is the authorizer's own text, if it gave one."""
    resource = f"{gvr.resource}/{subresource}" if subresource else gvr.resource
    where = f"in the namespace {quote(namespace)}" if namespace else "at the cluster scope"
    text = (
        f"User {quote(user)} cannot {verb} resource {quote(resource)} in API group {quote(gvr.group)} {where}"
    ).translate(_FORBIDDEN_ESCAPES)
    subject = f"{gvr.group_resource} {quote(name)}" if name else gvr.group_resource
    message = f"{subject} is forbidden: {text}" + (f": {reason}" if reason else "")
    return Forbidden(403, "Forbidden", message, details=_kind_details(gvr, name), headers=_NO_SNIFF)


def forbidden_path(user: str, verb: str, path: str, reason: str = "") -> Forbidden:
    """A path that is no resource; `verb` is the method in lower case."""
    text = f"User {quote(user)} cannot {verb} path {quote(path)}".translate(_FORBIDDEN_ESCAPES)
    message = f"forbidden: {text}" + (f": {reason}" if reason else "")
    return Forbidden(403, "Forbidden", message, details={}, headers=_NO_SNIFF)


def not_found(gvr: GVR, name: str) -> NotFound:
    """An object that does not exist."""
    return NotFound(
        404,
        "NotFound",
        f"{gvr.group_resource} {quote(name)} not found",
        details=_kind_details(gvr, name),
    )


def not_found_route() -> NotFound:
    """A path that no built-in group serves."""
    return NotFound(404, "NotFound", "the server could not find the requested resource", details={})


def plain_404() -> PlainError:
    """A path of a group, version or custom resource that nobody serves."""
    return PlainError(404, "404 page not found\n")


def bad_request(message: str) -> BadRequest:
    """400 without details."""
    return BadRequest(400, "BadRequest", message)


class MalformedRequest(PlainError):
    """What the HTTP server itself refuses, before anything of an API server has seen it."""


def malformed_request() -> MalformedRequest:
    """A request that the HTTP server itself refuses, such as a path with a broken percent escape."""
    return MalformedRequest(400, "400 Bad Request", {"Connection": "close"})


class FieldError(NamedTuple):
    """One fault of a field: `reason` is the cause's (`FieldValueForbidden`), `message` its text."""

    field: str
    reason: str
    message: str


def invalid_list_options(errors: Iterable[FieldError]) -> StatusError:
    """422 of ListOptions: one cause for each error, equal ones named once in the message."""
    faults = tuple(errors)
    texts = list(dict.fromkeys(f"{fault.field}: {fault.message}" for fault in faults))
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [{"reason": fault.reason, "message": fault.message, "field": fault.field} for fault in faults]
    return StatusError(
        422,
        "Invalid",
        f'ListOptions.meta.k8s.io "" is invalid: {text}',
        details={"group": "meta.k8s.io", "kind": "ListOptions", "causes": causes},
    )


def method_not_allowed_route() -> StatusError:
    """405: the route exists, but not with this method (HEAD on a built-in resource, say)."""
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, details={})


def method_not_allowed(gvr: GVR, verb: str) -> StatusError:
    """405: the resource has no such verb, such as a watch of componentstatuses."""
    message = f"{verb} is not supported on resources of kind {quote(gvr.group_resource)}"
    return StatusError(
        405,
        "MethodNotAllowed",
        message,
        details={"group": gvr.group, "kind": gvr.resource},
    )


def not_acceptable(message: str, *, details: Mapping[str, Any] | None = None) -> NotAcceptable:
    """406; the texts are made in `server.negotiation`."""
    return NotAcceptable(406, "NotAcceptable", message, details=details)


def expired_list() -> Expired:
    """An exact resource version that is no longer there."""
    return Expired(410, "Expired", "The resourceVersion for the provided list is too old.")


def expired_continue(token: str) -> Expired:
    """A page of a list whose snapshot is gone; `token` continues at the latest state instead."""
    return Expired(
        410,
        "Expired",
        "The provided continue parameter is too old to display a consistent list result. You can start a new list"
        " without the continue parameter, or use the continue token in this response to retrieve the remainder of"
        " the results. Continuing with the provided token results in an inconsistent list - objects that were"
        " created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        metadata_continue=token,
    )


def expired_watch(resource_version: int, floor: int) -> Expired:
    """A watch from a past that is forgotten; `floor`: the newest resource version that is not served any more."""
    return Expired(410, "Expired", f"too old resource version: {resource_version} ({floor})")


def too_large_rv(requested: int, current: int, *, retry: bool = True) -> TooLargeResourceVersion:
    """A resource version of the future, still so after the wait. Without `retry` no Retry-After, as from etcd."""
    return TooLargeResourceVersion(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {requested}, current: {current}",
        details={
            "causes": [
                {
                    "reason": "ResourceVersionTooLarge",
                    "message": "Too large resource version",
                }
            ]
        },
        retry_after_seconds=1 if retry else 0,
    )


def request_timeout() -> PlainError:
    """The request's own deadline has passed: a Status that no handler has written, so it lacks its kind and type."""
    message = "Timeout: request did not complete within the allotted timeout"
    members = {"metadata": {}, "status": "Failure", "message": message, "reason": "Timeout", "details": {}, "code": 504}
    return PlainError(504, json.dumps(members, separators=(",", ":")) + "\n", headers={})


def too_many_requests(message: str = "storage is (re)initializing", retry_after: int = 1) -> TooManyRequests:
    """429 of a resource that is not ready."""
    return TooManyRequests(429, "TooManyRequests", message, details={}, retry_after_seconds=retry_after)


def service_unavailable(message: str, retry_after: int = 0) -> ServiceUnavailable:
    """503."""
    return ServiceUnavailable(503, "ServiceUnavailable", message, details={}, retry_after_seconds=retry_after)


def plain_service_unavailable() -> PlainError:
    """503 of an aggregated API that is down."""
    return PlainError(503, "service unavailable\n")


def internal(error: object) -> StatusError:
    """500 with the reason InternalError."""
    text = str(error)
    return StatusError(
        500,
        "InternalError",
        f"Internal error occurred: {text}",
        details={"causes": [{"message": text}]},
    )


class NotSerialized(StatusError):
    """An answer that could not be written as YAML: this is, also where the answer was to be a Table or metadata."""

    def render(self, form: ErrorForm = ErrorForm.JSON) -> RenderedError:
        """In the form that failed."""
        del form
        return super().render(ErrorForm.YAML)


def not_yaml() -> NotSerialized:
    """There are characters in it that upstream does not read in YAML, which it makes by reading its JSON as such."""
    return NotSerialized(500, "", "yaml: control characters are not allowed")


def unclassified_500(message: str) -> StatusError:
    """500 without a reason: an error that upstream hands through as it is."""
    return StatusError(500, "", message)
