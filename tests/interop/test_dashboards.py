"""Watches over WebSocket as dashboards in browsers open them, through HAProxy, across a replica's death."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest
from websockets import client as websockets
from websockets.exceptions import InvalidStatusCode
from websockets.typing import Origin, Subprotocol

from tests.fixtures.running import Running, wait_until
from tests.interop import built, history
from tests.interop.followers import Follower
from tests.interop.kubectl import without_ages

pytestmark = pytest.mark.interop

MAPS = "/api/v1/configmaps"
WRITES = 40
ORIGIN = Origin("https://dashboard.example")
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


def _bearer(user: str) -> Subprotocol:
    """A browser's token: base64url without padding."""
    token = base64.urlsafe_b64encode(f"{user}-token".encode()).decode().rstrip("=")
    return Subprotocol(f"base64url.bearer.authorization.k8s.io.{token}")


def _connect(system: Running, target: str, **options: Any) -> Any:
    tls = ssl.create_default_context(cadata=system.ca)
    return websockets.connect(
        system.url.replace("https", "wss") + target, ssl=tls, **{"origin": ORIGIN, "ping_interval": None, **options}
    )


def test_dashboard_in_javascript(system: Running, tmp_path: Path) -> None:
    """A tenant's dashboard, which reconnects at the newest version it has seen, is told all that happened, once."""
    program, interpreter = built.node_client(), shutil.which("node")
    if not program.exists() or interpreter is None:
        pytest.skip("the Node client is not installed (make clients): a dashboard's WebSocket is not tested")
    with system.upstream() as upstream:
        rv = history.version(upstream, MAPS)
        command: list[str | Path] = [interpreter, program, "dashboard", system.stack.kubeconfigs["alice"], MAPS, rv]
        with Follower(command, tmp_path) as dashboard:
            wait_until(lambda: dashboard.count("connected"))
            writer = history.Writer(upstream, random.Random(11))
            writer.write(WRITES)
            history.kill_whoever_serves(system)
            writer.write(WRITES)
            expected = history.since(upstream, MAPS, rv)
            wait_until(lambda: expected[-1] in dashboard.events)
            assert dashboard.events == expected
            assert dashboard.count("connected") > 1
            assert not dashboard.count("failed")
            assert not dashboard.count("old")
            protocols = {line["protocol"] for line in dashboard.lines if line["event"] == "connected"}
            assert protocols == {"base64.binary.k8s.io"}, "the token's protocol is not repeated"
            dashboard.finish()
    system.wait_until_all_ready()


@pytest.mark.asyncio
async def test_frames_are_the_lines_of_the_same_watch(system: Running) -> None:
    """Objects and Tables: each text frame is a line that the watch over HTTP has; then a close with 1000."""
    target = "/api/v1/namespaces/storefront-prod/configmaps?watch=1&resourceVersion=0&timeoutSeconds=1"
    for headers in ({}, TABLE):
        with system.client("alice") as http:
            lines = http.get(target, headers=headers).text
        protocols = [_bearer("alice"), Subprotocol("v4.channel.k8s.io")]
        async with _connect(system, target, subprotocols=protocols, extra_headers=headers) as socket:
            frames = [frame async for frame in socket]
            assert socket.subprotocol == "v4.channel.k8s.io"
            assert (socket.close_code, socket.close_reason) == (1000, "")
        assert len(frames) > 1
        assert [without_ages(str(frame)) for frame in frames] == without_ages(lines).splitlines(keepends=True)


@pytest.mark.asyncio
async def test_pings_are_answered_and_data_is_ignored(system: Running) -> None:
    """A dashboard may send what it wants; its watch goes on."""
    with system.upstream() as upstream:
        rv = history.version(upstream, MAPS)
        token = {"Authorization": "Bearer alice-token"}
        async with _connect(system, f"{MAPS}?watch=1&resourceVersion={rv}", extra_headers=token) as socket:
            await socket.send("hello")
            await socket.send(b"\x00" * 70_000)
            async with asyncio.timeout(20):
                await (await socket.ping())
            await asyncio.to_thread(history.Writer(upstream, random.Random(1)).write, 3)
            async with asyncio.timeout(20):
                event = json.loads(await socket.recv())
        assert int(event["object"]["metadata"]["resourceVersion"]) > int(rv)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"origin": None, "extra_headers": {"Authorization": "Bearer alice-token"}}, 403),
        ({"subprotocols": [_bearer("alice")]}, 401),
        ({"subprotocols": [_bearer("nobody"), "a"]}, 401),
        ({"subprotocols": ["a", "b"], "extra_headers": {"Authorization": "Bearer alice-token"}}, 400),
        ({"subprotocols": [_bearer("alice"), "a", "b"]}, 400),
        ({}, 401),
    ],
    ids=["no origin", "token alone", "unknown token", "two protocols", "two beside the token", "nobody"],
)
async def test_handshakes_are_refused(system: Running, options: dict[str, Any], code: int) -> None:
    """Without an Origin, with more than one protocol, or as nobody, no WebSocket is opened."""
    with pytest.raises(InvalidStatusCode) as refused:
        async with _connect(system, f"{MAPS}?watch=1", **options):
            pass
    assert refused.value.status_code == code


@pytest.mark.asyncio
async def test_no_right_no_socket(system: Running) -> None:
    """What a user may not watch is 403 before anything is upgraded."""
    target = "/api/v1/namespaces/payments-prod/configmaps?watch=1"
    with pytest.raises(InvalidStatusCode) as refused:
        async with _connect(system, target, subprotocols=[_bearer("alice"), Subprotocol("a")]):
            pass
    assert refused.value.status_code == 403
