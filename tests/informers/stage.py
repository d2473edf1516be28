"""One resource's reflector on a real store, and the history that readers see of it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

from informers.description import Cluster
from informers.pulse import Pulse
from informers.reflector import Reflector
from informers.tenancy import Tenancy
from kube import tasks
from kube.client import UpstreamClient
from kube.resources import GVR, Resource
from kube.version import ServerVersion
from store.connection import Store
from store.entry import Entry
from store.leases import Lease
from store.meta import Meta
from store.reader import Reader
from store.record import Record
from store.writer import Writer
from tests.informers.eventually import until
from tests.informers.upstream import Upstream

TENANT_LABEL = "capsule.clastix.io/tenant"


@dataclass
class Running:
    """A reflector with its lease."""

    reflector: Reflector
    lease: Lease
    task: asyncio.Task[None]

    async def stop(self, *, release: bool = True) -> None:
        """End it as a worker does; without `release` as one that dies."""
        await tasks.end(self.task)
        if release:
            await self.lease.release()


@dataclass
class Stage:
    """Starts reflectors, and looks into the store."""

    store: Store
    upstream: Upstream
    client: UpstreamClient
    tenancy: Tenancy = field(default_factory=lambda: Tenancy([TENANT_LABEL]))
    running: list[Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = Reader(self.store)

    async def start(self, gvr: GVR, *, name: str = "one", seconds: float = 60.0, version: str = "v1.20.2") -> Running:
        """Acquire the lease and follow the resource."""
        served = self.upstream.served[gvr]
        lease = Lease(self.store, gvr, name, seconds=seconds)
        fence = await until(lease.acquire)
        reflector = Reflector(
            Resource(gvr, served.kind, served.namespaced, frozenset(("get", "list", "watch"))),
            custom=not served.typed,
            client=self.client,
            reader=self.reader,
            writer=Writer(self.store, gvr, fence),
            cluster=Cluster(self.upstream.cluster_uid, version, ServerVersion.parse(version)),
            tenancy=self.tenancy,
            pulse=Pulse(self.client, version, lambda _: None),
        )
        task = asyncio.create_task(reflector.run())
        running = Running(reflector, lease, task)
        self.running.append(running)
        return running

    async def stop_all(self) -> None:
        """End what still runs."""
        for running in self.running:
            await running.stop(release=False)

    async def watched(self, gvr: GVR) -> Meta:
        """Wait until the resource is synced and a watch is open."""
        await until(lambda: self.upstream.watching(gvr))
        await until(lambda: self._synced(gvr))
        return await self.meta(gvr)

    async def caught_up(self, gvr: GVR, position: int) -> None:
        """Wait until the store has this position."""
        await until(lambda: self._reached(gvr, position))

    async def meta(self, gvr: GVR) -> Meta:
        return await self.reader.meta(gvr)

    async def objects(self, gvr: GVR) -> dict[str, Record]:
        """Everything stored, by its key."""
        found: dict[str, Record] = {}
        for shard in await self.reader.shards(gvr):
            async for chunk in self.reader.scan(gvr, shard):
                found |= {f"{record.namespace}/{record.name}".lstrip("/"): record for record in chunk}
        return found

    async def events(self, gvr: GVR, after: int = 0) -> list[Entry]:
        """What the logs say."""
        return (await self.reader.log(gvr, None, after)).entries

    async def matches_upstream(self, gvr: GVR) -> bool:
        """Whether the store has exactly upstream's objects, byte by byte."""
        stored = {key: record.body() for key, record in (await self.objects(gvr)).items()}
        wanted = {
            f"{namespace}/{name}".lstrip("/"): self.upstream.item(gvr, obj)
            for (namespace, name), obj in self.upstream.objects[gvr].items()
        }
        return stored == wanted

    async def _synced(self, gvr: GVR) -> bool:
        return (await self.meta(gvr)).state == "synced"

    async def _reached(self, gvr: GVR, position: int) -> bool:
        return (await self.meta(gvr)).position >= position


def rv_in(record: Record) -> int:
    """The resourceVersion in an object's bytes."""
    return int(json.loads(record.body())["metadata"]["resourceVersion"])
