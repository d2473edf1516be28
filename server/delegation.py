"""Cache, upstream, or neither? The product's hardest decision, as one pure function.

Only reads that were authorized come here (`scope` is not None). Whatever else there is goes upstream as the user,
who decides alone: writes, subresources, paths and resources that are not covered.

A request whose scope is less than everything is one that upstream would refuse: it can only be answered from the
cache (a Table also with upstream's own rows, where those are kept), with the next representation that its Accept
header allows, or not at all.

Invariant: unknown means upstream, and never is anything asked there with our own identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from kube import status
from kube.status import StatusError
from server.list_options import GetOptions, ListOptions
from server.negotiation import Form, Representation
from server.scope import Scope


class Target(Enum):
    """Who answers."""

    CACHE = "cache"
    UPSTREAM = "upstream"
    OTHER_FORM = "other form"
    """Negotiate again, without the clauses of Accept that asked for this form."""
    REFUSE = "refuse"


class CacheState(NamedTuple):
    """What is known of a covered resource at this moment.

    `synced`: the store is complete for it, and can be read. `stale_seconds`: since the store was last heard of, 0 while
    heartbeats come. `faithful_tables`: its rows are known to be upstream's. `kept_tables`: where they are not,
    upstream's own are kept, which are right but for cells that move with the clock in ways unknown to us.
    """

    synced: bool
    faithful_tables: bool
    stale_seconds: float = 0.0
    kept_tables: bool = False

    @property
    def tables(self) -> bool:
        """Whether the cache can give Tables at all."""
        return self.faithful_tables or self.kept_tables


@dataclass(frozen=True, slots=True)
class Delegation:
    """The decision. `cause` is a bounded word for the metrics; `error` is what a refusal answers.

    `else_cache`: where upstream cannot be reached, the cache can answer nearly as well.
    """

    target: Target
    cause: str = ""
    error: StatusError | None = None
    else_cache: bool = False


CACHE = Delegation(Target.CACHE)


def delegate(
    state: CacheState,
    scope: Scope,
    representation: Representation,
    options: ListOptions | GetOptions,
    *,
    foreign_token: bool = False,
    max_staleness: float,
) -> Delegation:
    """Decide on an authorized read of a covered resource.

    Args:
        state: of the resource.
        scope: what the user may read; upstream would answer the very request only if it is ALL.
        representation: what Accept came to.
        options: of the list or watch, or of the get.
        foreign_token: the list goes on from a continue token that upstream issued.
        max_staleness: seconds without news of the store for which memory is still served.
    """
    if not state.synced:
        return _away(scope, "not_synced", "the resource is not in the cache yet")
    if state.stale_seconds > max_staleness:
        return _away(scope, "stale", "the cache has had no news for too long")
    if foreign_token:
        if scope.all:
            return Delegation(Target.UPSTREAM, "continue")
        return Delegation(Target.REFUSE, "continue", status.expired_list())
    if isinstance(options, GetOptions) and options.export:
        return _to_upstream(scope, "export")
    if not representation.ours:
        return _to_upstream(scope, "representation")
    if representation.form is Form.TABLE and not state.faithful_tables:
        return _table(state, scope, further_page=isinstance(options, ListOptions) and bool(options.continue_token))
    return CACHE


def _table(state: CacheState, scope: Scope, *, further_page: bool) -> Delegation:
    """Who gives a Table that our cells do not make: upstream if it can, for it is always right."""
    if state.kept_tables and (further_page or not scope.all):
        return CACHE
    if further_page and scope.all:
        # The token is ours, from when the Table was: upstream would not understand it.
        return Delegation(Target.REFUSE, "table", status.expired_list())
    if scope.all:
        return Delegation(Target.UPSTREAM, "table", else_cache=state.kept_tables)
    return Delegation(Target.OTHER_FORM, "table")


def _to_upstream(scope: Scope, cause: str) -> Delegation:
    return Delegation(Target.UPSTREAM if scope.all else Target.OTHER_FORM, cause)


def _away(scope: Scope, cause: str, text: str) -> Delegation:
    if scope.all:
        return Delegation(Target.UPSTREAM, cause)
    return Delegation(Target.REFUSE, cause, status.service_unavailable(text, 1))


def accept_without(accept: str, representation: Representation) -> str | None:
    """The Accept header without the clauses that came to a form that cannot be given; None if nothing is left.

    >>> table = Representation(Form.TABLE, "v1")
    >>> accept_without("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", table)
    'application/json'
    """
    clauses = [clause.strip() for clause in accept.split(",")]
    if representation.form is Form.TABLE:
        left = [clause for clause in clauses if "as=table" not in clause.replace(" ", "").lower()]
    else:
        left = [clause for clause in clauses if "protobuf" not in clause and "cbor" not in clause]
    return ",".join(left) or None
