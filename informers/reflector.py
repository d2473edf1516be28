"""Follows one resource: list once, then watch for ever, and say it to the store in upstream's order.

It holds the resource's lease while it runs (the worker renews it), so it alone writes. A worker that takes over
resumes the watch at the store's position; only where upstream has forgotten that (410) it lists again, and writes the
difference as events. Source: client-go tools/cache/reflector.go (the shape of the loop), v0.36.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import msgspec

from informers import metrics
from informers.backoff import Backoff
from informers.description import Cluster, Describer
from informers.extract import decode_head
from informers.lists import Lists
from informers.pulse import Pulse
from informers.sequence import Change, Letter, OutOfOrder, Sequencer
from informers.tenancy import Tenancy
from kube.client import UpstreamClient
from kube.list_watch import WATCH_SECONDS, list_pages
from kube.printed import Sent
from kube.resources import Resource
from kube.status import Expired, StatusError
from kube.upstream_error import UpstreamError, UpstreamUnreachable
from store.errors import Fenced, PositionMismatch, StoreError
from store.reader import Reader
from store.record import Record
from store.writer import Event, Writer

log = logging.getLogger("larder.informer")

HEARTBEAT_SECONDS = 1.0
"""Replicas take three missed ones for a loss."""
SHORT_SECONDS = 1.0
"""A watch that ends sooner, with nothing to tell, is a failure: it is not begun anew at once."""
PENDING_SECONDS = 10.0
"""So long deletions wait for an event that shows which versions are free; then a list does."""
STUCK_SECONDS = 60.0
"""After so long without a free version (nothing is written anywhere) all is stored anew without what is gone."""
PENDING_MOST = 5000
"""With more of them the same: more goes than anything else happens."""
PRINTED_TRIES = 3
"""So often in a row Tables may be refused; then the objects are asked for without their rows."""
_LETTERS: dict[str, Letter] = {"ADDED": "A", "MODIFIED": "M", "DELETED": "D"}


class _WentBack(Exception):
    """Upstream was restored to before the store's position: a watch from there could wait for ever in silence."""


class Reflector:
    """One resource's way into the store. `run` ends only by cancellation or when the lease was lost (Fenced).

    `synced` is set while the store holds the resource; `watching` while a watch is open.
    """

    def __init__(
        self,
        resource: Resource,
        *,
        custom: bool,
        client: UpstreamClient,
        reader: Reader,
        writer: Writer,
        cluster: Cluster,
        tenancy: Tenancy,
        pulse: Pulse,
    ) -> None:
        self.resource = resource
        self.gvr = resource.gvr
        self.watching = False
        self.synced = asyncio.Event()
        self._client = client
        self._reader = reader
        self._writer = writer
        self._tenancy = tenancy
        self._pulse = pulse
        self._writing = asyncio.Lock()
        self.describer = Describer(
            resource, custom=custom, client=client, reader=reader, writer=writer, writing=self._writing,
            cluster=cluster, shard=self._shard, reopen=self._reopen,
        )  # fmt: skip
        self._lists = Lists(
            self.gvr, reader=reader, writer=writer, writing=self._writing, describer=self.describer,
            shard=self._shard,
        )  # fmt: skip
        self._sequencer = Sequencer(self._shard)
        self._waiting = 0
        self._waiting_since = 0.0
        self._listed_for_pending = 0.0
        self._in_touch = time.monotonic()
        self._suspicious = True
        """Whether upstream may have gone back in time since it was last heard."""
        self._must_list = False
        self._must_load = False
        self._backoff = Backoff()
        self._refused = 0
        """Failures in a row that may lie in the form that was asked for."""
        self._patient: asyncio.Timeout | None = None
        """While the watch is waited for."""
        self._name = str(self.gvr)

    async def run(self) -> None:
        """Follow the resource until cancelled.

        Raises:
            Fenced: another worker has the lease now.
            ExceptionGroup: of it, when it was noticed in the background.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat(), name=f"heartbeat {self.gvr}")
            await self._follow_for_ever(group)

    async def move(self, namespace: str, shard: str) -> None:
        """The namespace belongs to another tenant now.

        Raises:
            StoreError
        """
        if self.resource.namespaced and self.synced.is_set():
            async with self._writing:
                moved = await self._writer.move(namespace, shard)
            if moved:
                log.info("%s: moved %d objects of namespace %s to shard %s", self.gvr, moved, namespace, shard)

    async def forget(self, namespace: str) -> None:
        """The namespace is gone.

        Raises:
            StoreError
        """
        if self.resource.namespaced and self.synced.is_set():
            async with self._writing:
                await self._writer.forget(namespace)

    # --- the loop -------------------------------------------------------------------------------------------

    async def _follow_for_ever(self, group: asyncio.TaskGroup) -> None:
        described: asyncio.Task[None] | None = None
        expired = 0
        while True:
            begun = time.monotonic()
            try:
                await self._prepare()
                if described is None:
                    described = group.create_task(self.describer.run(), name=f"describe {self.gvr}")
                if await self._watch():
                    self._backoff.reset()
                    expired = self._refused = 0
                    continue  # upstream ended the watch in its time: the next one follows at once
                problem = "the watch ended at once"
                self._refuse(problem)
            except Expired as error:
                self._must_list = self._suspicious = True
                expired += 1
                if expired == 1:
                    log.info("%s: %s", self.gvr, error)
                    continue
                problem = f"again: {error}"
            except _WentBack as error:
                problem, self._must_load = f"{error}: it was restored, and all is stored anew", True
            except OutOfOrder as error:
                problem, self._must_list = str(error), True
            except (StatusError, UpstreamError) as error:
                problem = self._refuse(error)
            except Fenced:
                raise
            except PositionMismatch as mismatch:
                problem = f"the store is at {mismatch.position}, not where this worker left it"
            except StoreError as error:
                problem = str(error)
            finally:
                self.watching = False
            # While no watch is open, whatever ended it, upstream may be restored and nobody sees that.
            self._suspicious = True
            await self._rest(problem, begun)

    async def _rest(self, problem: str, begun: float) -> None:
        """Wait after what was begun then has failed."""
        metrics.failures.labels(self._name).inc()
        pause = self._backoff.next()
        log.warning("%s: %s; again in %.1f s", self.gvr, problem, pause)
        if await self._pulse.rest(pause, begun):
            self._backoff.reset()

    async def _prepare(self) -> None:
        """Have the resource in the store, described, and the writer at the store's position."""
        async with self._writing:
            meta = await self._writer.resume()
        if self.describer.current is None:
            silent = (await self._reader.now_ms() - meta.fresh_ms) / 1000 if meta.readable else 0.0
            self._in_touch = time.monotonic() - max(0.0, silent)
            await self.describer.begin(meta)
            self._must_list |= meta.readable and meta.unsettled
        if not meta.readable or self._must_load or self._stuck():
            self.synced.clear()
            await self._lists.load()
            self._must_load = False
            self._sequencer.begin(())
            self._in_touch = time.monotonic()
        elif self._must_list:
            self.synced.set()
            self._sequencer.begin(await self._lists.tell_difference("expired"))
            self._in_touch = time.monotonic()
        else:
            # What is stored can be served, with its age, also while upstream cannot be asked.
            self.synced.set()
            await self.describer.say()
        self.synced.set()
        self._must_list = False
        await self._settle()
        await self._reconcile_places()

    def _refuse(self, problem: str | StatusError | UpstreamError) -> str:
        """Upstream did not do as it was asked. If that may be for the rows' sake, the objects are worth more.

        Returned is what is to be said of it.
        """
        text = str(problem) or type(problem).__name__
        if not isinstance(problem, UpstreamUnreachable):
            self._refused += 1
        if self._refused >= PRINTED_TRIES and self.describer.asking.printed:
            self._refused = 0
            self.describer.give_up_rows(text)
        return text

    def _reopen(self) -> None:
        """The describer wants the objects in another form: the watch ends, and begins anew where the store is."""
        if self._patient is not None and not self._patient.expired():
            self._patient.reschedule(asyncio.get_running_loop().time())

    async def _check_past(self) -> None:
        """Ask how far upstream is, once it has accepted the watch: what happens to it later breaks the watch.

        Raises:
            _WentBack: not as far as the store.
        """
        position = self._writer.position
        if await self._pulse.newest(position) < position:
            # Resources may have a storage of their own: only their own list knows.
            async with aclosing(list_pages(self._client, self.gvr, limit=1, cause="newest")) as pages:
                newest = (await anext(pages)).rv
            if newest < position:
                raise _WentBack(f"upstream is at {newest}, before the store's {position}")
        self._suspicious = False

    async def _watch(self) -> bool:
        """One watch, to its end; whether it was a good one."""
        begun, told = time.monotonic(), False
        seconds = random.randint(*WATCH_SECONDS)  # noqa: S311 (spreads load)
        form = self.describer.asking.form
        async with aclosing(self.describer.asking.watch(self._writer.position, seconds)) as batches:
            while form == self.describer.asking.form:
                try:
                    batch = await self._next(batches)
                except StopAsyncIteration:
                    lasted = time.monotonic() - begun
                    # Upstream shuts down like this, also to be restored.
                    self._suspicious |= lasted < seconds - 1
                    return told or lasted > SHORT_SECONDS
                except TimeoutError:
                    if form == self.describer.asking.form:
                        self._must_list, self._listed_for_pending = True, time.monotonic()
                    return True
                if self._suspicious:
                    await self._check_past()
                self.watching = True
                self.describer.asking.watched(form)
                self._in_touch = time.monotonic()
                if batch:
                    await self._take_in(batch)
                    told = True
                    # However this watch ends: it was no failure, and bookmarks come each minute.
                    self._backoff.reset()
                    metrics.apply_seconds.observe(time.monotonic() - self._in_touch)
        return True

    async def _next(self, batches: AsyncIterator[Sequence[tuple[str, Sent]]]) -> Sequence[tuple[str, Sent]]:
        """What the watch brings next.

        Raises:
            TimeoutError: nothing, for as long as it is waited for; or another form is wanted.
            StopAsyncIteration: upstream has ended it.
        """
        try:
            async with asyncio.timeout(self._patience()) as self._patient:
                return await anext(batches)
        finally:
            self._patient = None

    def _patience(self) -> float | None:
        """For how long the watch may bring nothing: until deletions that wait for a version need a list."""
        if not self._sequencer.pending:
            return None
        if self._stuck():
            return 0.0
        return max(0.0, max(self._waiting_since, self._listed_for_pending) + PENDING_SECONDS - time.monotonic())

    def _stuck(self) -> bool:
        """Whether deletions have waited in vain for too long."""
        waiting = len(self._sequencer.pending)
        return waiting > PENDING_MOST or (waiting > 0 and time.monotonic() - self._waiting_since > STUCK_SECONDS)

    # --- events ---------------------------------------------------------------------------------------------

    async def _take_in(self, batch: Sequence[tuple[str, Sent]]) -> None:
        """One batch of watch events: all that came in one read, so many are written in one round trip."""
        changes: list[Change] = []
        for kind, body in batch:
            if kind == "BOOKMARK":
                await self._write(changes)
                changes = []
                assert isinstance(body, bytes), "bookmarks are no rows"
                await self._advance(_version(body))
                await self.describer.bookmarked(body)
            elif letter := _LETTERS.get(kind):
                record = self.describer.record(body)
                if record is not None:
                    changes.append((letter, record))
            else:
                log.warning("%s: an event of unknown type %s is left out", self.gvr, kind)
        await self._write(changes)

    async def _write(self, changes: list[Change]) -> None:
        if not changes:
            return
        events = self._sequencer.events(self._writer.position, changes)
        if self._sequencer.pending:
            # Before the position says that they are told: whoever takes over from here has to know.
            await self._settle()
        await self._apply(events)
        if not self._sequencer.pending:
            await self._settle()

    async def _advance(self, version: int) -> None:
        """A bookmark: nothing else has happened up to `version`."""
        if version <= self._writer.position:
            if version < self._writer.position:
                raise OutOfOrder(f"a bookmark at {version} came after {self._writer.position}")
            return
        await self._apply(self._sequencer.until(self._writer.position, version))
        if version > self._writer.position:
            async with self._writing:
                await self._writer.advance(version)
        metrics.position.labels(self._name).set(version)
        await self._settle()

    async def _apply(self, events: list[Event]) -> None:
        if not events:
            return
        try:
            async with self._writing:
                await self._writer.apply_many(events)
        except StoreError:
            # Upstream sends again what is not in the store, but for deletions that had waited.
            self._must_list |= self.describer.current is not None and self.describer.current.unsettled
            raise
        metrics.events.labels(self._name).inc(len(events))
        metrics.position.labels(self._name).set(self._writer.position)

    async def _settle(self) -> None:
        """Keep account of deletions that are still to be told."""
        waiting = len(self._sequencer.pending)
        if waiting != self._waiting:
            self._waiting, self._waiting_since = waiting, time.monotonic()
        metrics.pending.labels(self._name).set(waiting)
        await self.describer.settle(unsettled=bool(waiting))

    # --- beside -----------------------------------------------------------------------------------------------

    def _shard(self, record: Record) -> str:
        if record.namespace:
            return self._tenancy.shard(record.namespace)
        return self._tenancy.of_labels(record.labels)

    async def _reconcile_places(self) -> None:
        """Namespaces that changed their tenant while nobody looked."""
        if not self.resource.namespaced:
            return
        places = await self._reader.places(self.gvr)
        for namespace, (_, shard) in places.places.items():
            wanted = self._tenancy.shard(namespace)
            if wanted != shard:
                await self.move(namespace, wanted)

    @property
    def silent_seconds(self) -> float:
        """For how long nothing is known of this resource: since upstream last answered, if its watch is open."""
        return self._pulse.silent_seconds if self.watching else time.monotonic() - self._in_touch

    async def _beat(self) -> None:
        # Resources are taken up at the same time: hearts that beat together would hold up events once a second.
        await asyncio.sleep(random.uniform(0, HEARTBEAT_SECONDS))  # noqa: S311
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            silent = self.silent_seconds
            metrics.silence.labels(self._name).set(silent)
            if not self.synced.is_set():
                continue
            try:
                async with self._writing:
                    await self._writer.heartbeat(silent)
            except Fenced:
                raise
            except StoreError as error:
                log.warning("%s: no heartbeat: %s", self.gvr, error)


def _version(bookmark: bytes) -> int:
    """The version of a bookmark, which a Table has in the same place.

    Raises:
        OutOfOrder: it has none.
    """
    try:
        return int(decode_head(bookmark).metadata.version)
    except (msgspec.DecodeError, ValueError):
        raise OutOfOrder(f"a bookmark without a version: {bookmark[:200]!r}") from None
