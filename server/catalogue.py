"""What the store offers besides objects: the covered resources, upstream's version, and its documents.

Read again when the store says that it changed, and every few seconds in case that was not heard.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from kube.resources import CUSTOM_RESOURCE_DEFINITIONS, GVR
from kube.version import ServerVersion
from server import deprecations
from store.errors import StoreError

if TYPE_CHECKING:
    from store.catalogue import CatalogueEntry
    from store.documents import StoredDocument
    from store.reader import Reader

_log = logging.getLogger(__name__)

REFRESH_SECONDS = 5.0
"""How often the list of resources is read unasked: one round trip for some 50 KB."""

DOCUMENTS_BYTES = 64 << 20
"""Documents kept in memory. OpenAPI of a cluster with hundreds of definitions has some 20 MB."""

DOCUMENT_SECONDS = 10.0
"""How long a document is repeated without looking: a change that was not heard shows after that."""

_DEPRECATION_SECONDS = 60.0
_LATEST = ServerVersion(1, 36)


class Catalogue:
    """The replica's view of it. `generation` grows with every change of resources or version."""

    def __init__(self, reader: Reader, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._monotonic = monotonic
        self.resources: dict[GVR, CatalogueEntry] = {}
        self.version = _LATEST
        """Upstream's; the newest that we know until the store tells."""
        self.generation = 0
        self._answered = -math.inf
        """When the store last answered."""
        self._reachable = False
        """Whether it answered the last time."""
        self._by_plural: dict[tuple[str, str], GVR] = {}
        self._documents: OrderedDict[tuple[str, str], tuple[float, StoredDocument | None]] = OrderedDict()
        self._documents_bytes = 0
        self._warnings: dict[GVR, tuple[float, str]] = {}

    def covered(self, group: str, resource: str) -> GVR | None:
        """The covered version of a resource, whichever it is: all versions of an object have the same RV."""
        return self._by_plural.get((group, resource))

    @property
    def away_seconds(self) -> float:
        """How long the store has not answered; 0 while it does, infinite before it has answered once."""
        return 0.0 if self._reachable else self._monotonic() - self._answered

    async def refresh(self) -> bool:
        """Read resources and version; whether they changed. What an emptied store has lost stays known.

        Raises:
            StoreError: the store cannot be read; what is known stays.
        """
        try:
            resources = await self._reader.resources()
            upstream = await self._reader.upstream()
        except StoreError:
            self._reachable = False
            raise
        self._reachable, self._answered = True, self._monotonic()
        try:
            version = ServerVersion.parse(upstream["version"]) if "version" in upstream else self.version
        except ValueError:
            version = self.version
        # A store that lost everything will cover again what it did: until then that is not synced, and not unknown.
        resources = resources or self.resources
        if resources == self.resources and version == self.version:
            return False
        self.resources, self.version = resources, version
        self._by_plural = {(gvr.group, gvr.resource): gvr for gvr in sorted(resources, reverse=True)}
        self._warnings.clear()
        self.generation += 1
        return True

    async def keep_up(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Refresh for ever; `changed` is called after a change, and once at the beginning."""
        first = True
        while True:
            try:
                if await self.refresh() or first:
                    await changed()
                    first = False
            except StoreError as error:
                _log.warning("the list of resources cannot be read: %s", error)
            await asyncio.sleep(REFRESH_SECONDS)

    # Documents

    async def document(self, path: str, variant: str = "") -> StoredDocument | None:
        """A document of upstream's, None if the store has none.

        Raises:
            StoreError: it is not in memory, and the store cannot be read.
        """
        key = (path, variant)
        now = self._monotonic()
        kept = self._documents.get(key)
        if kept is not None and now - kept[0] < DOCUMENT_SECONDS:
            self._documents.move_to_end(key)
            return kept[1]
        try:
            document = await self._reader.document(path, variant)
        except StoreError:
            if kept is not None and kept[1] is not None:
                return kept[1]
            raise
        self._keep(key, now, document)
        return document

    def forget_documents(self) -> None:
        """The store says that documents changed: look again, unless the store cannot be read then."""
        self._documents = OrderedDict((key, (float("-inf"), kept)) for key, (_, kept) in self._documents.items())

    def _keep(self, key: tuple[str, str], now: float, document: StoredDocument | None) -> None:
        _, before = self._documents.pop(key, (0.0, None))
        self._documents_bytes += _size(document) - _size(before)
        self._documents[key] = (now, document)
        while self._documents_bytes > DOCUMENTS_BYTES or len(self._documents) > 5000:
            _, (_, dropped) = self._documents.popitem(last=False)
            self._documents_bytes -= _size(dropped)

    # Deprecations

    async def warnings(self, entry: CatalogueEntry) -> tuple[str, ...]:
        """The texts of the Warning headers that upstream sends with reads of a resource."""
        gvr = entry.resource.gvr
        if not entry.custom:
            text = deprecations.built_in(gvr, entry.resource.kind, self.version)
            return (text,) if text else ()
        now = self._monotonic()
        until, text = self._warnings.get(gvr, (0.0, ""))
        if now >= until:
            text = await self._custom_warning(gvr)
            self._warnings[gvr] = (now + _DEPRECATION_SECONDS, text)
        return (text,) if text else ()

    async def _custom_warning(self, gvr: GVR) -> str:
        try:
            record, _ = await self._reader.get(CUSTOM_RESOURCE_DEFINITIONS, "", gvr.group_resource)
            return deprecations.custom(record.body(), gvr.version) if record is not None else ""
        except (StoreError, msgspec.DecodeError) as error:
            # A missing warning is no reason to fail a read.
            _log.debug("no deprecation is known of %s: %s", gvr, error)
            return ""


def _size(document: StoredDocument | None) -> int:
    return len(document.body) + 500 if document is not None else 100
