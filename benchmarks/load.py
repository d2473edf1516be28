"""Fills an API server with a benchmark cluster, with bounded concurrency and a progress bar."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import aiohttp
from rich.progress import Progress, TaskID

from benchmarks.pods import Cluster

CONCURRENCY = 32
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


OWNER: dict[str, Any] = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "bench-owner"},
    "rules": [
        {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["get", "list", "watch"]},
    ],
}
"""A tenant's rights in its namespaces. The built-in role `admin` is empty without a controller manager."""


async def fill(url: str, tls: ssl.SSLContext | bool, token: str, cluster: Cluster) -> None:
    """Create the cluster's namespaces, the tenants' rights and the pods with their status.

    Raises:
        RuntimeError: a write was refused; the message carries the server's answer.
    """
    headers = {"Authorization": f"Bearer {token}"}
    connector = aiohttp.TCPConnector(ssl=tls, limit=CONCURRENCY)
    async with aiohttp.ClientSession(url, connector=connector, headers=headers) as session:
        await _write(session, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", OWNER)
        for number in range(cluster.namespaces):
            await _write(session, "POST", "/api/v1/namespaces", cluster.namespace(number))
            await _grant(session, cluster, number)
        with Progress(transient=True) as progress:
            task = progress.add_task(f"{cluster.pods} pods into {url}", total=cluster.pods)
            numbers = iter(range(cluster.pods))
            await asyncio.gather(*(_create(session, cluster, numbers, progress, task) for _ in range(CONCURRENCY)))


async def _create(
    session: aiohttp.ClientSession, cluster: Cluster, numbers: Any, progress: Progress, task: TaskID
) -> None:
    for number in numbers:
        pod = cluster.pod(number)
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods"
        await _write(session, "POST", path, pod)
        status = {"status": cluster.pod_status(number)}
        await _write(session, "PATCH", f"{path}/{pod['metadata']['name']}/status", status, MERGE_PATCH)
        progress.advance(task)


async def _grant(session: aiohttp.ClientSession, cluster: Cluster, number: int) -> None:
    """The tenant's user may view in the namespace, as a namespace's owner may."""
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "owner"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": OWNER["metadata"]["name"]},
        "subjects": [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": f"user-{cluster.tenant_of(number)}"}
        ],
    }
    namespace = cluster.namespace_names()[number]
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"
    await _write(session, "POST", path, binding)


async def _write(
    session: aiohttp.ClientSession, method: str, path: str, body: dict[str, Any], headers: dict[str, str] | None = None
) -> None:
    async with session.request(method, path, json=body, headers=headers) as answer:
        if answer.status >= 300 and answer.status != 409:
            raise RuntimeError(f"{method} {path}: {answer.status} {(await answer.text())[:500]}")
        await answer.read()
