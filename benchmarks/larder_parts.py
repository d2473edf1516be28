"""Larder as the benchmarks run it: embedded store, one informer, replicas pinned to cores, TLS."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import redis

from benchmarks.upstream import Upstream
from store.embedded import EmbeddedRedis

READY_SECONDS = 120
STOP_SECONDS = 15


@dataclass
class Replica:
    """One `larder server` process."""

    url: str
    metrics_url: str
    process: subprocess.Popen[bytes]
    started_seconds: float = 0.0
    """From the process's start to /readyz."""

    cpu: int | None = None
    """The core that it is pinned to."""

    @property
    def pids(self) -> list[int]:
        """What its CPU seconds and memory are counted over."""
        return [self.process.pid]


@dataclass
class Larder:
    """The parts in front of `upstream`; use as a context manager. Certificates are the upstream's own."""

    upstream: Upstream
    replicas: int = 1
    cpus: tuple[int, ...] = (0,)
    """The core of each replica, in turn."""

    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="larder-bench-")))
    servers: list[Replica] = field(default_factory=list)
    redis_url: str = ""
    synced_seconds: float = 0.0
    """From the informer's start until it said that everything is in the store."""

    def __enter__(self) -> Self:
        self._redis = EmbeddedRedis()
        self.redis_url = self._redis.start()
        started = time.monotonic()
        metrics = _free_port()
        self.informer = self._spawn(
            "informer",
            [
                "informer",
                "--kubeconfig",
                str(self.upstream.kubeconfig),
                "--redis-url",
                self.redis_url,
                "--metrics-listen",
                f"127.0.0.1:{metrics}",
            ],
        )
        self._wait(f"http://127.0.0.1:{metrics}/readyz", self.informer)
        self.synced_seconds = time.monotonic() - started
        for number in range(self.replicas):
            self.servers.append(self.start_replica(self.cpus[number % len(self.cpus)]))
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*(server.process for server in self.servers), self.informer]:
            process.terminate()
        for process in [*(server.process for server in self.servers), self.informer]:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._redis.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start_replica(self, cpu: int | None) -> Replica:
        """Start one more replica on that core; returns when it is ready."""
        port, metrics = _free_port(), _free_port()
        folder = self.upstream.ca.parent
        started = time.monotonic()
        process = self._spawn(
            f"server-{port}",
            [
                "server",
                "--kubeconfig",
                str(self.upstream.kubeconfig),
                "--redis-url",
                self.redis_url,
                "--listen",
                f"127.0.0.1:{port}",
                "--metrics-listen",
                f"127.0.0.1:{metrics}",
                "--tls-cert",
                str(folder / "server.crt"),
                "--tls-key",
                str(folder / "server.key"),
            ],
            cpu,
        )
        self._wait(f"http://127.0.0.1:{metrics}/readyz", process)
        seconds = time.monotonic() - started
        return Replica(f"https://127.0.0.1:{port}", f"http://127.0.0.1:{metrics}", process, seconds, cpu)

    def redis_bytes(self, pattern: str) -> int:
        """Bytes of memory that the keys of this pattern take, as Redis itself counts them."""
        with redis.Redis.from_url(self.redis_url) as client:
            return sum(int(client.memory_usage(key, samples=0) or 0) for key in client.scan_iter(pattern))

    def _spawn(self, name: str, arguments: list[str], cpu: int | None = None) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", "larder", *arguments]
            if cpu is not None:
                command = ["taskset", "-c", str(cpu), *command]
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def _wait(self, url: str, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until and process.poll() is None:
            try:
                with urllib.request.urlopen(url, timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)  # not listening or not ready yet
        logs = "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in sorted(self.directory.glob("*.log")))
        raise RuntimeError(f"{url} was not ready within {READY_SECONDS} s\n{logs}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
