"""Writing what belongs to no resource: the catalogue, upstream's documents and its identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store import catalogue, documents
from store.errors import StoreUnsuitable
from store.replies import checked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kube.resources import GVR
    from store.catalogue import CatalogueEntry
    from store.connection import Store
    from store.documents import StoredDocument


class CatalogueWriter:
    """Writes under the fence of the global lease (`Lease(store, None, …)`)."""

    def __init__(self, store: Store, fence: int) -> None:
        self.fence = fence
        self._store = store

    async def put_resources(self, entries: Mapping[GVR, CatalogueEntry]) -> bool:
        """Make these the covered resources; whether that changed anything.

        Raises:
            Fenced, StoreFull, StoreUnavailable
        """
        fields = {str(gvr): catalogue.encode(entry) for gvr, entry in entries.items()}
        return await self._publish("resources", fields, replace=True)

    async def put_documents(self, found: Mapping[tuple[str, str], StoredDocument]) -> bool:
        """Store documents by (path, variant); others stay. Whether that changed anything.

        Raises:
            Fenced, StoreFull, StoreUnavailable
        """
        changed = False
        for (path, variant), document in found.items():
            # One by one: an OpenAPI document has megabytes.
            field = {documents.field(path, variant): documents.encode(document)}
            changed |= await self._publish("docs", field, replace=False)
        return changed

    async def drop_documents(self, kept: set[tuple[str, str]]) -> None:
        """Remove all documents but these.

        Raises:
            Fenced, StoreUnavailable
        """
        names = [documents.field(path, variant) for path, variant in sorted(kept)]
        keys = self._store.global_keys
        checked(await self._store.scripts.write("drop_documents", (keys.meta,), self.fence, *names))

    async def put_upstream(self, facts: Mapping[str, str]) -> bool:
        """Store facts about upstream (`version` …); others stay. `uid` is `claim`'s.

        Raises:
            Fenced, StoreFull, StoreUnavailable
        """
        return await self._publish("upstream", {name: value.encode() for name, value in facts.items()}, replace=False)

    async def _publish(self, name: str, fields: Mapping[str, bytes], *, replace: bool) -> bool:
        keys = self._store.global_keys
        flat = [part for item in fields.items() for part in item]
        arguments = self.fence, name, int(replace), *flat
        return bool(checked(await self._store.scripts.write("publish_catalogue", (keys.meta,), *arguments))[0])


async def claim(store: Store, uid: str) -> None:
    """Say which cluster this store mirrors, `uid` being that of its namespace kube-system; needs no lease.

    Raises:
        StoreUnsuitable: it mirrors another one.
        StoreUnavailable
    """
    key = store.global_keys.upstream
    # Safe to send twice: the first one that arrives decides.
    _, held = await store.ask_all([("HSETNX", key, "uid", uid), ("HGET", key, "uid")])
    if held != uid.encode():
        raise StoreUnsuitable(
            f"this store (prefix {store.prefix!r}) mirrors the cluster {held.decode()}, not {uid}; "
            "give each cluster its own Redis database or prefix"
        )
