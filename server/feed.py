"""Keeps one view current: events in the order of positions, whatever the messages do on their way.

Live, each message is applied as it comes. A message that does not follow the view's position, or the
subscriber's word that something was lost, is a gap: then messages are held back, the log is read, and
what was held back follows. Where the log does not reach back far enough, or the resource has begun
anew, the view starts over, and its observers are told.

Messages are held back, too, while a new description is read, since what follows it was made by it. Refreshes of
records are in no log: where some were lost, the held shards are read again.

Invariant: an event reaches the view exactly once, and in order, or the view starts over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from kube import tasks
from kube.status import TooLargeResourceVersion
from server.hydration import Hydration, Outdated
from server.pause import Pause
from server.refreshes import Refreshes
from server.store_reads import StoreReads
from server.view import Unusable
from store.entry import Entry, parse_message
from store.errors import NotSynced, StoreError
from store.feed import FeedMessage, parse

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine
    from typing import Any

    from server.view import ResourceView
    from store.keys import ResourceKeys
    from store.meta import Meta
    from store.reader import LogPage, Reader
    from store.record import Record
    from store.subscriber import Subscriber

log = logging.getLogger(__name__)

HELD_BACK_MOST = 50_000
"""Messages that wait while the log is read; with more they are let go, and the log is read once more."""

HYDRATIONS_AT_ONCE = 8
"""Of one resource: each holds a shard's objects twice for a moment."""

HYDRATION_SECONDS = 120.0
"""How long reading a shard may take: 100,000 objects need some ten seconds."""

_RETRY_SECONDS = 0.25


class Feed(StoreReads):
    """The source of one view (`server.view.Source`)."""

    def __init__(self, view: ResourceView, reader: Reader, subscriber: Subscriber, keys: ResourceKeys) -> None:
        super().__init__(view, reader)
        self.moves = 0
        self.resyncs = 0
        self._subscriber = subscriber
        self._keys = keys
        self._subscribed: set[str] = set()
        self._arrived: dict[int, Entry] = {}
        """Entries from shard channels whose message on the feed has not come yet, by RV."""
        self._held_back: deque[FeedMessage] = deque()
        self._refreshed: list[Record] = []
        self._refreshes = Refreshes(view, reader)
        self._log_due = False
        self._meta_due = False
        self._hydrations: dict[frozenset[str], tuple[Hydration, asyncio.Task[None]]] = {}
        self._scattered = False
        """Namespaces have moved while messages were lost."""
        self._catching_up: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._hydrating = asyncio.Semaphore(HYDRATIONS_AT_ONCE)
        self._lost_shards: set[str] = set()
        self._lost_everything = False
        """What was held before the view started over, and is to be held again for those who follow it."""
        self._closed = False

    @property
    def live(self) -> bool:
        """Whether messages are applied as they come."""
        return self._catching_up is None

    def shard_of(self, channel: str) -> str | None:
        """The shard whose channel this is; None if it is another resource's."""
        return self._keys.shard_of_channel(channel)

    async def start(self) -> None:
        """Begin to follow the resource: nothing is held yet.

        Raises:
            StoreUnavailable
        """
        await self._subscriber.subscribe(self._keys.feed)
        await self._start_over()

    async def close(self) -> None:
        """Stop everything; the view answers no more."""
        self._closed = True
        self.view.source = None
        running = [task for _, task in self._hydrations.values()]
        running += [*self._tasks, *([self._catching_up] if self._catching_up is not None else [])]
        await tasks.end(*running)
        await self._subscriber.unsubscribe(self._keys.feed, *map(self._keys.shard_channel, self._subscribed))

    # --- messages -----------------------------------------------------------------------------------

    def on_shard(self, shard: str, data: bytes) -> None:
        """A message on a shard's channel: it is kept until the feed says where it belongs."""
        try:
            entry = parse_message(data, shard)
        except (ValueError, msgspec.DecodeError) as error:
            log.warning("unreadable message on shard %s of %s: %s", shard, self.view.gvr, error)
            self.lost()
            return
        if entry.type == "R":
            self._refresh(entry)
            return
        if len(self._arrived) >= HELD_BACK_MOST:
            self.lost()
            return
        self._arrived[entry.rv] = entry

    def on_feed(self, data: bytes) -> None:
        """A message on the resource's feed."""
        try:
            message = parse(data)
        except ValueError as error:
            log.warning("unreadable message on the feed of %s: %s", self.view.gvr, error)
            self.lost()
            return
        self.view.heard = asyncio.get_running_loop().time()
        self.reachable()
        if not self.live:
            if len(self._held_back) >= HELD_BACK_MOST:
                self.lost()
            self._held_back.append(message)
        elif not self._take(message):
            self.lost()
        elif self._meta_due:
            self._begin_catching_up()

    def lost(self) -> None:
        """Messages were lost, or one has a fault: the log says what happened."""
        self._arrived.clear()
        self._held_back.clear()
        self._refreshed.clear()
        for hydration, _ in self._hydrations.values():
            hydration.lost()
        self._log_due = self._meta_due = self._refreshes.lost = True
        if self._catching_up is None and not self._closed:
            self.resyncs += 1
            self._begin_catching_up()

    def _begin_catching_up(self) -> None:
        self._catching_up = asyncio.create_task(self._catch_up(), name=f"catch-up {self.view.gvr}")

    def _take(self, message: FeedMessage) -> bool:
        """Let a message happen; False if it shows a gap."""
        view, what = self.view, message.what
        if what == "x":
            self._meta_due = True
            return True
        if what == "p":
            return message.position <= view.position and self._place(message)
        if message.position <= view.position and what in ("e", "b"):
            self._arrived.pop(message.position, None)
            return True
        if what in ("h", "r"):
            view.fresh_ms = max(view.fresh_ms, message.fresh_ms)
            self._meta_due |= self._refreshes.tell(message.refreshes)
            return message.position <= view.position
        if message.before != view.position:
            return False
        if what == "b":
            view.advance(message.position)
            return True
        return self._event(message)

    def _event(self, message: FeedMessage) -> bool:
        view, shards = self.view, (message.shard, message.old_shard)
        entry = self._arrived.pop(message.position, None)
        for hydration, _ in self._hydrations.values():
            if entry is not None and not hydration.shards.isdisjoint(shards):
                hydration.take(entry)
        if view.heard_of(message.shard):
            return False
        if message.shard not in view.shards:
            view.advance(message.position)
            return True
        if entry is None:
            return False
        view.apply(entry, message.shard)
        return True

    def _place(self, message: FeedMessage) -> bool:
        """A place has another shard, is new, or is gone. False if a shard must be followed that was not."""
        if message.old_shard:
            if message.moves <= self.moves:
                return True
            self.moves = message.moves
        elif message.place in self.view.places:
            return True
        return not self.view.moved(message.place, message.old_shard, message.shard)

    def _refresh(self, entry: Entry) -> None:
        for hydration, _ in self._hydrations.values():
            if entry.shard in hydration.shards:
                hydration.take(entry)
        if self.live:
            self.view.refresh(entry.record)
        elif len(self._refreshed) < HELD_BACK_MOST:
            self._refreshed.append(entry.record)
        else:
            self._refreshes.lost = True

    # --- after a gap ----------------------------------------------------------------------------------

    async def _catch_up(self) -> None:
        """Read what is due, up to where the store is, then let happen what was held back."""
        try:
            while True:
                try:
                    await self._read_due()
                except StoreError as error:
                    log.warning("%s cannot catch up: %s", self.view.gvr, error)
                    self._log_due = self._meta_due = True
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                if not self._due and self._release():
                    return
        finally:
            self._catching_up = None

    @property
    def _due(self) -> bool:
        """Whether something must be read before the view goes on."""
        return self._log_due or self._meta_due or self._refreshes.lost

    async def _read_due(self) -> None:
        """The description first, so that nothing is shown in another's form; then the log; then lost refreshes.

        Raises:
            StoreError
        """
        try:
            if self._meta_due:
                self._meta_due = False
                await self._read_meta()
            if self._log_due:
                self._log_due = False
                await self._read_log()
            if self._refreshes.lost:
                self._meta_due |= await self._refreshes.read_lost()
        except NotSynced:
            await self._start_over()

    def _release(self) -> bool:
        """Apply what was held back; False if something must be read first: that shows another gap, or a description."""
        while self._held_back:
            if not self._take(self._held_back.popleft()):
                self._held_back.clear()
                self._log_due = True
                return False
            if self._meta_due:
                self._release_refreshed()
                return False
        self._release_refreshed()
        self._refreshed.clear()
        return not self._due

    def _release_refreshed(self) -> None:
        """Apply the refreshes of what the view has come to."""
        for record in self._refreshed:
            self.view.refresh(record)
        self._refreshed = [record for record in self._refreshed if record.rv > self.view.position]

    async def _read_log(self) -> None:
        """Bring the view from its position to the store's.

        Raises:
            NotSynced, StoreError
        """
        view, pause = self.view, Pause()
        while True:
            await self._follow(view.shards)
            page = await self._log_page()
            if self._new_beginning(page):
                await self._start_over()
                return
            view.away_since = None
            for entry in page.entries:
                self._catch_entry(entry)
                if pause.due:
                    await pause()
            if not page.more:
                view.advance(page.position)
                self._scattered = False
                if not await self._unfollowed():
                    return

    def _new_beginning(self, page: LogPage) -> bool:
        """Whether the log does not go on from where the view is."""
        view = self.view
        readable = page.state in ("synced", "stale")
        return page.incarnation != view.incarnation or page.floor > view.position or not readable

    async def _log_page(self) -> LogPage:
        """The next page of the log, with the places known as they are there.

        A namespace that has moved meanwhile, perhaps more than once, can have events in any shard: then the page
        is of all.
        """
        view = self.view
        while True:
            places = await self._reader.places(view.gvr)
            if places.incarnation == view.incarnation:
                self._scattered = self._scattered or places.moves != self.moves
                self._learn(places.places, places.moves)
            await self._follow(view.shards)
            shards = None
            if not view.holds_all and not self._scattered:
                # Without any shard nothing happens that matters: one that may not exist gives the position.
                shards = {*view.shards, *(shard for hydrating in self._hydrations for shard in hydrating)} or {"-"}
            page = await self._reader.log(view.gvr, shards, view.position)
            if page.moves == self.moves or page.incarnation != view.incarnation:
                return page

    def _learn(self, places: dict[str, tuple[int, str]], moves: int) -> None:
        """Take over the places as the store has them, as moves of those that differ."""
        view = self.view
        self.moves = max(self.moves, moves)
        if not view.meta.namespaced:
            for _, shard in places.values():
                view.heard_of(shard)
            return
        for place, (since, shard) in places.items():
            _, before = view.places.get(place, (0, ""))
            if before != shard:
                view.moved(place, before, shard)
            view.places[place] = (since, shard)
        for place in view.places.keys() - places.keys():
            view.moved(place, view.places[place][1], "")

    def _catch_entry(self, entry: Entry) -> None:
        for hydration, _ in self._hydrations.values():
            if entry.shard in hydration.shards:
                hydration.take(entry)
        view = self.view
        if entry.rv > view.position:
            shard = entry.shard
            view.heard_of(shard)
            if self._scattered and view.meta.namespaced:
                # Where the namespace is now says whether the view has it.
                _, shard = view.places.get(entry.record.namespace, (0, shard))
            view.apply(entry, shard)

    async def _unfollowed(self) -> bool:
        """Whether the log had shards whose messages do not come yet: then they are asked for, and it is read on."""
        if self.view.shards.keys() <= self._subscribed:
            return False
        await self._follow(self.view.shards)
        return True

    async def _follow(self, shards: Collection[str]) -> None:
        """Have the messages of these shards come."""
        fresh = [shard for shard in shards if shard not in self._subscribed]
        if fresh:
            await self._subscriber.subscribe(*map(self._keys.shard_channel, fresh))
            self._subscribed.update(fresh)

    # --- starting over ----------------------------------------------------------------------------------

    async def _start_over(self) -> None:
        """Begin at the store's position with nothing held; then bring back what was held, if someone follows it.

        Raises:
            StoreError
        """
        view = self.view
        self._scattered = False
        while True:
            meta = await self._reader.meta(view.gvr)
            if not meta.readable:
                self._nothing_there(meta)
                return
            places = await self._reader.places(view.gvr)
            shards = await self._reader.shards(view.gvr)
            if places.incarnation == meta.incarnation:
                break
        self.moves = places.moves
        self._refreshes.begin(meta)
        self._meta_due = False
        self._lost_shards |= view.shards.keys()
        self._lost_everything |= view.holds_all
        view.begin_anew(msgspec.structs.replace(meta, position=places.position), places.places, shards)
        if view.observed or view.pinned:
            self._background(self._restore(), "restore")

    def _nothing_there(self, meta: Meta) -> None:
        """The store has not loaded the resource: what is in memory is the best there is."""
        if self.view.usable:
            self.view.lose()
        else:
            self.view.begin_anew(meta, {}, ())

    async def _restore(self) -> None:
        """Hydrate again what was held, and tell those who follow that they must start over."""
        view = self.view
        while True:
            try:
                if self._lost_everything or view.pinned:
                    await view.ensure()
                elif view.meta.namespaced:
                    await asyncio.gather(*(self.hydrate(shard) for shard in self._lost_shards & view.known_shards))
            except (Unusable, StoreError) as error:
                log.warning("%s cannot be read again: %s", view.gvr, error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self._lost_shards, self._lost_everything = set(), False
            view.tell_reset()
            return

    async def _read_meta(self) -> None:
        """State, incarnation or description may have changed.

        Raises:
            StoreError
        """
        view = self.view
        meta = await self._reader.meta(view.gvr)
        if meta.incarnation != view.incarnation or meta.readable != view.usable or view.away_since is not None:
            self._log_due = True
            return
        self._refreshes.describe(meta)

    def _background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=f"{name} {self.view.gvr}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drop(self, shard: str) -> None:
        """Let a shard go: it is hydrated anew when it is next asked for."""
        gone = {shard} if self.view.meta.namespaced else set(self.view.shards)
        self.view.drop(shard)
        gone &= self._subscribed
        self._subscribed -= gone
        await self._subscriber.unsubscribe(*map(self._keys.shard_channel, gone))

    # --- what the view asks for -------------------------------------------------------------------------

    async def hydrate(self, shard: str | None) -> None:
        """Read a shard, or all of a cluster-scoped resource, into the view.

        Raises:
            Unusable: the store cannot be read, or the resource is not synced.
        """
        shards = frozenset((shard,)) if shard is not None else frozenset(self.view.known_shards)
        running = self._hydrations.get(shards)
        if running is None:
            hydration = Hydration(self._reader, self.view.gvr, shards)
            task = asyncio.create_task(self._hydrate(hydration), name=f"hydrate {self.view.gvr}")
            running = self._hydrations[shards] = (hydration, task)
            task.add_done_callback(lambda _: self._hydrations.pop(shards, None))
        try:
            await asyncio.shield(running[1])
        except (StoreError, TimeoutError, TooLargeResourceVersion) as error:
            raise Unusable(f"{self.view.gvr} cannot be read: {error}") from error
        except asyncio.CancelledError:
            if running[1].cancelled():
                raise Unusable(f"{self.view.gvr} is closed") from None
            raise

    async def _hydrate(self, hydration: Hydration) -> None:
        view = self.view
        async with self._hydrating, asyncio.timeout(HYDRATION_SECONDS):
            await self._follow(hydration.shards)
            while True:
                incarnation = view.incarnation
                try:
                    await hydration.read()
                    spaces = await hydration.spaces()
                    await view.reach(hydration.position, HYDRATION_SECONDS)
                except Outdated:
                    await asyncio.sleep(0.01)
                    continue
                if not view.meta.namespaced and hydration.shards != view.known_shards:
                    return  # A shard has come up meanwhile: whoever wants everything asks again.
                await self._when_live()
                same = view.incarnation == incarnation and self.moves == hydration.moves
                if same and view.position >= hydration.position and hydration.complete(spaces):
                    view.adopt(hydration.shards, spaces)
                    if hydration.lossy:
                        self._refreshes.lost = True
                        self._begin_catching_up()
                    return
                await asyncio.sleep(0.01)

    async def _when_live(self) -> None:
        while self._catching_up is not None:
            await asyncio.wait((self._catching_up,))
