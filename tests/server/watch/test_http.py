"""The watch handler over real connections: framing, ends, disconnects, old clients, TLS, resumes and WebSockets."""

from __future__ import annotations

import asyncio
import base64
import json
import struct

import pytest

from server.scope import Scope
from server.websocket import ClientFrames, bearer_from_protocols
from tests.server.watch.harness import World, pod, until
from tests.server.watch.serving import Connection, Served

PATH = "/api/v1/pods?watch=true"


@pytest.mark.asyncio
async def test_headers_come_before_any_event() -> None:
    """The head is sent at once, with upstream's headers; events follow as chunks, each a line."""
    async with Served(World()) as served:
        client = await Connection.open(served)
        head = await client.get(PATH + "&resourceVersion=100")
        assert head.startswith("HTTP/1.1 200 OK")
        lines = head.lower().splitlines()
        for line in ("content-type: application/json", "cache-control: no-cache, private", "transfer-encoding: chunked",
                     'warning: 299 - "old"', "audit-id: audit"):  # fmt: skip
            assert line in lines
        served.world.change("a")
        assert json.loads(await client.chunk())["object"]["metadata"]["name"] == "a"
        await client.close()
        await until(lambda: served.handlers == 0)
        assert not len(served.world.watches)


@pytest.mark.asyncio
async def test_quiet_watch_outlives_the_response_timeout() -> None:
    """A watch without events is not cut by the HTTP server's own timeout (1 s here)."""
    async with Served(World()) as served:
        client = await Connection.open(served)
        await client.get(PATH + "&resourceVersion=100")
        await asyncio.sleep(1.6)
        served.world.change("a")
        assert b'"ADDED"' in await client.chunk()
        await client.close()


@pytest.mark.asyncio
async def test_timeout_ends_cleanly_and_the_connection_goes_on() -> None:
    """At its deadline the stream ends with the last chunk, and the next request is answered on the same connection."""
    async with Served(World([pod("a", 90)])) as served:
        client = await Connection.open(served)
        for _ in range(2):
            await client.get(PATH + "&timeoutSeconds=1&resourceVersion=0")
            assert json.loads(await client.rest())["type"] == "ADDED"
        head = await client.get(PATH + "&timeoutSeconds=-1")
        assert head.startswith("HTTP/1.1 200 OK")
        assert await client.rest() == b""
        await client.close()


@pytest.mark.asyncio
async def test_a_state_that_does_not_come_is_told_after_the_deadline_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for an RV may be longer than the watch: its ERROR is still the stream's one event."""
    monkeypatch.setattr("server.reading.SOON_SECONDS", 1.1)
    monkeypatch.setattr("server.view.ResourceView.reach.__defaults__", (0.01,))
    async with Served(World([pod("a", 90)])) as served:
        served.app.config.RESPONSE_TIMEOUT = 5
        client = await Connection.open(served)
        query = "&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=500"
        assert (await client.get(PATH + query)).startswith("HTTP/1.1 200 OK")
        event = json.loads(await client.rest())
        assert (event["type"], event["object"]["code"]) == ("ERROR", 504)
        await client.close()


@pytest.mark.asyncio
async def test_pipelined_request_waits_for_the_end_of_the_watch() -> None:
    """A request that was sent behind a watch is answered after it."""
    async with Served(World()) as served:
        client = await Connection.open(served)
        await client.get(PATH + "&timeoutSeconds=1&resourceVersion=100")
        client.writer.write(f"GET {PATH}&timeoutSeconds=-1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert await client.rest() == b""
        assert (await client.head()).startswith("HTTP/1.1 200 OK")
        assert await client.rest() == b""
        await client.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["closed", "half closed"])
async def test_client_that_hangs_up(way: str) -> None:
    """A client that closes its connection, or only its half of it, ends the watch."""
    async with Served(World()) as served:
        client = await Connection.open(served)
        await client.get(PATH + "&resourceVersion=100")
        assert len(served.world.watches) == 1
        if way == "closed":
            await client.close()
        else:
            client.writer.write_eof()
        await until(lambda: served.handlers == 0)
        assert not len(served.world.watches)
        assert not served.control.subscribers
        await client.close()


@pytest.mark.asyncio
async def test_http_1_0_has_no_chunks() -> None:
    """An HTTP/1.0 client gets bare lines until the connection closes."""
    async with Served(World([pod("a", 90)])) as served:
        client = await Connection.open(served)
        head = await client.get(PATH + "&timeoutSeconds=1&resourceVersion=0", version="1.0")
        assert head.startswith("HTTP/1.0 200 OK")
        assert "transfer-encoding" not in head.lower()
        async with asyncio.timeout(5):
            assert json.loads(await client.reader.read())["type"] == "ADDED"


@pytest.mark.asyncio
async def test_errors_before_the_stream_are_plain_answers() -> None:
    """An unparsable RV, a bad includeObject and a YAML clause are refused before the stream begins."""
    async with Served(World()) as served:
        client = await Connection.open(served)
        for query, accept, code in (
            ("&resourceVersion=abc", "application/json", 500),
            ("&includeObject=Foo", "application/json;as=Table;v=v1;g=meta.k8s.io", 400),
            ("", "application/yaml", 406),
        ):
            head = await client.get(PATH + query, f"Accept: {accept}")
            assert head.startswith(f"HTTP/1.1 {code}")
            await client.body(head)
        await client.close()


@pytest.mark.asyncio
async def test_too_old_is_an_event() -> None:
    """An RV from before the history: 200, one ERROR, the end."""
    world = World()
    world.log.floor = 50
    async with Served(world) as served:
        client = await Connection.open(served)
        assert (await client.get(PATH + "&resourceVersion=7")).startswith("HTTP/1.1 200 OK")
        assert json.loads(await client.rest())["object"]["message"] == "too old resource version: 7 (50)"
        await client.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(("changed", "known", "ends"), [(True, 1, True), (None, 1, True), (False, None, True),
                                                        (False, 1, False)])  # fmt: skip
async def test_resume_with_another_scope(changed: bool | None, known: int | None, ends: bool) -> None:
    """A resume across namespaces whose scope may have changed since is told to list again."""
    world = World([pod("a", 90)])
    world.advance(120)
    async with Served(world) as served:
        served.control.changed, served.rv_time = changed, known
        client = await Connection.open(served)
        await client.get(PATH + "&timeoutSeconds=1&resourceVersion=110")
        body = await client.rest()
        assert (b'"code":410' in body) is ends
        await client.get("/api/v1/namespaces/a/pods?watch=true&timeoutSeconds=1&resourceVersion=110")
        assert await client.rest() == b""
        await client.close()


@pytest.mark.asyncio
async def test_scope_changes_under_a_watch() -> None:
    """A scope that grows or ends while the watch is open is told on the stream."""
    async with Served(World([pod("a1", 90), pod("b1", 91, "b")])) as served:
        served.control.now = Scope.of_namespaces(["a"])
        client = await Connection.open(served)
        await client.get(PATH + "&resourceVersion=0")
        assert b'"a1"' in await client.chunk()
        served.control.become(Scope.of_namespaces(["a", "b"]))
        assert b'"ADDED"' in (added := await client.chunk())
        assert b'"b1"' in added
        served.control.become(None)
        gone = await client.rest()
        assert gone.count(b'"DELETED"') == 2
        assert not served.control.subscribers
        await client.close()


@pytest.mark.asyncio
async def test_drain_says_how_far_the_stream_is() -> None:
    """A stopping replica ends its watches with a bookmark and the last chunk."""
    async with Served(World()) as served:
        client = await Connection.open(served)
        await client.get(PATH + "&resourceVersion=100&allowWatchBookmarks=true")
        served.world.advance(133)
        await served.world.watches.drain(2.0)
        assert json.loads(await client.rest())["object"]["metadata"]["resourceVersion"] == "133"
        await client.close()


@pytest.mark.asyncio
async def test_stalled_client_is_closed_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes nothing is given up after a time; another one gets everything meanwhile."""
    monkeypatch.setattr("server.watch_stream.STALL_SECONDS", 0.3)
    monkeypatch.setattr("server.watch_stream.FINISH_SECONDS", 0.2)
    world = World([pod("a", 90)])
    async with Served(world) as served:
        stalled = await Connection.open(served, limit=1024)
        await stalled.get(PATH + "&resourceVersion=100")
        reading = await Connection.open(served)
        await reading.get(PATH + "&resourceVersion=100")
        received = 0

        async def read_all() -> None:
            nonlocal received
            while part := await reading.chunk():
                received += part.count(b"\n")

        task = asyncio.create_task(read_all())
        for _ in range(400):
            world.change("a", data="x" * 50_000)
            await asyncio.sleep(0)
        await until(lambda: served.metrics.slow_watchers_closed._value.get() == 1, 10)
        await until(lambda: received == 400, 10)
        await until(lambda: len(world.watches) == 1, 10)
        task.cancel()
        await stalled.close()
        await reading.close()


@pytest.mark.asyncio
async def test_slow_client_that_comes_back_misses_nothing() -> None:
    """A client that pauses long enough to be slow gets the rest from the history, in order, each once."""
    world = World([pod("a", 90)])
    async with Served(world) as served:
        client = await Connection.open(served, limit=1024)
        await client.get(PATH + "&resourceVersion=100")
        for _ in range(300):
            world.change("a", data="x" * 50_000)
            await asyncio.sleep(0)
        await until(lambda: (("pods.v1", "slow"), 1) in list(world.watches.counts()))
        data = b""
        while data.count(b"\n") < 300:
            data += await client.chunk()
        rvs = [int(json.loads(line)["object"]["metadata"]["resourceVersion"]) for line in data.splitlines()]
        assert rvs == list(range(101, 401))
        await client.close()


# --- WebSockets ---------------------------------------------------------------------------------------

UPGRADE = (
    "Upgrade: websocket", "Connection: keep-alive, Upgrade", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Origin: http://dashboard",
)  # fmt: skip


async def read_frame(client: Connection) -> tuple[int, bytes]:
    """Opcode and payload of a server's frame."""
    async with asyncio.timeout(5):
        first, size = await client.reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack(">H", await client.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", await client.reader.readexactly(8))
        return first & 0x0F, await client.reader.readexactly(size)


def masked(opcode: int, payload: bytes = b"") -> bytes:
    """A client's frame."""
    mask = b"\x01\x02\x03\x04"
    head = bytes((0x80 | opcode, 0x80 | len(payload))) if len(payload) < 126 else (
        bytes((0x80 | opcode, 0x80 | 126)) + struct.pack(">H", len(payload))
    )  # fmt: skip
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


@pytest.mark.asyncio
async def test_websocket_watch() -> None:
    """One text frame per event, however long; data is ignored, pings are answered; at the end a close with 1000."""
    async with Served(World([pod("a", 90)])) as served:
        client = await Connection.open(served)
        head = await client.get(PATH + "&timeoutSeconds=1&resourceVersion=0", *UPGRADE,
                                "Sec-WebSocket-Protocol: base64.binary.k8s.io")  # fmt: skip
        assert sorted(head.splitlines()) == sorted([
            "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "Sec-WebSocket-Protocol: base64.binary.k8s.io",
        ])  # fmt: skip
        opcode, payload = await read_frame(client)
        assert opcode == 1
        assert payload.endswith(b"}\n")
        assert json.loads(payload)["type"] == "ADDED"
        client.writer.write(masked(1, b"x" * 300) + masked(9, b"hi"))
        assert await read_frame(client) == (10, b"hi")
        served.world.change("b", data="x" * 70_000)
        assert json.loads((await read_frame(client))[1])["object"]["spec"]["data"] == "x" * 70_000
        assert await read_frame(client) == (8, struct.pack(">H", 1000))
        assert await client.reader.read() == b""


@pytest.mark.asyncio
async def test_websocket_client_closes() -> None:
    """The client's close ends the watch."""
    async with Served(World()) as served:
        client = await Connection.open(served)
        await client.get(PATH + "&resourceVersion=100", *UPGRADE)
        client.writer.write(masked(8, struct.pack(">H", 1000)))
        assert (await read_frame(client))[0] == 8
        await until(lambda: not len(served.world.watches))
        assert served.handlers == 0


@pytest.mark.asyncio
async def test_websocket_errors_are_frames() -> None:
    """An ERROR comes as a frame like every event."""
    world = World()
    world.log.floor = 50
    async with Served(world) as served:
        client = await Connection.open(served)
        await client.get(PATH + "&resourceVersion=7", *UPGRADE)
        assert json.loads((await read_frame(client))[1])["object"]["code"] == 410
        await client.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ((*UPGRADE[:-1],), b"403 Forbidden\r\n\r\n"),
        ((*UPGRADE[:-1], "Origin: null"), b"403 Forbidden\r\n\r\n"),
        ((*UPGRADE[:-1], "Origin: dashboard"), b"403 Forbidden\r\n\r\n"),
        ((*UPGRADE, "Sec-WebSocket-Protocol: a, b"), b"400 Bad Request\r\n\r\n"),
        (
            (*UPGRADE[:2], "Sec-WebSocket-Version: 12", *UPGRADE[3:]),
            b"400 Bad Request\r\nSec-WebSocket-Version: 13\r\n\r\nmissing or bad WebSocket Version",
        ),
        ((*UPGRADE[:3], "Origin: x"), b"400 Bad Request\r\n\r\nmismatch challenge/response"),
    ],
)
async def test_websocket_refusals(headers: tuple[str, ...], answer: bytes) -> None:
    """A bad handshake is refused in the bytes of Go's library, which has no lengths, and no watch begins."""
    async with Served(World()) as served:
        client = await Connection.open(served)
        head = await client.get(PATH, *headers)
        assert head.encode() + b"\r\n\r\n" + await client.reader.read() == b"HTTP/1.1 " + answer
        assert not len(served.world.watches)
        await client.close()


@pytest.mark.asyncio
async def test_websocket_protocols_of_the_first_header_count() -> None:
    """A second header of subprotocols is not looked at, as Go does not."""
    async with Served(World()) as served:
        client = await Connection.open(served)
        protocols = "Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"
        head = await client.get(PATH + "&resourceVersion=100", *UPGRADE, *protocols)
        assert head.startswith("HTTP/1.1 101")
        assert "Sec-WebSocket-Protocol: a" in head.splitlines()
        await client.close()


@pytest.mark.asyncio
async def test_websocket_option_errors_are_http() -> None:
    """What is wrong with the request itself is an ordinary answer with a body."""
    async with Served(World()) as served:
        client = await Connection.open(served)
        head = await client.get(PATH + "&resourceVersionMatch=Exact", *UPGRADE)
        assert head.startswith("HTTP/1.1 422")
        assert json.loads(await client.body(head))["reason"] == "Invalid"
        await client.close()


def test_bearer_from_protocols() -> None:
    """The bearer protocol is taken out; alone, doubled or undecodable it is no credential."""
    token = base64.urlsafe_b64encode(b"s3cret-\xc3\xbc?").decode().rstrip("=")
    bearer = f"base64url.bearer.authorization.k8s.io.{token}"
    assert bearer_from_protocols([]) == ("", ())
    assert bearer_from_protocols([f"{bearer}, binary.k8s.io"]) == ("s3cret-ü?", ("binary.k8s.io",))
    assert bearer_from_protocols(["a", bearer]) == ("s3cret-ü?", ("a",))
    for wrong in ([bearer], [f"{bearer},{bearer},a"], ["base64url.bearer.authorization.k8s.io.%%%, a"],
                  ["base64url.bearer.authorization.k8s.io., a"]):  # fmt: skip
        assert bearer_from_protocols(wrong) is None


def test_client_frames_in_any_cut() -> None:
    """Control frames are found among data, whatever pieces the bytes come in."""
    data = masked(1, b"x" * 500) + masked(9, b"ping") + masked(2, b"") + masked(8, b"\x03\xe8")
    for size in (1, 2, 3, 7, 100, len(data)):
        frames = ClientFrames()
        found = [frame for at in range(0, len(data), size) for frame in frames.feed(data[at : at + size])]
        assert found == [(9, b"ping"), (8, b"\x03\xe8")]
    with pytest.raises(ValueError, match="no client"):
        ClientFrames().feed(b"\x81\x01x")
