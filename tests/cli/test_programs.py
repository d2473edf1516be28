"""What the programs say when they cannot run, and how `larder up` starts, mends and ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from larder.supervise import Part
from sandbox.certificates import Authority
from sandbox.kubeconfig import text as kubeconfig_text
from store.embedded import EmbeddedRedis
from tests.cli.larder_command import alive, clean_environment, larder
from tests.fixtures.running import wait_until

NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """A kubeconfig that leads to a port where nobody listens."""
    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig_text("https://127.0.0.1:1", Authority().pem, "someone", token="x"))
    return path


def test_the_version_is_told() -> None:
    """`larder --version`."""
    assert larder("--version").out.strip() == f"larder {version('larder')}"


def test_an_informer_without_redis_says_so(kubeconfig: Path) -> None:
    """Exit code 1, one line: where it looked, and which option says where."""
    ended = larder("informer", "--redis-url", NOBODY, "--kubeconfig", str(kubeconfig), "--metrics-listen", "")
    assert ended.code == 1
    assert "127.0.0.1:1" in ended.err
    assert "--redis-url" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("command", ["informer", "server"])
def test_a_redis_that_evicts_is_refused(kubeconfig: Path, command: str) -> None:
    """Exit code 1, and what to set in Redis."""
    with EmbeddedRedis({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}) as redis:
        ended = larder(command, "--redis-url", redis.url, "--kubeconfig", str(kubeconfig), "--metrics-listen", "")
    assert ended.code == 1
    assert "maxmemory-policy noeviction" in ended.err
    assert "Traceback" not in ended.err


def test_an_upstream_that_is_not_there_is_named(kubeconfig: Path) -> None:
    """An informer says where it looked, and ends or goes on trying: in either case without a traceback."""
    with EmbeddedRedis() as redis:
        process = subprocess.Popen(
            [sys.executable, "-m", "larder", "informer", "--redis-url", redis.url, "--kubeconfig", str(kubeconfig),
             "--metrics-listen", ""],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=clean_environment(),
        )  # fmt: skip
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
        finally:
            process.terminate()
            process.communicate(timeout=20)
    assert "127.0.0.1:1" in said


@pytest.mark.parametrize("command", ["informer", "server", "up"])
def test_a_kubeconfig_that_is_not_there_is_named(command: str) -> None:
    """Exit code 1, and the path."""
    extra = [] if command == "up" else ["--redis-url", NOBODY]
    with EmbeddedRedis() as redis:
        extra = [] if command == "up" else ["--redis-url", redis.url, "--metrics-listen", ""]
        ended = larder(command, "--kubeconfig", "/nowhere/kubeconfig", *extra)
    assert ended.code == 1
    assert "/nowhere/kubeconfig" in ended.err.replace("\n", "")
    assert "Traceback" not in ended.err


def test_an_informer_tells_in_its_log_what_it_does(tmp_path: Path) -> None:
    """One JSON object per line: which cluster it follows, what it listed, and when all is there."""
    with EmbeddedRedis() as redis, (tmp_path / "log").open("wb") as log:
        sandbox = subprocess.Popen(
            [sys.executable, "-m", "larder", "sandbox", "--directory", str(tmp_path)],
            stdout=subprocess.DEVNULL, env=clean_environment(),
        )  # fmt: skip
        wait_until((tmp_path / "larder.kubeconfig").exists)
        informer = subprocess.Popen(
            [sys.executable, "-m", "larder", "informer", "--redis-url", redis.url, "--metrics-listen", "",
             "--kubeconfig", str(tmp_path / "larder.kubeconfig")],
            stdout=log, stderr=log, env=clean_environment(),
        )  # fmt: skip
        try:
            wait_until(lambda: "resources are synced" in (tmp_path / "log").read_text(), 60)
        finally:
            for process in (informer, sandbox):
                process.terminate()
                process.wait(20)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    told = [line["message"] for line in lines]
    assert "follows Kubernetes v1." in told[0]
    assert any(re.fullmatch(r"pods.v1: \d+ objects at \d+ in .* s", text) for text in told), told
    assert {line["level"] for line in lines} == {"info"}


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """Exit code 1, and which option chooses another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = larder("sandbox", "--listen", f"127.0.0.1:{taken.getsockname()[1]}", "--directory", str(tmp_path))
    assert ended.code == 1
    assert "--listen" in ended.err


def test_a_sandbox_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """It writes its kubeconfigs, serves, and ends with 0 at SIGTERM."""
    process = subprocess.Popen(
        [sys.executable, "-m", "larder", "sandbox", "--directory", str(tmp_path)],
        stdout=subprocess.PIPE, text=True, env=clean_environment(),
    )  # fmt: skip
    wait_until((tmp_path / "larder.kubeconfig").exists)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "alice" in out


@pytest.mark.asyncio
async def test_a_part_that_ends_is_started_again(tmp_path: Path) -> None:
    """Again and again, with pauses that grow, until it is told to stop."""
    said: list[str] = []
    part = Part("short", [sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "short.log")
    keeper = asyncio.create_task(part.keep(said.append))
    async with asyncio.timeout(20):
        while part.restarts < 2:
            await asyncio.sleep(0.02)
    await part.stop()
    keeper.cancel()
    await asyncio.wait({keeper})
    assert "exit code 3" in said[0]
    assert "again in 0.5 s" in said[0]
    assert "again in 1.0 s" in said[1]


def test_parts_die_with_their_supervisor(tmp_path: Path) -> None:
    """A supervisor that is killed leaves nothing behind."""
    script = (
        "import asyncio, sys; from pathlib import Path; from larder.supervise import Part\n"
        "part = Part('long', [sys.executable, '-c', 'import time; time.sleep(600)'], Path(sys.argv[1]))\n"
        "async def main():\n"
        "    keeper = asyncio.create_task(part.keep(print))\n"
        "    while part.pid is None: await asyncio.sleep(0.01)\n"
        "    await asyncio.sleep(0.3)\n"
        "    print(part.pid, flush=True)\n"
        "    await keeper\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        child = int(supervisor.stdout.readline())
        assert alive(child)
        supervisor.kill()
        wait_until(lambda: not alive(child), 10)


def test_up_serves_mends_itself_and_ends_clean(tmp_path: Path) -> None:
    """It prints kubeconfigs that work, brings back a part that dies, and leaves nothing running at Ctrl-C."""
    log = tmp_path / "up.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "larder", "up", "--replicas", "1", "--directory", str(tmp_path / "up")],
            stdout=out, stderr=out, env=clean_environment(), start_new_session=True,
        )  # fmt: skip
    try:
        wait_until(lambda: "alice.kubeconfig" in log.read_text() or process.poll() is not None, 100)
        assert (tmp_path / "up" / "alice.kubeconfig").exists(), log.read_text()
        children = _children(process.pid)
        assert len(children) >= 4, "a sandbox, a Redis, an informer and a replica"
        informer = next(pid for pid in children if b"informer" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(informer, signal.SIGKILL)
        wait_until(lambda: any(b"informer" in _command(pid) for pid in _children(process.pid) if pid != informer))
        assert re.search(r"informer ended \(signal SIGKILL\)", log.read_text())
        children = _children(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(40) == 0
        assert log.read_text().splitlines()[-1] == "stopping", "said once, and no part is started again meanwhile"
        wait_until(lambda: not any(alive(pid) for pid in children), 10)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _children(pid: int) -> list[int]:
    """The processes that a process has started, directly or not."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        time.sleep(0)
        return b""
