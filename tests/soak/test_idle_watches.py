"""Ten thousand idle watches of one replica for a long time: its memory stays what it was, and they hear bookmarks."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from benchmarks.processes import resident_bytes
from tests.fixtures.running import Running, running, wait_until
from tests.soak.idle import NOISY

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

WATCHES = int(os.environ.get("SOAK_WATCHES", "10000"))
STALLED = 20
OPEN_SECONDS = 600.0
"""For all to be opened: TLS handshakes, some hundreds a second."""

SETTLED = 0.2
"""The part of the time after which memory is to stay: buffers and caches have grown to their sizes by then."""

GROWTH = 1.05
"""What memory may be at the end, times what it was then: noise of the allocator, not a leak that an hour shows."""


class Watches:
    """The program that holds them."""

    def __init__(self, system: Running, directory: Path, *, count: int, stalled: int) -> None:
        ca = directory / "ca.crt"
        ca.write_text(system.ca)
        self._out = directory / "idle.out"
        command = [sys.executable, "-m", "tests.soak.idle", system.replicas[0], str(ca), "admin-token"]
        command += [str(count), str(stalled)]
        with self._out.open("w") as out:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def told(self) -> dict[str, Any]:
        """What it said last."""
        lines = [line for line in self._out.read_text().splitlines() if line.startswith("{")]
        assert self._process.poll() is None, self._out.read_text()[-2000:]
        found: dict[str, Any] = json.loads(lines[-1]) if lines else {"opened": 0, "failed": ""}
        assert not found["failed"], found
        return found


@contextlib.contextmanager
def _watched(tmp_path: Path, *, count: int, stalled: int) -> Iterator[tuple[Running, Watches]]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + 500:
        pytest.skip(f"only {soft} files may be open here: {count} watches are not held")
    options = ("--life-seconds", "0", "--bookmark-seconds", "2")
    with (
        running(tmp_path / "system", replicas=1, haproxy=False, sandbox_options=options) as system,
        Watches(system, tmp_path, count=count, stalled=stalled) as watches,
    ):
        wait_until(lambda: watches.told["opened"] == count + stalled, OPEN_SECONDS)
        yield system, watches


def _write(system: Running) -> Callable[[], None]:
    """Changes a large ConfigMap that the stalled readers watch, once a call.

    It does not compress, so that the replica's history of it is full (64 MB) long before memory is to stay.
    """
    path = f"/api/v1/namespaces/{NOISY}/configmaps"
    client = system.upstream()
    made = client.post(path, json={"metadata": {"name": "soak"}, "data": {"blob": secrets.token_hex(20_000)}})
    assert made.status_code == 201
    numbers = iter(range(10**9))

    def write() -> None:
        body = {"data": {"number": str(next(numbers))}}
        answer = client.patch(f"{path}/soak", json=body, headers={"Content-Type": "application/merge-patch+json"})
        assert answer.status_code == 200

    return write


def _pid(system: Running) -> int:
    pid = system.stack.parts["replica-1"].pid
    assert pid is not None
    return pid


def test_memory_of_idle_watches_stays(
    tmp_path: Path, soak_seconds: float, record_property: Callable[[str, object], None]
) -> None:
    """Beside writes that others watch, and stalled readers, idle watches cost what they did at first."""
    with _watched(tmp_path, count=WATCHES, stalled=STALLED) as (system, watches):
        write, started = _write(system), time.monotonic()
        samples: list[tuple[float, float]] = []
        while (passed := time.monotonic() - started) < soak_seconds:
            for _ in range(10):
                write()
            samples.append((passed, resident_bytes([_pid(system)]) / 1e6))
            assert watches.told["ended"] == 0, "an idle watch stays open"
            with system.client("alice") as client:
                assert client.get("/api/v1/pods").status_code == 200
            time.sleep(1.0)
        told = watches.told
        settled = max(size for when, size in samples if when <= soak_seconds * SETTLED)
        last = sorted(size for when, size in samples if when >= soak_seconds * 0.9)
        shown = samples[:: max(1, len(samples) // 20)]
        closed = system.metric(0, "larder_slow_watchers_closed_total")
        lines = [
            f"{WATCHES} idle watches for {soak_seconds:.0f} s: MB of the replica",
            *(f"{when:6.0f} s {size:8.1f}" for when, size in shown),
            f"{told['bookmarks']} bookmarks heard, {closed:.0f} stalled readers closed",
        ]
        record_property("table", "\n".join(lines))
        assert last[len(last) // 2] <= settled * GROWTH
        minutes = int(soak_seconds // 60)
        assert told["bookmarks"] >= WATCHES * max(minutes - 1, 0), "one a minute each"
        assert told["events"] == 0, "nothing happened to what they watch"
        if soak_seconds >= 120:
            assert closed == STALLED
            assert system.metric(0, "larder_watches") == WATCHES
