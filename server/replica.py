"""One server replica: everything that its requests share, brought up in order and taken down in reverse.

Invariant: a replica starts, and answers what it can, also while the store or upstream is away; /readyz tells.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from kube import credentials, tasks
from kube.client import UpstreamClient
from kube.clock import Clock
from kube.health import Check, HealthServer
from kube.resources import CONTROL
from kube.upstream_error import UpstreamError
from kube.version import ServerVersion
from server.access_log import AccessLog
from server.authn import Authenticator, ReviewFailed, review_request, reviewed_user
from server.catalogue import Catalogue
from server.control import Control
from server.hub import Watches
from server.journal import SLACK_MS
from server.metrics import Metrics
from server.view import Unusable
from server.views import Views
from store.connection import Store
from store.errors import StoreError, StoreUnavailable
from store.reader import Reader
from store.subscriber import Message, Subscriber

if TYPE_CHECKING:
    from kube.resources import GVR
    from server.identity import User
    from server.settings import ServerSettings
    from store.record import Record

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5
"""Between two attempts to hold the control data, as long as an informer has not brought it."""

_REVIEW_SECONDS = 10.0
"""For one TokenReview; an authentication webhook of upstream's may be slow."""

REVIEW_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"


class Replica:
    """The parts. `async with Replica(settings, version) as replica:` brings them up."""

    def __init__(self, settings: ServerSettings, program_version: str) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.time = Clock(settings.clock)
        self.clock = self.time.now
        """Unix seconds that follow upstream's clock; fixed in tests."""
        self.draining = False
        self.watches = Watches()
        self.access_log = AccessLog(self.metrics.access_log_dropped.inc)
        self.authenticator = Authenticator(
            self._review,
            cache_seconds=settings.token_cache_seconds,
            grace_seconds=settings.token_grace_seconds,
            anonymous=settings.anonymous,
        )
        self.upstream = UpstreamClient(
            credentials.load(settings.kubeconfig, settings.context),
            user_agent=f"larder-server/{program_version}",
            clock=self.time,
            on_request=self._sent_upstream,
        )
        self._stack = AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self.store: Store
        self.reader: Reader
        self.views: Views
        self.catalogue: Catalogue
        self.control: Control
        self.health = HealthServer(self.metrics.render, self._checks())

    @property
    def version(self) -> ServerVersion:
        """Upstream's version."""
        return self.catalogue.version

    async def reached(self, rv: int) -> bool:
        """Whether upstream must be at `rv`, since some resource in the store is.

        One in which nothing happens hears of its position once a minute; upstream finds out when it is asked.

        Raises:
            StoreUnavailable
        """
        positions = await self.reader.positions(self.catalogue.resources)
        return any(position >= rv for position in positions.values() if position is not None)

    async def __aenter__(self) -> Self:
        """Open everything.

        Raises:
            StoreUnsuitable: the store will not do; the message says what to change.
        """
        settings = self.settings
        async with AsyncExitStack() as stack:
            self.store = Store(settings.redis_url, settings.prefix)
            stack.push_async_callback(self.store.close)
            await self._checked_store()
            stack.push_async_callback(self.upstream.close)
            self.reader = Reader(self.store)
            self.catalogue = Catalogue(self.reader)
            views = Views(
                self.store,
                self.reader,
                clock=self.clock,
                budget_bytes=settings.view_budget_bytes,
            )
            self.views = await stack.enter_async_context(views)
            self.control = Control(
                self.views, _Past(self.reader), tenant_labels=settings.tenant_label, clock=self.clock
            )
            stack.callback(self.control.close)
            stack.push_async_callback(self._end_tasks)
            stack.push_async_callback(self.authenticator.close)
            self._sample()
            self._start(self.catalogue.keep_up(self._covered_changed), "catalogue")
            self._start(self._hear_events(), "events")
            self._start(self.access_log.write(), "access log")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _checked_store(self) -> None:
        """A store that is away may come back; one that will never do stops the start."""
        try:
            await self.store.check()
        except StoreUnavailable as error:
            _log.warning("the store is away, starting all the same: %s", error)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("the task %s ended: the replica is not what it should be", task.get_name(), exc_info=error)

    async def _end_tasks(self) -> None:
        await tasks.end(*self._tasks)

    # Control data

    async def _covered_changed(self) -> None:
        """Hold the control data of what is covered now; try on while it is not all there."""
        if not any(task.get_name() == "control data" for task in self._tasks):
            self._start(self._follow(), "control data")

    async def _follow(self) -> None:
        said = ""
        while True:
            generation = self.catalogue.generation
            try:
                await self.control.follow(self.catalogue.resources)
            except (Unusable, StoreError) as error:
                if str(error) != said:
                    said = str(error)
                    _log.warning("the control data is not all there yet; an informer has to bring it: %s", said)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                if generation == self.catalogue.generation:
                    return

    async def _hear_events(self) -> None:
        async with Subscriber(self.store) as subscriber:
            await self._subscribed(subscriber)
            async for message in subscriber:
                what = message.data if isinstance(message, Message) else b""
                if what != b"resources":
                    self.catalogue.forget_documents()
                if what != b"docs":
                    await self._refreshed()

    async def _subscribed(self, subscriber: Subscriber) -> None:
        try:
            await subscriber.subscribe(self.store.global_keys.events)
        except StoreError as error:
            # It stays wanted, and a RESYNC follows once the store is there.
            _log.warning("the store's events cannot be heard yet: %s", error)

    async def _refreshed(self) -> None:
        try:
            if await self.catalogue.refresh():
                await self._covered_changed()
        except StoreError as error:
            _log.warning("the list of resources cannot be read: %s", error)

    # Identity

    async def _review(self, token: str) -> User | None:
        try:
            answer = await self.upstream.request(
                "POST",
                REVIEW_PATH,
                body=review_request(token),
                timeout_seconds=_REVIEW_SECONDS,
                verb="create",
                resource="tokenreviews.v1.authentication.k8s.io",
                cause="token",
            )
        except UpstreamError as error:
            raise ReviewFailed(str(error)) from error
        return reviewed_user(answer.status, answer.body)

    # Seen from outside

    def _sent_upstream(self, verb: str, resource: str, cause: str) -> None:
        self.metrics.sent_upstream(verb, resource, cause)

    def _checks(self) -> list[Check]:
        return [
            Check("stopping", lambda: "the replica is stopping" if self.draining else ""),
            Check("control data", lambda: "" if self.control.held else "not all there yet: an informer brings it"),
            Check("store", self._store_problem),
        ]

    def _store_problem(self) -> str:
        """Why the store makes this replica unready; "" if it does not.

        A store that is away is all replicas' trouble: taking them all out of the balance would end what they serve
        without it. So one that has begun stays ready as long as it answers from memory.
        """
        away = self.catalogue.away_seconds
        if away <= self.settings.max_staleness:
            return ""
        return "does not answer" if math.isinf(away) else f"has not answered for {away:.0f} s"

    def _sample(self) -> None:
        metrics = self.metrics
        for family in self.views.samples():
            metrics.sample(*family)
        metrics.sample("larder_watches", "Open watches.", ("resource", "standing"), self.watches.counts)
        metrics.sample(
            "larder_upstream_last_answer_seconds",
            "Seconds since upstream last answered this replica.",
            (),
            lambda: [((), min(time.monotonic() - self.upstream.answered_at, 1e9))],
        )
        metrics.sample(
            "larder_store_away_seconds",
            "Seconds for which the store has not answered this replica; 0 while it does.",
            (),
            lambda: [((), min(self.catalogue.away_seconds, 1e9))],
        )
        metrics.sample(
            "larder_token_cache",
            "Identities told without asking upstream (hits), and reviews asked for.",
            ("kind",),
            lambda: [
                (("hit",), float(self.authenticator.hits)),
                (("review",), float(self.authenticator.reviews)),
            ],
        )
        metrics.sample(
            "larder_control_subscriptions",
            "Live watches whose scope is followed.",
            (),
            lambda: [((), float(self.control.subscriptions))],
        )


class _Past:
    """The past of a control resource, from its log in the store."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def changes_since_floor(self, gvr: GVR) -> tuple[int, list[tuple[int, Record | None, Record | None]]]:
        """The instant (ms) from which the log is complete, and its changes: time (ms), before, after."""
        changes: list[tuple[int, Record | None, Record | None]] = []
        after, floor = 0, 0
        while True:
            page = await self._reader.log(gvr, None, after)
            if page.floor > max(floor, after) and after:
                changes.clear()  # trimmed while it was read: what was read before is no longer connected
            floor = max(floor, page.floor)
            changes += [
                (entry.time_ms, entry.prev, None if entry.type == "D" else entry.record)
                for entry in page.entries
                if entry.type != "R"
            ]
            if not page.more:
                break
            after = page.entries[-1].rv
        since_ms = await self._reader.rv_time(gvr, floor)
        if since_ms is None:
            # The floor is older than the clock, and the log complete from there: so it is since the clock's first time.
            start_ms = await self._reader.clock_start_ms(gvr)
            return start_ms if start_ms is not None else await self._reader.now_ms(), changes
        if floor == (await self._reader.meta(gvr)).since:
            # The log has everything since the resource was loaded. No list was answered from this store before that,
            # so there is no earlier scope that could have been another: the journal's slack may reach back beyond it.
            since_ms -= SLACK_MS
            if await self._loaded_with_the_rest(since_ms + SLACK_MS):
                # Nor was one before the last of the control resources was there, and those that are listed may have
                # been loaded before the first: an RV of theirs from the load is of no earlier scope.
                since_ms -= SLACK_MS
        return since_ms, changes

    async def _loaded_with_the_rest(self, loaded_ms: int) -> bool:
        """Whether this was when all control resources were loaded: the store was filled, in seconds and in any order.

        Otherwise a single one began anew, or came later, while lists were answered.
        """
        for gvr in CONTROL:
            time_ms = await self._reader.rv_time(gvr, (await self._reader.meta(gvr)).since)
            if time_ms is None or abs(time_ms - loaded_ms) > SLACK_MS:
                return False
        return True
