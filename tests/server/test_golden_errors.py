"""Every recorded request: what parsing alone refuses gets upstream's very answer, the rest is let through."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kube import paths
from kube.resources import GVR, Resource
from kube.status import ApiError, RenderedError
from kube.version import ServerVersion
from server import list_options, negotiation

READS = Path(__file__).parents[1] / "golden" / "reads"
VERSION = ServerVersion(1, 36)
HEADERS = ("content-type", "x-content-type-options", "retry-after")
"""Of the recorded headers those that belong to an error itself; warnings and caching are added to every answer."""


class Served(NamedTuple):
    """What the recorded server's discovery says of a resource."""

    resource: Resource
    custom: bool
    selectable: tuple[str, ...]


def _load(name: str) -> Any:
    with gzip.open(READS / f"{name}.json.gz") as file:
        return json.load(file)


def _catalogue() -> dict[GVR, Served]:
    lists = _load("world")["lists"]
    definitions = json.loads(lists["/apis/apiextensions.k8s.io/v1/customresourcedefinitions"]["body"])["items"]
    selectable = {
        (crd["spec"]["group"], version["name"], crd["spec"]["names"]["plural"]): tuple(
            field["jsonPath"] for field in version.get("selectableFields", ())
        )
        for crd in definitions
        for version in crd["spec"]["versions"]
    }
    served = {}
    for path, entry in lists.items():
        gvr = paths.parse("GET", path).gvr
        assert gvr is not None
        key = (gvr.group, gvr.version, gvr.resource)
        resource = Resource(gvr, entry["kind"], entry["namespaced"], frozenset(entry["verbs"]))
        served[gvr] = Served(resource, key in selectable, selectable.get(key, ()))
    return served


CATALOGUE = _catalogue()


def understand(case: dict[str, Any]) -> RenderedError | None:
    """Put a recorded request through every check that needs no store; the answer if one of them refuses it."""
    raw_path, _, raw_query = case["path"].partition("?")
    user_agent = (case.get("request_headers") or {}).get("User-Agent", "recorder/1")
    method = case.get("method") or "GET"
    try:
        info = paths.parse(method, raw_path, raw_query, VERSION)
    except ApiError as error:
        return error.render()
    form = negotiation.error_form(case["accept"], query=info.query, user_agent=user_agent, version=VERSION)
    try:
        list_options.check_timeout(info, VERSION)
        _check(info, case["accept"], user_agent)
    except ApiError as error:
        answer = error.render(form)
        return answer._replace(body=b"") if method == "HEAD" else answer
    return None


def _check(info: paths.RequestInfo, accept: str | None, user_agent: str) -> None:
    served = CATALOGUE.get(info.gvr) if info.gvr else None
    if served is None or info.subresource:
        return
    resource, custom, selectable = served
    list_options.check_route(info, resource, custom=custom)
    if not info.is_read:
        return
    verb: Any = info.verb
    representation = negotiation.negotiate(
        accept, verb=verb, custom=custom, query=info.query, user_agent=user_agent, version=VERSION
    )
    if info.is_collection:
        options = list_options.parse(info, info.query, VERSION, resource, custom=custom, selectable=selectable)
        list_options.check_watchable(info, resource)
        include_object, resource_version = options.include_object, options.resource_version
        if options.continue_token and not options.watch:
            return  # the token is decoded before anything else of the read, and not here
    else:
        get_options = list_options.parse_get(info.query, VERSION)
        include_object, resource_version = get_options.include_object, get_options.resource_version
    list_options.resource_version(resource_version, verb=info.verb, version=VERSION)
    if info.name == "no-such-object" and info.verb == "get":
        return
    negotiation.check_shape(representation, verb=verb, custom=custom, gvr=resource.gvr, kind=resource.kind)
    negotiation.check_include_object(representation, include_object)
    if info.verb == "watch":
        negotiation.check_stream(representation)


CASES = [case for case in _load("cases") if "status" in case and "token" not in case]
GROUPS = sorted({case["group"] for case in CASES})


def _decided_elsewhere(case: dict[str, Any]) -> str:
    """Why a refused request cannot be refused by parsing, "" if it can."""
    path, _, query = case["path"].partition("?")
    info = paths.parse(case.get("method") or "GET", path, query, VERSION) if "%zz" not in path else None
    reasons = {
        "the store knows what exists": info is not None and "no-such-object" in info.parts,
        "the store knows its resource version": case["status"] == 504,
        "continue tokens are decoded by the pages": "continue=" in query and "watch=" not in query,
        "paths that are not covered are forwarded": info is not None
        and (info.gvr not in CATALOGUE or bool(info.subresource)),
        "writes are forwarded": case.get("method") == "PUT",
        "odd storage keys are forwarded": info is not None and ".." in (info.namespace, info.name),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


@pytest.mark.parametrize("group", GROUPS)
def test_refusals_are_upstreams(group: str) -> None:
    """Each recorded request of the group is refused exactly as it was, or passes where it was answered."""
    for case in (case for case in CASES if case["group"] == group):
        described = f"{case.get('method') or 'GET'} {case['path']} Accept: {case['accept']}"
        answer = understand(case)
        if case["status"] < 400:
            assert answer is None, f"{described}\nwas answered, we say {answer}"
        elif answer is None:
            assert _decided_elsewhere(case), f"{described}\nwas refused with {case['body']}"
        else:
            assert answer.status == case["status"], described
            assert answer.body.decode() == case["body"].get("text", ""), described
            if (case.get("method") or "GET") != "HEAD":
                expected = {name: case["headers"][name][0] for name in HEADERS if name in case["headers"]}
                got = {name.lower(): value for name, value in answer.headers.items() if name.lower() in HEADERS}
                assert got == expected, described


def test_most_refusals_are_decided_by_parsing() -> None:
    """The comparison is not vacuous: all but a few kinds of recorded refusals come out of these modules."""
    refused = [case for case in CASES if case["status"] in (400, 405, 406, 422)]
    decided = sum(understand(case) is not None for case in refused)
    left = Counter(_decided_elsewhere(case) for case in refused if understand(case) is None)
    assert decided >= 230, left
    assert set(left) <= {"continue tokens are decoded by the pages", "writes are forwarded"}
