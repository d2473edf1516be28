"""Control data held live: namespaces, RBAC and tenants, followed from the start and for as long as the replica runs.

Here are the feeds, the watches' subscriptions to scopes, and the journal of changes; what follows from the data
is `policy`'s. Every replica holds all of it, so a scope costs no I/O.

Invariant: an event is in the policy and in the journal before the next one is; the subscribers whom it concerns hear
of the scope that is theirs by then, in the same turn of the event loop unless they are thousands. Who is about to show
something to one of those asks first (`Subscription.settle`), so word that is still on its way is never late.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kube.resources import CONTROL, GVR, Resource
from server.journal import Journal
from server.policy import Policy, Standing, is_tenants
from server.rbac import Attributes, Decision, subjects_of

if TYPE_CHECKING:
    from kube.paths import RequestInfo
    from server.history import Change
    from server.identity import User
    from server.scope import Scope
    from server.view import ResourceView
    from store.record import Record

_log = logging.getLogger(__name__)

_SLICE = 200
"""Objects taken in between two turns of the event loop: some 4 ms of decoding."""

_SLICE_SECONDS = 0.004
"""How long one turn of telling subscribers keeps the event loop."""

ScopeChanged = Callable[["Scope | None"], None]


class Views(Protocol):
    """Where the views of resources come from."""

    async def open(self, gvr: GVR) -> ResourceView:
        """The view of a covered resource.

        Raises:
            Unusable: the store does not have it, or cannot be read.
        """


class PastChanges(Protocol):
    """What the store still knows of a resource's past."""

    async def changes_since_floor(self, gvr: GVR) -> tuple[int, list[tuple[int, Record | None, Record | None]]]:
        """The instant (ms) from which the log is complete, and its changes: time (ms), before, after."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a subscriber holds. `settle`: be told now, if word of a change is still on its way. `cancel` ends it."""

    settle: Callable[[], None]
    cancel: Callable[[], None]


@dataclass(slots=True)
class _Interest:
    """A live watch's interest. `scope` is what its holder was told last."""

    user: User
    subjects: frozenset[str]
    resource: Resource
    verb: str
    namespace: str
    name: str
    scope: Scope | None
    changed: ScopeChanged


@dataclass(slots=True)
class _Followed:
    """One control resource: the view, and what of it the policy was told."""

    view: ResourceView
    told: dict[tuple[str, str], Record]
    cancel: Callable[[], None]


class Control:
    """Answers from the policy, and tells live watches when an answer becomes another."""

    def __init__(
        self, views: Views, past: PastChanges, *, tenant_labels: Sequence[str], clock: Callable[[], float]
    ) -> None:
        self.policy = Policy(tenant_labels)
        self.journal = Journal()
        self._views = views
        self._past = past
        self._clock = clock
        self._followed: dict[GVR, _Followed] = {}
        self._held: set[GVR] = set()
        self._complete = False
        self._subscriptions: dict[int, _Interest] = {}
        self._numbers = itertools.count()
        self._subscriptions_of_subject: dict[str, set[int]] = {}
        self._pending: dict[int, None] = {}
        """Subscribers who are to be told that their scope may be another."""

    # Holding

    @property
    def held(self) -> bool:
        """Whether all that scopes are computed from is here: part of readiness.

        Tenants are part of it where they were covered at the start; those that come later come as changes.
        """
        return self._complete and self._held.issuperset(CONTROL)

    async def follow(self, resources: Iterable[GVR]) -> None:
        """Hold the control resources among those that are covered; again whenever the coverage has changed.

        Raises:
            Unusable: one of them is not synced yet, or the store is out of reach.
        """
        covered = set(resources)
        tenants = sorted((gvr for gvr in covered if is_tenants(gvr)), key=lambda gvr: gvr.version, reverse=True)
        # One version of Tenants is enough; a resource that is not covered any more has no more tenants.
        wanted = [*CONTROL, *tenants[:1]]
        for gvr in [gvr for gvr in self._followed if gvr not in wanted]:
            self._unfollow(gvr)
        for gvr in wanted:
            if gvr not in self._followed:
                await self._follow(gvr)
        self._complete = True

    async def _follow(self, gvr: GVR) -> None:
        view = await self._views.open(gvr)
        view.pinned = True
        await view.ensure()
        since_ms, changes = await self._past.changes_since_floor(gvr)

        def changed(change: Change) -> None:
            self._changed(gvr, change.time_ms, change.record, gone=change.type == "D")

        def reset() -> None:
            self._reset(gvr)

        # Whatever else follows the view shows its changes to someone: by then the scopes are those after the change.
        cancel = view.observe(changed, reset, first=True)
        followed = self._followed[gvr] = _Followed(view, {}, cancel)
        await self._tell(gvr, followed)
        for time_ms, old, new in changes:
            if old is None or new is None or not self.policy.same_meaning(gvr, old, new):
                touched = [self.policy.concerned(gvr, record) for record in (old, new) if record is not None]
                self.journal.note(time_ms, frozenset().union(*touched))
        self.journal.covers(gvr, since_ms)
        self._held.add(gvr)
        _log.info("holding %s: %d objects", gvr, len(followed.told))

    async def _tell(self, gvr: GVR, followed: _Followed) -> None:
        """Take in a view's objects, with turns for others in between; what changes meanwhile comes by `changed`."""
        for number, record in enumerate(list(followed.view.records()), 1):
            key = (record.namespace, record.name)
            present = followed.view.get(*key)
            if present is not None and key not in followed.told:
                followed.told[key] = present
                self._touched(self.policy.apply(gvr, None, present))
            if number % _SLICE == 0:
                await asyncio.sleep(0)

    def _unfollow(self, gvr: GVR) -> None:
        followed = self._followed.pop(gvr)
        self._held.discard(gvr)
        followed.cancel()
        followed.view.pinned = False
        for record in followed.told.values():
            self._touched(self.policy.apply(gvr, record, None))
        self.journal.lost(gvr, self._now_ms())

    def _changed(self, gvr: GVR, time_ms: int, record: Record, *, gone: bool) -> None:
        followed = self._followed.get(gvr)
        if followed is None:
            return
        key = (record.namespace, record.name)
        old = followed.told.pop(key, None)
        if not gone:
            followed.told[key] = record
        touched = self.policy.apply(gvr, old or record, None if gone else record)
        self.journal.note(time_ms, touched)
        self._touched(touched)

    def _reset(self, gvr: GVR) -> None:
        """A view began anew: its objects are told as differences, and what happened in between is not known."""
        followed = self._followed[gvr]
        now_ms = self._now_ms()
        self.journal.lost(gvr, now_ms)
        present = {(record.namespace, record.name): record for record in followed.view.records()}
        for key in [key for key in followed.told if key not in present]:
            self._changed(gvr, now_ms, followed.told[key], gone=True)
        for key, record in present.items():
            if followed.told.get(key) is not record:
                self._changed(gvr, now_ms, record, gone=False)

    async def caught_up(self, gvr: GVR, seconds: float) -> None:
        """Wait until a control resource is here as it is in the store now; at once for all other resources.

        Raises:
            TooLargeResourceVersion, Unusable: it is not, in time.
        """
        followed = self._followed.get(gvr)
        if followed is not None:
            async with asyncio.timeout(seconds):
                await followed.view.fresh()

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def close(self) -> None:
        """Follow nothing any more."""
        for followed in self._followed.values():
            followed.cancel()
        self._followed.clear()
        self._subscriptions.clear()
        self._subscriptions_of_subject.clear()
        self._pending.clear()

    # Asking

    def standing(self, user: User) -> Standing:
        """All that holds for a user, until it says that it is no longer valid."""
        return self.policy.standing(user)

    def decide(self, user: User, asked: Attributes) -> Decision:
        """Whether RBAC allows one thing."""
        return self.policy.decide(user, asked)

    def scope(self, user: User, resource: Resource, verb: str, namespace: str = "", name: str = "") -> Scope | None:
        """What the user may read, see `Policy.scope`; None: refuse."""
        return self.policy.scope(user, resource, verb, namespace, name)

    def verdict(self, user: User, info: RequestInfo) -> Decision:
        """RBAC's answer to the very request, as upstream asks it."""
        assert info.gvr is not None
        asked = Attributes(info.verb, info.gvr.group, info.gvr.resource, info.subresource, info.namespace, info.name)
        return self.policy.decide(user, asked)

    def changed_since(self, user: User, resource: Resource, time_ms: int) -> bool | None:
        """Whether the user's scope of the resource may have changed since the store's time `time_ms`.

        True and None (unknown) mean the same to a resume or a next page: 410, list again.
        A user who may read everything of the resource by name of their groups is no exception: the right may be new.
        """
        if user.master:
            return False
        return self.journal.changed_since(subjects_of(user), time_ms)

    # Following

    @property
    def subscriptions(self) -> int:
        """Live watches whose scope is followed."""
        return len(self._subscriptions)

    def subscribe(
        self,
        user: User,
        resource: Resource,
        changed: ScopeChanged,
        *,
        verb: str = "watch",
        namespace: str = "",
        name: str = "",
    ) -> Subscription:
        """Call `changed` with the new scope (None: nothing may be read any more) each time that it becomes another.

        It must neither block nor raise.
        """
        number = next(self._numbers)
        subjects = subjects_of(user)
        scope = self.scope(user, resource, verb, namespace, name)
        self._subscriptions[number] = _Interest(user, subjects, resource, verb, namespace, name, scope, changed)
        for subject in subjects:
            self._subscriptions_of_subject.setdefault(subject, set()).add(number)

        def settle() -> None:
            if number in self._pending:
                self._tell_subscriber(number)
                del self._pending[number]

        def cancel() -> None:
            if self._subscriptions.pop(number, None) is None:
                return
            for subject in subjects:
                numbers = self._subscriptions_of_subject[subject]
                numbers.discard(number)
                if not numbers:
                    del self._subscriptions_of_subject[subject]

        return Subscription(settle, cancel)

    def _touched(self, subjects: frozenset[str]) -> None:
        """Tell the subscribers whom a change concerns: at once, or in slices if they are thousands."""
        numbers = {number for subject in subjects for number in self._subscriptions_of_subject.get(subject, ())}
        waiting = bool(self._pending)
        self._pending.update(dict.fromkeys(sorted(numbers)))
        if self._pending and not waiting:
            self._tell_pending()

    def _tell_pending(self) -> None:
        until = time.perf_counter() + _SLICE_SECONDS
        while self._pending:
            number = next(iter(self._pending))
            del self._pending[number]
            self._tell_subscriber(number)
            if time.perf_counter() >= until:
                break
        if self._pending:
            asyncio.get_running_loop().call_soon(self._tell_pending)

    def _tell_subscriber(self, number: int) -> None:
        subscription = self._subscriptions.get(number)
        if subscription is None:
            return  # ended meanwhile
        asked = (subscription.verb, subscription.namespace, subscription.name)
        scope = self.scope(subscription.user, subscription.resource, *asked)
        if scope != subscription.scope:
            subscription.scope = scope
            subscription.changed(scope)
