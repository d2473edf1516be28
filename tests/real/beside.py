"""A real API server, and a replica that an informer keeps up with it, so that both can be asked the same."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from informers import worker
from informers.settings import InformerSettings
from kube.resources import GVR
from kube.version import ServerVersion
from server.app import running
from server.replica import Replica
from server.settings import ServerSettings
from store.embedded import EmbeddedRedis
from tests.real import corpus
from tests.real.apiserver import RealApiServer, version_of
from tests.real.questions import Question
from tests.replay.wire import Answer, ask

_ALL_APIS = "--runtime-config=api/all=true"
_GATED_SINCE = ServerVersion(1, 36)
_GATES = "ClusterTrustBundle", "PodCertificateRequest", "StorageVersionMigrator"
"""Off by default, and what they guard was recorded."""

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

    @property
    def version(self) -> ServerVersion:
        """Of the real one."""
        return self.replica.version

    async def ask(self, question: Question, target: str, *, real: bool) -> Answer:
        """One request to one of them, with the question's headers and no others."""
        url, tls = (self.real.url, self.tls) if real else (self.url, None)
        return await ask(url, question.method, target, question.headers, tls=tls)

    async def reached(self, rv: int) -> bool:
        """Whether anything in the store is at this resourceVersion."""
        return await self.replica.reached(rv)

    async def ask_real(self, target: str, headers: dict[str, str], method: str = "GET") -> Answer:
        """What upstream says."""
        return await ask(self.real.url, method, target, _with_token(headers), tls=self.tls)

    async def ask_larder(self, target: str, headers: dict[str, str], method: str = "GET") -> Answer:
        """What the replica says."""
        return await ask(self.url, method, target, _with_token(headers))


@asynccontextmanager
async def beside(assets: Path, directory: Path) -> AsyncIterator[Beside]:
    """Bring both up, with the recorded objects in upstream's storage; `assets` has the API server's binaries."""
    (directory / "apiserver").mkdir()
    real = RealApiServer(assets, directory / "apiserver", extra_flags=flags(version_of(assets)))
    redis = EmbeddedRedis()
    try:
        await asyncio.to_thread(real.start)
        await asyncio.to_thread(redis.start)
        async with _filled(real, redis.url) as found:
            yield found
    finally:
        await asyncio.to_thread(real.stop)
        await asyncio.to_thread(redis.stop)


def flags(version: str) -> tuple[str, ...]:
    """With which an API server of this version serves all that was recorded."""
    if ServerVersion.parse(version) < _GATED_SINCE:
        return (_ALL_APIS,)
    return _ALL_APIS, f"--feature-gates={','.join(f'{gate}=true' for gate in _GATES)}"


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
    version = ServerVersion.parse(real.version)
    await asyncio.to_thread(corpus.load, real.etcd, version, definitions=True)
    wanted = {gvr for gvr, _ in corpus.objects(version)}
    async with asyncio.timeout(SYNC_SECONDS):
        while not wanted <= (served := await _served(real, tls)):
            await asyncio.sleep(0.5)
    await asyncio.to_thread(corpus.load, real.etcd, version, definitions=False)
    await _let_dave_read(real, tls)
    return sorted(served, key=str)


async def _let_dave_read(real: RealApiServer, tls: ssl.SSLContext) -> None:
    """Rights in one namespace, for some groups."""
    api = "rbac.authorization.k8s.io"
    readable = ["", "apps", "batch", "petro.example.io"]
    rule = {"apiGroups": readable, "resources": ["*"], "verbs": ["get", "list", "watch"]}
    reference = {"apiGroup": api, "kind": "Role", "name": "dave"}
    for plural, more in (
        ("roles", {"rules": [rule]}),
        ("rolebindings", {"roleRef": reference, "subjects": [{"apiGroup": api, "kind": "User", "name": "dave"}]}),
    ):
        body = json.dumps({"metadata": {"name": "dave"}, **more}).encode()
        headers = _with_token({"Content-Type": "application/json"})
        answer = await ask(real.url, "POST", f"/apis/{api}/v1/namespaces/oil-prod/{plural}", headers, body, tls=tls)
        assert answer.status == 201, answer.body


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
