"""Keeps the list of covered resources and upstream's documents in the store: one worker does it for all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from informers import metrics
from informers.backoff import Backoff
from informers.coverage import Pattern, cover
from kube.client import UpstreamClient
from kube.discovery import Catalogue, Document, Key, discover, openapi
from kube.resources import CUSTOM_RESOURCE_DEFINITIONS
from kube.status import StatusError
from kube.upstream_error import UpstreamError
from store.catalogue import CatalogueEntry
from store.catalogue_writer import CatalogueWriter
from store.connection import Store
from store.documents import StoredDocument
from store.errors import StoreError, WriteRefused
from store.leases import Lease

log = logging.getLogger("larder.informer")

DISCOVERY_SECONDS = 60.0
"""Between two looks at discovery that nothing asked for: aggregated APIs come without an event of their own."""

SETTLE_SECONDS = 0.5
"""After a CRD changed, until upstream serves it."""

OPENAPI_SECONDS = 300.0
"""Between two looks at the OpenAPI documents: megabytes, and clients can live with old ones."""


class CatalogueKeeper:
    """Writes the catalogue while it holds the global lease; `poke` makes it look at once."""

    def __init__(
        self, store: Store, client: UpstreamClient, worker: str, patterns: Sequence[Pattern], lease_seconds: float
    ) -> None:
        self._store = store
        self._client = client
        self._lease = Lease(store, None, worker, seconds=lease_seconds)
        self._lease_seconds = lease_seconds
        self._patterns = patterns
        self._poked = asyncio.Event()
        self._catalogue: Catalogue | None = None
        self._openapi: dict[Key, Document] = {}
        self._openapi_at = float("-inf")
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
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew(), name="renew the catalogue's lease")
            while True:
                try:
                    await self._look(writer)
                except (StatusError, UpstreamError) as error:
                    log.warning("discovery: %s", error)
                try:
                    async with asyncio.timeout(DISCOVERY_SECONDS):
                        await self._poked.wait()
                    await asyncio.sleep(SETTLE_SECONDS)
                except TimeoutError:
                    pass
                self._poked.clear()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            await self._lease.renew()

    async def _look(self, writer: CatalogueWriter) -> None:
        catalogue = await discover(self._client, self._catalogue)
        changed = catalogue is not self._catalogue
        self._catalogue = catalogue
        for group, error in catalogue.errors.items():
            log.warning("discovery of %s: %s; what was known of it stays", group, error)
        resources, idle = cover(self._patterns, catalogue.resources.values(), catalogue.preferred)
        for pattern in idle:
            if pattern.text not in self._warned and not pattern.excludes:
                self._warned.add(pattern.text)
                log.warning("--resources %s matches nothing that upstream lets us list and watch", pattern.text)
        custom = await self._custom() if changed else None
        if custom is not None:
            await writer.put_resources(
                {
                    resource.gvr: CatalogueEntry(
                        resource=resource,
                        list_kind=f"{resource.kind}List",
                        typed=f"{resource.gvr.resource}.{resource.gvr.group}" not in custom,
                        custom=f"{resource.gvr.resource}.{resource.gvr.group}" in custom,
                    )
                    for resource in resources
                }
            )
        metrics.covered.set(len(resources))
        await writer.put_upstream({"version": catalogue.version})
        if time.monotonic() - self._openapi_at >= OPENAPI_SECONDS or changed:
            self._openapi = await openapi(self._client, self._openapi)
            self._openapi_at = time.monotonic()
        documents = {**catalogue.documents, **self._openapi}
        await writer.put_documents(
            {key: StoredDocument(found.status, found.headers, found.body) for key, found in documents.items()}
        )
        await writer.drop_documents(set(documents))

    async def _custom(self) -> set[str]:
        """The names of all CRDs: `plural.group`."""
        accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
        found = await self._client.get_json(
            CUSTOM_RESOURCE_DEFINITIONS.path(), headers={"Accept": accept}, verb="list",
            resource=str(CUSTOM_RESOURCE_DEFINITIONS), cause="discovery",
        )  # fmt: skip
        return {item["metadata"]["name"] for item in found.get("items") or ()}


async def _quietly_release(lease: Lease) -> None:
    try:
        await lease.release()
    except StoreError as error:
        log.info("the lease ends by itself: %s", error)
