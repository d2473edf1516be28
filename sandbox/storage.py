"""The sandbox's etcd: objects as the bytes that are served, one revision for all, and a bounded history.

It knows nothing of what objects mean: `sandbox.objects` decides what is stored. One event loop uses it;
no method waits, so each is one step that nobody sees half done.
"""

from __future__ import annotations

import asyncio
import bisect
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from kube.resources import GVR
from sandbox.catalogue import Served

EventType = Literal["ADDED", "MODIFIED", "DELETED"]

_decode = msgspec.json.Decoder().decode


class HistoryGone(Exception):
    """The wanted revision is not in the history any more; `floor` is the newest that is gone."""

    def __init__(self, floor: int) -> None:
        super().__init__(f"compacted up to {floor}")
        self.floor = floor


@dataclass(frozen=True, slots=True)
class Item:
    """One state of one object. `body` is its JSON as an item of a list: built-ins without kind and apiVersion."""

    key: str
    namespace: str
    name: str
    uid: str
    rv: int
    labels: dict[str, str]
    body: bytes

    def decoded(self) -> dict[str, Any]:
        """The object as dicts: a fresh copy, the caller's to change."""
        obj: dict[str, Any] = _decode(self.body)
        return obj


@dataclass(frozen=True, slots=True)
class Event:
    """One change. Of a deletion `item` is the last state with the deletion's revision."""

    rv: int
    type: EventType
    item: Item
    old: Item | None


def key_of(namespace: str, name: str) -> str:
    """The key that objects are ordered by, as etcd orders them."""
    return f"{namespace}/{name}" if namespace else name


@dataclass
class Collection:
    """All objects of one resource."""

    served: Served
    history_limit: int
    items: dict[str, Item] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    history: deque[Event] = field(default_factory=deque)
    floor: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the next change, and then replaced by a fresh one."""

    def get(self, namespace: str, name: str) -> Item | None:
        """The object's present state."""
        return self.items.get(key_of(namespace, name))

    def since(self, rv: int) -> list[Event]:
        """The events after `rv`, oldest first.

        Raises:
            HistoryGone: some of them are forgotten.
        """
        if rv < self.floor:
            raise HistoryGone(self.floor)
        if not self.history or self.history[-1].rv <= rv:
            return []
        found: list[Event] = []
        for event in reversed(self.history):
            if event.rv <= rv:
                break
            found.append(event)
        found.reverse()
        return found

    def snapshot(self, rv: int, namespace: str = "", after: str = "") -> Iterator[Item]:
        """The objects as they were at `rv`, in key order, behind the key `after`; of one namespace if it is given.

        Raises:
            HistoryGone: that state is forgotten.
        """
        events = self.since(rv)
        if not events:
            return self._walk(namespace, after)
        items = dict(self.items)
        for event in reversed(events):
            if event.old is None:
                items.pop(event.item.key, None)
            else:
                items[event.old.key] = event.old
        prefix = f"{namespace}/" if namespace else ""
        return (items[key] for key in sorted(items) if key > after and key.startswith(prefix))

    def record(self, event: Event) -> None:
        """Make an event so: the objects, the history, and everyone who waits."""
        key = event.item.key
        if event.type == "DELETED":
            del self.items[key]
            del self.keys[bisect.bisect_left(self.keys, key)]
        else:
            if key not in self.items:
                bisect.insort(self.keys, key)
            self.items[key] = event.item
        self.history.append(event)
        while len(self.history) > self.history_limit:
            self.floor = self.history.popleft().rv
        self.wake()

    def compact(self, rv: int) -> None:
        """Forget the history up to `rv`."""
        while self.history and self.history[0].rv <= rv:
            self.history.popleft()
        self.floor = max(self.floor, rv)

    def wake(self) -> None:
        """Let everyone who waits for a change look again."""
        self.changed.set()
        self.changed = asyncio.Event()

    def _walk(self, namespace: str, after: str) -> Iterator[Item]:
        prefix = f"{namespace}/" if namespace else ""
        start = bisect.bisect_left(self.keys, prefix)
        if after:
            start = max(start, bisect.bisect_right(self.keys, after))
        for key in self.keys[start:]:
            if not key.startswith(prefix):
                return
            yield self.items[key]


class Storage:
    """Every collection, and the revision that they share."""

    def __init__(self, history_limit: int = 10_000, first_rv: int = 1000) -> None:
        self.rv = first_rv
        self._history_limit = history_limit
        self._collections: dict[GVR, Collection] = {}

    def collection(self, served: Served) -> Collection:
        """The collection of a resource, made when it is first asked for."""
        found = self._collections.get(served.gvr)
        if found is None:
            found = self._collections[served.gvr] = Collection(served, self._history_limit, floor=self.rv)
        elif found.served is not served:
            found.served = served
        return found

    def collections(self) -> list[Collection]:
        """All that have been made."""
        return list(self._collections.values())

    def drop(self, gvr: GVR) -> None:
        """Forget a resource that is no longer served; its watches end."""
        gone = self._collections.pop(gvr, None)
        if gone is not None:
            gone.wake()

    def next_rv(self) -> int:
        """Take the next revision."""
        self.rv += 1
        return self.rv

    def compact(self) -> None:
        """Forget all history: whoever resumes from before gets 410."""
        for collection in self._collections.values():
            collection.compact(self.rv)
