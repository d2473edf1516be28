"""Cache, upstream, or neither? The product's hardest decision, as one pure function.

Only reads that were authorized come here (`scope` is not None). Whatever else there is goes upstream as the user,
who decides alone: writes, subresources, paths and resources that are not covered.

A request whose scope is less than everything is one that upstream would refuse: it can only be answered from the
cache, with the next representation that its Accept header allows, or not at all.

Invariant: unknown means upstream, and never is anything asked there with our own identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

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


@dataclass(frozen=True, slots=True)
class CacheState:
    """What is known of a covered resource at this moment.

    `synced`: the store is complete for it, and can be read. `stale_seconds`: since the store was last heard of, 0 while
    heartbeats come. `faithful_tables`: its rows are known to be upstream's.
    """

    synced: bool
    faithful_tables: bool
    stale_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Delegation:
    """The decision. `cause` is a bounded word for the metrics; `error` is what a refusal answers."""

    target: Target
    cause: str = ""
    error: StatusError | None = None


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
        return _to_upstream(scope, "table")
    return CACHE


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
