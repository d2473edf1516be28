"""The whole of larder in one process: repeating upstream → informer → Redis → replica, with a clock that cases set."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from informers import worker
from informers.settings import InformerSettings
from kube import paths
from kube.resources import GVR
from server.app import running
from server.replica import Replica
from server.settings import ServerSettings
from store.embedded import EmbeddedRedis
from tests.replay.upstream import RepeatingUpstream
from tests.replay.world import world

SYNC_SECONDS = 60.0
"""For the informer to bring nearly a hundred resources into the store, on a loaded machine."""


@dataclass(slots=True)
class Stage:
    """A replica whose store is complete."""

    upstream: RepeatingUpstream
    replica: Replica
    url: str

    def set_clock(self, instant: str) -> None:
        """Let the replica's time stand still at an instant such as `2026-11-22T14:31:47Z`."""
        self.replica.time.set(seconds(instant))


def seconds(instant: str) -> float:
    """Unix seconds of a recorded instant."""
    return datetime.fromisoformat(instant).timestamp()


def watched_paths() -> list[str]:
    """The recorded lists that upstream also lets watch: what an informer can follow."""
    return [path for path, entry in world()["lists"].items() if "watch" in entry["verbs"]]


def gvr_of(path: str) -> GVR:
    """The resource of a list path."""
    gvr = paths.parse("GET", path).gvr
    assert gvr is not None
    return gvr


@asynccontextmanager
async def staged(directory: Path, upstream: RepeatingUpstream) -> AsyncIterator[Stage]:
    """Bring everything up, and wait until each resource is synced and at the upstream's present RV."""
    url = await upstream.start()
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(json.dumps(_kubeconfig(url)))
    redis = EmbeddedRedis()
    redis_url = await asyncio.to_thread(redis.start)
    gvrs = [gvr_of(path) for path in watched_paths()]
    informing = asyncio.create_task(
        worker.run(
            InformerSettings(
                kubeconfig=str(kubeconfig),
                redis_url=redis_url,
                resources=[str(gvr) for gvr in gvrs],
                metrics_listen="",
            )
        ),
        name="informer",
    )
    settings = ServerSettings(
        kubeconfig=str(kubeconfig),
        redis_url=redis_url,
        listen="127.0.0.1:0",
        metrics_listen="",
        anonymous=True,
        drain_seconds=0.0,
    )
    try:
        async with running(settings) as server:
            await _synced(server.replica, gvrs, upstream.progress, informing)
            yield Stage(upstream, server.replica, f"http://127.0.0.1:{server.port}")
    finally:
        informing.cancel()
        await asyncio.wait({informing})
        await upstream.stop()
        await asyncio.to_thread(redis.stop)


async def _synced(replica: Replica, gvrs: list[GVR], progress: int, informing: asyncio.Task[None]) -> None:
    """Wait until the store has everything, and the replica knows what it may show to whom."""
    async with asyncio.timeout(SYNC_SECONDS):
        while True:
            if informing.done():
                await informing
            metas = await replica.reader.metas(gvrs)
            behind = [gvr for gvr, meta in metas.items() if not meta.readable or meta.position < progress]
            known = replica.catalogue.resources
            if not behind and replica.control.held and all(gvr in known for gvr in gvrs):
                return
            await asyncio.sleep(0.05)


def _kubeconfig(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "replay",
        "contexts": [{"name": "replay", "context": {"cluster": "replay", "user": "replay"}}],
        "clusters": [{"name": "replay", "cluster": {"server": url}}],
        "users": [{"name": "replay", "user": {"token": "larder-token"}}],
    }
