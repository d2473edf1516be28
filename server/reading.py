"""Which state of a resource a list reads: resourceVersion, its match, limit and continue, as upstream has them.

| RV | match | limit | state |
| --- | --- | --- | --- |
| "" | | any | the store's, as of the request's start |
| "0" | unset, NotOlderThan | ignored | the view's, as it is |
| N | unset | none | the view's, once it has N |
| N | NotOlderThan | any | likewise |
| N | unset | some | exactly N; of a single key the store's, if it has N |
| N | Exact | any | exactly N |
| continue | | any | that of the token |

Events have no watch cache upstream: their limit counts with "0" too, and nobody waits for a future RV.
Nor does anybody where upstream reads one key at an exact RV.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from kube import status
from kube.resource_version import Match
from kube.version import ServerVersion
from server import continue_token
from server.continue_token import Token
from server.list_options import ListOptions, check_continue, resource_version, served_by_etcd, without_watch_cache
from server.pause import Pause
from server.snapshot import Snapshot, rewind, stamp_of, take
from server.view import AskUpstream, Gone

if TYPE_CHECKING:
    from collections.abc import Collection

    from kube.resources import GVR
    from server.history import Key
    from server.scope import Scope
    from server.view import ResourceView
    from store.record import Record


FUTURE_VERSION_NAMED_SINCE = ServerVersion(1, 34)
"""Before, an exact RV of the future was etcd's to refuse."""


SOON_SECONDS = 0.5
"""In which an event that is on its way to the view arrives."""

Reached = Callable[[int], Awaitable[bool]]
"""Whether anything in the store is at an RV."""


class Consistency(Enum):
    """How the state is chosen."""

    LATEST = auto()
    ANY = auto()
    NOT_OLDER = auto()
    EXACT = auto()


@dataclass(frozen=True, slots=True)
class Wish:
    """What a list wants to read: at `rv` (EXACT) or from it on. `token` is that of a further page.

    `at_once`: a future RV is refused without a wait, as where upstream asks etcd; `in_etcds_words`: by upstream alone.
    """

    consistency: Consistency
    rv: int = 0
    limit: int = 0
    token: Token | None = None
    at_once: bool = False
    in_etcds_words: bool = False


def wish_of(
    options: ListOptions, gvr: GVR, version: ServerVersion, subject: str, key: bytes, *, single: bool = False
) -> Wish:
    """What the options of a list ask for. `subject` is what is listed, `key` authenticates tokens.

    `single`: only one key can be in the answer.

    Raises:
        BadRequest: the token or the RV is none, or both are given.
        StatusError: 500 of an RV that is none, from before 1.33.
    """
    if options.continue_token:
        token = _token(options.continue_token, version, subject, key)
        check_continue(options)
        consistency = Consistency.LATEST if token.inconsistent else Consistency.EXACT
        return Wish(consistency, token.rv, options.limit, token, without_watch_cache(gvr))
    etcd = served_by_etcd(options, gvr, version)
    rv = resource_version(options.resource_version, verb="list", version=version, from_etcd=etcd)
    if not options.resource_version:
        return Wish(Consistency.LATEST, 0, options.limit)
    if rv == 0:
        # Only the very text "0" means the watch cache, which takes no notice of the limit.
        ignored = options.resource_version == "0" and not without_watch_cache(gvr)
        return Wish(Consistency.ANY, 0, 0 if ignored else options.limit)
    limited = options.match is Match.UNSET and options.limit > 0
    if single and limited:
        # etcd reads the key, and takes the version for no more than a lower bound.
        return Wish(Consistency.LATEST, rv, options.limit, at_once=True)
    exact = options.match is Match.EXACT or limited
    at_once = etcd or (single and exact)
    in_etcds_words = at_once and exact and version < FUTURE_VERSION_NAMED_SINCE
    consistency = Consistency.EXACT if exact else Consistency.NOT_OLDER
    return Wish(consistency, rv, options.limit, at_once=at_once, in_etcds_words=in_etcds_words)


@dataclass(slots=True)
class State:
    """The state that a list reads; nothing may be awaited between `read` and `take`.

    `rv` is the answer's. `stamp` is equal only for equal content. `before`, where it is not empty, is what
    to lay over the present objects to have those of `rv`: then `past` is `rv`, else 0.
    """

    view: ResourceView
    scope: Scope
    namespaces: Collection[str] | None
    rv: int
    stamp: object
    before: dict[Key, Record | None]
    past: int = 0

    def take(self) -> Snapshot:
        """The present objects."""
        return take(self.view, self.scope, self.namespaces)

    async def rewind(self, snapshot: Snapshot) -> None:
        """Turn the present objects into those of `rv`."""
        await rewind(snapshot, self.before, self.scope, Pause())


async def read(
    view: ResourceView, wish: Wish, scope: Scope, namespaces: Collection[str] | None, reached: Reached
) -> State:
    """The state that is wished for.

    Raises:
        TooLargeResourceVersion: the store does not get there in time.
        AskUpstream: upstream is there already, or says in words of its own that it is not.
        Expired: the token is of another scope.
        Gone: the state is not known any more, see `expired`.
        Unusable: the view cannot be read.
    """
    if wish.token is not None:
        _check_token(wish.token, view, scope)
    if wish.consistency is Consistency.LATEST:
        await view.fresh()
    if wish.consistency is not Consistency.ANY and wish.rv > 0:
        await reach(view, wish.rv, scope, reached, at_once=wish.at_once, in_etcds_words=wish.in_etcds_words)
    if wish.consistency is not Consistency.EXACT:
        await view.ensure(namespaces)
        return State(view, scope, namespaces, view.position, stamp_of(view, namespaces), {})
    while True:
        await view.ensure(namespaces)
        before = await view.undo_to(wish.rv, namespaces)
        if view.holds(namespaces):
            break
    state = State(view, scope, namespaces, wish.rv, stamp_of(view, namespaces), before)
    if before:
        # Another content than the present one, and one that never changes again.
        state.past, state.stamp = wish.rv, wish.rv
    return state


async def reach(
    view: ResourceView,
    rv: int,
    scope: Scope,
    reached: Reached,
    *,
    at_once: bool = False,
    in_etcds_words: bool = False,
) -> None:
    """Wait until the view is at `rv`, as long as upstream would.

    A resource in which nothing happens hears of its position once a minute, while upstream finds out when it is asked:
    so where some other resource is at `rv` already, upstream is asked.

    Raises:
        TooLargeResourceVersion: it is not, in time.
        AskUpstream: as above; or it is upstream's to say that there is no such RV yet.
    """
    if view.position >= rv:
        return
    if at_once:
        await view.fresh()
    elif scope.all:
        with suppress(status.TooLargeResourceVersion):
            await view.reach(rv, SOON_SECONDS)
    if view.position >= rv:
        return
    if scope.all and (in_etcds_words or await reached(rv)):
        raise AskUpstream(f"{view.gvr} has not heard of {rv} yet")
    if at_once:
        raise status.too_large_rv(rv, view.position, retry=False)
    await view.reach(rv)


def expired(error: Gone, wish: Wish, view: ResourceView, scope: Scope, key: bytes) -> Exception:
    """What a list answers whose state is gone."""
    if wish.token is not None:
        token = wish.token
        latest = Token(-1, view.incarnation, token.namespace, token.name, token.subject, token.scope)
        return status.expired_continue(continue_token.encode(latest, key))
    if scope.all:
        return AskUpstream(f"the state at {error.rv} is from before our history")
    return status.expired_list()


def _token(text: str, version: ServerVersion, subject: str, key: bytes) -> Token:
    if not continue_token.is_ours(text):
        continue_token.check_foreign(text, version)
        raise status.expired_list()
    try:
        token = continue_token.decode(text, key)
    except continue_token.TokenError:
        # Not necessarily a forgery: the store may have begun anew, and the replicas with another key.
        raise status.expired_list() from None
    if token.subject != subject:
        raise continue_token.refused("it is of another list")
    return token


def _check_token(token: Token, view: ResourceView, scope: Scope) -> None:
    """Refuse the next page of a list that does not exist any more in the user's eyes.

    Raises:
        Expired: list again.
    """
    if token.scope != scope.digest:
        raise status.expired_list()
    if token.incarnation != view.incarnation:
        raise Gone(token.rv, view.position)
