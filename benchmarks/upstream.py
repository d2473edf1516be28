"""The upstream that a benchmark compares with: a real API server where there is one, else the sandbox.

A loaded etcd is kept under ~/.cache/larder-bench, so that the second run starts in seconds.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import fill
from benchmarks.pods import Cluster
from tests.real.apiserver import RealApiServer, find_assets

CACHE = Path(os.environ.get("LARDER_BENCH_CACHE", str(Path.home() / ".cache" / "larder-bench")))


@dataclass(frozen=True)
class Upstream:
    """A running, loaded upstream. `pids` are what its CPU seconds are counted over."""

    url: str
    ca: Path
    kubeconfig: Path
    description: str
    pids: list[int]
    real: bool


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
    """A real API server holding the cluster, stopped at the end."""
    assets = find_assets()
    if assets is None:
        raise RuntimeError("no kube-apiserver: set KUBEBUILDER_ASSETS to a folder with kube-apiserver and etcd")
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
            real=True,
        )
