"""One informer process: it shares the covered resources with other workers by leases, and follows its share.

Who should have a resource follows from the names of the workers that are alive, so they agree without talking.
A worker that ends gives its leases back; one that dies is replaced when they run out.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import random
import socket
from collections.abc import Collection, Iterable
from importlib.metadata import version as program_version

from informers import metrics
from informers.catalogue import DOCUMENTED, CatalogueKeeper
from informers.coverage import Pattern
from informers.description import Cluster
from informers.follow import Follower
from informers.pulse import Pulse
from informers.reflector import Reflector
from informers.settings import InformerSettings
from informers.tenancy import Tenancy
from kube import credentials, tasks
from kube.client import UpstreamClient
from kube.health import Check, HealthServer
from kube.resources import CUSTOM_RESOURCE_DEFINITIONS, GVR, NAMESPACES
from kube.version import ServerVersion
from store.catalogue import CatalogueEntry
from store.catalogue_writer import claim
from store.connection import Store
from store.errors import StoreError, StoreUnavailable
from store.leases import Lease, check_in, check_out
from store.reader import Reader
from store.record import Record
from store.writer import Writer

log = logging.getLogger("larder.informer")

API_SERVICES = GVR("apiregistration.k8s.io", "v1", "apiservices")
"""Aggregated APIs; where they are not covered, discovery is looked at in its time."""

LOOK_SECONDS = 1.0
"""Between two looks at the covered resources and at who is alive: two small reads."""


async def run(settings: InformerSettings) -> None:
    """Follow a share of the resources until cancelled.

    Raises:
        PatternError, CredentialsError: the settings lead nowhere; the message says what to change.
        StoreError, UpstreamError: the store or upstream cannot be reached at the start, or do not fit each other.
    """
    patterns = [Pattern.parse(text) for text in settings.resources]
    name = settings.worker_id or f"{socket.gethostname()}-{os.getpid()}"
    login = credentials.load(settings.kubeconfig, settings.context)
    async with (
        await Store.open(settings.redis_url, settings.prefix) as store,
        UpstreamClient(
            login,
            user_agent=f"larder-informer/{program_version('larder')}",
            on_request=_count,
        ) as client,
    ):
        cluster = await identify(client)
        await claim(store, cluster.uid)
        log.info("worker %s follows Kubernetes %s at %s", name, cluster.version, login.server)
        await Worker(store, client, cluster, name, patterns, settings).run()


async def identify(client: UpstreamClient) -> Cluster:
    """Which cluster upstream is.

    Raises:
        StatusError, UpstreamError: it does not say; a 403 means that the informer's rights do not suffice.
    """
    version = await client.get_json("/version", verb="get", cause="identity")
    namespace = await client.get_json(
        NAMESPACES.path(name="kube-system"), verb="get", resource=str(NAMESPACES), cause="identity"
    )
    text = version["gitVersion"]
    return Cluster(namespace["metadata"]["uid"], text, ServerVersion.parse(text))


def preferred_worker(gvr: GVR, workers: Iterable[str]) -> str | None:
    """Who of the living should have the resource: each worker computes the same, and few change when one comes or goes.

    >>> preferred_worker(NAMESPACES, ["a", "b"]) in ("a", "b"), preferred_worker(NAMESPACES, [])
    (True, None)
    """
    return max(workers, key=lambda worker: hashlib.sha256(f"{gvr} {worker}".encode()).digest(), default=None)


class Worker:
    """One process's share of the work."""

    def __init__(
        self,
        store: Store,
        client: UpstreamClient,
        cluster: Cluster,
        name: str,
        patterns: list[Pattern],
        settings: InformerSettings,
    ) -> None:
        self.name = name
        self.reflectors: dict[GVR, Reflector] = {}
        self._store = store
        self._client = client
        self._cluster = cluster
        self._settings = settings
        self._reader = Reader(store)
        self._tenancy = Tenancy(settings.tenant_label)
        self._pulse = Pulse(client, cluster.version, self._version_changed, self._upstream_returned)
        self._catalogue = CatalogueKeeper(
            store, client, name, patterns, cluster=cluster.uid, lease_seconds=settings.lease_seconds
        )
        self._namespaces = Follower(self._reader, NAMESPACES, self._namespace_told)
        self._definitions = Follower(self._reader, CUSTOM_RESOURCE_DEFINITIONS, self._definition_told)
        self._services = Follower(self._reader, API_SERVICES, self._service_told)
        self._generations: dict[str, int] = {}
        """Of each definition: only another spec says something new."""
        self._alive: list[str] = [name]
        self._tasks: dict[GVR, tuple[CatalogueEntry, asyncio.Task[None]]] = {}
        self._unready = "starting"

    async def run(self) -> None:
        """Work until cancelled."""
        health = HealthServer(metrics.exposition, [Check("synced", lambda: self._unready)])
        if self._settings.metrics_listen:
            host, _, port = self._settings.metrics_listen.rpartition(":")
            await health.start(host, int(port))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pulse.run(), name="pulse")
                group.create_task(self._catalogue.run(), name="catalogue")
                group.create_task(self._namespaces.run(), name="follow namespaces")
                group.create_task(self._definitions.run(), name="follow definitions")
                group.create_task(self._services.run(), name="follow API services")
                group.create_task(self._share(group), name="share")
        finally:
            await health.close()
            try:
                await check_out(self._store, self.name)
            except StoreError as error:
                log.info("the others will notice by themselves that this worker is gone: %s", error)

    async def _share(self, group: asyncio.TaskGroup) -> None:
        """Keep one task for each covered resource, and know who is alive."""
        while True:
            try:
                self._alive = await check_in(self._store, self.name, seconds=self._settings.lease_seconds)
                covered = await self._reader.resources()
            except StoreError as error:
                log.warning("cannot see what is covered: %s", error)
                await asyncio.sleep(LOOK_SECONDS)
                continue
            for gvr, (known, task) in list(self._tasks.items()):
                if covered.get(gvr) != known:
                    # It is gone, or served in another way now.
                    del self._tasks[gvr]
                    await tasks.end(task)
            for gvr, entry in covered.items():
                if gvr not in self._tasks:
                    task = group.create_task(self._hold_for_ever(entry), name=f"hold {gvr}")
                    self._tasks[gvr] = entry, task
            await self._see_readiness(covered)
            await asyncio.sleep(LOOK_SECONDS)

    async def _see_readiness(self, covered: Collection[GVR]) -> None:
        if not covered:
            self._unready = "discovery has not been read yet"
            return
        try:
            missing = sorted(map(str, await self._reader.unreadable(covered)))
            documented = DOCUMENTED in await self._reader.upstream()
        except StoreError as error:
            self._unready = str(error)
            return
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        waiting = "" if documented else "discovery and OpenAPI documents are not stored yet"
        before, self._unready = self._unready, waiting
        if missing:
            self._unready = f"not synced: {len(missing)} of {len(covered)}: {', '.join(missing[:5])}{more}"
        if before and not self._unready:
            log.info("all %d covered resources are synced", len(covered))

    async def _hold_for_ever(self, entry: CatalogueEntry) -> None:
        """Have the resource whenever it should be ours, until cancelled."""
        gvr = entry.resource.gvr
        if gvr != NAMESPACES:
            await self._namespaces.ready.wait()
        while True:
            if preferred_worker(gvr, self._alive) == self.name:
                lease = Lease(self._store, gvr, self.name, seconds=self._settings.lease_seconds)
                try:
                    fence = await lease.acquire()
                    if fence is not None:
                        await self._hold(entry, lease, fence)
                except* StoreError as errors:
                    log.warning("%s: %s", gvr, _first(errors))
                except* Exception:  # whatever it is, the other resources go on, and this one is tried again
                    metrics.failures.labels(str(gvr)).inc()
                    log.exception("%s: an error that should not be", gvr)
                finally:
                    await self._give_back(gvr, lease)
            await asyncio.sleep(LOOK_SECONDS)

    async def _hold(self, entry: CatalogueEntry, lease: Lease, fence: int) -> None:
        """Follow the resource until the lease is lost, or should be another worker's."""
        resource = entry.resource
        reflector = Reflector(
            resource,
            custom=entry.custom,
            client=self._client,
            reader=self._reader,
            writer=Writer(self._store, resource.gvr, fence, log_budget_bytes=self._settings.log_budget_bytes),
            cluster=self._cluster,
            tenancy=self._tenancy,
            pulse=self._pulse,
        )
        self.reflectors[resource.gvr] = reflector
        metrics.held.set(len(self.reflectors))
        following = asyncio.create_task(reflector.run(), name=f"follow {resource.gvr}")
        try:
            while not following.done() and preferred_worker(resource.gvr, self._alive) == self.name:
                # Not always the same, so that the leases that were taken together are not renewed together.
                pause = self._settings.lease_seconds / 3 * random.uniform(0.7, 1.0)  # noqa: S311
                await asyncio.wait({following}, timeout=pause)
                await self._renew(lease)
            if not following.done():
                log.info("%s: goes to %s", resource.gvr, preferred_worker(resource.gvr, self._alive))
        finally:
            await tasks.end(following)
            error = None if following.cancelled() else following.exception()
        if error is not None:
            raise error

    @staticmethod
    async def _renew(lease: Lease) -> None:
        """Keep the lease. A store that does not answer is no reason to stop: the fence keeps us from harm.

        Raises:
            Fenced
        """
        try:
            await lease.renew()
        except StoreUnavailable as error:
            log.info("a lease could not be renewed: %s", error)

    async def _give_back(self, gvr: GVR, lease: Lease) -> None:
        if self.reflectors.pop(gvr, None) is not None:
            metrics.forget(str(gvr))
        metrics.held.set(len(self.reflectors))
        if lease.fence is not None:
            try:
                await lease.release()
            except StoreError as error:
                log.info("%s: the lease ends by itself: %s", gvr, error)

    async def _namespace_told(self, record: Record, gone: bool) -> None:
        if gone:
            self._tenancy.forget(record.name)
        elif not self._tenancy.tell(record.name, record.labels):
            return
        for gvr, reflector in list(self.reflectors.items()):
            try:
                if gone:
                    await reflector.forget(record.name)
                else:
                    await reflector.move(record.name, self._tenancy.shard(record.name))
            except StoreError as error:
                log.warning("%s: namespace %s stays in its shard for now: %s", gvr, record.name, error)

    async def _definition_told(self, record: Record, gone: bool) -> None:
        generation = 0 if gone else int(json.loads(record.metadata()).get("generation") or 0)
        before = self._generations.get(record.name)
        self._generations[record.name] = generation
        if self._definitions.ready.is_set():
            self._catalogue.poke()
        if before is None or before == generation:
            return
        plural, _, group = record.name.partition(".")
        for gvr, reflector in self.reflectors.items():
            if (gvr.resource, gvr.group) == (plural, group):
                reflector.describer.learn_again(new_bytes=True)

    async def _service_told(self, record: Record, gone: bool) -> None:
        if self._services.ready.is_set():
            self._catalogue.poke()

    def _version_changed(self, version: str) -> None:
        """Upstream is another version now: it may print other columns, and write the same objects differently."""
        self._cluster = Cluster(self._cluster.uid, version, ServerVersion.parse(version))
        self._catalogue.poke()
        for reflector in self.reflectors.values():
            reflector.describer.cluster = self._cluster
            reflector.describer.learn_again(new_bytes=True)

    def _upstream_returned(self) -> None:
        """Discovery may have failed meanwhile, and the store may have lost what it said before."""
        self._catalogue.poke()


def _first(errors: BaseExceptionGroup[StoreError]) -> BaseException:
    """The error that a group is about, however deep it lies."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _count(verb: str, resource: str, cause: str) -> None:
    metrics.upstream_requests.labels(verb, resource, cause).inc()
