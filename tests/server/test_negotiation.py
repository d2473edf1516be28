from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.query import Query
from kube.resources import GVR
from kube.status import ApiError, ErrorForm, NotAcceptable, StatusError
from kube.version import ServerVersion
from server import negotiation
from server.negotiation import Form, Representation, error_form, gzip_accepted

NEW, OLD = ServerVersion(1, 36), ServerVersion(1, 20)
NOTHING = Query.parse("")
PODS = GVR("", "v1", "pods")

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
TABLE_BETA = "application/json;as=Table;v=v1beta1;g=meta.k8s.io"
METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
PROTOBUF = "application/vnd.kubernetes.protobuf"
AVAILABLE = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
ACCEPTED = f"only the following media types are accepted: {AVAILABLE}"
STREAMS = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"


def _negotiate(accept: str | None, **overrides: Any) -> Representation:
    arguments: dict[str, Any] = {"verb": "list", "custom": False, "query": NOTHING, "version": NEW} | overrides
    return negotiation.negotiate(accept, **arguments)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, Representation(Form.JSON)),
        ("", Representation(Form.JSON)),
        ("*/*", Representation(Form.JSON)),
        ("application/json, */*", Representation(Form.JSON)),
        ("text/html,*/*;q=0.8", Representation(Form.JSON)),
        ("application/json;charset=utf-8", Representation(Form.JSON)),
        ("application/yaml", Representation(Form.YAML, yaml=True)),
        ("application/json;q=0.5,application/yaml", Representation(Form.YAML, yaml=True)),
        ("application/yaml;q=0.5,application/json", Representation(Form.JSON)),
        (PROTOBUF, Representation(Form.PROTOBUF)),
        (f"{PROTOBUF},application/json", Representation(Form.PROTOBUF)),
        (f"{TABLE},{TABLE_BETA},application/json", Representation(Form.TABLE, "v1")),
        (TABLE_BETA, Representation(Form.TABLE, "v1beta1")),
        ("application/yaml;as=Table;v=v1;g=meta.k8s.io", Representation(Form.TABLE, "v1", yaml=True)),
        ("application/json;as=Table,application/json", Representation(Form.JSON)),
        ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", Representation(Form.JSON)),
        (f"{PROTOBUF};as=Table;v=v1;g=meta.k8s.io,{TABLE}", Representation(Form.TABLE, "v1")),
        (METADATA, Representation(Form.METADATA, "v1")),
        (METADATA_LIST, Representation(Form.METADATA, "v1", metadata_list=True)),
        (f"{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{METADATA_LIST}", Representation(
            Form.PROTOBUF, "v1", metadata_list=True
        )),
        ("application/json;stream=watch", Representation(Form.JSON)),
        ("application/json;stream=x,application/json", Representation(Form.JSON)),
        ("application/json;sv=v1", Representation(Form.JSON)),
        ("application/json;pretty=1", Representation(Form.JSON, pretty=True)),
        (f"{TABLE};pretty=1", Representation(Form.TABLE, "v1", pretty=True)),
        ("application/yaml;pretty=1", Representation(Form.YAML, yaml=True)),
        ("application/json;profile=nopeer", Representation(Form.JSON)),
        ("application/json;q=x,application/yaml;q=0.1", Representation(Form.YAML, yaml=True)),
        ("*/*;q=1,application/yaml;q=0.1", Representation(Form.YAML, yaml=True)),
        (" application/json ; as = Table ; v=v1;g=meta.k8s.io ", Representation(Form.TABLE, "v1")),
        ("application/json;as=Table=;v=v1;g=meta.k8s.io", Representation(Form.TABLE, "v1")),
    ],
)  # fmt: skip
def test_accepted_clauses(accept: str | None, expected: Representation) -> None:
    """The best clause that can be had wins; clauses that cannot are skipped."""
    assert _negotiate(accept) == expected


@pytest.mark.parametrize(
    "accept",
    ["text/html", "application/*", "garbage", "application/xml,text/*", ",", "*", "*/json", "application/cbor"],
)
def test_the_gate_of_built_in_resources(accept: str) -> None:
    """The router takes its own types alone, and lists them in its refusal; custom resources have no router."""
    with pytest.raises(NotAcceptable) as caught:
        _negotiate(accept)
    assert caught.value.message == f"406: Not Acceptable\n\nAvailable representations: {AVAILABLE}, {STREAMS}"
    assert caught.value.details == {}
    with pytest.raises(NotAcceptable) as caught:
        _negotiate(accept, verb="get")
    assert caught.value.message == f"406: Not Acceptable\n\nAvailable representations: {AVAILABLE}"
    with pytest.raises(NotAcceptable) as caught:
        _negotiate(accept, version=OLD)
    assert caught.value.message == "406: Not Acceptable"


def test_custom_resources_take_wildcards_of_a_type_and_no_protobuf() -> None:
    """They negotiate alone; protobuf is for their metadata only."""
    assert _negotiate("application/*", custom=True) == Representation(Form.JSON)
    assert _negotiate("*", custom=True) == Representation(Form.JSON)
    metadata = f"{PROTOBUF};as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    assert _negotiate(metadata, custom=True).form is Form.PROTOBUF
    assert _negotiate(f"{PROTOBUF},application/json", custom=True) == Representation(Form.JSON)
    for accept in ("text/html", PROTOBUF):
        with pytest.raises(NotAcceptable) as caught:
            _negotiate(accept, custom=True)
        assert (caught.value.message, caught.value.details) == (ACCEPTED, None)


@pytest.mark.parametrize(
    "accept",
    [
        "application/json;as=Table",
        "application/json;as=Table;v=v1",
        "application/json;as=Foo;v=v1;g=meta.k8s.io",
        "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io",
        "application/json;stream=x",
        "application/json;sv=v2",
        "application/yaml;stream=watch",
    ],
)
def test_what_passes_the_gate_can_still_be_refused(accept: str) -> None:
    """A transform that does not exist, or parameters that cannot be met, with nothing to fall back on."""
    with pytest.raises(NotAcceptable) as caught:
        _negotiate(accept)
    assert caught.value.message == ACCEPTED


def test_cbor_where_upstream_has_it() -> None:
    """With the gate on it is a type like protobuf, named in the refusals; off, it is unknown."""
    assert _negotiate("application/cbor", cbor=True).form is Form.CBOR
    assert not _negotiate("application/cbor", cbor=True).ours
    assert _negotiate("application/cbor,*/*").form is Form.JSON
    with pytest.raises(NotAcceptable) as caught:
        _negotiate("text/html", custom=True, cbor=True)
    assert caught.value.message == f"{ACCEPTED}, application/cbor"


@pytest.mark.parametrize(
    ("query", "user_agent", "pretty"),
    [
        ("", "kubectl/v1.33", False),
        ("", "curl/8", True),
        ("", "Wget/1", True),
        ("", "Mozilla/5.0 (X11)", True),
        ("pretty=false", "curl/8", False),
        ("pretty=", "curl/8", True),
        ("pretty=true", "x", True),
        ("pretty=yes", "x", False),
    ],
)
def test_pretty(query: str, user_agent: str, pretty: bool) -> None:
    """The parameter decides, without a value the agent; for Tables and custom resources too."""
    arguments = {"query": Query.parse(query), "user_agent": user_agent}
    assert _negotiate("application/json", **arguments).pretty is pretty
    assert _negotiate(TABLE, **arguments).pretty is pretty
    assert _negotiate(None, custom=True, **arguments).pretty is pretty
    assert _negotiate("application/yaml", **arguments).pretty is False


def test_subresources_had_no_tables_before_1_24() -> None:
    """There a Table clause is skipped."""
    accept = f"{TABLE},application/json"
    assert _negotiate(accept, verb="get", subresource="status", version=OLD).form is Form.JSON
    assert _negotiate(accept, verb="get", subresource="status").form is Form.TABLE


def test_watches_have_no_yaml() -> None:
    """YAML passes the first negotiation of a watch and fails the second, Tables in YAML too."""
    for accept in ("application/yaml", "application/yaml;as=Table;v=v1;g=meta.k8s.io"):
        with pytest.raises(NotAcceptable) as caught:
            negotiation.check_stream(_negotiate(accept, verb="watch"))
        assert caught.value.message == f"only the following media types are accepted: {STREAMS}"
    negotiation.check_stream(_negotiate(TABLE, verb="watch"))


def test_metadata_must_have_the_shape_of_the_answer() -> None:
    """An object's metadata of a list and a list's of an object are refused, naming Go's types."""

    def refusal(accept: str, verb: Any, gvr: GVR, kind: str, *, custom: bool = False) -> str:
        with pytest.raises(NotAcceptable) as caught:
            negotiation.check_shape(_negotiate(accept, verb=verb), verb=verb, custom=custom, gvr=gvr, kind=kind)
        return caught.value.message

    roles = GVR("rbac.authorization.k8s.io", "v1", "roles")
    events = GVR("events.k8s.io", "v1", "events")
    assert refusal(METADATA, "list", PODS, "Pod") == (
        "you requested PartialObjectMetadata, but the requested object is a list (*core.PodList)"
    )
    assert refusal(METADATA_LIST, "get", roles, "Role") == (
        "you requested PartialObjectMetadataList, but the requested object is not a list (*rbac.Role)"
    )
    assert refusal(METADATA, "list", events, "Event").endswith("(*core.EventList)")
    assert refusal(METADATA, "list", PODS, "Pod", custom=True).endswith("(*unstructured.UnstructuredList)")


def test_a_custom_resource_passes_for_a_list_until_its_items_are_looked_for() -> None:
    """Its metadata as a list's is an unclassified 500: upstream's untyped object has the methods of a list."""
    with pytest.raises(StatusError) as caught:
        negotiation.check_shape(
            _negotiate(METADATA_LIST, verb="get"), verb="get", custom=True, gvr=GVR("a.io", "v1", "as"), kind="A"
        )
    assert (caught.value.code, caught.value.reason, caught.value.message) == (500, "", "content is not a list")


def test_metadata_of_the_right_shape_passes() -> None:
    """Lists as lists, objects as objects, watches as either; other forms are not looked at."""
    for accept, verb in ((METADATA_LIST, "list"), (METADATA, "get"), (METADATA, "watch"), (METADATA_LIST, "watch")):
        negotiation.check_shape(_negotiate(accept, verb=verb), verb=verb, custom=False, gvr=PODS, kind="Pod")  # type: ignore[arg-type]
    negotiation.check_shape(_negotiate(TABLE), verb="list", custom=False, gvr=PODS, kind="Pod")


def test_include_object_matters_to_tables_alone() -> None:
    """An unknown value is a 400 for a Table and nothing otherwise."""
    for value in ("", "None", "Metadata", "Object"):
        negotiation.check_include_object(_negotiate(TABLE), value)
    negotiation.check_include_object(_negotiate("application/json"), "Foo")
    with pytest.raises(ApiError) as caught:
        negotiation.check_include_object(_negotiate(TABLE), "Foo")
    assert str(caught.value) == (
        "Unable to convert to Table as requested: includeObject: Invalid value: "
        "\"Foo\": must be 'Metadata', 'Object', 'None', or empty"
    )


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, ErrorForm.JSON),
        ("application/json", ErrorForm.JSON),
        ("application/*", ErrorForm.JSON),
        ("application/json;stream=watch", ErrorForm.JSON),
        (f"{TABLE},application/json", ErrorForm.JSON),
        (TABLE, ErrorForm.INDENTED),
        ("text/html", ErrorForm.INDENTED),
        ("application/json;sv=v1", ErrorForm.INDENTED),
        ("application/json;pretty=1", ErrorForm.INDENTED),
        ("application/yaml", ErrorForm.YAML),
        (f"{TABLE},application/yaml", ErrorForm.YAML),
        (PROTOBUF, ErrorForm.PROTOBUF),
        (f"{PROTOBUF};as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json", ErrorForm.JSON),
    ],
)
def test_errors_are_negotiated_without_transforms(accept: str | None, form: ErrorForm) -> None:
    """The first clause that fits a plain Status decides; where none does it is indented JSON."""
    assert error_form(accept, version=NEW) is form


def test_pretty_errors_of_old_versions() -> None:
    """Asked-for indents were jsoniter's before 1.23; the fallback never was."""
    query = Query.parse("pretty=1")
    assert error_form("application/json", query=query, version=OLD) is ErrorForm.JSONITER
    assert error_form("application/json", query=query, version=NEW) is ErrorForm.INDENTED
    assert error_form(TABLE, query=query, version=OLD) is ErrorForm.INDENTED
    assert error_form(None, query=NOTHING, user_agent="curl/8", version=NEW) is ErrorForm.INDENTED


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("deflate, gzip ", True),
        ("gzip;q=1.0", False),
        ("*", False),
        ("x-gzip", False),
        ("GZIP", False),
    ],
)
def test_gzip_is_taken_literally(header: str | None, accepted: bool) -> None:
    """Only a bare `gzip` among the encodings counts."""
    assert gzip_accepted(header) is accepted


def test_content_types() -> None:
    """No parameters are echoed, whatever was asked."""
    assert _negotiate(TABLE).content_type == "application/json"
    assert _negotiate("application/yaml;as=Table;v=v1;g=meta.k8s.io").content_type == "application/yaml"
    assert _negotiate(PROTOBUF).content_type == PROTOBUF


ACCEPTS = st.text(alphabet=st.sampled_from("application/json*;=,q.15vg ymlstreamwchpu") | st.characters(), max_size=60)
CLAUSES = st.lists(
    st.sampled_from([TABLE, METADATA, "application/json", "application/yaml", "*/*", "text/html", PROTOBUF, "*", ""])
    | st.floats(0, 1).map(lambda quality: f"application/json;q={quality}"),
    max_size=6,
).map(",".join)


@given(ACCEPTS | CLAUSES, st.booleans(), st.sampled_from(["get", "list", "watch"]), st.sampled_from([OLD, NEW]))
def test_any_accept_header_is_understood_or_refused(
    accept: str, custom: bool, verb: Any, version: ServerVersion
) -> None:
    """Nothing but a 406 comes out, and its answer can be written."""
    form = error_form(accept, query=NOTHING, version=version)
    try:
        representation = _negotiate(accept, custom=custom, verb=verb, version=version)
        negotiation.check_shape(representation, verb=verb, custom=custom, gvr=PODS, kind="Pod")
        negotiation.check_stream(representation)
    except ApiError as error:
        answer = error.render(form)
    else:
        return
    assert answer.status == 406
