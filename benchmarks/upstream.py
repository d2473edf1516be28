"""The upstream that a benchmark compares with: a real API server where there is one, else the sandbox.

A loaded etcd is kept under ~/.cache/larder-bench, so that the second run starts in seconds.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.load import fill
from benchmarks.pods import Cluster
from tests.real.apiserver import RealApiServer, chosen_assets

CACHE = Path(os.environ.get("LARDER_BENCH_CACHE", str(Path.home() / ".cache" / "larder-bench")))


READY_SECONDS = 120
STOP_SECONDS = 15


@dataclass(frozen=True)
class Upstream:
    """A running, loaded upstream. `pids` are what its CPU seconds are counted over."""

    url: str
    ca: Path
    kubeconfig: Path
    description: str
    pids: list[int]
    namespaces: list[str]
    """In creation order."""

    tenant_token: str
    """Of a user who may read in the namespaces of tenant number 1, and only there."""


def user_tokens(cluster: Cluster) -> dict[str, tuple[str, list[str]]]:
    """Token → (user, groups): the administrators, and one user for each tenant."""
    tokens: dict[str, tuple[str, list[str]]] = {
        "admin-token": ("admin", ["system:masters"]),
        "larder-token": ("larder", ["system:masters"]),
    }
    for number in range(cluster.tenants):
        name = f"user-tenant-{number:04d}"
        tokens[f"{name}-token"] = (name, ["capsule.clastix.io"])
    return tokens


@contextmanager
def loaded(cluster: Cluster) -> Iterator[Upstream]:
    """An upstream holding the cluster, stopped at the end: a real API server where there are binaries of one."""
    assets = chosen_assets()
    with _sandbox(cluster) if assets is None else _real(assets, cluster) as upstream:
        yield upstream


@contextmanager
def _sandbox(cluster: Cluster) -> Iterator[Upstream]:
    """The sandbox, which repeats bytes: faster than a real API server at some things, slower at others."""
    with tempfile.TemporaryDirectory(prefix="larder-bench-sandbox-") as folder:
        shape = ["--pods", cluster.pods, "--namespaces", cluster.namespaces, "--tenants", cluster.tenants]
        options = [*shape, "--pod-bytes", cluster.pod_bytes, "--life-seconds", 0, "--directory", folder]
        command = [sys.executable, "-m", "larder", "sandbox", "--listen", "127.0.0.1:0", *map(str, options)]
        with Path(folder, "sandbox.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            kubeconfig = Path(folder, "larder.kubeconfig")
            until = time.monotonic() + READY_SECONDS
            while not kubeconfig.exists():
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"the sandbox did not start: {Path(folder, 'sandbox.log').read_text()[-1000:]}")
                time.sleep(0.1)
            server = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
            yield Upstream(
                url=server,
                ca=Path(folder, "ca.crt"),
                kubeconfig=kubeconfig,
                description="the sandbox (no real API server here: set KUBEBUILDER_ASSETS)",
                pids=[process.pid],
                namespaces=[f"load-{number:04d}" for number in range(cluster.namespaces)],
                tenant_token=f"{cluster.tenant_of(1)}-token",
            )
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


@contextmanager
def _real(assets: Path, cluster: Cluster) -> Iterator[Upstream]:
    server = RealApiServer(assets, tokens=user_tokens(cluster))
    kept = CACHE / f"{server.version}-{cluster.pods}-{cluster.namespaces}-{cluster.tenants}-{cluster.pod_bytes}"
    if kept.exists():
        shutil.copytree(kept, server.directory / "etcd")
    with server:
        if not kept.exists():
            asyncio.run(fill(server.url, server.ssl_context(), "admin-token", cluster))
            server.stop()
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(server.directory / "etcd", kept)
            server.start()
        yield Upstream(
            url=server.url,
            ca=server.ca,
            kubeconfig=server.kubeconfig("larder-token", "larder"),
            description=f"kube-apiserver {server.version}",
            pids=server.pids,
            namespaces=cluster.namespace_names(),
            tenant_token=f"user-{cluster.tenant_of(1)}-token",
        )
