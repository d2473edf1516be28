"""One open watch: its beginning, its way through the history, and its waiting for live changes.

The story of a stream is `Watcher.run`. Live changes do not pass through here: the hub writes them
(`take`, `flush`) and wakes the watcher when something else is to be done.

Invariant: from the moment that `control` knows of another scope, nothing is shown of an object outside it but the
state that the user has seen of it, or was to see by then.
"""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kube import status
from kube.status import StatusError
from server.gate import Gate
from server.hub import MAX_BUFFERED_BYTES, Standing
from server.matching import Selectors
from server.pause import Pause
from server.scope import NOTHING, Scope
from server.snapshot import Piece, Snapshot, narrowed, pick, rewind, take
from server.view import Gone, Unusable
from server.watch_events import BodyGone, error_line, event_of, look_of
from server.watch_stream import frame

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from server.history import Change
    from server.hub import Hub
    from server.objects import ItemForm
    from server.watch_events import ObjectEvent, SharedChange
    from server.watch_index import Selection
    from server.watch_start import StartPlan
    from server.watch_stream import WatchStream
    from store.record import Record

log = logging.getLogger(__name__)

BOOKMARK_SECONDS = 60.0
"""Between two bookmarks of one watch: upstream's period."""

BOOKMARK_BEFORE_END_SECONDS = 2.0
"""How long before its deadline a watch gets one more, so that the next one begins where this one ends."""

UNREADABLE_SECONDS, UNREADABLE_PAUSE_SECONDS = 15.0, 0.25
"""How long a watch waits for a store that cannot be read, and between two attempts; then it ends cleanly.
Clients list anew after an error, and after a stream that was empty and shorter than a second."""

WRITE_BYTES = 16 * 1024
"""Bytes collected for one write while the history or the initial events are sent: one TLS record.
A TLS connection keeps a buffer as big as the biggest write it has seen."""


class _Over(Exception):
    """The stream ends here, cleanly."""


class _Unchanged:
    """The scope is what it was."""


_UNCHANGED = _Unchanged()


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a watch lasts, by the event loop's clock; `bookmarks`: whether the client asked for any."""

    deadline: float
    bookmarks: bool

    def next_bookmark(self, now: float) -> float:
        """When the next periodic bookmark is due, seen from the beginning or the last one; infinite: never.

        >>> minutes = Lifetime(300.0, bookmarks=True)
        >>> minutes.next_bookmark(0.0), minutes.next_bookmark(240.0), minutes.next_bookmark(298.0)
        (60.0, 298.0, inf)
        """
        due = min(now + BOOKMARK_SECONDS, self.deadline - BOOKMARK_BEFORE_END_SECONDS)
        return due if self.bookmarks and due > now else math.inf


class Watcher:
    """See the module. `form` is None for a list of metadata: such a stream ends where it would show something.

    `position`: everything up to this RV was handed to the stream, or is older than its beginning.
    """

    __slots__ = (
        "_due",
        "_fault",
        "_forget_namespaces",
        "_out",
        "_out_bytes",
        "_rung",
        "_scope",
        "_start_rv",
        "_stopped",
        "_woken",
        "form",
        "hub",
        "lifetime",
        "look",
        "position",
        "selection",
        "settle",
        "shared_look",
        "standing",
        "stream",
    )

    def __init__(
        self, hub: Hub, selection: Selection, form: ItemForm | None, stream: WatchStream, lifetime: Lifetime
    ) -> None:
        self.hub = hub
        self.selection = selection
        self.form = form
        self.stream = stream
        self.lifetime = lifetime
        self.position = 0
        self.standing = Standing.CATCHING_UP
        self._start_rv = 0
        self.look = look_of(form, stream.framing) if form is not None else None
        self.shared_look = None if form is not None and form.kind == "table" else self.look
        """None while it is to be written other bytes than others of its look: a Table's first event has the columns."""
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._due = math.inf
        self._rung = False
        self._woken = Gate()
        self._scope: Scope | _Unchanged | None = _UNCHANGED
        self.settle: Callable[[], None] = _nothing
        """Have `rescope` called now, if word of another scope is still on its way."""
        self._fault: Exception | None = None
        self._forget_namespaces: Callable[[], None] = _nothing
        self._stopped = False

    def __repr__(self) -> str:
        return f"Watcher({self.hub.view.gvr}, {self.standing.value} at {self.position})"

    # --- what others tell it ----------------------------------------------------------------------

    def wake(self) -> None:
        """There is something to do."""
        self._woken.set()

    def _ring(self) -> None:
        """A bookmark is due. Not told by the clock, since a loop may call a little early."""
        self._rung = True
        self.wake()

    def stop(self) -> None:
        """End cleanly, soon."""
        self._stopped = True
        self.wake()

    def expire(self) -> None:
        """End with 410: what happened in between cannot be told."""
        self.fail(Gone(self.position, self.hub.view.position))

    def fail(self, fault: Exception) -> None:
        """End with an ERROR."""
        self._fault = fault
        self.wake()

    def rescope(self, scope: Scope | None) -> None:
        """What the user may read has become another; None: nothing, the watch ends. No live change comes any more."""
        self._scope = scope
        if self.standing is Standing.SYNCED:
            self.hub.withdraw(self)
        self.wake()

    def scope_changed(self) -> bool:
        """Whether the scope has become another, so that nothing may be shown by the one of the selection."""
        self.settle()
        return self._scope is not _UNCHANGED

    def take(self, shared: SharedChange, event: ObjectEvent) -> None:
        """A change, to be written at the next `flush`.

        Raises:
            BodyGone: the bytes to show must be read from the store first.
            ValueError: the object cannot be shown in this form.
        """
        if self.look is None:
            self.stop()
            return
        data = shared.framed(self.hub.writer, event, self.look, columns=self._columns_due)
        self._out.append(data)
        self._out_bytes += len(data)
        self.shared_look = self.look
        self.position = shared.change.rv

    def hand(self, data: bytes, rv: int) -> None:
        """The changes up to `rv`, framed as its `shared_look` has them, to be written at once."""
        self.position = rv
        if self._out:
            self._out.append(data)
            self.flush()
            return
        stream = self.stream
        stream.write(data)
        if stream.crowded and stream.buffered() > MAX_BUFFERED_BYTES:
            self.hub.fall_behind(self)

    def flush(self) -> None:
        """Write what was taken; a client that has too much before it is slow from now on."""
        if self._out:
            self.stream.write(b"".join(self._out) if len(self._out) > 1 else self._out[0])
            self._out.clear()
            self._out_bytes = 0
        crowded = self.standing is Standing.SYNCED and self.stream.crowded
        if crowded and self.stream.buffered() > MAX_BUFFERED_BYTES:
            self.hub.fall_behind(self)

    # --- its life ---------------------------------------------------------------------------------

    async def run(self, plan: StartPlan) -> None:
        """Everything between the stream's first byte and its end, which is the caller's to write.

        Raises:
            Stalled: the client took nothing for too long.
        """
        now = asyncio.get_running_loop().time()
        if self.lifetime.deadline <= now:
            return
        self._due = self.lifetime.next_bookmark(now)
        try:
            async with asyncio.timeout_at(self.lifetime.deadline) as limit:
                await self._begin(plan)
                while True:
                    await self._change_scope()
                    await self._catch_up()
                    await self._stay()
                    await self.stream.drained()
        except TimeoutError:
            if not limit.expired():
                raise
        except _Over:
            pass
        except Gone as gone:
            self._add(error_line(status.expired_watch(gone.rv, gone.floor)))
        except StatusError as error:
            self._add(error_line(error))
        except Unusable as error:
            self._add(error_line(status.service_unavailable(str(error), 1)))
        except ValueError as error:
            # One object that cannot be shown must not end in a stream that silently lacks it.
            log.exception("%r cannot show an object", self)
            self._add(error_line(status.internal(error)))
        finally:
            self._forget_namespaces()
            self.hub.withdraw(self)
        self.flush()

    async def _begin(self, plan: StartPlan) -> None:
        """Wait for what the client wants to see at least, and show the state that it asks for."""
        view = self.hub.view
        self._look_up()
        self._expect(self._namespaces)
        if plan.fresh:
            await view.fresh()
        if plan.reach:
            await view.reach(plan.reach)
        await view.ensure(self._namespaces)
        while plan.after is None and self.scope_changed():
            # The client has seen nothing yet: it begins with what it may read now.
            if self._scope is None:
                raise _Over
            self.selection = replace(self.selection, scope=self._next_scope())
            self._expect(self._namespaces)
            await view.ensure(self._namespaces)
        if plan.after is not None:
            self.position = plan.after
        elif plan.initial:
            await self._show_state(end_bookmark=plan.end_bookmark)
        else:
            self.position = view.position
        self._start_rv = self.position

    async def _show_state(self, *, end_bookmark: bool) -> None:
        """An ADDED of every selected object, in key order, each with its own RV."""
        snapshot = take(self.hub.view, self.selection.scope, self._namespaces)
        self.position = snapshot.position
        await self._show_all("ADDED", snapshot)
        if end_bookmark:
            self._add_bookmark(snapshot.position, initial_end=True)

    async def _catch_up(self) -> None:
        """From the position to the view's, through the history; then live, unless the scope is to be changed first."""
        current = await self._replay()
        self.flush()
        if current:
            self.hub.join(self)

    async def _replay(self) -> bool:
        """Tell what happened after the position. Nothing has happened between the last look and the return.

        False: the scope has become another, and all up to the position, not the view's, was told in the present one.
        """
        view, pause = self.hub.view, Pause()
        while True:
            self._look_up()
            if self.scope_changed():
                return False
            if self.position >= view.position:
                return True
            changes = await self._changes()
            reached, matches = view.position, self.selection.matcher()
            for change in changes:
                self._look_up()
                if self.scope_changed():
                    return False
                event = event_of(change, matches)
                if event is None:
                    self.position = change.rv
                else:
                    await self._take_past(self.hub.recent(change), event)
                    await self._keep_pace(pause)
                if pause.due:
                    await pause()
            self.position = max(self.position, reached)

    async def _changes(self) -> list[Change]:
        """What the history has after the position, as soon as the store can be read."""
        loop = asyncio.get_running_loop()
        until = loop.time() + UNREADABLE_SECONDS
        while True:
            try:
                return await self.hub.view.changes_since(self.position, self._namespaces)
            except Unusable as error:
                if loop.time() >= until:
                    log.warning("%r ends: %s", self, error)
                    raise _Over from None
            self.flush()
            await asyncio.sleep(UNREADABLE_PAUSE_SECONDS)
            self._look_up()

    async def _take_past(self, shared: SharedChange, event: ObjectEvent) -> None:
        """A change from the history, whose old bytes may have to be read again."""
        try:
            self.take(shared, event)
        except BodyGone as gone:
            (old,) = await self.hub.view.with_bodies((gone.record,))
            self.take(shared.with_old(old), event)

    async def _stay(self) -> None:
        """Live, until something else is to be done. Meanwhile the hub writes the changes."""
        alarm = self._alarm()
        try:
            while self.standing is Standing.SYNCED and isinstance(self._scope, _Unchanged):
                if self._rung or self._stopped:
                    self._bookmark()
                self._look_up()
                if self._rung:
                    self._rung = False
                    self._due = self.lifetime.next_bookmark(max(self._due, asyncio.get_running_loop().time()))
                    alarm = self._alarm()
                self._woken.clear()
                await self._woken.wait()
        finally:
            if alarm is not None:
                alarm.cancel()

    async def _change_scope(self) -> None:
        """Tell what the user may not read any more, and what is new to them, until the scope is the present one."""
        while self.scope_changed():
            self._look_up()
            ends, scope = self._scope is None, self._next_scope()
            await self._lose(scope)
            if ends:
                raise _Over
            await self._gain(scope)

    def _next_scope(self) -> Scope:
        """The scope that has come, which is then no news any more."""
        scope, self._scope = self._scope, _UNCHANGED
        assert not isinstance(scope, _Unchanged)
        return NOTHING if scope is None else scope

    async def _lose(self, scope: Scope) -> None:
        """A DELETED of each object outside the scope, as of the position; from here on only what is in both shows."""
        view, before = self.hub.view, self.selection
        lost = before.scope.without(scope)
        self.selection = replace(before, scope=before.scope.within(scope))
        if lost == NOTHING:
            return
        namespaces = narrowed(lost, before.namespace, view.meta.namespaced)
        await view.ensure(namespaces)
        past = await view.undo_to(self.position, namespaces)
        snapshot = take(view, lost, namespaces)
        self._look_up()
        pause = Pause()
        await rewind(snapshot, past, lost, pause)
        page = await pick(snapshot, Selectors(before.labels, before.fields), None, 0, pause)
        for piece in page.pieces:
            gone = piece.block.where(lambda record: not scope.covers(record.namespace, record.name))
            for record in await view.with_bodies(piece.block.selected(piece.mask & gone)):
                # At the stream's RV, as upstream shows what leaves a selector: the client's own never goes back.
                self.take(self.hub.departure(record, self.position), "DELETED")
                await self._keep_pace(pause)
        self._look_up()

    async def _gain(self, scope: Scope) -> None:
        """An ADDED of each object that is new, as of one position, unless the scope becomes another before that."""
        view, before = self.hub.view, self.selection
        after = replace(before, scope=scope)
        namespaces = narrowed(after.scope, after.namespace, view.meta.namespaced)
        self._expect(namespaces)
        # Up to date with what is in both first; a shard may have to be read for the new scope, which takes time.
        while True:
            await view.ensure(namespaces)
            if not await self._replay():
                return
            if view.holds(namespaces):
                break
        gained = self._snapshot_of(after, scope.without(before.scope))
        self.selection = after
        await self._show_all("ADDED", gained, lambda record: not before.scope.covers(record.namespace, record.name))
        # The objects just shown have old RVs of their own: say where the stream is.
        if self.lifetime.bookmarks:
            self._add_bookmark(self.position)
        self.flush()

    # --- small steps ------------------------------------------------------------------------------

    @property
    def _columns_due(self) -> bool:
        """Whether nothing was sent yet, so that a Table has to show its columns."""
        return self.shared_look is None

    @property
    def _namespaces(self) -> Collection[str] | None:
        return narrowed(self.selection.scope, self.selection.namespace, self.hub.view.meta.namespaced)

    def _expect(self, namespaces: Collection[str] | None) -> None:
        """Have the view follow these namespaces also where they have no objects yet."""
        forget, self._forget_namespaces = self._forget_namespaces, self.hub.view.expect(namespaces or ())
        forget()

    def _snapshot_of(self, selection: Selection, scope: Scope) -> Snapshot:
        view = self.hub.view
        return take(view, scope, narrowed(scope, selection.namespace, view.meta.namespaced))

    async def _show_all(
        self, event: ObjectEvent, snapshot: Snapshot, wanted: Callable[[Record], bool] | None = None
    ) -> None:
        """Events that tell the selected objects of a snapshot as they are, at the client's pace."""
        pause = Pause()
        page = await pick(snapshot, Selectors(self.selection.labels, self.selection.fields), None, 0, pause)
        for piece in page.pieces:
            shown = piece if wanted is None else Piece(piece.block, piece.mask & piece.block.where(wanted))
            if not shown.mask:
                continue
            if self.form is None:
                raise _Over
            for record, item in await self.hub.items(shown, self.form):
                self._add(self.hub.writer.item_line(event, record.rv, item, self.form, first=self._columns_due))
                self.shared_look = self.look
                await self._keep_pace(pause)
        self._look_up()

    async def _keep_pace(self, pause: Pause) -> None:
        """Write when there is enough, wait for the client, and let others run."""
        if self._out_bytes >= WRITE_BYTES:
            self.flush()
            await self.stream.drained()
            self._look_up()
        if pause.due:
            await pause()

    def _look_up(self) -> None:
        """End here if someone said so, or if the view has no sequel to what was told."""
        if self.hub.began_anew and self._fault is None:
            self._fault = Gone(self.position, self.hub.view.position)
        if self._fault is not None:
            raise self._fault
        if self._stopped:
            raise _Over

    def _alarm(self) -> asyncio.TimerHandle | None:
        """Ring when the next bookmark is due, at once if that was missed while there was something else to do."""
        return asyncio.get_running_loop().call_at(self._due, self._ring) if math.isfinite(self._due) else None

    def _bookmark(self) -> None:
        """Say how far a synced stream is, if that is further than where it began."""
        if self.hub.began_anew:
            return
        # Remembered: while changes wait to be handed over, the hub knows less than what was said before.
        self.position = self.hub.reached(self)
        if self.lifetime.bookmarks and self.form is not None and self._start_rv < self.position:
            self._add_bookmark(self.position)
            self.flush()

    def _add_bookmark(self, rv: int, *, initial_end: bool = False) -> None:
        if self.form is None:
            raise _Over
        self._add(self.hub.writer.bookmark(rv, self.form, first=self._columns_due, initial_end=initial_end))
        self.shared_look = self.look

    def _add(self, line: bytes) -> None:
        data = frame(self.stream.framing, line)
        self._out.append(data)
        self._out_bytes += len(data)


def _nothing() -> None:
    """Nothing is expected yet."""
