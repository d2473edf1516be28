from __future__ import annotations

import json

import pytest

from kube import status
from kube.resources import GVR
from kube.status import ErrorForm, StatusError

PODS = GVR("", "v1", "pods")
DEPLOYMENTS = GVR("apps", "v1", "deployments")


TOO_LARGE = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
CANNOT_LIST = 'User "bob" cannot list resource "deployments" in API group "apps" in the namespace "shop"'
CANNOT_LOG = 'User "b&amp;&lt;o&gt;b" cannot get resource "pods/log" in API group "" in the namespace "shop"'
NO_WATCH = 'watch is not supported on resources of kind "componentstatuses"'
NO_DETAILS: dict[str, object] | None = None


@pytest.mark.parametrize(
    ("error", "message", "reason", "details", "code"),
    [
        (status.unauthorized(), "Unauthorized", "Unauthorized", NO_DETAILS, 401),
        (
            status.forbidden("bob", "list", DEPLOYMENTS, namespace="shop"),
            f"deployments.apps is forbidden: {CANNOT_LIST}",
            "Forbidden",
            {"group": "apps", "kind": "deployments"},
            403,
        ),
        (
            status.forbidden("b&<o>b", "get", PODS, "log", "shop", "web-0", "no <policy>"),
            f'pods "web-0" is forbidden: {CANNOT_LOG}: no <policy>',
            "Forbidden",
            {"name": "web-0", "kind": "pods"},
            403,
        ),
        (
            status.forbidden("bob", "list", GVR("", "v1", "nodes")),
            'nodes is forbidden: User "bob" cannot list resource "nodes" in API group "" at the cluster scope',
            "Forbidden",
            {"kind": "nodes"},
            403,
        ),
        (
            status.forbidden_path("bob", "get", "/foo"),
            'forbidden: User "bob" cannot get path "/foo"',
            "Forbidden",
            {},
            403,
        ),
        (
            status.not_found(DEPLOYMENTS, "web"),
            'deployments.apps "web" not found',
            "NotFound",
            {"name": "web", "group": "apps", "kind": "deployments"},
            404,
        ),
        (status.not_found_route(), "the server could not find the requested resource", "NotFound", {}, 404),
        (
            status.method_not_allowed_route(),
            "the server does not allow this method on the requested resource",
            "MethodNotAllowed",
            {},
            405,
        ),
        (
            status.method_not_allowed(GVR("", "v1", "componentstatuses"), "watch"),
            NO_WATCH,
            "MethodNotAllowed",
            {"kind": "componentstatuses"},
            405,
        ),
        (status.expired_list(), "The resourceVersion for the provided list is too old.", "Expired", NO_DETAILS, 410),
        (status.expired_watch(1, 96), "too old resource version: 1 (96)", "Expired", NO_DETAILS, 410),
        (
            status.too_large_rv(99999999, 96),
            "Timeout: Too large resource version: 99999999, current: 96",
            "Timeout",
            {"causes": TOO_LARGE, "retryAfterSeconds": 1},
            504,
        ),
        (
            status.internal("boom"),
            "Internal error occurred: boom",
            "InternalError",
            {"causes": [{"message": "boom"}]},
            500,
        ),
        (status.unclassified_500("boom"), "boom", None, NO_DETAILS, 500),
        (
            status.too_many_requests(),
            "storage is (re)initializing",
            "TooManyRequests",
            {"retryAfterSeconds": 1},
            429,
        ),
    ],
)
def test_errors_are_upstreams(
    error: StatusError, message: str, reason: str | None, details: dict[str, object] | None, code: int
) -> None:
    """Each error of the catalogue: its members, in upstream's order, those without a value left out."""
    members: dict[str, object] = {"message": message, "reason": reason, "details": details, "code": code}
    expected = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"} | {
        name: value for name, value in members.items() if value is not None
    }
    assert json.dumps(json.loads(error.body())) == json.dumps(expected)


def test_bodies_are_compact_json_with_gos_escapes() -> None:
    """No spaces, angle brackets and ampersands escaped, one newline at the end."""
    assert status.bad_request("a <b> & c").body() == (
        b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
        b'"message":"a \\u003cb\\u003e \\u0026 c","reason":"BadRequest","code":400}\n'
    )


def test_an_expired_page_offers_a_token() -> None:
    """The 410 of a page is the one error with something in its metadata."""
    body = json.loads(status.expired_continue("TOKEN").body())
    assert body["metadata"] == {"continue": "TOKEN"}
    assert body["message"].startswith("The provided continue parameter is too old to display a consistent list result.")


def test_errors_of_options_name_each_cause() -> None:
    """One error stands alone, several in brackets; equal texts appear once, but remain causes."""
    fault = status.FieldError("a", "FieldValueForbidden", "Forbidden: x")
    single = json.loads(status.invalid_list_options([fault]).body())
    assert single["message"] == 'ListOptions.meta.k8s.io "" is invalid: a: Forbidden: x'
    other = fault._replace(field="b")
    double = json.loads(status.invalid_list_options([fault, other, fault]).body())
    assert double["message"] == 'ListOptions.meta.k8s.io "" is invalid: [a: Forbidden: x, b: Forbidden: x]'
    assert [cause["field"] for cause in double["details"]["causes"]] == ["a", "b", "a"]


def test_a_deadline_that_has_passed_is_told_by_no_handler() -> None:
    """A Status without kind and version, as text, whatever the form: the timeout is upstream's outermost filter."""
    for form in ErrorForm:
        rendered = status.request_timeout().render(form)
        assert (rendered.status, rendered.headers) == (504, {"Content-Type": "text/plain; charset=utf-8"})
        assert rendered.body == (
            b'{"metadata":{},"status":"Failure","message":"Timeout: request did not complete within the allotted '
            b'timeout","reason":"Timeout","details":{},"code":504}\n'
        )


def test_what_cannot_be_written_as_yaml_says_so_in_yaml() -> None:
    """Also where an error would be indented JSON, since the answer was to be a Table."""
    rendered = status.not_yaml().render(ErrorForm.INDENTED)
    assert (rendered.status, rendered.headers["Content-Type"]) == (500, "application/yaml")
    assert b"message: 'yaml: control characters are not allowed'" in rendered.body


def test_retry_after_is_a_header_too() -> None:
    """The seconds of the details are repeated in the header, and nothing without them."""
    assert status.too_large_rv(2, 1).render().headers["Retry-After"] == "1"
    late = status.too_large_rv(2, 1, retry=False)
    assert "Retry-After" not in late.render().headers
    assert "retryAfterSeconds" not in late.body().decode()
    assert status.service_unavailable("x", 5).render().headers["Retry-After"] == "5"


def test_forms() -> None:
    """Compact with a newline, indented without one, jsoniter's empty objects, YAML, protobuf."""
    error = status.not_found_route()
    assert error.render(ErrorForm.JSON).body.endswith(b'"code":404}\n')
    assert error.render(ErrorForm.INDENTED).body.startswith(b'{\n  "kind": "Status",\n  "apiVersion": "v1",\n')
    assert b'"details": {},\n  "code": 404\n}' in error.render(ErrorForm.INDENTED).body
    assert b'"details": {\n    \n  },\n  "code": 404\n}' in error.render(ErrorForm.JSONITER).body
    yaml = error.render(ErrorForm.YAML)
    assert yaml.headers["Content-Type"] == "application/yaml"
    assert yaml.body.decode() == (
        "apiVersion: v1\ncode: 404\ndetails: {}\nkind: Status\n"
        "message: the server could not find the requested resource\n"
        "metadata: {}\nreason: NotFound\nstatus: Failure\n"
    )
    protobuf = error.render(ErrorForm.PROTOBUF)
    assert protobuf.headers["Content-Type"] == "application/vnd.kubernetes.protobuf"
    assert protobuf.body.startswith(b"k8s\x00\n\x0c\n\x02v1\x12\x06Status")


def test_plain_errors_are_text_in_every_form() -> None:
    """A path that nobody serves is answered by Go's own mux, whatever Accept says."""
    for form in ErrorForm:
        assert status.plain_404().render(form) == (
            404,
            {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"},
            b"404 page not found\n",
        )
    assert status.plain_service_unavailable().render().body == b"service unavailable\n"


@pytest.mark.parametrize(
    "error",
    [
        status.unauthorized(),
        status.not_found(DEPLOYMENTS, "web"),
        status.expired_continue("T"),
        status.too_large_rv(2, 1),
        status.too_many_requests(),
        status.internal("x"),
    ],
)
def test_errors_of_upstream_are_read_back(error: StatusError) -> None:
    """What an upstream answered becomes the same error here, of a class that can be caught."""
    read = StatusError.from_response(error.code, error.body())
    assert read.body() == error.body()
    assert read.retry_after_seconds == error.retry_after_seconds
    assert isinstance(read, status.Timeout) if error.code == 504 else type(read) is type(error)


def test_upstream_answers_that_are_no_status() -> None:
    """A proxy's page becomes the message; a Status without a code takes that of the answer."""
    read = StatusError.from_response(503, b"<html>down</html>\n")
    assert (type(read), read.message, read.reason) == (status.ServiceUnavailable, "<html>down</html>", "")
    assert StatusError.from_response(410, b'{"kind":"Status","reason":"Expired"}').code == 410
    assert isinstance(StatusError.from_response(410, b"[]"), status.Expired)


def test_bytes_that_are_no_text_become_replacement_runes() -> None:
    """A name that is no UTF-8 cannot break the answer: Go writes U+FFFD for such bytes."""
    name = b"a\xff".decode("utf-8", "surrogateescape")
    assert b'pods \\"a\\\\xff\\" not found' in status.not_found(PODS, name).body()
    assert b'"name":"a\\ufffd"' in status.not_found(PODS, name).body()
    for form in ErrorForm:
        status.not_found(PODS, name).render(form)
