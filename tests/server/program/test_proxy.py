from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from tests.authz.objects import PODS, record
from tests.server.program.conftest import Start, client, world
from tests.server.program.stored import Stored
from tests.server.program.upstream import ScriptedUpstream

pytestmark = pytest.mark.asyncio

LOG = "/api/v1/namespaces/oil-dev/pods/web-0/log"


async def test_forwarded_requests_go_as_the_user(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """What is not in the cache reaches upstream with the caller's token, byte for byte, and without forged identity."""
    await stored.load(*world())
    upstream.json("GET", "/apis/example.com/v1/things", {"kind": "ThingList"}, Warning='299 - "old"')
    server = await start()
    target = "/apis/example.com/v1/things?labelSelector=a%3Db%2Cc&x=%20y"
    headers = {
        "X-Remote-User": "admin",
        "X-Remote-Group": "system:masters",
        "Connection": "keep-alive, X-Secret-Hop",
        "X-Secret-Hop": "1",
        "User-Agent": "kubectl/v1.36",
        "Accept": "application/json;as=Table",
        "Audit-ID": "audit-7",
    }
    async with client(server, "alice-token") as alice:
        answer = await alice.get(target, headers=headers)
    assert answer.json() == {"kind": "ThingList"}
    assert answer.headers["x-larder-source"] == "upstream"
    assert answer.headers["warning"] == '299 - "old"'
    (seen,) = upstream.forwarded
    assert seen.target == target
    assert seen.headers["authorization"] == ["Bearer alice-token"]
    assert seen.headers["user-agent"] == ["kubectl/v1.36"]
    assert seen.headers["accept"] == ["application/json;as=Table"]
    assert seen.headers["audit-id"] == ["audit-7"]
    assert not {name for name in seen.headers if name.startswith(("x-remote", "impersonate", "x-secret"))}


async def test_repeated_heads(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """Requests that are alike to the last byte, over one connection, are sent each, under an ID of its own."""
    await stored.load(*world())
    upstream.json("GET", "/apis/example.com/v1/things", {"kind": "ThingList"})
    server = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = (
        "GET /apis/example.com/v1/things HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nX-Forwarded-For: a\r\n\r\n"
    )
    async with asyncio.timeout(20):
        for token in ("alice-token", "alice-token", "alice-token", "bob-token"):
            writer.write(head.format(token).encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(21) == b'{"kind": "ThingList"}'
    seen = [sent.headers for sent in upstream.forwarded]
    assert [headers["authorization"] for headers in seen] == [["Bearer alice-token"]] * 3 + [["Bearer bob-token"]]
    assert [headers["x-forwarded-for"] for headers in seen] == [["a, 127.0.0.1"]] * 4
    assert len({headers["audit-id"][0] for headers in seen}) == 4
    assert all(len(headers["audit-id"]) == 1 for headers in seen)
    writer.close()


@pytest.mark.parametrize("upgrade", ["", "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"])
@pytest.mark.parametrize("ends", ["\n", "\r"])
async def test_one_header_is_not_two_upstream(
    stored: Stored, start: Start, upstream: ScriptedUpstream, upgrade: str, ends: str
) -> None:
    """A lone line feed or carriage return ends a line for some servers: with one in a header nothing goes upstream."""
    await stored.load(*world())
    server = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        f"GET {LOG} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice-token\r\n{upgrade}"
        f"X-A: b{ends}Impersonate-User: admin\r\n\r\n".encode()
    )
    assert (await asyncio.wait_for(reader.readline(), 20)).startswith(b"HTTP/1.1 400 ")
    assert upstream.forwarded == []
    writer.close()


async def test_compressed_and_repeated_headers_pass_through(
    stored: Stored, start: Start, upstream: ScriptedUpstream
) -> None:
    """A compressed body is not touched, and every one of several Warning headers arrives."""
    await stored.load(*world())

    async def answer(_: web.Request) -> web.StreamResponse:
        response = web.Response(body=b"\x1f\x8b not really", headers={"Content-Encoding": "gzip"})
        response.headers.add("Warning", '299 - "one"')
        response.headers.add("Warning", '299 - "two"')
        return response

    upstream.on("GET", "/openapi/v9", answer)
    server = await start()
    async with client(server, "alice-token") as alice:
        async with alice.stream("GET", "/openapi/v9", headers={"Accept-Encoding": "gzip"}) as found:
            raw = b"".join([part async for part in found.aiter_raw()])
        assert raw == b"\x1f\x8b not really"
        assert found.headers.get_list("warning") == ['299 - "one"', '299 - "two"']


async def test_bodies_stream_up(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """A request's body goes on while it comes: upstream has its beginning before its end is written."""
    await stored.load(*world())
    first = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
            first.set()
        return web.json_response({"size": size})

    async def body() -> object:
        yield b"x" * 1000
        await asyncio.wait_for(first.wait(), 5)
        yield b"y" * 5_000_000

    upstream.on("POST", "/api/v1/namespaces/oil-dev/pods/web-0/proxy/upload", answer)
    server = await start()
    async with client(server, "alice-token") as alice:
        found = await alice.post("/api/v1/namespaces/oil-dev/pods/web-0/proxy/upload", content=body())  # type: ignore[arg-type]
        assert found.json() == {"size": 5_001_000}
        again = await alice.post("/api/v1/namespaces/oil-dev/pods/web-0/proxy/upload", content=b"z" * 7)
        assert again.json() == {"size": 7}


async def test_followed_logs_arrive_line_by_line(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """Headers and each line of a log arrive when upstream sends them, and hanging up ends the request upstream."""
    await stored.load(*world())
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        while True:
            await response.write(await lines.get())

    upstream.on("GET", LOG, answer)
    server = await start()
    async with (
        client(server, "alice-token") as alice,
        asyncio.timeout(10),
        alice.stream("GET", f"{LOG}?follow=true") as found,
    ):
        assert found.status_code == 200
        parts = found.aiter_raw()
        for line in (b"one\n", b"two\n"):
            lines.put_nowait(line)
            assert await anext(parts) == line
    for _ in range(500):
        if upstream.closed:
            break
        await asyncio.sleep(0.01)
    assert upstream.closed == [LOG]


async def test_upstream_that_is_away(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """What only upstream can answer is 503 with Retry-After while it is away; what is in the cache is answered."""
    await stored.load(*world())
    server = await start()
    async with client(server, "bob-token") as bob:
        assert (await bob.get("/api/v1/pods")).status_code == 200
        await upstream.stop()
        assert (await bob.get("/api/v1/pods")).status_code == 200
        answer = await bob.get(LOG)
        assert answer.status_code == 503
        assert answer.json()["reason"] == "ServiceUnavailable"
        assert answer.headers["retry-after"] == "1"
        assert upstream.url.rpartition(":")[2] not in answer.text, "where upstream is, is not for a tenant"
        assert answer.headers["x-larder-source"] == "upstream"
        written = await bob.post("/api/v1/namespaces/oil-dev/pods", json={})
        assert written.status_code == 503
        await upstream.start()
        assert (await bob.get(LOG)).status_code == 404


async def test_answer_that_breaks_off_does_not_look_whole(
    stored: Stored, start: Start, upstream: ScriptedUpstream
) -> None:
    """If upstream breaks off in the middle, so does the answer: no client may take the half for all."""
    await stored.load(*world())

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    upstream.on("GET", LOG, answer)
    server = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET {LOG} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice-token\r\n\r\n".encode())
    try:
        received = await asyncio.wait_for(reader.read(), 5)
    except ConnectionResetError:
        received = b""
    assert not received.endswith(b"0\r\n\r\n")
    writer.close()


def written(name: str, rv: int, **metadata: object) -> dict[str, object]:
    """A pod as upstream answers a write with it."""
    found = record(name, "oil-dev", rv)
    body = json.loads(found.body())
    return {"kind": "Pod", "apiVersion": "v1", **body, "metadata": {**body["metadata"], **metadata}}


async def test_writes_are_answered_when_the_store_has_them(
    stored: Stored, start: Start, upstream: ScriptedUpstream
) -> None:
    """The answer to a create waits for its RV in the store, so the next read shows the object."""
    await stored.load(*world())
    path = "/api/v1/namespaces/oil-dev/pods"
    upstream.json("POST", path, written("web-9", stored.position + 1), status=201)
    server = await start()
    async with client(server, "alice-token") as alice:
        asked = asyncio.create_task(alice.post(path, json={}))
        while not upstream.forwarded:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert not asked.done()
        await stored.put(PODS, record("web-9", "oil-dev", stored.position + 1))
        assert (await asked).status_code == 201
        assert (await alice.get(f"{path}/web-9")).status_code == 200


async def test_dry_runs_and_refusals_do_not_wait(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """What changes nothing is answered at once: dry runs, errors, resources that are not covered."""
    await stored.load(*world())
    server = await start(write_wait_seconds=30.0)
    path = "/api/v1/namespaces/oil-dev/pods"
    async with client(server, "alice-token") as alice, asyncio.timeout(10):
        upstream.json("POST", path, written("web-9", 99_999), status=201)
        assert (await alice.post(f"{path}?dryRun=All", json={})).status_code == 201
        upstream.json("POST", path, {"kind": "Status", "code": 409}, status=409)
        assert (await alice.post(path, json={})).status_code == 409
        upstream.json("POST", "/apis/example.com/v1/things", written("x", 99_999), status=201)
        assert (await alice.post("/apis/example.com/v1/things", json={})).status_code == 201


async def test_wait_for_a_write_is_bounded(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """A write whose effect does not reach the store is answered all the same, and counted."""
    await stored.load(*world())
    server = await start(write_wait_seconds=0.05)
    path = "/api/v1/namespaces/oil-dev/pods/web-0"
    upstream.json("PATCH", path, written("web-0", 99_999))
    async with client(server, "alice-token") as alice:
        assert (await alice.patch(path, json={})).json()["metadata"]["resourceVersion"] == "99999"
    assert server.replica.metrics.write_waits_expired._value.get() == 1


async def test_deletes_wait_until_the_object_is_gone(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """A delete that took the object away is answered when no object of that uid is left in the store."""
    await stored.load(*world())
    server = await start()
    path = "/api/v1/namespaces/oil-dev/pods/web-0"
    details = {"name": "web-0", "kind": "pods", "uid": "uid-oil-dev-web-0"}
    upstream.json("DELETE", path, {"kind": "Status", "status": "Success", "details": details})
    async with client(server, "alice-token") as alice:
        asked = asyncio.create_task(alice.delete(path))
        while not upstream.forwarded:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert not asked.done()
        await stored.remove(PODS, record("web-0", "oil-dev", 900))
        assert (await asked).status_code == 200
        assert (await alice.get(path)).status_code == 404


async def test_graceful_delete_waits_for_its_own_change(
    stored: Stored, start: Start, upstream: ScriptedUpstream
) -> None:
    """A delete that only begins is answered when the store has the deletionTimestamp, not when the object is gone."""
    await stored.load(*world())
    server = await start(write_wait_seconds=30.0)
    path = "/api/v1/namespaces/oil-dev/pods/web-0"
    marks = {"deletionTimestamp": "2026-11-24T00:00:00Z", "deletionGracePeriodSeconds": 30}
    upstream.json("DELETE", path, written("web-0", stored.position + 1, **marks))
    async with client(server, "alice-token") as alice, asyncio.timeout(10):
        asked = asyncio.create_task(alice.delete(path))
        while not upstream.forwarded:
            await asyncio.sleep(0.01)
        await stored.put(PODS, record("web-0", "oil-dev", stored.position + 1))
        assert (await asked).status_code == 200


async def test_upgrades_are_tunnels(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """After upstream's 101 bytes go both ways unchanged, and one side's end is the other's."""
    await stored.load(*world())
    await upstream.stop()
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"tokenreviews" in head:
            body = json.dumps({"status": {"authenticated": True, "user": upstream.users["alice-token"]}}).encode()
            writer.write(
                b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            await writer.drain()
            writer.close()
            return
        heads.append(head)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\nhello ")
        while data := await reader.read(65536):
            if data == b"end":
                break
            writer.write(data[::-1])
            await writer.drain()
        writer.close()

    raw = await asyncio.start_server(serve, "127.0.0.1", 0)
    server = await start(upstream_url=f"http://127.0.0.1:{raw.sockets[0].getsockname()[1]}")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    request = (
        "POST /api/v1/namespaces/oil-dev/pods/web-0/exec?command=sh&stdin=1 HTTP/1.1\r\nHost: x\r\n"
        "Authorization: Bearer alice-token\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        "X-Stream-Protocol-Version: v4.channel.k8s.io\r\nX-Stream-Protocol-Version: v3.channel.k8s.io\r\n"
        "X-Remote-User: admin\r\nContent-Length: 0\r\n\r\n"
    )
    writer.write(request.encode())
    async with asyncio.timeout(10):
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(6) == b"hello "
        for data in (b"abc", b"x" * 300 + b"y"):
            writer.write(data)
            assert await reader.readexactly(len(data)) == data[::-1]
        writer.write(b"end")
        assert await reader.read() == b""
    head = heads[0].lower()
    assert head.startswith(b"post /api/v1/namespaces/oil-dev/pods/web-0/exec?command=sh&stdin=1 http/1.1\r\n")
    assert head.count(b"x-stream-protocol-version") == 2
    assert b"authorization: bearer alice-token" in head
    assert b"x-remote-user" not in head
    writer.close()
    raw.close()


async def test_refused_upgrade_is_an_ordinary_answer(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """Upstream's refusal of an upgrade is passed on, and the connection stays what it was: no tunnel."""
    await stored.load(*world())
    server = await start()
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    async with client(server, "alice-token") as alice:
        refused = await alice.get("/api/v1/namespaces/oil-dev/pods/web-0/exec", headers=upgrade)
        assert refused.status_code == 404
        assert refused.json()["message"] == "scripted: not here"
        assert refused.headers["x-larder-source"] == "upstream"
