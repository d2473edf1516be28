"""Whatever is asked, a replica answers it: no request breaks it, and none gets a 500 that upstream would not give."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.program.conftest import Start, client, world
from tests.server.program.stored import Stored

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

EXAMPLES = 400
ANSWER_SECONDS = 20.0

UPSTREAMS_OWN = (
    "resourceVersion: Invalid value",
    "unable to determine kind and namespace from url",
    "content is not a list",  # a custom resource as PartialObjectMetadataList
)
"""What upstream answers with 500."""

PIECES = (
    "api", "apis", "v1", "v2", "watch", "namespaces", "oil-dev", "pods", "nodes", "web-0", "log", "status", "tenants",
    "capsule.clastix.io", "v1beta2", "rbac.authorization.k8s.io", "clusterroles", "", ".", "..", "%2e", "%2F", "%zz",
    "%", "%00", "%ff", "a%20b", "é", "~", "*", ";", "version", "openapi", "v3", "healthz",
)  # fmt: skip
WHOLE = (
    "/api/v1/pods", "/api/v1/namespaces/oil-dev/pods", "/api/v1/namespaces/oil-dev/pods/web-0", "/api/v1/nodes",
    "/api/v1/namespaces", "/api/v1/watch/pods", "/api/v1/watch/namespaces/oil-dev/pods/web-0",
    "/apis/capsule.clastix.io/v1beta2/tenants", "/apis/capsule.clastix.io/v1beta2/tenants/oil", "/api/v1", "/",
)  # fmt: skip
NAMES = (
    "labelSelector", "fieldSelector", "resourceVersion", "resourceVersionMatch", "limit", "continue", "watch", "pretty",
    "allowWatchBookmarks", "sendInitialEvents", "includeObject", "timeout", "export", "shardSelector", "x", "",
)  # fmt: skip
VALUES = (
    "", "0", "1", "-1", "abc", "true", "false", "1000", "1001", "18446744073709551616", "9" * 5000, "Exact",
    "NotOlderThan", "a=b", "a in (b,c", "!a", "a>x", "metadata.name=web-0", "metadata.name=..", "spec.x=1", "a\\x=b",
    "None", "Object", "Foo", "1s", "-5m", "x" * 3000, "\x00", "é", "a\nb", "(" * 500, "," * 500,
)  # fmt: skip
CLAUSES = (
    "application/json", "application/yaml", "*/*", "*", "text/html", "application/vnd.kubernetes.protobuf", "a/b/c",
    "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/yaml;as=Table;v=v1;g=meta.k8s.io",
    "application/json;stream=watch", "application/json;q=0.5", "application/json;q=x", ";;", "application/cbor", "",
)  # fmt: skip

PRINTABLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
KNOWN = st.sampled_from(WHOLE)
JOINED = st.lists(st.sampled_from(PIECES) | st.text(PRINTABLE, max_size=5), max_size=8).map(
    lambda ps: "/" + "/".join(ps)
)
PATHS = st.one_of(KNOWN, KNOWN, KNOWN, KNOWN, JOINED, st.text(PRINTABLE, max_size=30).map(lambda text: "/" + text))
TARGETS = st.tuples(
    PATHS,
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES) | st.text(max_size=20)), max_size=5),
    st.text(PRINTABLE, max_size=10) | st.just(""),
)
ACCEPTS = (
    st.none()
    | st.lists(st.sampled_from(CLAUSES), max_size=4).map(",".join)
    | st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40)
)
METHODS = st.sampled_from(("GET", "GET", "GET", "GET", "HEAD", "OPTIONS", "POST", "PATCH", "DELETE", "FOO"))


def _target(path: str, query: list[tuple[str, str]], tail: str) -> str:
    """A request line's target. Watches end at once, so that the answer has an end."""
    pairs = [("timeoutSeconds", "-1"), *query]
    encoded = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs)
    return f"{quote(path, safe='%/;*~.!$&()+,:=@[]|<>^`{}-_', encoding='utf-8')}?{encoded}{'&' + tail if tail else ''}"


def _ask(port: int, method: str, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Send a request on a connection of its own, and read to the end."""
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if method in {"POST", "PATCH"}:
        lines.append("Content-Length: 0")
    with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace"))
        answer = b""
        while data := connection.recv(1 << 16):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in fields)}
    if found.get("transfer-encoding") == "chunked":
        body = _joined(body)
    return int(status.split(" ")[1]), found, body


def _joined(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return whole
        whole, body = whole + body[:length], body[length + 2 :]
    raise AssertionError("a chunked answer without an end")


def _check(method: str, status: int, headers: dict[str, str], body: bytes) -> None:
    """An answer as upstream could give one: a few of its refusals are 500."""
    if status >= 400 and headers.get("content-type") == "application/json" and method != "HEAD":
        told: dict[str, Any] = json.loads(body)
        assert (told["kind"], told["status"], told["code"]) == ("Status", "Failure", status)
    if status == 500 and method != "HEAD":
        assert any(text in body.decode() for text in UPSTREAMS_OWN), body
    assert status in {200, 304, 307, 301} or 400 <= status <= 504, status
    assert status not in {502, 503}, body


@pytest.mark.parametrize("version", ["v1.20.2", "v1.36.2"])
async def test_any_request_is_answered(stored: Stored, start: Start, version: str) -> None:
    """Methods, paths, queries and Accept headers of any kind; afterwards everything is served as before."""
    await stored.load(*world())
    assert stored._catalogue is not None
    await stored._catalogue.put_upstream({"version": version})
    server = await start()
    answers: Counter[int] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(METHODS, TARGETS, ACCEPTS, st.sampled_from(("admin", "admin", "bob", "alice", "")), st.booleans())
    def ask(method: str, target: tuple[str, Any, str], accept: str | None, user: str, curl: bool) -> None:
        headers = {"User-Agent": "curl/8" if curl else "test/1"}
        if user:
            headers["Authorization"] = f"Bearer {user}-token"
        if accept is not None:
            headers["Accept"] = accept
        status, told, body = _ask(server.port, method, _target(*target), headers)
        answers[status] += 1
        _check(method, status, told, body)

    await asyncio.to_thread(ask)
    assert {200, 400, 404} <= answers.keys(), answers
    async with client(server, "bob-token") as bob:
        answer = await bob.get("/api/v1/pods")
        assert [item["metadata"]["name"] for item in answer.json()["items"]] == ["db-0", "web-0", "web-1"]


async def test_any_continue_token_is_taken_or_refused(stored: Stored, start: Start) -> None:
    """A token with any part of it changed is a 400 or 410, and never shows what another list would."""
    await stored.load(*world())
    server = await start()
    async with client(server, "bob-token") as bob:
        page = (await bob.get("/api/v1/pods", params={"limit": "1"})).json()
    token: str = page["metadata"]["continue"]
    headers = {"Authorization": "Bearer bob-token"}

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(token) - 1), st.integers(0, 3), st.text(max_size=4))
    def ask(at: int, removed: int, put: str) -> None:
        changed = token[:at] + put + token[at + removed :]
        query = f"limit=1&continue={quote(changed)}"
        status, _, body = _ask(server.port, "GET", f"/api/v1/pods?{query}", headers)
        if changed == token:
            assert status == 200
        elif status == 200:
            # Unused bits of the last letter, white space that base64 passes over: the very same token to a reader.
            assert not changed or json.loads(body)["items"][0]["metadata"]["name"] == "web-0"
        else:
            assert status in {400, 410}, body
            assert json.loads(body)["code"] == status

    await asyncio.to_thread(ask)
