"""Fan-out: every change of a resource reaches all of its watchers that want it, each rendered once.

A watcher is in exactly one of three groups, and each move between them is one method of `Hub`:

    CATCHING_UP ── join ──▶ SYNCED ── fall_behind ──▶ SLOW ── join ──▶ SYNCED
                              └────── withdraw ──▶ CATCHING_UP

    CATCHING_UP  reads what it has not seen from the history, at its client's pace (`watcher.py`)
    SYNCED       has seen everything up to the hub; live changes are written to it from here
    SLOW         its client has too much before it: nothing is written until it has taken that

So a client that does not read costs a bounded buffer and nothing else: it never holds up the others,
and what it misses it reads from the history later.

Invariant: nothing is handed to a watcher while its scope is about to become another; it then goes on by itself.
Invariant: a watcher is handed changes in the order of their RVs, each at most once (`watcher.position` only
grows), and none is left out between the history and the hub: joining needs the view's own position.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING

from kube import status
from server.rendering import render
from server.view import Unusable
from server.watch_events import BodyGone, EventWriter, SharedChange, departure, event_of
from server.watch_index import Index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from server.history import Change, Key
    from server.objects import ItemForm
    from server.rendering import Kept
    from server.snapshot import Piece
    from server.view import ResourceView
    from server.watch_events import Look, ObjectEvent
    from server.watch_index import Group
    from server.watcher import Watcher
    from store.meta import Meta
    from store.record import Record

log = logging.getLogger(__name__)

Told = list[tuple[SharedChange, "ObjectEvent"]]
"""What a batch of changes is for a group's watchers, in order."""

SLICE_SECONDS = 0.004
"""How long one turn of a big fan-out keeps the event loop: 5 ms is the promise, and the last step overshoots."""

STEP_WATCHERS = 16
"""Watchers between two looks at the clock: some 0.2 ms of writes."""

BATCH_CHANGES = 64
"""Changes handed over before they are written: several for one watcher are then one write."""

MAX_QUEUED_CHANGES = 8192
"""Changes waiting for the fan-out. Above it the watchers read them from the history instead, each at its pace."""

MAX_BUFFERED_BYTES = 256 * 1024
"""What a client may leave untaken before it is slow. A burst of some thirty pods fits; what is above waits
in the history, which is there once for all. A TLS connection keeps as much for good once it was needed."""

RECENT_CHANGES = 256
"""Changes whose lines are kept for watchers that catch up: most are only a moment behind."""


class Standing(Enum):
    """The group that a watcher is in."""

    CATCHING_UP = "catching up"
    SYNCED = "synced"
    SLOW = "slow"
    ENDED = "ended"


class Hub:
    """The watchers of one resource's view."""

    def __init__(self, view: ResourceView, kept: Kept) -> None:
        """`kept` are the renderings of blocks, which initial events share with lists."""
        self.view = view
        self._kept = kept
        self.writer = EventWriter(view.gvr, lambda: view.meta, view.clock)
        self.watchers: dict[Watcher, None] = {}
        self._synced = Index()
        self._queue: deque[SharedChange] = deque()
        self._recent: dict[int, SharedChange] = {}
        self._departures: dict[tuple[Key, int, int], SharedChange] = {}
        self._handed = view.position
        self._epoch = view.epoch
        self._steps: Iterator[None] | None = None
        self._cancel = view.observe(self._changed, self._reset, self._described)

    def __repr__(self) -> str:
        queued, synced = len(self._queue), len(self._synced)
        return f"Hub({self.view.gvr}: {len(self.watchers)} watchers, {synced} synced, {queued} changes queued)"

    def close(self) -> None:
        """Follow the view no more. Its watchers must have left."""
        self._cancel()

    @property
    def began_anew(self) -> bool:
        """Whether the view starts over just now: its position is no sequel to any watcher's."""
        return self._epoch != self.view.epoch

    # --- the three groups -------------------------------------------------------------------------

    def enter(self, watcher: Watcher) -> None:
        """A new watcher, CATCHING_UP: it has yet to be given its beginning."""
        self.watchers[watcher] = None
        watcher.standing = Standing.CATCHING_UP

    def join(self, watcher: Watcher) -> None:
        """CATCHING_UP or SLOW → SYNCED: the watcher has seen all that the view has; from here on changes come to it.

        Changes that are still queued are older than its position, so it is not handed them again.
        """
        if watcher.position < self.view.position:
            raise AssertionError(f"{watcher!r} joins before it has seen everything up to {self.view.position}")
        watcher.standing = Standing.SYNCED
        self._synced.add(watcher)

    def fall_behind(self, watcher: Watcher) -> None:
        """SYNCED → SLOW: the client has too much before it, or the watcher needs bytes that must be read first.

        It wakes up, waits for its client, and goes on through the history.
        """
        self._leave_synced(watcher, Standing.SLOW)
        watcher.wake()

    def withdraw(self, watcher: Watcher) -> None:
        """SYNCED → CATCHING_UP: the watcher goes on from its position by itself, or ends."""
        self._leave_synced(watcher, Standing.CATCHING_UP)

    def leave(self, watcher: Watcher) -> None:
        """Any group → gone."""
        self._leave_synced(watcher, Standing.ENDED)
        self.watchers.pop(watcher, None)

    def _leave_synced(self, watcher: Watcher, standing: Standing) -> None:
        if watcher.standing is Standing.SYNCED:
            watcher.position = self.reached(watcher)
            self._synced.discard(watcher)
        watcher.standing = standing

    def reached(self, watcher: Watcher) -> int:
        """The RV up to which a synced watcher has been handed everything: a bookmark may say so."""
        if self.began_anew:
            return watcher.position
        if not self._queue:
            # Not the view's position: of a change that its observers are just told of the hub may yet have to hear.
            return max(watcher.position, self.view.told)
        return max(watcher.position, self._handed)

    def recent(self, change: Change) -> SharedChange:
        """The change with the lines already made of it, where it is a recent one."""
        shared = self._recent.get(change.rv)
        return shared if shared is not None and shared.change is change else SharedChange(change)

    def departure(self, record: Record, rv: int) -> SharedChange:
        """An object's leaving of scopes as of `rv`, with the lines already made of it: many may lose it at once."""
        key = (record.namespace, record.name), record.rv, rv
        shared = self._departures.get(key)
        if shared is None:
            shared = self._departures[key] = SharedChange(departure(record, rv))
            while len(self._departures) > RECENT_CHANGES:
                del self._departures[next(iter(self._departures))]
        return shared

    async def items(self, piece: Piece, form: ItemForm) -> list[tuple[Record, bytes]]:
        """The picked objects of a block, each with its text in this form.

        Raises:
            Gone: the bytes of one are nowhere any more.
            Unusable: one has no row for a Table.
        """
        view, shape = self.view, self.writer.shape
        records = piece.block.selected(piece.mask)
        if piece.whole:
            rendering = self._kept.rendering(piece.block, form)
            text = await rendering.at(view.clock(), piece.block, form, shape, view.with_bodies)
            self._kept.weigh(rendering)
        else:
            whole = await view.with_bodies(records) if form.needs_body else records
            text = render(whole, form, shape, view.clock())
        if text.tails is None:
            return list(zip(records, text.heads, strict=True))
        rows = (head + tail for head, tail in zip(text.heads, text.tails, strict=True))
        return list(zip(records, rows, strict=True))

    # --- fan-out ----------------------------------------------------------------------------------

    def _changed(self, change: Change) -> None:
        """The view's observer."""
        if self.began_anew:
            return  # no sequel to what the watchers were told: the reset that is on its way ends them with 410
        shared = SharedChange(change)
        self._recent[change.rv] = shared
        while len(self._recent) > RECENT_CHANGES:
            del self._recent[next(iter(self._recent))]
        if not len(self._synced) and not self._queue:
            return
        self._queue.append(shared)
        if len(self._queue) > MAX_QUEUED_CHANGES:
            self._overflow()
        elif self._steps is None:
            self._steps = self._fan_out()
            asyncio.get_running_loop().call_soon(self._turn)

    def _overflow(self) -> None:
        """More changes than can be handed over: the history has them all, so the watchers go there."""
        log.warning("%r falls behind: its watchers catch up from the history", self)
        for watcher in self._synced:
            self.fall_behind(watcher)
        self._queue.clear()

    def _reset(self) -> None:
        """The view lost touch with its past: nobody can be told what happened in between."""
        self._queue.clear()
        self._recent.clear()
        self._departures.clear()
        self._handed = self.view.position
        for watcher in list(self.watchers):
            watcher.expire()
        self._epoch = self.view.epoch

    def _described(self, before: Meta) -> None:
        """The columns stand at a Table's beginning alone, so a stream with other rows needs another beginning."""
        old, new = before.table, self.view.meta.table
        if old is None or new is None or old.given != new.given:
            for watcher in list(self.watchers):
                if watcher.form is not None and watcher.form.kind == "table":
                    watcher.stop()
                    if watcher.standing is Standing.SYNCED:
                        self.withdraw(watcher)

    def _turn(self) -> None:
        """One slice of the fan-out; the rest comes in the loop's next round."""
        if self._steps is None:
            return
        until = time.perf_counter() + SLICE_SECONDS
        try:
            for _ in self._steps:
                if time.perf_counter() >= until:
                    asyncio.get_running_loop().call_soon(self._turn)
                    return
        except Exception:
            # Without the fan-out nobody would hear anything any more: start it anew, from the history.
            log.exception("the fan-out of %r failed", self)
            self._overflow()
        self._steps = None

    def _fan_out(self) -> Iterator[None]:
        """Hand over what is queued, batch by batch; yields where others may take a turn."""
        while self._queue:
            batch = list(islice(self._queue, BATCH_CHANGES))
            told: dict[Group, Told] = {}
            for shared in batch:
                yield from self._sort(shared, told)
            for group, events in told.items():
                yield from self._hand_over(group, events)
            for shared in batch:
                # The queue was emptied meanwhile where the view was reset.
                if self._queue and self._queue[0] is shared:
                    self._queue.popleft()
                    self._handed = shared.change.rv

    def _sort(self, shared: SharedChange, told: dict[Group, Told]) -> Iterator[None]:
        """Note which groups the change is for. Who joins one later has seen it already."""
        change = shared.change
        for group in list(self._synced.candidates(change.old, change.new)):
            event = event_of(change, group.matches)
            if event is not None:
                told.setdefault(group, []).append((shared, event))
                yield

    def _hand_over(self, group: Group, events: Told) -> Iterator[None]:
        """Write the events to a group's members: joined once for all who get the same."""
        begin, end = events[0][0].change.rv, events[-1][0].change.rv
        joined: dict[Look, bytes] = {}
        synced = Standing.SYNCED  # an enumeration's members are found slowly
        for number, watcher in enumerate(list(group.members), 1):
            # The scope is looked at last, since that may take the watcher out of the group.
            if watcher.standing is synced and watcher.position < end and not watcher.scope_changed():
                look = watcher.shared_look
                if look is None or watcher.position >= begin:
                    self._hand_singly(watcher, events)
                else:
                    data = joined.get(look)
                    if data is None:
                        data = joined[look] = self._join(events, look)
                    if data:
                        watcher.hand(data, end)
                    else:
                        self._hand_singly(watcher, events)
            if number % STEP_WATCHERS == 0:
                yield
        yield

    def _join(self, events: Told, look: Look) -> bytes:
        """The events' bytes; none if one of them cannot be shown, which each watcher then finds out by itself."""
        try:
            parts = [shared.framed(self.writer, event, look, columns=False) for shared, event in events]
        except Exception as error:  # noqa: BLE001 - it is told where the event is handed over singly
            log.debug("%r does not join %d events: %r", self, len(events), error)
            return b""
        return b"".join(parts)

    def _hand_singly(self, watcher: Watcher, events: Told) -> None:
        """Event by event, to a watcher that has seen some of them or gets other bytes, or where one cannot be shown."""
        for shared, event in events:
            if watcher.standing is Standing.SYNCED and watcher.position < shared.change.rv:
                self._take(watcher, shared, event)
        watcher.flush()

    def _take(self, watcher: Watcher, shared: SharedChange, event: ObjectEvent) -> None:
        try:
            watcher.take(shared, event)
        except BodyGone:
            self.fall_behind(watcher)
        except Unusable as error:
            # The row of a Table that the cache gives no more, which it has yet to be told.
            log.info("%r ends: %s", watcher, error)
            watcher.stop()
            self.withdraw(watcher)
        except Exception as error:
            # One object that cannot be shown must not end in streams that silently lack it.
            log.exception("%r cannot show %s", watcher, shared.change.key)
            watcher.fail(status.internal(error))
            self.fall_behind(watcher)


class Watches:
    """All open watches of a replica: a hub for each resource that is watched."""

    def __init__(self) -> None:
        self._hubs: dict[int, Hub] = {}
        self._stopping = False
        self._empty = asyncio.Event()

    def __len__(self) -> int:
        return sum(len(hub.watchers) for hub in self._hubs.values())

    def counts(self) -> Iterator[tuple[tuple[str, str], int]]:
        """Open watches by resource and standing, for the metrics."""
        for hub in list(self._hubs.values()):
            by_standing: dict[str, int] = {}
            for watcher in hub.watchers:
                by_standing[watcher.standing.value] = by_standing.get(watcher.standing.value, 0) + 1
            for standing, count in by_standing.items():
                yield (str(hub.view.gvr), standing), count

    def enter(self, view: ResourceView, kept: Kept, make: Callable[[Hub], Watcher]) -> Watcher:
        """A new watcher of a view. It ends at once where the replica is about to stop."""
        hub = self._hubs.get(id(view))
        if hub is None:
            hub = self._hubs[id(view)] = Hub(view, kept)
        watcher = make(hub)
        hub.enter(watcher)
        self._empty.clear()
        if self._stopping:
            watcher.stop()
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """A watcher is over; a hub goes with its last one."""
        hub = watcher.hub
        hub.leave(watcher)
        if not hub.watchers:
            hub.close()
            self._hubs.pop(id(hub.view), None)
        if not self._hubs:
            self._empty.set()

    async def drain(self, seconds: float) -> None:
        """End every watch cleanly, each with a last bookmark, and wait for that at most so long."""
        self._stopping = True
        for hub in self._hubs.values():
            for watcher in list(hub.watchers):
                watcher.stop()
        if self._hubs:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
