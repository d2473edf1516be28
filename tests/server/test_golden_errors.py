"""Every recorded request: what parsing alone refuses gets upstream's very answer, the rest is let through."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kube import paths, status
from kube.resources import GVR, Resource
from kube.status import ApiError, RenderedError
from kube.version import ServerVersion
from server.negotiation import error_form
from tests.server.understanding import Served, Server, Undecided

READS = Path(__file__).parents[1] / "golden" / "reads"
VERSION = ServerVersion(1, 36)
AGENT = "recorder/1"
HEADERS = ("content-type", "x-content-type-options", "retry-after")
"""Of the recorded headers those that belong to an error itself; warnings and caching are added to every answer."""


def _load(name: str) -> Any:
    with gzip.open(READS / f"{name}.json.gz") as file:
        return json.load(file)


def _server() -> Server:
    lists = _load("world")["lists"]
    definitions = json.loads(lists["/apis/apiextensions.k8s.io/v1/customresourcedefinitions"]["body"])["items"]
    selectable = {
        GVR(crd["spec"]["group"], version["name"], crd["spec"]["names"]["plural"]): tuple(
            field["jsonPath"] for field in version.get("selectableFields", ())
        )
        for crd in definitions
        for version in crd["spec"]["versions"]
    }
    catalogue = {}
    for path, entry in lists.items():
        gvr = paths.parse("GET", path).gvr
        assert gvr is not None
        resource = Resource(gvr, entry["kind"], entry["namespaced"], frozenset(entry["verbs"]))
        catalogue[gvr] = Served(resource, gvr in selectable, selectable.get(gvr, ()))
    return Server(VERSION, catalogue)


SERVER = _server()
RECORDED = [case for case in _load("cases") if "status" in case]
CASES = [case for case in RECORDED if "token" not in case]
GROUPS = sorted({case["group"] for case in CASES})


def _method(case: dict[str, Any]) -> str:
    return case.get("method") or "GET"


def _agent(case: dict[str, Any]) -> str:
    return str((case.get("request_headers") or {}).get("User-Agent", AGENT))


def _described(case: dict[str, Any]) -> str:
    return f"{_method(case)} {case['path']} Accept: {case['accept']}"


def _refusal(case: dict[str, Any]) -> RenderedError | None:
    return SERVER.refusal(_method(case), case["path"], case["accept"], _agent(case))


def _assert_same(case: dict[str, Any], answer: RenderedError) -> None:
    assert answer.status == case["status"], _described(case)
    assert answer.body.decode() == case["body"].get("text", ""), _described(case)
    if _method(case) != "HEAD":
        expected = {name: case["headers"][name][0] for name in HEADERS if name in case["headers"]}
        got = {name.lower(): value for name, value in answer.headers.items() if name.lower() in HEADERS}
        assert got == expected, _described(case)


@pytest.mark.parametrize("group", GROUPS)
def test_refusals_are_upstreams(group: str) -> None:
    """Each recorded request of the group is refused exactly as it was, or passes where it was answered."""
    for case in (case for case in CASES if case["group"] == group):
        try:
            answer = _refusal(case)
        except Undecided:
            continue
        if answer is not None:
            _assert_same(case, answer)
        else:
            waited = case["status"] == 504  # only the store knows that a version is of the future
            assert case["status"] == 200 or waited, f"{_described(case)}\nwas refused with {case['body']}"


def test_most_refusals_are_decided_by_parsing() -> None:
    """The comparison is not vacuous: all but a few kinds of recorded refusals come out of these modules."""
    outcomes: Counter[str] = Counter()
    for case in CASES:
        if case["status"] in (400, 405, 406, 422):
            try:
                outcomes["refused" if _refusal(case) else "passed"] += 1
            except Undecided as reason:
                outcomes[str(reason)] += 1
    assert outcomes.pop("refused") >= 250
    assert outcomes == {"continue tokens are decoded by the pages": 5, "writes are forwarded": 2}


def test_unknown_and_unauthorized_are_answered_as_recorded() -> None:
    """401, and 403 on resources and on other paths, for every recorded user without rights."""
    compared = 0
    users = {"": "system:anonymous", "alice-token": "alice", "carol-token": "carol"}
    for case in RECORDED:
        if case["status"] not in (401, 403):
            continue
        info = paths.parse("GET", case["path"].partition("?")[0], case["path"].partition("?")[2])
        if case["status"] == 401:
            error: ApiError = status.unauthorized()
        elif info.gvr is None:
            error = status.forbidden_path(users[case["token"]], info.verb, info.path)
        else:
            error = status.forbidden(
                users[case["token"]], info.verb, info.gvr, info.subresource, info.namespace, info.name
            )
        _assert_same(case, error.render(error_form(case["accept"], query=info.query, version=VERSION)))
        compared += 1
    assert compared == 41


def test_missing_objects_are_answered_as_recorded() -> None:
    """The 404 of an object that does not exist, in each kind and form."""
    cases = [case for case in CASES if case["status"] == 404 and "/no-such-object" in case["path"]]
    compared = 0
    for case in cases:
        info = paths.parse("GET", case["path"].partition("?")[0])
        assert info.gvr is not None
        # componentstatuses names its objects in the singular; /status of a custom resource is a route.
        if info.gvr.resource == "componentstatuses" or info.subresource:
            continue
        answer = status.not_found(info.gvr, info.name).render(error_form(case["accept"], version=VERSION))
        _assert_same(case, answer)
        compared += 1
    assert compared >= 90
