"""Recorded gets and lists, answered from views of the recorded world: the same bytes."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections import Counter
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from kube import paths
from kube.paths import RequestInfo
from kube.resources import GVR, Resource
from kube.status import ApiError
from server import list_options, negotiation
from server.answers import Answers
from server.handlers.get import get_object
from server.handlers.list import list_objects
from server.identity import ANONYMOUS, Credential, CredentialKind
from server.rendering import Kept
from server.request_context import RequestContext
from server.scope import ALL
from server.view import AskUpstream, ResourceView
from tests.replay.world import cases
from tests.server.recorded import VERSION, definitions, load, recorded_view, resources

NOT_COVERED = ("componentstatuses", "/leases")
"""The first cannot be watched, so no informer has it; leases changed while the cases were recorded."""

_LIST_RV = re.compile(r'^\{"kind":"\w+","apiVersion":"[^"]+","metadata":\{"resourceVersion":"(\d+)"')
_CUSTOM_RV = re.compile(
    r'"metadata":\{"continue":"[^"]*",(?:"remainingItemCount":\d+,)?"resourceVersion":"(\d+)"\}\}\n$'
)
_PRETTY_RV = re.compile(
    r'^\{\n  "kind": "(?:Table|\w+List)",\n  "apiVersion": "[^"]+",\n  "metadata": \{\n    "resourceVersion": "(\d+)"'
)
_YAML_RV = re.compile(r'^metadata:\n(?:  [a-zA-Z]+: .*\n)*?  resourceVersion: "(\d+)"$', re.MULTILINE)
_TOKEN = re.compile(r'("?continue"?: ?)"?[\w.<>-]{9,}"?')


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class Views:
    """The views of the recorded world, each at the RV that the recorded answer has."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.rv: int | None = None
        self.kept = Kept(1 << 28)
        self.answers = Answers(1 << 28)
        self._views: dict[GVR, ResourceView] = {}

    async def open(self, gvr: GVR) -> ResourceView:
        """A view of everything."""
        view = self._views.get(gvr)
        if view is None:
            view = self._views[gvr] = recorded_view(gvr, self.now)
        view.clock = lambda: self.now
        if self.rv is not None and self.rv > 1:
            view.position = self.rv
        return view

    async def token_key(self) -> bytes:
        """Any key."""
        return b"k" * 32


def _body(case: dict[str, Any]) -> bytes:
    body = case["body"]
    return base64.b64decode(body["base64"]) if "base64" in body else body.get("text", "").encode()


def _info(case: dict[str, Any]) -> RequestInfo:
    path, _, query = case["path"].partition("?")
    return paths.parse("GET", path, query, VERSION)


def _list_rv(text: str) -> int | None:
    for pattern in (_LIST_RV, _CUSTOM_RV, _PRETTY_RV, _YAML_RV):
        found = pattern.search(text)
        if found:
            return int(found[1])
    return None


async def _ask(views: Views, path: str, accept: str | None, headers: dict[str, str], method: str = "GET") -> Any:
    """Status, headers and body of a request, by the handlers; an error's are upstream's own concern here."""
    raw_path, _, raw_query = path.partition("?")
    info = paths.parse(method, raw_path, raw_query, VERSION)
    assert info.gvr is not None
    entry = resources()[info.gvr]
    custom = info.gvr in definitions()
    resource = Resource(info.gvr, entry["kind"], entry["namespaced"], frozenset(entry["verbs"]))
    list_options.check_timeout(info, VERSION)
    list_options.check_route(info, resource, custom=custom)
    agent = headers.get("user-agent", "recorder/1")
    verb: Any = info.verb
    representation = negotiation.negotiate(
        accept, verb=verb, custom=custom, query=info.query, user_agent=agent, version=VERSION
    )
    request: Any = SimpleNamespace(headers=headers)
    replica: Any = SimpleNamespace(views=views, clock=lambda: views.now, version=VERSION, reached=_never)
    ctx = RequestContext(
        replica, request, ANONYMOUS, Credential(CredentialKind.NONE), info, "audit", resource, ALL, representation
    )
    if info.verb == "get":
        ctx.get_options = list_options.parse_get(info.query, VERSION)
        return await get_object(ctx)
    selectable = tuple(f["jsonPath"] for f in definitions().get(info.gvr, {}).get("selectableFields", ()))
    ctx.options = list_options.parse(info, info.query, VERSION, resource, custom=custom, selectable=selectable)
    return await list_objects(ctx)


async def _never(_rv: int) -> bool:
    return False


GROUPS = (
    "get", "list", "includeObject", "labelSelector", "fieldSelector", "empty", "yaml", "pretty", "gzip", "404",
    "options", "get-rv", "get-with-selector", "list-rv", "random", "accept",
)  # fmt: skip


def _ours(case: dict[str, Any]) -> bool:
    info = _info(case)
    return (
        "token" not in case
        and case.get("method", "GET") == "GET"
        and info.gvr in resources()
        and info.verb in ("get", "list")
        and not info.subresource
        and not any(name in case["path"] for name in NOT_COVERED)
        and not case["headers"].get("content-type", [""])[0].endswith(("protobuf", "cbor"))
    )


def _without_descriptions(text: bytes) -> Any:
    table = yaml.load(text, yaml.CSafeLoader)
    for column in table["columnDefinitions"]:
        column["description"] = ""
    return table


def _difference(case: dict[str, Any], status: int, body: bytes) -> str:
    """Where an answer is not the recorded one; empty if it is."""
    if "yaml;as=Table" in str(case.get("accept")):  # These alone were recorded with the columns' descriptions.
        return "" if _without_descriptions(body) == _without_descriptions(_body(case)) else "another Table"
    expected = _TOKEN.sub(r"\1<continue>", _body(case).decode())
    got = _TOKEN.sub(r"\1<continue>", body.decode())
    if got == expected and status == case["status"]:
        return ""
    differs = (index for index, (one, other) in enumerate(zip(expected, got, strict=False)) if one != other)
    at = next(differs, min(len(got), len(expected)))
    part = slice(max(at - 120, 0), at + 120)
    return f"{case['path']} Accept: {case.get('accept')} {status}\nexpected {expected[part]!r}\ngot      {got[part]!r}"


@pytest.mark.asyncio
@pytest.mark.parametrize("group", GROUPS)
async def test_reads_are_upstreams(group: str) -> None:
    """Each recorded get and list of the group has the recorded body, and gzip where that was."""
    outcomes: Counter[str] = Counter()
    views = Views(0.0)
    for case in cases():
        if case["group"] != group or not _ours(case):
            continue
        views.now = _instant(case["answered"])
        views.rv = _list_rv(_body(case).decode())
        headers = {name.lower(): value for name, value in (case.get("request_headers") or {}).items()}
        if case["status"] == 504 or _forwarded_table(case):
            continue
        outcomes[await _compare(views, case, headers)] += 1
    assert outcomes["same"] + outcomes["refused"] > 0


def _sent(response: Any) -> bytes:
    return b"".join(response.parts)


async def _compare(views: Views, case: dict[str, Any], headers: dict[str, str]) -> str:
    try:
        response = await _ask(views, case["path"], case["accept"], headers)
    except AskUpstream:
        return "asks upstream"
    except ApiError as error:
        info = _info(case)
        agent = headers.get("user-agent", "recorder/1")
        form = negotiation.error_form(case["accept"], query=info.query, user_agent=agent, version=VERSION)
        rendered = error.render(form)
        assert (rendered.status, rendered.body.decode()) == (case["status"], _body(case).decode()), case["path"]
        return "refused"
    body = _sent(response)
    encoding = response.headers.get("Content-Encoding", "")
    assert [encoding] == case["headers"].get("content-encoding", [""]), case["path"]
    if encoding:
        assert response.headers["Vary"] == "Accept-Encoding"
        body = zlib.decompress(body, zlib.MAX_WBITS | 16)
    fault = _difference(case, response.status, body)
    # The recorded instant is sharp to a second, while some ages are counted from fractions of one.
    for later in (0.25, 0.5, 0.75, 1.0) if fault and "Table" in (case["accept"] or "") else ():
        views.now = _instant(case["answered"]) + later
        response = await _ask(views, case["path"], case["accept"], {})
        fault = fault and _difference(case, response.status, _sent(response))
    assert not fault
    return "same"


def _forwarded_table(case: dict[str, Any]) -> bool:
    """Tables that we cannot print are upstream's."""
    gvr = _info(case).gvr
    assert gvr is not None
    return "as=Table" in (case["accept"] or "") and load(gvr)[0].table is None


@pytest.mark.asyncio
async def test_pages_are_upstreams() -> None:
    """Recorded lists in pages: each page has the recorded body, and as many follow."""
    for case in cases():
        if case["group"] != "pages":
            continue
        views = Views(_instant(case["answered"]))
        token = ""
        for page in case["pages"]:
            views.rv = _list_rv(page["body"]["text"])
            query = {**({} if token else case["query"]), "limit": case["limit"]}
            if token:
                query = {k: v for k, v in case["query"].items() if "resourceVersion" not in k} | query
                query["continue"] = token
            response = await _ask(views, f"{case['path']}?{urlencode(query)}", case["accept"], {})
            recorded = {**page, "path": case["path"], "accept": case["accept"]}
            assert not _difference(recorded, response.status, _sent(response))
            metadata = json.loads(_sent(response))["metadata"]
            token = metadata.get("continue", "")
        assert not token
