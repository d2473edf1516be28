"""Writing one resource: events, loads, moves. Each method is the script of the same name (`store/scripts`).

Only the holder of the resource's lease writes; the fence of the lease goes along with every write, and events carry
the position they follow. So a worker that lost its lease, or whose Redis failed over to an older state,
changes nothing.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from store import meta as metas
from store import record as records
from store.errors import Fenced, PositionMismatch, StoreFull
from store.keys import NO_TENANT, object_key
from store.meta import Description, Meta
from store.replies import checked
from store.scripts import Argument, Call

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kube.resources import GVR
    from store.connection import Store
    from store.record import Record

LOG_BUDGET_BYTES = 64 << 20
"""Of all logs of a resource. Some 10,000 changes of 3 KB records: minutes to hours of history; upstream
keeps five minutes."""

LOG_MINIMUM_BYTES = 256 << 10
"""That no shard's log is trimmed below, so that a quiet tenant's resumes outlive a busy neighbour's churn."""

BATCH_EVENTS = 256
BATCH_BYTES = 1 << 20
"""One round trip carries at most so many events and about so many bytes: enough to hide the round trip, and
some 10 ms of Redis' time at most."""

_TRIM_STEPS = 500
"""Entries that one call of `trim` takes out at most: some 2 ms."""


class Event(msgspec.Struct, frozen=True):
    """One change of one object.

    `rv` is the position after it: the record's own RV, but for deletions that a relist found, which get an unused one.
    `shard` says where a cluster-scoped object belongs, or the namespace, should the store not know it yet.
    `record` of a D is the final object.
    """

    kind: Literal["A", "M", "D"]
    rv: int
    record: Record
    shard: str = NO_TENANT


class Refresh(msgspec.Struct, frozen=True):
    """A record to be replaced by another one of the same object version."""

    old: Record
    new: Record


class Writer:
    """Writes one resource under one fence. Its methods must not run concurrently: order is what they are about.

    `position` is the store's, as far as this writer knows; `resume` asks for it.
    """

    def __init__(
        self,
        store: Store,
        gvr: GVR,
        fence: int,
        *,
        log_budget_bytes: int = LOG_BUDGET_BYTES,
        log_minimum_bytes: int = LOG_MINIMUM_BYTES,
    ) -> None:
        """`fence` is what `store.leases.Lease.acquire` gave."""
        self.gvr = gvr
        self.fence = fence
        self.position = 0
        self._confirmed = False
        """Whether the store said, under this fence, that it is at `position`. Nobody else can move it on then."""
        self._store = store
        self._keys = store.keys(gvr)
        self._budget = log_budget_bytes
        self._minimum = log_minimum_bytes

    async def resume(self) -> Meta:
        """Read the store's position, and the rest of the meta: events up to it are in the store.

        To be called at the start, and after StoreUnavailable, which leaves open how much of a write has happened.

        Raises:
            Fenced: the fence is no longer ours.
            StoreUnavailable
        """
        meta = metas.parse(self.gvr, await self._store.ask("HMGET", self._keys.meta, *metas.FIELDS))
        if meta.fence != self.fence:
            raise Fenced(f"{self.gvr} is held with fence {meta.fence or 'none'}, not {self.fence}")
        self.position = meta.position
        self._confirmed = True
        return meta

    async def apply_many(self, events: Sequence[Event]) -> None:
        """Take in events, in this order: all, or the first `error.applied` of them.

        When Redis is out of memory the resource's logs are trimmed, down to nothing if need be; if that does not
        help, the resource is marked stale.

        Raises:
            Fenced, PositionMismatch, NotSynced, StoreFull: `applied` says how many are in the store.
            StoreUnavailable: unknown how many; `resume` tells.
        """
        done = 0
        while done < len(events):
            try:
                done += await self._apply_batch(events, done)
            except StoreFull as full:
                if not await self._make_room():
                    await self.mark_stale()
                    raise StoreFull(f"{self.gvr}: {full}", done) from full

    async def advance(self, position: int) -> None:
        """Move the position without an event (a bookmark).

        Raises:
            Fenced, PositionMismatch, NotSynced, StoreUnavailable
        """
        checked(await self._write("advance", self.position, position))
        self.position = position
        self._confirmed = True

    async def heartbeat(self, silent_seconds: float = 0.0) -> None:
        """Tell replicas that the resource is followed; upstream was last in touch `silent_seconds` ago.

        Raises:
            Fenced, StoreUnavailable
        """
        checked(await self._write("heartbeat", round(silent_seconds * 1000)))

    async def move(self, place: str, shard: str, *, namespaced: bool = True) -> int:
        """Put a namespace (or a cluster-scoped object) with all its objects into another shard; how many there were.

        Nothing happens where the store does not know the place: the first event's shard will be right.

        Raises:
            Fenced, NotSynced, StoreUnavailable
        """
        return int(checked(await self._write("move", place, shard, int(namespaced)))[0])

    async def forget(self, namespace: str) -> bool:
        """Forget the shard of a deleted namespace; False while it has objects, or is unknown.

        Raises:
            Fenced, NotSynced, StoreUnavailable
        """
        return bool(checked(await self._write("forget", namespace))[0])

    async def refresh_many(self, refreshes: Sequence[Refresh]) -> int:
        """Replace records by newly made ones of the same version, without events; how many were still current.

        Raises:
            Fenced, NotSynced, StoreFull, StoreUnavailable
        """
        replaced = 0
        for first in range(0, len(refreshes), BATCH_EVENTS):
            calls = [self._refresh_call(refresh) for refresh in refreshes[first : first + BATCH_EVENTS]]
            for reply in await self._store.scripts.write_many(calls):
                replaced += int(checked(reply)[0])
        return replaced

    async def describe(self, description: Description) -> bool:
        """Store what describes the resource; whether that changed anything.

        Raises:
            Fenced, StoreUnavailable
        """
        return bool(checked(await self._write("describe", metas.encode(description)))[0])

    async def load_begin(self) -> str:
        """Drop all that is stored of the resource and begin a new incarnation, whose name is returned.

        Raises:
            Fenced, StoreUnavailable
        """
        self.position = 0
        incarnation: bytes = checked(await self._write("load_begin"))[0]
        return incarnation.decode()

    async def load(self, objects: Iterable[tuple[Record, str]]) -> None:
        """Store objects of a load that was begun, each with its shard.

        Raises:
            Fenced, NotSynced, StoreFull, StoreUnavailable
        """
        arguments: list[Argument] = []
        held = 0
        for record, shard in objects:
            data = records.encode(record)
            arguments += [_place(record), object_key(record.namespace, record.name), shard, data]
            held += len(data)
            if held >= BATCH_BYTES or len(arguments) >= 4 * BATCH_EVENTS:
                checked(await self._write("load", *arguments))
                arguments, held = [], 0
        if arguments:
            checked(await self._write("load", *arguments))

    async def load_commit(self, position: int) -> None:
        """End a load: what was stored is the resource as of `position`, the RV of the list.

        Raises:
            Fenced, NotSynced, StoreUnavailable
            ValueError: `position` is not positive.
        """
        if position <= 0:
            raise ValueError(f"no list has the resourceVersion {position}")
        checked(await self._write("load_commit", position))
        self.position = position
        self._confirmed = True

    async def trim(self, budget_bytes: int, minimum_bytes: int = 0) -> int:
        """Make the logs shorter, the biggest first; the bytes that are left.

        Raises:
            Fenced, StoreUnavailable
        """
        left = -1
        while True:
            before = left
            left = int(checked(await self._write("trim", budget_bytes, minimum_bytes, _TRIM_STEPS))[0])
            if left <= budget_bytes or left == before:
                return left

    async def mark_stale(self) -> bool:
        """Say that the resource takes in no more events; the next one that succeeds ends it.

        Raises:
            Fenced, StoreUnavailable
        """
        return bool(checked(await self._write("mark_stale"))[0])

    async def _write(self, name: str, *arguments: Argument) -> Any:
        return await self._store.scripts.write(name, (self._keys.meta,), self.fence, *arguments)

    async def _apply_batch(self, events: Sequence[Event], first: int) -> int:
        """Send events from `first` on in one round trip; how many that were. All of them are in the store then."""
        calls: list[Call] = []
        before, size = self.position, 0
        # An unconfirmed position may be behind the store's: then an event in the middle of the batch could follow that
        # one by chance, and be taken in although those before it are refused. So the first one goes alone.
        limit = BATCH_EVENTS if self._confirmed else 1
        for event in events[first : first + limit]:
            data = records.encode(event.record)
            calls.append(self._apply_call(event, before, data))
            before, size = event.rv, size + len(data)
            if size >= BATCH_BYTES:
                break
        replies = await self._store.scripts.write_many(calls)
        applied = 0
        # Each event follows the one before it, so after one that failed all others are refused: position mismatch.
        for applied, reply in enumerate(replies):
            try:
                checked(reply)
            except (Fenced, PositionMismatch) as refused:
                self._confirmed = False
                refused.applied = first + applied
                raise
            except StoreFull:
                if applied:
                    return applied
                raise
            self.position = events[first + applied].rv
            self._confirmed = True
        return len(calls)

    async def _make_room(self) -> bool:
        """Give up the oldest quarter of the logs; False if they were empty."""
        meta = await self.resume()
        if meta.log_bytes <= 0:
            return False
        # The last crumbs go at once: they would not make room one by one.
        await self.trim(meta.log_bytes * 3 // 4 if meta.log_bytes > self._minimum else 0)
        return True

    def _apply_call(self, event: Event, before: int, data: bytes) -> Call:
        record = event.record
        arguments: tuple[Argument, ...] = (
            self.fence, before, event.rv, event.kind, _place(record), object_key(record.namespace, record.name),
            event.shard, data, self._budget, self._minimum,
        )  # fmt: skip
        return Call("apply", (self._keys.meta,), arguments)

    def _refresh_call(self, refresh: Refresh) -> Call:
        old = refresh.old
        digest = hashlib.sha1(records.encode(old), usedforsecurity=False).hexdigest()
        key = object_key(old.namespace, old.name)
        data = records.encode(refresh.new)
        return Call("refresh", (self._keys.meta,), (self.fence, _place(old), key, digest, data))


def _place(record: Record) -> str:
    return record.namespace or record.name
