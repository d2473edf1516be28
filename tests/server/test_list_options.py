from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube import paths
from kube.query import Query
from kube.resource_version import Match
from kube.resources import GVR, NAMESPACES, Resource
from kube.status import ApiError, StatusError
from kube.version import ServerVersion
from server import list_options
from server.list_options import ListOptions

NEW, OLD = ServerVersion(1, 36), ServerVersion(1, 20)
ALL = frozenset(("get", "list", "watch", "create"))
PODS = Resource(GVR("", "v1", "pods"), "Pod", True, ALL)
NODES = Resource(GVR("", "v1", "nodes"), "Node", False, ALL)
NAMESPACE = Resource(NAMESPACES, "Namespace", False, ALL)
STATUSES = Resource(GVR("", "v1", "componentstatuses"), "ComponentStatus", False, frozenset(("get", "list")))
EVENTS = Resource(GVR("", "v1", "events"), "Event", True, ALL)
REVIEWS = Resource(GVR("authentication.k8s.io", "v1", "tokenreviews"), "TokenReview", False, frozenset(("create",)))
WIDGETS = Resource(GVR("example.com", "v1", "widgets"), "Widget", True, ALL)
GADGETS = Resource(GVR("example.com", "v1", "gadgets"), "Gadget", False, ALL)


def _parse(target: str, version: ServerVersion = NEW, resource: Resource = PODS, **arguments: Any) -> ListOptions:
    path, _, raw = target.partition("?")
    query = Query.parse(raw, version)
    info = paths.parse("GET", path or resource.gvr.path(), query, version)
    return list_options.parse(info, query, version, resource, **arguments)


def _refused(target: str, version: ServerVersion = NEW, **arguments: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        _parse(target, version, **arguments)
    return caught.value


def test_a_list_without_options() -> None:
    """All unset: everything, at the latest version."""
    options = _parse("")
    assert options == ListOptions()
    assert options.selects_everything


def test_options_are_decoded() -> None:
    """Each parameter ends up in its field; unknown ones are ignored, the first of a name counts."""
    options = _parse(
        "?labelSelector=a%3Db&fieldSelector=spec.host%3Dn&resourceVersion=7&resourceVersionMatch=NotOlderThan"
        "&limit=5&limit=6&includeObject=None&foo=bar"
    )
    assert (str(options.label_selector), str(options.field_selector)) == ("a=b", "spec.nodeName=n")
    assert (options.resource_version, options.match, options.limit) == ("7", Match.NOT_OLDER_THAN, 5)
    assert (options.include_object, options.watch) == ("None", False)
    assert not options.selects_everything


@pytest.mark.parametrize(("text", "limit"), [("-1", 0), ("0", 0), ("%2B3", 3), ("9223372036854775807", 2**63 - 1)])
def test_limits(text: str, limit: int) -> None:
    """Zero and less mean none."""
    assert _parse(f"?limit={text}").limit == limit


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("?limit=abc", 'strconv.ParseInt: parsing "abc": invalid syntax'),
        ("?limit=", 'strconv.ParseInt: parsing "": invalid syntax'),
        ("?timeoutSeconds=1.5", 'strconv.ParseInt: parsing "1.5": invalid syntax'),
        ("?limit=a&timeoutSeconds=b", 'strconv.ParseInt: parsing "b": invalid syntax'),
        ("?fieldSelector=a&labelSelector=,&limit=1", "found ',', expected: !, identifier, or 'end of string'"),
        ("?fieldSelector=a&limit=x", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("?fieldSelector=a", "invalid selector: 'a'; can't understand 'a'"),
        ("?fieldSelector=spec.foo=1", "field label not supported: spec.foo"),
        (
            "/api/v1/watch/namespaces/a/pods/x?fieldSelector=metadata.name=y",
            "fieldSelector metadata.name doesn't match requested name",
        ),
        (
            "/api/v1/watch/namespaces/a/pods/x?fieldSelector=spec.nodeName=y",
            "fieldSelector metadata.name doesn't match requested name",
        ),
    ],
)
def test_bad_options(target: str, message: str) -> None:
    """400 with the first fault in upstream's order: numbers, label selector, field selector, labels, name."""
    error = _refused(target)
    assert (error.code, error.reason, error.message) == (400, "BadRequest", message)


NEEDS_VERSION = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
NO_CONTINUE = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided"
NOT_FOR_WATCH = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch"
LIST_VALUES = 'supported values: "Exact", "NotOlderThan", ""'
NEEDS_MATCH = "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
NEEDS_EVENTS = f"{NOT_FOR_WATCH} unless sendInitialEvents is provided"
NEEDS_GATE = (
    "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch"
    " unless the WatchList feature gate is enabled"
)
NOT_FOR_LIST = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"
NO_EXACT_ZERO = 'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
FOO = 'resourceVersionMatch: Unsupported value: "Foo"'
V1_26, V1_31 = ServerVersion(1, 26), ServerVersion(1, 31)


@pytest.mark.parametrize(
    ("target", "version", "faults"),
    [
        ("?resourceVersionMatch=Exact", NEW, [NEEDS_VERSION]),
        ("?resourceVersionMatch=Foo", NEW, [NEEDS_VERSION, f"{FOO}: {LIST_VALUES}"]),
        ("?resourceVersionMatch=Exact&resourceVersion=0", NEW, [NO_EXACT_ZERO]),
        ("?resourceVersionMatch=Exact&resourceVersion=1&continue=x", NEW, [NO_CONTINUE]),
        ("?resourceVersionMatch=Foo&continue=x", NEW, [NEEDS_VERSION, NO_CONTINUE, f"{FOO}: {LIST_VALUES}"]),
        ("?sendInitialEvents=false", NEW, [NOT_FOR_LIST]),
        ("?watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=1", V1_26, [NOT_FOR_WATCH]),
        ("?watch=1&resourceVersionMatch=NotOlderThan", V1_26, [NOT_FOR_WATCH, NEEDS_VERSION]),
        ("?watch=1&resourceVersionMatch=NotOlderThan", NEW, [NEEDS_EVENTS]),
        (
            "?watch=1&resourceVersionMatch=Foo",
            NEW,
            [NEEDS_EVENTS, f'{FOO}: supported values: "NotOlderThan"'],
        ),
        ("?watch=1&sendInitialEvents=1", NEW, [NEEDS_MATCH]),
        ("?watch=1&sendInitialEvents=1", V1_31, [NEEDS_MATCH, NEEDS_GATE]),
        ("?watch=1&sendInitialEvents=1&resourceVersionMatch=NotOlderThan", V1_31, [NEEDS_GATE]),
        ("?watch=1&sendInitialEvents=1&resourceVersionMatch=NotOlderThan&continue=x", NEW, [NO_CONTINUE]),
        ("?watch=1&continue=x", NEW, [NO_CONTINUE]),
        ("/api/v1/watch/pods?sendInitialEvents=true", NEW, [NOT_FOR_LIST]),
    ],
)
def test_options_that_do_not_go_together(target: str, version: ServerVersion, faults: list[str]) -> None:
    """422 with all faults, in the order of the rules of that version."""
    error = _refused(target, version)
    text = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
    assert (error.code, error.message) == (422, f'ListOptions.meta.k8s.io "" is invalid: {text}')
    causes = json.loads(error.body())["details"]["causes"]
    assert [f"{cause['field']}: {cause['message']}" for cause in causes] == faults


@pytest.mark.parametrize(
    ("target", "version"),
    [
        ("?watch=1&continue=x", OLD),
        ("?watch=1&continue=x&resourceVersion=5", NEW),
        ("?sendInitialEvents=true", V1_26),
        ("/api/v1/watch/pods?resourceVersionMatch=NotOlderThan&resourceVersion=1", NEW),
        ("?resourceVersionMatch=Exact&resourceVersion=5&limit=2", NEW),
        ("?resourceVersionMatch=", NEW),
    ],
)
def test_options_that_do_go_together(target: str, version: ServerVersion) -> None:
    """What older versions do not know, or do not look at, is no fault."""
    _parse(target, version)


@pytest.mark.parametrize(
    ("target", "version", "initial_events", "match"),
    [
        ("?watch=1", NEW, True, Match.NOT_OLDER_THAN),
        ("?watch=1&resourceVersion=0", NEW, True, Match.NOT_OLDER_THAN),
        ("?watch=1&resourceVersion=5", NEW, None, Match.UNSET),
        ("?watch=1", ServerVersion(1, 33), None, Match.UNSET),
        ("?watch=1", ServerVersion(1, 32), True, Match.NOT_OLDER_THAN),
        ("?watch=1", OLD, None, Match.UNSET),
        ("/api/v1/watch/pods", NEW, None, Match.UNSET),
        ("/api/v1/watch/pods?watch=1", NEW, True, Match.NOT_OLDER_THAN),
        ("?watch=1&sendInitialEvents=0&resourceVersionMatch=NotOlderThan", NEW, False, Match.NOT_OLDER_THAN),
    ],
)
def test_watches_from_nowhere_get_initial_events(
    target: str, version: ServerVersion, initial_events: bool | None, match: Match
) -> None:
    """Where the gate WatchList is on by default the server asks for them itself, but not on a bare /watch/ URL."""
    options = _parse(target, version)
    assert options.watch
    assert (options.send_initial_events, options.match) == (initial_events, match)


def test_the_gate_can_be_told() -> None:
    """Clusters that set the gate otherwise are followed."""
    assert _parse("?watch=1", watch_list=False).send_initial_events is None
    assert _parse("?watch=1", V1_31, watch_list=True).send_initial_events is True


@pytest.mark.parametrize(("text", "seconds"), [("", None), ("0", None), ("30", 30), ("-5", -5)])
def test_timeouts_of_watches(text: str, seconds: int | None) -> None:
    """0 is unset, negative is over at once."""
    target = f"?watch=1&timeoutSeconds={text}" if text else "?watch=1"
    assert _parse(target).timeout_seconds == seconds


def test_a_name_from_the_path_becomes_a_selector() -> None:
    """The legacy watch of one object selects it by its field."""
    options = _parse("/api/v1/watch/namespaces/a/pods/x")
    assert (options.single_name, str(options.field_selector)) == ("x", "metadata.name=x")


def test_names_and_namespaces_that_selectors_fix() -> None:
    """Both are exposed, by the versions that do so."""
    target = "?fieldSelector=metadata.name%3Dx,metadata.namespace%3Da,status.phase!%3DFailed"
    options = _parse(target)
    assert (options.single_name, options.namespace_from_selector) == ("x", "a")
    assert _parse(target, V1_26).namespace_from_selector is None
    assert _parse(f"/api/v1/namespaces/b/pods{target}").namespace_from_selector is None
    assert _parse("?fieldSelector=metadata.namespace%3D").namespace_from_selector is None


def test_selectable_fields_of_custom_resources() -> None:
    """They are given by the caller, who knows the definition."""
    options = _parse("?fieldSelector=spec.color%3Dred", resource=WIDGETS, custom=True, selectable=[".spec.color"])
    assert options.field_selector.required("spec.color") == "red"
    assert _refused("?fieldSelector=spec.color%3Dred", resource=WIDGETS, custom=True).code == 400


@pytest.mark.parametrize(
    ("method", "target", "resource", "custom", "code"),
    [
        ("GET", "/api/v1/pods", PODS, False, 0),
        ("GET", "/api/v1/namespaces/a/pods/x", PODS, False, 0),
        ("GET", "/api/v1/pods?fieldSelector=metadata.name=x", PODS, False, 0),
        ("GET", "/api/v1/pods/x", PODS, False, 404),
        ("GET", "/api/v1/watch/pods/x", PODS, False, 404),
        ("GET", "/api/v1/namespaces/a/pods//log", PODS, False, 404),
        ("HEAD", "/api/v1/pods", PODS, False, 405),
        ("FOO", "/api/v1/pods", PODS, False, 405),
        ("POST", "/api/v1/watch/pods", PODS, False, 405),
        ("GET", "/api/v1/nodes/n", NODES, False, 0),
        ("GET", "/api/v1/namespaces/a/nodes", NODES, False, 404),
        ("GET", "/api/v1/namespaces/a", NAMESPACE, False, 0),
        ("GET", "/api/v1/namespaces", NAMESPACE, False, 0),
        ("GET", "/api/v1/watch/componentstatuses", STATUSES, False, 404),
        ("GET", "/apis/authentication.k8s.io/v1/tokenreviews", REVIEWS, False, 405),
        ("GET", "/apis/authentication.k8s.io/v1/tokenreviews?watch=1", REVIEWS, False, 405),
        ("GET", "/apis/authentication.k8s.io/v1/tokenreviews/x", REVIEWS, False, 405),
        ("GET", "/apis/example.com/v1/widgets", WIDGETS, True, 0),
        ("HEAD", "/apis/example.com/v1/widgets", WIDGETS, True, 0),
        ("GET", "/apis/example.com/v1/widgets/x", WIDGETS, True, 404),
        ("GET", "/apis/example.com/v1/namespaces/a/gadgets", GADGETS, True, 404),
        ("GET", "/apis/example.com/v1/gadgets/x", GADGETS, True, 0),
        ("FOO", "/apis/example.com/v1/gadgets", GADGETS, True, 405),
    ],
)
def test_routes(method: str, target: str, resource: Resource, custom: bool, code: int) -> None:
    """Built-in resources have a router with GET routes, custom ones a handler that looks at scope and verb."""
    path, _, query = target.partition("?")
    info = paths.parse(method, path, query)
    try:
        list_options.check_route(info, resource, custom=custom)
    except ApiError as error:
        answer = error.render()
        assert (answer.status, answer.headers["Content-Type"].startswith("text/plain")) == (
            code,
            custom and code == 404,
        )
    else:
        assert code == 0


def test_watches_of_what_cannot_be_watched() -> None:
    """A 405 of its own kind, and only for watches."""
    list_options.check_watchable(paths.parse("GET", "/api/v1/componentstatuses"), STATUSES)
    with pytest.raises(StatusError) as caught:
        list_options.check_watchable(paths.parse("GET", "/api/v1/componentstatuses", "watch=1"), STATUSES)
    assert caught.value.message == 'watch is not supported on resources of kind "componentstatuses"'


INVALID = 'resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax'


@pytest.mark.parametrize(
    ("target", "resource", "verb", "version", "code", "message"),
    [
        ("", PODS, "list", NEW, 400, f"invalid resource version: {INVALID}"),
        ("", PODS, "list", OLD, 500, INVALID),
        ("limit=1", PODS, "list", OLD, 400, f"invalid resource version: {INVALID}"),
        ("resourceVersionMatch=Exact", PODS, "list", OLD, 400, f"invalid resource version: {INVALID}"),
        ("", EVENTS, "list", OLD, 400, f"invalid resource version: {INVALID}"),
        ("limit=5&resourceVersionMatch=NotOlderThan", PODS, "list", OLD, 400, f"invalid resource version: {INVALID}"),
        ("", PODS, "get", NEW, 500, INVALID),
        ("", EVENTS, "get", NEW, 400, f"invalid resource version: {INVALID}"),
        ("", PODS, "watch", NEW, 500, INVALID),
    ],
)
def test_versions_that_are_none(
    target: str, resource: Resource, verb: str, version: ServerVersion, code: int, message: str
) -> None:
    """What comes from etcd, and all lists from 1.33 on, answer 400; everything else an unclassified 500."""
    options = _parse(f"?resourceVersion=abc&{target}", version, resource)
    with pytest.raises(StatusError) as caught:
        list_options.resource_version(
            options.resource_version,
            verb=verb,
            version=version,
            from_etcd=list_options.served_by_etcd(options, resource.gvr, version),
        )
    assert (caught.value.code, caught.value.message) == (code, message)
    assert caught.value.reason == ("BadRequest" if code == 400 else "")
    assert list_options.resource_version("0007", verb=verb, version=version) == 7


def test_until_1_28_the_version_was_looked_at_before_the_token() -> None:
    """Beside a continue token, a version that is none is refused first by old servers, and by new ones afterwards."""
    options = ListOptions(continue_token="x", resource_version="abc")
    list_options.check_version_of_page(options, ServerVersion(1, 29))
    with pytest.raises(StatusError) as caught:
        list_options.check_version_of_page(options, ServerVersion(1, 28))
    assert (caught.value.code, caught.value.message) == (400, f"invalid resource version: {INVALID}")


def test_tokens_and_versions_exclude_each_other() -> None:
    """Only "" and "0" go with a continue token."""
    for text in ("", "0"):
        list_options.check_continue(ListOptions(continue_token="x", resource_version=text))
    with pytest.raises(StatusError, match="specifying resource version is not allowed when using continue"):
        list_options.check_continue(ListOptions(continue_token="x", resource_version="1"))


def test_gets() -> None:
    """A resource version, the object of a Table, and the parameter that is gone since 1.21."""
    options = list_options.parse_get(Query.parse("resourceVersion=5&includeObject=None&export=0"), NEW)
    assert (options.resource_version, options.include_object, options.export) == ("5", "None", False)
    assert list_options.parse_get(Query.parse("export"), OLD).export
    with pytest.raises(StatusError, match=r"the export parameter, deprecated since v1\.14, is no longer supported"):
        list_options.parse_get(Query.parse("export=1"), NEW)


@pytest.mark.parametrize(
    ("target", "version", "seconds"),
    [
        ("/api/v1/pods", NEW, 60.0),
        ("/api/v1/pods?timeout=5s", NEW, 5.0),
        ("/api/v1/pods?timeout=90s", NEW, 60.0),
        ("/api/v1/pods?timeout=0s", NEW, 60.0),
        ("/api/v1/pods?timeout=-1s", NEW, 60.0),
        ("/api/v1/pods?timeout=x", OLD, 60.0),
        ("/api/v1/pods?watch=1&timeout=x", NEW, None),
        ("/api/v1/namespaces/a/pods/x/log?timeout=x", NEW, None),
        ("/version", NEW, 60.0),
    ],
)
def test_deadlines(target: str, version: ServerVersion, seconds: float | None) -> None:
    """At most a minute, less on request; none for what runs long."""
    path, _, query = target.partition("?")
    assert list_options.check_timeout(paths.parse("GET", path, query), version) == seconds


def test_deadlines_that_are_none() -> None:
    """400 from 1.21 on, with Go's words."""
    with pytest.raises(StatusError) as caught:
        list_options.check_timeout(paths.parse("GET", "/api/v1/pods", "timeout=x"), NEW)
    expected = 'invalid timeout specified in the request URL - time: invalid duration "x"'
    assert (caught.value.code, caught.value.message) == (400, expected)


def test_names_that_cannot_be_stored() -> None:
    """A get of such a name is a bad request."""
    list_options.check_name("web-0", paths.invalid_name("web-0"))
    with pytest.raises(StatusError, match="Name parameter invalid: \"a%b\": may not contain '%'"):
        list_options.check_name("a%b", paths.invalid_name("a%b"))


NAMES = st.sampled_from([
    "labelSelector", "fieldSelector", "resourceVersion", "resourceVersionMatch", "limit", "continue", "watch",
    "timeoutSeconds", "sendInitialEvents", "allowWatchBookmarks", "timeout", "pretty", "includeObject",
])  # fmt: skip
VALUES = st.sampled_from(
    ["", "0", "1", "true", "abc", "a%3Db", "metadata.name%3Dx", "Exact", "%zz", "a;b", "%ff"]
) | st.text(max_size=10)


@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=6),
    st.sampled_from([OLD, V1_26, V1_31, NEW]),
    st.sampled_from([PODS, NODES, EVENTS]),
)
def test_any_query_is_understood_or_refused(
    parameters: list[tuple[str, str]], version: ServerVersion, resource: Resource
) -> None:
    """Nothing but an ApiError comes out of a query, however broken."""
    raw = "&".join(f"{name}={value}" for name, value in parameters)
    try:
        info = paths.parse("GET", resource.gvr.path(), raw, version)
        list_options.check_timeout(info, version)
        options = list_options.parse(info, info.query, version, resource)
        list_options.resource_version(options.resource_version, verb=info.verb, version=version)
    except ApiError as error:
        answer = error.render()
    else:
        assert options.watch is (info.verb == "watch")
        return
    assert answer.status in (400, 422, 500)
