"""Keeps the list of covered resources and upstream's documents in the store: one worker does it for all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

from informers import metrics
from informers.backoff import Backoff
from informers.coverage import Pattern, cover
from kube.client import UpstreamClient
from kube.discovery import Catalogue, Document, Key, discover, openapi
from kube.resources import CUSTOM_RESOURCE_DEFINITIONS, GVR, Resource
from kube.status import StatusError
from kube.upstream_error import UpstreamError
from store.catalogue import CatalogueEntry
from store.catalogue_writer import CatalogueWriter, claim
from store.connection import Store
from store.documents import StoredDocument
from store.errors import StoreError, WriteRefused
from store.leases import Lease

log = logging.getLogger("larder.informer")

DISCOVERY_SECONDS = 300.0
"""Between two looks at discovery that nothing asked for: CRDs and APIServices that change ask for one."""

BROKEN_SECONDS = 30.0
"""The same while a group's discovery fails."""

SETTLE_SECONDS = 0.5
"""After a CRD changed, until upstream serves it."""

OPENAPI_SECONDS = 300.0
"""Between two looks at the OpenAPI documents: megabytes, and clients can live with old ones."""


_METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


DOCUMENTED = "documented"
"""The fact of `upstream` that says that all documents are stored; its value is the version that they are of."""


class CatalogueKeeper:
    """Writes the catalogue while it holds the global lease; `poke` makes it look at once."""

    def __init__(
        self,
        store: Store,
        client: UpstreamClient,
        worker: str,
        patterns: Sequence[Pattern],
        *,
        cluster: str,
        lease_seconds: float,
    ) -> None:
        """`cluster` is its uid."""
        self._store = store
        self._client = client
        self._lease = Lease(store, None, worker, seconds=lease_seconds)
        self._lease_seconds = lease_seconds
        self._patterns = patterns
        self._cluster = cluster
        self._poked = asyncio.Event()
        self._catalogue: Catalogue | None = None
        self._openapi: dict[Key, Document] = {}
        self._openapi_at = float("-inf")
        self._published: dict[Key, Document] = {}
        self._custom: dict[GVR, bool] = {}
        self._warned: set[str] = set()

    def poke(self) -> None:
        """Something that discovery depends on has changed."""
        self._poked.set()

    async def run(self) -> None:
        """Keep trying for the lease, and keep the catalogue while it is held, until cancelled."""
        backoff = Backoff(longest=self._lease_seconds)
        try:
            while True:
                try:
                    fence = await self._lease.acquire()
                    if fence is not None:
                        backoff.reset()
                        await self._keep(CatalogueWriter(self._store, fence))
                except* WriteRefused as refused:
                    log.warning("the catalogue: %s", refused.exceptions[0])
                except* StoreError as errors:
                    log.warning("the catalogue: %s", errors.exceptions[0])
                await asyncio.sleep(backoff.next())
        finally:
            await _quietly_release(self._lease)

    async def _keep(self, writer: CatalogueWriter) -> None:
        # Nothing is known of what is in the store: another worker wrote it, or it was lost with Redis.
        self._published = {}
        await claim(self._store, self._cluster)
        trouble = Backoff(longest=BROKEN_SECONDS)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew(), name="renew the catalogue's lease")
            while True:
                try:
                    await self._look(writer)
                    pause = self._pause()
                    trouble.reset()
                except (StatusError, UpstreamError) as error:
                    pause = trouble.next()
                    log.warning("discovery: %s; again in %.1f s", error, pause)
                try:
                    async with asyncio.timeout(pause):
                        await self._poked.wait()
                    await asyncio.sleep(SETTLE_SECONDS)
                except TimeoutError:
                    pass
                self._poked.clear()

    def _pause(self) -> float:
        healthy = self._catalogue is not None and not self._catalogue.errors
        return DISCOVERY_SECONDS if healthy else min(BROKEN_SECONDS, DISCOVERY_SECONDS)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            await self._lease.renew()

    async def _look(self, writer: CatalogueWriter) -> None:
        catalogue = await discover(self._client, self._catalogue)
        new, self._catalogue = catalogue is not self._catalogue, catalogue
        metrics.discovery_errors.set(len(catalogue.errors))
        for group, error in catalogue.errors.items():
            self._warn(f"discovery of {group}: {error}; what was known of it stays")
        resources, idle = cover(self._patterns, catalogue.resources.values(), catalogue.preferred)
        for pattern in idle:
            if not pattern.excludes:
                self._warn(f"--resources {pattern.text} matches nothing that upstream lets us list and watch")
        custom = await self._defined(resources)
        await writer.put_resources(
            {
                resource.gvr: CatalogueEntry(
                    resource=resource,
                    list_kind=f"{resource.kind}List",
                    typed=resource.gvr not in custom,
                    custom=resource.gvr in custom,
                )
                for resource in resources
            }
        )
        metrics.covered.set(len(resources))
        await writer.put_upstream({"version": catalogue.version})
        await self._publish(writer, catalogue.documents)
        if new or time.monotonic() - self._openapi_at >= OPENAPI_SECONDS:
            try:
                self._openapi = await openapi(self._client, self._openapi)
                self._openapi_at = time.monotonic()
            except (StatusError, UpstreamError) as error:
                self._warn(f"OpenAPI documents: {error}")
        await self._publish(writer, self._openapi)
        await writer.drop_documents({*catalogue.documents, *self._openapi})
        # Readiness waits for this: a kubectl that comes at once finds its documents in the store.
        await writer.put_upstream({DOCUMENTED: catalogue.version})

    async def _publish(self, writer: CatalogueWriter, documents: Mapping[Key, Document]) -> None:
        """Store documents that are not known to be there."""
        fresh = {key: found for key, found in documents.items() if self._published.get(key) != found}
        await writer.put_documents(
            {key: StoredDocument(found.status, found.headers, found.body) for key, found in fresh.items()}
        )
        self._published |= fresh

    def _warn(self, text: str) -> None:
        """Say something once: it stays true for as long as nobody does anything about it."""
        if text not in self._warned:
            self._warned.add(text)
            log.warning("%s", text)

    async def _defined(self, resources: Sequence[Resource]) -> set[GVR]:
        """Which of them are defined by a CRD: asked for those that are new, since only a new one can be another."""
        known = {resource.gvr: self._custom[resource.gvr] for resource in resources if resource.gvr in self._custom}
        new = [resource for resource in resources if resource.gvr not in known and "." in resource.gvr.group]
        names = await self._definitions() if len(new) > 1 else None
        for resource in new:
            name = _crd_name(resource)
            known[resource.gvr] = await self._exists(name) if names is None else name in names
        self._custom = known
        return {gvr for gvr, custom in known.items() if custom}

    async def _exists(self, name: str) -> bool:
        """Whether there is a CRD of this name."""
        response = await self._client.request(
            "GET", CUSTOM_RESOURCE_DEFINITIONS.path(name=name), headers={"Accept": f"{_METADATA},application/json"},
            verb="get", resource=str(CUSTOM_RESOURCE_DEFINITIONS), cause="discovery",
        )  # fmt: skip
        return response.status != 404 and bool(response.checked())

    async def _definitions(self) -> set[str]:
        """The names of all CRDs: `plural.group`."""
        found = await self._client.get_json(
            CUSTOM_RESOURCE_DEFINITIONS.path(), headers={"Accept": f"{_METADATA_LIST},application/json"}, verb="list",
            resource=str(CUSTOM_RESOURCE_DEFINITIONS), cause="discovery",
        )  # fmt: skip
        return {item["metadata"]["name"] for item in found.get("items") or ()}


def _crd_name(resource: Resource) -> str:
    return f"{resource.gvr.resource}.{resource.gvr.group}"


async def _quietly_release(lease: Lease) -> None:
    try:
        await lease.release()
    except StoreError as error:
        log.info("the lease ends by itself: %s", error)
