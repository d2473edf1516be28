"""The program as it is run: its own process, uvloop, TLS, signals."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.authz.objects import PODS, record
from tests.server.program.conftest import kubeconfig, world
from tests.server.program.stored import Stored
from tests.server.program.test_tls import Authorities, authorities
from tests.server.program.upstream import ScriptedUpstream

pytestmark = pytest.mark.asyncio

__all__ = ["authorities"]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Process:
    """A running `larder server`."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, metrics_port: int) -> None:
        self.process = process
        self.port = port
        self.metrics_port = metrics_port

    async def ready(self) -> None:
        """Wait for /readyz."""
        async with httpx.AsyncClient() as probe:
            for _ in range(600):
                if self.process.returncode is not None:
                    raise AssertionError("it ended")
                try:
                    found = await probe.get(f"http://127.0.0.1:{self.metrics_port}/readyz")
                except httpx.ConnectError:
                    found = None
                if found is not None and found.status_code == 200:
                    return
                await asyncio.sleep(0.05)
        raise AssertionError("never ready")


@asynccontextmanager
async def process(stored: Stored, upstream: ScriptedUpstream, folder: Path, *options: str) -> AsyncIterator[Process]:
    """`larder server` with these options; killed at the end if it still runs."""
    config = folder / "kubeconfig"
    config.write_text(kubeconfig(upstream.url))
    port, metrics_port = free_port(), free_port()
    arguments = {
        "--kubeconfig": str(config),
        "--redis-url": stored.store.url,
        "--prefix": stored.store.prefix,
        "--listen": f"127.0.0.1:{port}",
        "--metrics-listen": f"127.0.0.1:{metrics_port}",
        "--drain-seconds": "3",
    }
    flat = [part for pair in arguments.items() for part in pair]
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "larder",
        "server",
        *flat,
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Process(started, port, metrics_port)
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def test_program_from_start_to_end(stored: Stored, upstream: ScriptedUpstream, authorities: Authorities) -> None:
    """The process serves certificates and tokens, logs JSON without tokens, and ends cleanly at SIGTERM."""
    await stored.load(*world())
    cert, key = authorities.server
    tls = ("--tls-cert", cert, "--tls-key", key, "--client-ca", authorities.ca_file)
    async with asyncio.timeout(60), process(stored, upstream, authorities.folder, *tls) as program:
        await program.ready()
        alice = authorities.client("alice", "devs")
        async with authorities.https(program.port, alice) as http:
            assert len((await http.get("/api/v1/pods")).json()["items"]) == 2
            answer = await http.get("/apis/example.com/v1/things")
            assert (answer.status_code, answer.headers["x-larder-source"]) == (404, "upstream")
            assert "alt-svc" not in answer.headers, "upstream has none"
        async with authorities.https(program.port, token="bob-token") as http:
            too_long = await http.get("/", headers={"X-Long": "x" * 17_000})
            assert (too_long.status_code, too_long.json()["kind"]) == (431, "Status")
            query = "?watch=1&allowWatchBookmarks=true&resourceVersion=1000"
            async with http.stream("GET", f"/api/v1/pods{query}") as watch:
                lines = watch.aiter_lines()
                await stored.put(PODS, record("new", "oil-dev", stored.position + 1))
                assert json.loads(await anext(lines))["type"] == "ADDED"
                program.process.send_signal(signal.SIGTERM)
                assert [json.loads(line)["type"] async for line in lines] == ["BOOKMARK"]
        out, err = await program.process.communicate()
    assert program.process.returncode == 0
    requests = [json.loads(line) for line in out.splitlines()]
    assert {line["user"] for line in requests} >= {"alice", "bob"}
    assert all(line["audit_id"] for line in requests)
    assert all(json.loads(line)["message"] for line in err.splitlines())
    assert b"bob-token" not in out + err


async def test_address_that_is_taken(stored: Stored, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """A program that cannot start says why in one line, and ends with 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        async with asyncio.timeout(60), process(stored, upstream, tmp_path, "--listen", listen) as program:
            _, err = await program.process.communicate()
    assert program.process.returncode == 1
    assert f"cannot listen on {listen}" in err.decode()
    assert b"Traceback" not in err
