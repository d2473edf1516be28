from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube import paths
from kube.query import Query, pretty_wanted
from kube.resources import GVR
from kube.status import ApiError
from kube.version import ServerVersion


@pytest.mark.parametrize(
    ("path", "verb", "gvr", "namespace", "name", "subresource"),
    [
        ("/api/v1/pods", "list", "pods.v1", "", "", ""),
        ("/api/v1/pods?watch=1", "watch", "pods.v1", "", "", ""),
        ("/api/v1/pods?watch", "watch", "pods.v1", "", "", ""),
        ("/api/v1/pods?watch=FALSE", "list", "pods.v1", "", "", ""),
        ("/api/v1/namespaces/shop/pods/", "list", "pods.v1", "shop", "", ""),
        ("/api/v1/namespaces/shop/pods/web-0", "get", "pods.v1", "shop", "web-0", ""),
        ("/api/v1/namespaces/shop/pods/web-0?watch=1", "get", "pods.v1", "shop", "web-0", ""),
        ("/api/v1/namespaces/shop/pods/web-0/log", "get", "pods.v1", "shop", "web-0", "log"),
        ("/api/v1/namespaces/shop/pods/web-0/proxy/a/b", "get", "pods.v1", "shop", "web-0", "proxy"),
        ("/api/v1/namespaces", "list", "namespaces.v1", "", "", ""),
        ("/api/v1/namespaces/shop", "get", "namespaces.v1", "shop", "shop", ""),
        ("/api/v1/namespaces/shop/status", "get", "namespaces.v1", "shop", "shop", "status"),
        ("/api/v1/namespaces/shop/finalize", "get", "namespaces.v1", "shop", "shop", "finalize"),
        ("/api/v1/namespaces//pods", "list", "pods.v1", "", "", ""),
        ("/api/v1/nodes/n1", "get", "nodes.v1", "", "n1", ""),
        ("/apis/apps/v1/deployments", "list", "deployments.v1.apps", "", "", ""),
        ("/apis/apps/v1/namespaces/shop/deployments/web/scale", "get", "deployments.v1.apps", "shop", "web", "scale"),
        ("/api/v1/watch/pods", "watch", "pods.v1", "", "", ""),
        ("/api/v1/watch/namespaces/shop/pods", "watch", "pods.v1", "shop", "", ""),
        ("/api/v1/watch/namespaces/shop/pods/web-0", "watch", "pods.v1", "shop", "web-0", ""),
        ("/api/v1/watch/namespaces/shop", "watch", "namespaces.v1", "shop", "shop", ""),
        ("/apis/example.com/v1/watch/gadgets/g", "watch", "gadgets.v1.example.com", "", "g", ""),
        ("/api/v1/pods?fieldSelector=metadata.name%3Dx", "list", "pods.v1", "", "x", ""),
        ("/api/v1/pods?watch=1&fieldSelector=metadata.name=x,spec.nodeName=n", "watch", "pods.v1", "", "x", ""),
        ("/api/v1/pods?fieldSelector=metadata.name!=x", "list", "pods.v1", "", "", ""),
        ("/api/v1/pods?fieldSelector=metadata.name=..", "list", "pods.v1", "", "", ""),
        ("/api/v1/pods?fieldSelector=metadata.name=x&limit=abc&watch=1", "watch", "pods.v1", "", "", ""),
        ("/api/v1/pods?fieldSelector=metadata.name=x&labelSelector=,", "list", "pods.v1", "", "", ""),
        ("/api/v1/namespaces/%73hop/pods/a%2Bb", "get", "pods.v1", "shop", "a+b", ""),
        ("/api/v1/namespaces/shop/pods/a+b", "get", "pods.v1", "shop", "a+b", ""),
        ("/api/v1/namespaces/shop/pods/a%2Fb", "get", "pods.v1", "shop", "a", "b"),
    ],
)
def test_resource_paths(path: str, verb: str, gvr: str, namespace: str, name: str, subresource: str) -> None:
    """Each form of path gives verb, resource, namespace, name and subresource as authorizers see them."""
    target, _, query = path.partition("?")
    info = paths.parse("GET", target, query)
    assert info.is_resource
    assert (info.verb, str(info.gvr), info.namespace, info.name, info.subresource) == (
        verb, gvr, namespace, name, subresource,
    )  # fmt: skip
    assert info.legacy_watch is ("/watch/" in path)


@pytest.mark.parametrize(
    "path", ["/", "", "/api", "/api/v1", "/apis/apps", "/apis/apps/v1", "/version", "/API/v1/pods"]
)
def test_other_paths_are_no_resources(path: str) -> None:
    """Discovery and everything else is judged by path and method."""
    info = paths.parse("GET", path)
    assert (info.is_resource, info.gvr, info.verb, info.path) == (False, None, "get", path)
    assert not info.is_read


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("HEAD", "/api/v1/pods", "list"),
        ("POST", "/api/v1/namespaces/a/pods", "create"),
        ("PUT", "/api/v1/namespaces/a/pods/p", "update"),
        ("PATCH", "/api/v1/namespaces/a/pods/p", "patch"),
        ("DELETE", "/api/v1/namespaces/a/pods/p", "delete"),
        ("DELETE", "/api/v1/namespaces/a/pods", "deletecollection"),
        ("POST", "/api/v1/watch/pods", "watch"),
        ("FOO", "/api/v1/pods", ""),
        ("POST", "/version", "post"),
    ],
)
def test_methods_become_verbs(method: str, path: str, verb: str) -> None:
    """Methods of resources are API verbs, of other paths themselves in lower case."""
    assert paths.parse(method, path).verb == verb


def test_names_of_paths_and_of_selectors_are_told_apart() -> None:
    """RBAC looks at both, routes only at the path's."""
    selected = paths.parse("GET", "/api/v1/pods", "fieldSelector=metadata.name=x")
    assert (selected.name, selected.path_name) == ("x", "")
    single = paths.parse("GET", "/api/v1/watch/namespaces/a/pods/x")
    assert (single.name, single.path_name) == ("x", "x")


def test_an_empty_segment_is_a_resource_that_nobody_serves() -> None:
    """A doubled slash shifts nothing: upstream finds no route there."""
    info = paths.parse("GET", "/api/v1//pods")
    assert (info.gvr, info.name) == (GVR("", "v1", ""), "pods")


def test_broken_paths_are_refused_as_gos_server_does() -> None:
    """A broken percent escape never reaches upstream's handlers; a bare /watch cannot be understood."""
    with pytest.raises(ApiError) as caught:
        paths.parse("GET", "/api/v1/namespaces/a/pods/%zz")
    assert (caught.value.code, caught.value.render().body) == (400, b"400 Bad Request")
    with pytest.raises(ApiError) as caught:
        paths.parse("GET", "/api/v1/watch", "a=<b>&c")
    assert caught.value.code == 500
    uri = "/api/v1/watch?a=&lt;b&gt;&amp;c"
    assert caught.value.render().body.decode() == (
        f'Internal Server Error: "{uri}": failed to create RequestInfo: '
        f"unable to determine kind and namespace from url, {uri}\n"
    )


def test_names_that_cannot_be_stored() -> None:
    """Dots alone, slashes and percent signs are no part of a key."""
    assert paths.invalid_name(".") == "may not be '.'"
    assert paths.invalid_name("a/b%") == "may not contain '/';may not contain '%'"
    assert paths.invalid_name("web-0") == ""


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        ("a=1&a=2", {"a": "1"}),
        ("a", {"a": ""}),
        ("=x&&b=1", {"": "x", "b": "1"}),
        ("a=x+y%20z&b%3D=1", {"a": "x y z", "b=": "1"}),
        ("a=%zz&b=%4&c=1%", {}),
        ("%zz=1&a=%C3%A9", {"a": "é"}),
        ("a=1;b=2&c=3", {"c": "3"}),
        ("a=b=c", {"a": "b=c"}),
    ],
)
def test_queries_are_decoded_as_go_does(raw: str, values: dict[str, str]) -> None:
    """First value wins, `+` is a space, what cannot be decoded is dropped."""
    query = Query.parse(raw)
    assert {name: query.get(name) for name in ("", "a", "b", "b=", "c") if name in query} == values


def test_semicolons_parted_pairs_in_old_versions() -> None:
    """Builds with a Go before 1.17 took `;` for `&`."""
    assert Query.parse("a=1;b=2", ServerVersion(1, 20)).get("b") == "2"


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [("", None), ("pretty=", None), ("pretty=1", True), ("pretty=T", True), ("pretty=0", False), ("pretty=yes", False)],
)
def test_pretty_is_gos_bool(raw: str, wanted: bool | None) -> None:
    """Only a value decides, and what is no boolean means no."""
    assert pretty_wanted(Query.parse(raw)) is wanted


TARGETS = st.text(alphabet=st.sampled_from("/api%2F.+?&=;:watchnamespaces1 é\x00") | st.characters(), max_size=60)


@given(st.sampled_from(["GET", "HEAD", "POST", "X"]), TARGETS, TARGETS, st.booleans())
def test_any_request_line_is_understood_or_refused(method: str, path: str, query: str, core: bool) -> None:
    """Nothing but an ApiError comes out of a path and a query, however broken."""
    try:
        info = paths.parse(method, ("/api/v1/" if core else "/apis/g/v1/") + path, query)
    except ApiError as error:
        refused = error.render().status
    else:
        refused = 0
    if refused:
        assert refused in (400, 500)
        return
    assert info.is_resource is (info.gvr is not None)
    assert "%" in path or info.path.endswith(path)
