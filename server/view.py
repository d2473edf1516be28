"""A replica's copy of one resource in memory: its objects in key order, its position, and what it was before.

The view holds whole shards, those that were asked for; `Feed` keeps them current. Everything that
changes the view is synchronous, so between two awaits a reader sees one state: the one at `position`.

How to read (the order matters):

    await view.fresh()                  # or reach(rv), or nothing for resourceVersion=0
    await view.ensure(namespaces)       # hydrate what is missing; None: everything
    snapshot = view.snapshot(...)       # no await in between

How to follow: `cancel = view.observe(changed, reset)`. Both are called synchronously, in the order of
positions; neither may raise or block. While observers are called, those that come later have not heard yet of what
is in the view already: `told` is how far all of them are. `reset` says that the view lost touch with its past (a new
incarnation, or a gap longer than the log): it holds a new state now, and nothing tells how it came
about, so watchers end with 410 and derived data is made anew.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from msgspec.structs import replace

from kube import status
from server.history import Change, History, Key, undo
from server.holdings import HeldShard, Holdings, loop_time
from server.progress import Progress
from server.space import Space

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from kube.resources import GVR
    from server.pause import Pause
    from store.entry import Entry
    from store.meta import Meta
    from store.record import Record

log = logging.getLogger(__name__)

STALE_AFTER_SECONDS = 3.0
"""Three heartbeats without one."""
HISTORY_BYTES = 64 << 20
"""Compressed bytes of the past that a view keeps: as much as the store's logs of one resource."""


class Unusable(Exception):
    """The view cannot answer now (not synced, store lost for too long): the read is to be forwarded, as the user."""


class AskUpstream(Exception):
    """Only upstream can answer this read, for instance an exact resourceVersion from before our history."""


class Gone(Exception):
    """The past from `rv` on is not known any more; `floor` is the newest RV that is not served."""

    def __init__(self, rv: int, floor: int) -> None:
        super().__init__(f"the history after {rv} is gone; it begins after {floor}")
        self.rv = rv
        self.floor = floor


class Source(Protocol):
    """What feeds a view: `server.feed.Feed`, or a stand-in in tests."""

    async def hydrate(self, shard: str | None) -> None:
        """Read a shard into the view, or (None) a cluster-scoped resource as a whole; callers share one reading."""

    async def store_position(self) -> int:
        """The store's position, read after the call; concurrent callers share one reading."""

    async def changes(self, shards: Collection[str], after: int, upto: int) -> list[Change]:
        """What the log says of these shards in (after, upto], in order.

        Raises:
            Gone: a log does not reach back to `after`.
        """

    async def bodies(self, records: Collection[Record]) -> dict[Key, bytes]:
        """Packed bodies of these very versions; those that are nowhere any more are left out."""

    async def look_up(self, namespace: str, name: str) -> tuple[Record | None, int]:
        """One object as the store has it, and the store's position of the same instant."""


@dataclass(frozen=True, slots=True)
class Observer:
    """Who is told of changes."""

    changed: Callable[[Change], None]
    reset: Callable[[], None] | None
    described: Callable[[Meta], None] | None


class ResourceView(Progress, Holdings):
    """See the module. `generation` grows with every change of what an answer could contain."""

    def __init__(self, gvr: GVR, meta: Meta, *, clock: Callable[[], float], history_bytes: int = HISTORY_BYTES) -> None:
        Progress.__init__(self, meta.position)
        Holdings.__init__(self, meta)
        self.gvr = gvr
        self.clock = clock
        self.spaces: dict[str, Space] = {}
        self.history = History(history_bytes)
        self.generation = 0
        self.count = 0
        """Objects held."""
        self.packed_bytes = 0
        """Bytes of the bodies held."""
        self.epoch = 0
        """Grows when the view starts over: what was known at another one has no sequel here."""
        self.described = 0
        """Grows with every change of the meta that answers are made with."""
        self.pinned = False
        """Control data: never dropped, never evicted."""
        self.fresh_ms = meta.fresh_ms
        self.heard = loop_time()
        """Loop time of the last sign of life from the informer, by way of the store."""
        self.away_since: float | None = None
        """Loop time from which on the store does not have the resource (it is empty, or being loaded anew).
        What is in memory is still served, for as long as it may be stale."""
        self.source: Source | None = None
        self._order: list[str] = []
        self._observers: dict[int, Observer] = {}
        self._telling_from: int | None = None

    def __repr__(self) -> str:
        return (
            f"ResourceView({self.gvr} at {self.position}: {self.count} objects in {len(self.spaces)} namespaces,"
            f" {len(self.shards)} shards, history of {len(self.history)})"
        )

    # --- what it is -------------------------------------------------------------------------------

    @property
    def incarnation(self) -> str:
        """Changes when the resource's history starts anew."""
        return self.meta.incarnation

    @property
    def usable(self) -> bool:
        """Whether the store says that the resource is complete."""
        return self.meta.readable

    @property
    def observed(self) -> bool:
        """Whether someone follows the view."""
        return bool(self._observers)

    def age(self) -> float:
        """Seconds since the informer last heard from upstream."""
        return max(self.clock() - self.fresh_ms / 1000, 0.0)

    @property
    def stale_seconds(self) -> float:
        """Seconds without news; 0 while heartbeats come."""
        now = loop_time()
        silent = now - self.heard
        away = now - self.away_since if self.away_since is not None else 0.0
        return max(silent if silent > STALE_AFTER_SECONDS else 0.0, away)

    # --- reading ----------------------------------------------------------------------------------

    async def ensure(self, namespaces: Collection[str] | None = None) -> None:
        """Hydrate what is missing of these namespaces (None: of everything).

        It is all there when this returns: no await comes between the last check and the caller.

        Raises:
            Unusable: the resource is not synced, or the store cannot be read.
        """
        source = self._source()
        if not self.meta.namespaced:
            while not self.holds_all:
                await source.hydrate(None)
            self._all_used = loop_time()
        elif namespaces is None:
            while missing := self._missing_shards():
                await asyncio.gather(*(source.hydrate(shard) for shard in missing))
            self.holds_all = True
            self._all_used = loop_time()
        else:
            while missing := self._use(namespaces):
                await asyncio.gather(*(source.hydrate(shard) for shard in missing))
        if not self.meta.readable:
            raise Unusable(f"{self.gvr} is {self.meta.state}")

    async def fresh(self) -> None:
        """Wait until the view is as new as the store was at the call. Where the store does not answer, as it is.

        Raises:
            Unusable: the view did not catch up in time.
        """
        position = await self._source().store_position()
        if self.position >= position:
            return
        try:
            await self.reach(position)
        except status.TooLargeResourceVersion as error:
            raise Unusable(f"{self.gvr} is behind the store: {error}") from error

    def get(self, namespace: str, name: str) -> Record | None:
        """An object of a namespace that is held."""
        space = self.spaces.get(namespace)
        return space.get(name) if space is not None else None

    def records(self, namespace: str | None = None) -> Iterator[Record]:
        """The objects held, in key order (of one namespace, or of all)."""
        for space in self.ordered_spaces() if namespace is None else self._spaces_of((namespace,)):
            yield from space

    def ordered_spaces(self, namespaces: Collection[str] | None = None) -> list[Space]:
        """The spaces with objects, in key order: bytewise by `namespace/`."""
        if namespaces is None:
            return (
                [self.spaces[prefix[:-1]] for prefix in self._order] if self.meta.namespaced else self._spaces_of(("",))
            )
        return self._spaces_of(sorted(namespaces, key=lambda namespace: namespace + "/"))

    async def body(self, record: Record) -> bytes | None:
        """The JSON of this very version of an object, also where it is not in memory; None if it is gone."""
        if not record.packed:
            packed = (await self._source().bodies((record,))).get((record.namespace, record.name))
            if packed is None:
                return None
            record = replace(record, packed=packed)
        return record.body()

    async def with_bodies(self, records: Sequence[Record]) -> list[Record]:
        """The same versions of the objects, all with their bodies.

        Raises:
            Gone: one of them has been replaced meanwhile, and the log has no copy left.
        """
        lacking = [record for record in records if not record.packed]
        if not lacking:
            return list(records)
        found = await self._source().bodies(lacking)
        for record in lacking:
            if (record.namespace, record.name) not in found:
                raise Gone(record.rv, self.position)
        return [
            record if record.packed else replace(record, packed=found[record.namespace, record.name])
            for record in records
        ]

    async def look_up(self, namespace: str, name: str) -> tuple[Record | None, int]:
        """One object as the store has it, with its position: one round trip, and no hydration.

        Raises:
            Unusable: the store cannot be read.
        """
        return await self._source().look_up(namespace, name)

    async def changes_since(self, rv: int, namespaces: Collection[str] | None = None) -> list[Change]:
        """The changes newer than `rv` in held shards, in order; of some namespaces, or of all.

        After the last await nothing happens before the caller goes on: what comes later, observers get.

        Raises:
            Gone: the history does not reach back so far.
        """
        while True:
            if rv >= self.position:
                return []
            missing = self._history_missing(rv, namespaces)
            if not missing:
                break
            await self._load_history(missing, rv)
        changes = self.history.after(rv)
        if namespaces is None or not self.meta.namespaced:
            return changes
        return [change for change in changes if change.record.namespace in namespaces]

    async def undo_to(self, rv: int, namespaces: Collection[str] | None = None) -> dict[Key, Record | None]:
        """What is to be laid over the present state to have that of `rv`.

        Raises:
            Gone: the history does not reach back so far.
        """
        return undo(await self.changes_since(rv, namespaces))

    # --- following --------------------------------------------------------------------------------

    @property
    def told(self) -> int:
        """The position up to which every observer has heard: behind `position` only while they are being called."""
        return self.position if self._telling_from is None else self._telling_from

    def observe(
        self,
        changed: Callable[[Change], None],
        reset: Callable[[], None] | None = None,
        described: Callable[[Meta], None] | None = None,
        *,
        first: bool = False,
    ) -> Callable[[], None]:
        """Be told of every change of the held shards from now on; returns what ends it.

        `described` is told when the resource's meta has become another one, and given the one before.
        `first`: before the present observers, and all that come later. Who decides on rights is told before
        those who hand changes to users.
        """
        number = next(self._numbers)
        observer = Observer(changed, reset, described)
        self._observers = {number: observer, **self._observers} if first else {**self._observers, number: observer}

        def cancel() -> None:
            self._observers.pop(number, None)

        return cancel

    # --- what the feed does -----------------------------------------------------------------------

    def apply(self, entry: Entry, shard: str) -> None:
        """Let one event happen; it follows the view's position."""
        record, held = entry.record, self.shards.get(shard)
        if held is None or not held.has(record.namespace):
            self.advance(entry.rv)
            return
        old = self._remove(record.namespace, record.name) if entry.type == "D" else self._put(record)
        if self.meta.namespaced and record.namespace not in self.places:
            self.places[record.namespace] = (entry.rv, shard)
        if entry.type == "D" and old is None:
            # Unknown to the view: nothing changed for its readers.
            self.advance(entry.rv)
            return
        kind: Literal["A", "M", "D"] = "D" if entry.type == "D" else "A" if old is None else "M"
        if entry.prev is not None and old is not None and not old.packed and entry.prev.rv == old.rv:
            old = entry.prev
        change = Change(entry.rv, entry.time_ms, kind, shard, record, old)
        self.history.append(change)
        self._telling_from = self.position
        self.advance(entry.rv)
        for observer in list(self._observers.values()):
            try:
                observer.changed(change)
            except Exception:
                # One follower's fault is no reason to lose the others' events.
                log.exception("an observer of %s failed at %d", self.gvr, entry.rv)
        self._telling_from = None

    def refresh(self, record: Record) -> None:
        """Put the same version of an object in another form: its row or bytes were rendered anew."""
        present = self.get(record.namespace, record.name)
        if present is not None and present.rv == record.rv:
            self._put(record)

    def adopt(self, shards: Collection[str], spaces: dict[str, Space]) -> None:
        """Take in shards as of the view's position: `spaces` has all their objects, by namespace.

        A cluster-scoped resource is taken in as a whole.
        """
        self.generation += 1
        for namespace, space in spaces.items():
            if not space.count:
                continue
            if namespace not in self.spaces and self.meta.namespaced:
                insort(self._order, namespace + "/")
            space.generation = self.generation
            before = self.spaces.get(namespace)
            self.spaces[namespace] = space
            self.count += space.count - (before.count if before is not None else 0)
            self.packed_bytes += space.packed_bytes - (before.packed_bytes if before is not None else 0)
        self.known_shards |= set(shards)
        for shard in shards:
            self.shards[shard] = HeldShard(whole=True, since=self.position, used=loop_time())
        self.holds_all = self.holds_all or not self.meta.namespaced

    def drop(self, shard: str) -> None:
        """Forget a shard and its objects (of a cluster-scoped resource: everything)."""
        if self.shards.pop(shard, None) is None:
            return
        self.holds_all = False
        self.generation += 1
        for namespace in [ns for ns in self.spaces if not self.meta.namespaced or self._shard_of(ns) == shard]:
            self._forget_space(namespace)
        if not self.meta.namespaced:
            self.shards.clear()

    async def evict(self, shard: str, pause: Pause) -> None:
        """Let go of the bodies of a shard's objects; heads and rows stay."""
        for namespace, space in list(self.spaces.items()):
            if self.meta.namespaced and self._shard_of(namespace) != shard:
                continue
            position = 0
            while position < len(space.blocks):
                self.packed_bytes -= space.evict(position)
                position += 1
                if pause.due:
                    await pause()

    def begin_anew(self, meta: Meta, places: dict[str, tuple[int, str]], known_shards: Collection[str]) -> None:
        """Start over, at another incarnation or after a gap that no log covers: nothing is held."""
        self.epoch += 1
        self.describe(meta)
        self.away_since = None
        self.position = meta.position
        self.began = self.forgot = meta.position
        self.fresh_ms = meta.fresh_ms
        self.set_places(places)
        self.known_shards = {"-", *known_shards, *(shard for _, shard in places.values())}
        self.spaces.clear()
        self.count = self.packed_bytes = 0
        self._order.clear()
        self.shards.clear()
        self.history.clear()
        self.holds_all = False
        self.generation += 1
        self.advance(meta.position)

    def lose(self) -> None:
        """The store has lost the resource: go on with what is here."""
        if self.away_since is None:
            self.away_since = loop_time()

    def describe(self, meta: Meta) -> None:
        """The resource's description has changed: columns, for instance."""
        before, self.meta = self.meta, meta
        self.described += 1
        for observer in list(self._observers.values()):
            if observer.described is not None:
                observer.described(before)

    def tell_reset(self) -> None:
        """The observers' `reset`, once the new state is in place."""
        for observer in list(self._observers.values()):
            if observer.reset is not None:
                try:
                    observer.reset()
                except Exception:
                    log.exception("an observer of %s failed to start over", self.gvr)

    # --- inside -----------------------------------------------------------------------------------

    def _source(self) -> Source:
        if self.source is None:
            raise Unusable(f"{self.gvr} is closed")
        return self.source

    def _spaces_of(self, namespaces: Collection[str]) -> list[Space]:
        return [space for namespace in namespaces if (space := self.spaces.get(namespace)) is not None]

    def _history_missing(self, rv: int, namespaces: Collection[str] | None) -> dict[str, int]:
        """Shards whose history after `rv` is not in memory, with the RV from which on it is.

        Raises:
            Gone: it was trimmed, or a namespace's is spread over logs that are not read for it.
        """
        # Also where nothing is held: of a time before the load, nobody knows that there was nothing.
        if rv < (floor := max(self.history.trimmed, self.meta.since)):
            raise Gone(rv, floor)
        if namespaces is None or not self.meta.namespaced:
            wanted = set(self.shards)
        else:
            wanted = set()
            for namespace in namespaces:
                since, shard = self.places.get(namespace, (0, ""))
                if not shard and rv < self.past_of_unknown():
                    # It may have had objects before this history began, or before it was forgotten.
                    raise Gone(rv, self.past_of_unknown())
                if shard not in self.shards:
                    continue
                if self.shards[shard].since > rv and since > rv:
                    # Its older events are in the log of the shard that it came from.
                    raise Gone(rv, since)
                wanted.add(shard)
        return {shard: self.shards[shard].since for shard in wanted if self.shards[shard].since > rv}

    async def _load_history(self, missing: dict[str, int], rv: int) -> None:
        """Read from the store's log what happened before the shards were hydrated."""
        incarnation = self.incarnation
        loaded = await asyncio.gather(
            *(self._source().changes((shard,), rv, since) for shard, since in missing.items())
        )
        if self.incarnation != incarnation:
            raise Gone(rv, self.position)
        older = []
        for (shard, since), changes in zip(missing.items(), loaded, strict=True):
            held = self.shards.get(shard)
            if held is not None and held.since == since:
                held.since = rv
                older += changes
        self.history.prepend(older)

    def _put(self, record: Record) -> Record | None:
        space = self.spaces.get(record.namespace)
        if space is None:
            space = self.spaces[record.namespace] = Space(record.namespace)
            if self.meta.namespaced:
                insort(self._order, record.namespace + "/")
        count, packed_bytes = space.count, space.packed_bytes
        old = space.put(record)
        self.count += space.count - count
        self.packed_bytes += space.packed_bytes - packed_bytes
        self.generation += 1
        space.generation = self.generation
        return old

    def _remove(self, namespace: str, name: str) -> Record | None:
        space = self.spaces.get(namespace)
        if space is None:
            return None
        old = space.remove(name)
        if old is not None:
            self.count -= 1
            self.packed_bytes -= len(old.packed)
            self.generation += 1
            space.generation = self.generation
            if not space.count:
                self._forget_space(namespace)
        return old

    def _forget_space(self, namespace: str) -> None:
        space = self.spaces.pop(namespace)
        self.count -= space.count
        self.packed_bytes -= space.packed_bytes
        if self.meta.namespaced:
            del self._order[bisect_left(self._order, namespace + "/")]
