"""A real API server, and a replica that an informer keeps up with it, so that both can be asked the same."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from informers import worker
from informers.settings import InformerSettings
from kube.resources import GVR
from server.app import running
from server.replica import Replica
from server.settings import ServerSettings
from store.embedded import EmbeddedRedis
from tests.real import corpus
from tests.real.apiserver import RealApiServer, find_assets
from tests.replay.wire import Answer, ask

ALL_APIS = "--runtime-config=api/all=true"
SYNC_SECONDS = 120.0
"""For every resource of a full server to be in the store, on a loaded machine."""


@dataclass(slots=True)
class Beside:
    """Both servers. `served` are the resources that larder follows, in every version."""

    real: RealApiServer
    tls: ssl.SSLContext
    replica: Replica
    url: str
    served: list[GVR]

    async def ask_real(self, target: str, headers: dict[str, str], method: str = "GET") -> Answer:
        """What upstream says."""
        return await ask(self.real.url, method, target, _with_token(headers), tls=self.tls)

    async def ask_larder(self, target: str, headers: dict[str, str], method: str = "GET") -> Answer:
        """What the replica says."""
        return await ask(self.url, method, target, _with_token(headers))


@asynccontextmanager
async def beside(directory: Path) -> AsyncIterator[Beside]:
    """Bring both up, with the recorded objects in upstream's storage; skips where there is no API server."""
    assets = find_assets()
    if assets is None:
        pytest.skip("no kube-apiserver here: see tests/real/apiserver.py")
    (directory / "apiserver").mkdir()
    real = RealApiServer(assets, directory / "apiserver", extra_flags=(ALL_APIS,))
    redis = EmbeddedRedis()
    try:
        await asyncio.to_thread(real.start)
        await asyncio.to_thread(redis.start)
        async with _filled(real, redis.url) as found:
            yield found
    finally:
        await asyncio.to_thread(real.stop)
        await asyncio.to_thread(redis.stop)


@asynccontextmanager
async def _filled(real: RealApiServer, redis_url: str) -> AsyncIterator[Beside]:
    tls = real.ssl_context()
    served = await _load(real, tls)
    kubeconfig = str(real.kubeconfig("larder-token", "larder"))
    informing = asyncio.create_task(
        worker.run(
            InformerSettings(
                kubeconfig=kubeconfig, redis_url=redis_url, resources=[str(gvr) for gvr in served], metrics_listen=""
            )
        ),
        name="informer",
    )
    settings = ServerSettings(
        kubeconfig=kubeconfig,
        redis_url=redis_url,
        listen="127.0.0.1:0",
        metrics_listen="",
        anonymous=True,
        drain_seconds=1.0,
    )
    try:
        async with running(settings) as server:
            replica = server.replica
            async with asyncio.timeout(SYNC_SECONDS):
                while not await _synced(replica, served):
                    if informing.done():
                        await informing
                    await asyncio.sleep(0.1)
            yield Beside(real, tls, replica, f"http://127.0.0.1:{server.port}", served)
    finally:
        informing.cancel()
        await asyncio.wait({informing})


async def _synced(replica: Replica, served: list[GVR]) -> bool:
    metas = await replica.reader.metas(served)
    known = replica.catalogue.resources
    readable = all(meta.readable for meta in metas.values())
    return readable and replica.control.held and all(gvr in known for gvr in served)


async def _load(real: RealApiServer, tls: ssl.SSLContext) -> list[GVR]:
    """Fill the storage; returns what can be listed and watched then."""
    await asyncio.to_thread(corpus.load, real.etcd, definitions=True)
    wanted = {gvr for gvr, _ in corpus.objects()}
    async with asyncio.timeout(SYNC_SECONDS):
        while not wanted <= (served := await _served(real, tls)):
            await asyncio.sleep(0.5)
    await asyncio.to_thread(corpus.load, real.etcd, definitions=False)
    return sorted(served, key=str)


async def _served(real: RealApiServer, tls: ssl.SSLContext) -> set[GVR]:
    """What discovery says that can be listed and watched."""
    headers = _with_token({})
    groups = json.loads((await ask(real.url, "GET", "/apis", headers, tls=tls)).body)["groups"]
    versions = ["/api/v1"] + [f"/apis/{version['groupVersion']}" for group in groups for version in group["versions"]]
    found = set()
    for path in versions:
        answer = await ask(real.url, "GET", path, headers, tls=tls)
        if answer.status != 200:
            continue  # an aggregated API that is recorded as broken
        listed = json.loads(answer.body)
        group, _, version = listed["groupVersion"].rpartition("/")
        found |= {
            GVR(group, version, resource["name"])
            for resource in listed["resources"]
            if {"list", "watch"} <= set(resource["verbs"])
        }
    return found


def _with_token(headers: dict[str, str]) -> dict[str, str]:
    return {"Authorization": "Bearer admin-token", "User-Agent": "beside/1", **headers}
