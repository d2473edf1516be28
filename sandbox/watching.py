"""Watches: what has happened since a revision, then what happens, as lines of JSON.

A watch keeps no queue: it remembers how far it has come and reads on from the collection's history, so a slow
reader costs nothing, until the history is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from kube import gojson, status
from kube.paths import RequestInfo
from kube.watch_event import EventType, encode_event
from sandbox import objects, render
from sandbox.catalogue import Served
from sandbox.cluster import Cluster
from sandbox.faults import Faults
from sandbox.negotiation import Form
from sandbox.reading import Test, chooser, number, wanted_rv
from sandbox.storage import Collection, Event, HistoryGone, Item

_CHUNK_EVENTS = 200
"""Events that are sent in one piece: a big backlog does not hold the loop."""


@dataclass
class Watch:
    """One watch request. `lines` gives what it sends until it ends."""

    cluster: Cluster
    served: Served
    info: RequestInfo
    form: Form
    faults: Faults
    bookmark_seconds: float

    def __post_init__(self) -> None:
        """Understand the request.

        Raises:
            StatusError: 400 for options that do not parse, 422 for some that do not go together.
        """
        query = self.info.query
        self._test: Test | None = chooser(self.info, self.served)
        self._namespace = self.info.namespace if self.served.resource.namespaced else ""
        self._bookmarks = query.flag("allowWatchBookmarks")
        self._start = wanted_rv(self.info)
        self._seconds = float(number(self.info, "timeoutSeconds") or self.cluster.random.uniform(1800, 3600))
        self._initial = query.flag("sendInitialEvents") or (
            "sendInitialEvents" not in query and query.text("resourceVersion") in {"", "0"}
        )
        if "sendInitialEvents" in query and query.text("resourceVersionMatch") != "NotOlderThan":
            problem = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            raise status.invalid_list_options(
                [status.FieldError("resourceVersionMatch", "FieldValueForbidden", f"Forbidden: {problem}")]
            )
        self._first = True

    async def lines(self) -> AsyncIterator[bytes]:
        """Whole lines, some at a time."""
        storage = self.cluster.storage
        collection = storage.collection(self.served)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._seconds
        next_bookmark = loop.time() + self.bookmark_seconds
        generation = self.faults.generation(self.served.gvr)
        position = started = self._start or storage.rv
        if self._initial:
            position = started = storage.rv
            async for piece in self._synthetic(collection, position):
                yield piece
        while not self._ended(collection, generation):
            changed = collection.changed
            try:
                events = collection.since(position)
            except HistoryGone as gone:
                yield error_line(status.expired_watch(position, gone.floor))
                return
            if events:
                for piece in self._pieces(events):
                    yield piece
                position = events[-1].rv
                continue  # more may have come while these were sent
            position = max(position, storage.rv)
            now = loop.time()
            if now >= deadline:
                return
            if now >= next_bookmark:
                next_bookmark = now + self.bookmark_seconds
                if self._bookmarks and position > started:
                    yield self._bookmark(position)
            await _wait(changed, min(deadline, next_bookmark) - now)
            await self.faults.wait_while_paused()

    def _pieces(self, events: list[Event]) -> Iterator[bytes]:
        for start in range(0, len(events), _CHUNK_EVENTS):
            if lines := b"".join(self._line(event) for event in events[start : start + _CHUNK_EVENTS]):
                yield lines

    async def _synthetic(self, collection: Collection, rv: int) -> AsyncIterator[bytes]:
        """ADDED for everything there is, and the bookmark that ends it."""
        batch: list[bytes] = []
        for item in collection.snapshot(rv, self._namespace):
            if self._test is None or self._test(item):
                batch.append(self._event("ADDED", item))
            if len(batch) >= _CHUNK_EVENTS:
                yield b"".join(batch)
                batch.clear()
        if self._bookmarks:
            batch.append(self._bookmark(rv, initial_end=True))
        if batch:
            yield b"".join(batch)

    def _ended(self, collection: Collection, generation: int) -> bool:
        if self.faults.generation(self.served.gvr) != generation:
            self.faults.end_as_wanted()
            return True
        return self.cluster.catalogue.find(collection.served.gvr) is None

    def _line(self, event: Event) -> bytes:
        """The event as this watch sees it, b"" if it does not."""
        if self._namespace and event.item.namespace != self._namespace:
            return b""
        if self._test is None:
            return self._event(event.type, event.item)
        before = event.old is not None and self._test(event.old)
        after = event.type != "DELETED" and self._test(event.item)
        if after:
            return self._event("MODIFIED" if before else "ADDED", event.item)
        if not before or event.old is None:
            return b""
        # It has left the selection: its last state that was in it, with the revision of the change.
        return self._event("DELETED", objects.to_item(self.served, event.old.decoded(), event.rv))

    def _event(self, event_type: EventType, item: Item) -> bytes:
        shown = render.event_object(self.served, item, self.form, self.cluster.clock(), first=self._first)
        self._first = False
        return encode_event(event_type, shown)

    def _bookmark(self, rv: int, *, initial_end: bool = False) -> bytes:
        now = self.cluster.clock()
        shown = render.bookmark(self.served, rv, self.form, now, first=self._first, initial_end=initial_end)
        self._first = False
        return encode_event("BOOKMARK", shown)


def error_line(error: status.StatusError) -> bytes:
    """An ERROR event."""
    return encode_event("ERROR", gojson.dumps(error.status()))


async def _wait(changed: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            await changed.wait()
    except TimeoutError:
        return
