"""Reading the store. Whatever takes several answers to read says how to make them one state.

To copy a shard and keep the copy current:

1. subscribe to the feed and to the shard's channel, and wait until both are confirmed;
2. `hydration = await reader.hydrate(gvr, shard)`, then take all of `hydration.chunks()`;
3. `page = await reader.log(gvr, [shard], after=hydration.position)`, on and on while `page.more`: for each entry,
   in order, put or remove its object. The entries undo what the scan saw too early or too late;
4. if `hydration.outdated(page)`, begin again with 2: the history has a new beginning, a namespace has changed its
   shard meanwhile, or the log no longer reaches back so far;
5. the copy is the shard as of `page.position`. From the messages that were received since 1, ignore those that are
   not newer; if then one's `before` is not the copy's position, or the subscriber reports a loss, go on with 3 from
   the copy's position.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from kube.resources import GVR
from store import catalogue, documents, entry, record
from store import meta as metas
from store.errors import NotSynced
from store.keys import object_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Sequence

    from store.catalogue import CatalogueEntry
    from store.connection import Store
    from store.documents import StoredDocument
    from store.entry import Entry
    from store.meta import Meta
    from store.record import Record

CHUNK_RECORDS = 100
"""Records that are read and decoded at once, at most: 1 to 2 ms of the event loop, 0.2 ms of Redis."""

CHUNK_BYTES = 1 << 20
"""Bytes of records that are asked for at once, going by the size of those before."""

CHUNK_PLACES = 2000
"""Places that are decoded at once: some 1 ms."""

LOG_ENTRIES = 256
"""Entries that one read of a log returns unless told otherwise: some 2 ms of Redis."""

LOG_BYTES = 1 << 20
"""Bytes after which a page of a log ends, however few entries it has."""


class Places(msgspec.Struct, frozen=True):
    """All places of a resource as of one instant: place → (since, shard).

    Events older than `since` may be in another shard's log: a resume from before it, by this place alone, is too old.
    A namespace that is not there has no objects; a cluster-scoped object that is not there is in the shard `-`.
    """

    position: int
    incarnation: str
    moves: int
    places: dict[str, tuple[int, str]]


class LogPage(msgspec.Struct, frozen=True):
    """A part of some shards' logs, and where the resource stood at the same instant.

    `entries` are complete between the RV asked for (or `floor`, if that is newer) and the last entry, or, without
    `more`, the end asked for. `floor` is the newest RV that any of these shards' logs may no longer have: whoever
    comes from before it must begin anew (410).
    """

    state: metas.State
    position: int
    incarnation: str
    moves: int
    floor: int
    more: bool
    entries: list[Entry]


class Hydration:
    """One reading of all of a shard; the protocol stands at the top of this file.

    `position` is from where the log completes what `chunks` gives.
    """

    def __init__(self, reader: Reader, meta: Meta, shard: str) -> None:
        self.meta = meta
        self.shard = shard
        self.position = meta.position
        self._reader = reader

    async def chunks(self) -> AsyncIterator[list[Record]]:
        """The shard's records, in no order, some of them twice, some newer than `position`.

        Raises:
            StoreUnavailable
        """
        async for chunk in self._reader.scan(self.meta.gvr, self.shard):
            yield chunk

    def outdated(self, page: LogPage) -> bool:
        """Whether what `chunks` gave cannot be completed by `page`, which begins at `position`."""
        return (
            page.incarnation != self.meta.incarnation
            or page.moves != self.meta.moves
            or page.floor > self.position
            or page.state not in {"synced", "stale"}
        )


class Reader:
    """All reads of one store. Every method may be called concurrently.

    All of them raise StoreUnavailable. Those that need a resource's objects raise NotSynced while it has none to show.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def resources(self) -> dict[GVR, CatalogueEntry]:
        """The covered resources."""
        found = await self._store.ask("HGETALL", self._store.global_keys.resources)
        return {GVR.parse(name.decode()): catalogue.decode(data) for name, data in found.items()}

    async def meta(self, gvr: GVR) -> Meta:
        """What the store says of a resource; its state is empty where it was never loaded."""
        return metas.parse(gvr, await self._store.ask(*self._meta_command(gvr)))

    async def metas(self, gvrs: Iterable[GVR]) -> dict[GVR, Meta]:
        """`meta` of many, in one round trip (not of one instant)."""
        wanted = list(gvrs)
        found = await self._store.ask_all(self._meta_command(gvr) for gvr in wanted)
        return {gvr: metas.parse(gvr, values) for gvr, values in zip(wanted, found, strict=True)}

    async def unreadable(self, gvrs: Iterable[GVR]) -> list[GVR]:
        """Which of these the store does not have, or not yet, in one round trip."""
        wanted = list(gvrs)
        states = await self._store.ask_all(("HGET", self._store.keys(gvr).meta, "state") for gvr in wanted)
        return [gvr for gvr, state in zip(wanted, states, strict=True) if (state or b"").decode() not in metas.READABLE]

    async def position(self, gvr: GVR) -> int:
        """The RV up to which the store is complete.

        Raises:
            NotSynced, StoreUnavailable
        """
        position = await self._store.line.ask("HGET", self._store.keys(gvr).meta, "position")
        if position is None:
            raise NotSynced(f"{gvr} is not in the store")
        return int(position)

    async def positions(self, gvrs: Iterable[GVR]) -> dict[GVR, int | None]:
        """`position` of many, in one round trip; None for those that are not synced."""
        wanted = list(gvrs)
        found = await self._store.ask_all(("HGET", self._store.keys(gvr).meta, "position") for gvr in wanted)
        return {gvr: int(value) if value is not None else None for gvr, value in zip(wanted, found, strict=True)}

    async def places(self, gvr: GVR) -> Places:
        """Which namespaces (or cluster-scoped names) are in which shard, as of one instant.

        Raises:
            NotSynced, StoreUnavailable
        """
        commands = self._meta_command(gvr), ("HGETALL", self._store.keys(gvr).places)
        values, found = await self._store.ask_all(commands, atomic=True)
        meta = _readable(metas.parse(gvr, values))
        places: dict[str, tuple[int, str]] = {}
        for place, text in found.items():
            since, _, shard = text.decode().partition(" ")
            places[place.decode()] = (int(since), shard)
            if len(places) % CHUNK_PLACES == 0:
                await asyncio.sleep(0)
        return Places(meta.position, meta.incarnation, meta.moves, places)

    async def shards(self, gvr: GVR) -> list[str]:
        """Every shard that ever held something, in order."""
        found = await self._store.ask("ZRANGE", self._store.keys(gvr).logsizes, 0, -1)
        return sorted(shard.decode() for shard in found)

    async def get(self, gvr: GVR, namespace: str, name: str) -> tuple[Record | None, int]:
        """One object, and the position as of the same instant. One round trip, whatever the shard.

        Raises:
            NotSynced, StoreUnavailable
        """
        arguments = namespace or name, object_key(namespace, name)
        state, position, data = await self._store.scripts.read("get", (self._store.keys(gvr).meta,), *arguments)
        if state not in {b"synced", b"stale"}:
            raise NotSynced(f"{gvr} is {state.decode() or 'not in the store'}")
        return record.decode(data) if data is not None else None, int(position)

    async def records(self, gvr: GVR, shard: str, keys: Sequence[str]) -> list[Record | None]:
        """The records of these object keys (`store.keys.object_key`) in a shard, as they are now; None: not there."""
        found: list[Record | None] = []
        for first in range(0, len(keys), CHUNK_RECORDS):
            chunk = await self._store.ask(
                "HMGET", self._store.keys(gvr).objects(shard), *keys[first : first + CHUNK_RECORDS]
            )
            found += [record.decode(data) if data is not None else None for data in chunk]
            await asyncio.sleep(0)
        return found

    async def hydrate(self, gvr: GVR, shard: str) -> Hydration:
        """Begin to read all of a shard.

        Raises:
            NotSynced, StoreUnavailable
        """
        return Hydration(self, _readable(await self.meta(gvr)), shard)

    async def scan(self, gvr: GVR, shard: str) -> AsyncIterator[list[Record]]:
        """All records of a shard in bounded chunks, in no order.

        What is there during the whole scan is given at least once, at some version of that time; what comes, changes
        or goes meanwhile may be given or not, also twice.
        """
        key = self._store.keys(gvr).objects(shard)
        cursor, count = 0, CHUNK_RECORDS
        while True:
            cursor, found = await self._store.ask("HSCAN", key, cursor, "COUNT", count)
            values = list(found.values())
            if values:
                size = sum(map(len, values)) // len(values)
                count = max(1, min(CHUNK_RECORDS, CHUNK_BYTES // max(size, 1)))
            # A small hash (or one that is being resized) may give more than was asked for.
            for first in range(0, len(values), CHUNK_RECORDS):
                yield [record.decode(data) for data in values[first : first + CHUNK_RECORDS]]
                await asyncio.sleep(0)
            if cursor == 0:
                return

    async def log(
        self,
        gvr: GVR,
        shards: Collection[str] | None,
        after: int,
        *,
        upto: int | None = None,
        limit: int = LOG_ENTRIES,
    ) -> LogPage:
        """The events of `shards` (None: of all) with `after` < RV ≤ `upto`, in order, at most `limit` of them.

        One snapshot: entries, floor and position belong together. If there are `more`, go on after the last entry's
        RV; as logs only grow at their end, pages make one history, as long as `floor` does not overtake it.
        A resource that is not synced has no entries; see `state`.
        """
        if shards is not None and not shards:
            raise ValueError("no shards to read the log of")
        state, position, incarnation, moves, since, floor, more, found = await self._store.scripts.read(
            "read_log",
            (self._store.keys(gvr).meta,),
            after,
            "" if upto is None else upto,
            limit,
            LOG_BYTES,
            *(shards or ()),
        )
        entries: list[Entry] = []
        for shard, entry_id, fields in found:
            entries.append(entry.parse_logged(shard, entry_id, fields))
            if len(entries) % (CHUNK_RECORDS // 2) == 0:  # most entries hold two records
                await asyncio.sleep(0)
        return LogPage(
            state=state.decode(),
            position=int(position),
            incarnation=incarnation.decode(),
            moves=int(moves),
            floor=max(int(since), int(floor or 0)),
            more=bool(more),
            entries=entries,
        )

    async def floors(self, gvr: GVR) -> dict[str, int]:
        """For every shard the newest RV that its log may no longer have.

        Raises:
            NotSynced, StoreUnavailable
        """
        keys = self._store.keys(gvr)
        commands = self._meta_command(gvr), ("HGETALL", keys.floors), ("ZRANGE", keys.logsizes, 0, -1)
        values, floors, shards = await self._store.ask_all(commands, atomic=True)
        since = _readable(metas.parse(gvr, values)).since
        return {shard.decode(): int(floors.get(shard, since)) for shard in shards}

    async def rv_time(self, gvr: GVR, rv: int) -> int | None:
        """A store time (Unix ms) at which the position was not yet past `rv`: the newest one known, some 10 s sharp.

        None where that is longer ago than the clock reaches back.
        """
        found = await self._store.ask("XREVRANGE", self._store.keys(gvr).clock, f"{rv}-0", "-", "COUNT", 1)
        return int(found[0][1][b"t"]) if found else None

    async def clock_start_ms(self, gvr: GVR) -> int | None:
        """The oldest store time (Unix ms) that the clock knows a position of; None: the resource is not loaded."""
        found = await self._store.ask("XRANGE", self._store.keys(gvr).clock, "-", "+", "COUNT", 1)
        return int(found[0][1][b"t"]) if found else None

    async def document(self, path: str, variant: str = "") -> StoredDocument | None:
        """A document of upstream's; None where there is none."""
        data = await self._store.ask("HGET", self._store.global_keys.docs, documents.field(path, variant))
        return documents.decode(data) if data is not None else None

    async def documents(self) -> list[tuple[str, str]]:
        """Path and variant of every document, in order. Their bodies may be many MB: read them one by one."""
        found = await self._store.ask("HKEYS", self._store.global_keys.docs)
        return sorted(documents.split_field(name.decode()) for name in found)

    async def upstream(self) -> dict[str, str]:
        """What is known of the cluster that is mirrored: `uid`, `version` and more; empty before the first informer."""
        found = await self._store.ask("HGETALL", self._store.global_keys.upstream)
        return {name.decode(): value.decode() for name, value in found.items()}

    async def lease_holders(self, gvrs: Iterable[GVR]) -> dict[GVR, str | None]:
        """Who holds the leases: owner (the worker's name, a space and a random part), or None."""
        wanted = list(gvrs)
        found = await self._store.ask_all(("GET", self._store.keys(gvr).lease) for gvr in wanted)
        return {gvr: owner.decode() if owner else None for gvr, owner in zip(wanted, found, strict=True)}

    async def now_ms(self) -> int:
        """The store's time, Unix ms."""
        return await self._store.now_ms()

    def _meta_command(self, gvr: GVR) -> tuple[str, ...]:
        return "HMGET", self._store.keys(gvr).meta, *metas.FIELDS


def _readable(meta: Meta) -> Meta:
    if not meta.readable:
        raise NotSynced(f"{meta.gvr} is {meta.state or 'not in the store'}")
    return meta
