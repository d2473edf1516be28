from __future__ import annotations

import itertools

import pytest

from server.delegation import CACHE, CacheState, Delegation, Target, accept_without, delegate
from server.list_options import GetOptions, ListOptions
from server.negotiation import Form, Representation
from server.scope import ALL, NOTHING, Scope

READY = CacheState(synced=True, faithful_tables=True)
UNFAITHFUL = CacheState(synced=True, faithful_tables=False)
KEPT = CacheState(synced=True, faithful_tables=False, kept_tables=True)
ABSENT = CacheState(synced=False, faithful_tables=False)
STALE = CacheState(synced=True, faithful_tables=True, stale_seconds=301)
JSON, TABLE, PROTOBUF = Representation(Form.JSON), Representation(Form.TABLE, "v1"), Representation(Form.PROTOBUF)
SOME = Scope.of_namespaces(["oil"])


def decided(
    state: CacheState,
    scope: Scope,
    representation: Representation = JSON,
    options: ListOptions | GetOptions | None = None,
    *,
    foreign_token: bool = False,
) -> Delegation:
    """The decision, with a staleness of five minutes allowed."""
    asked = options or ListOptions()
    return delegate(state, scope, representation, asked, foreign_token=foreign_token, max_staleness=300)


@pytest.mark.parametrize("scope", [ALL, SOME, NOTHING])
def test_what_the_cache_can_give_comes_from_it(scope: Scope) -> None:
    """A synced resource answers objects, metadata, YAML and faithful Tables, whatever the scope."""
    for form in (Form.JSON, Form.YAML, Form.TABLE, Form.METADATA):
        assert decided(READY, scope, Representation(form)) is CACHE
    assert decided(UNFAITHFUL, scope) is CACHE


@pytest.mark.parametrize(
    ("state", "representation", "options", "foreign", "cause"),
    [
        (ABSENT, JSON, None, False, "not_synced"),
        (STALE, JSON, None, False, "stale"),
        (READY, JSON, None, True, "continue"),
        (READY, JSON, GetOptions(export=True), False, "export"),
        (READY, PROTOBUF, None, False, "representation"),
        (UNFAITHFUL, TABLE, None, False, "table"),
    ],
)
def test_everything_else_is_upstreams_if_upstream_would_answer_it(
    state: CacheState,
    representation: Representation,
    options: GetOptions | None,
    foreign: bool,
    cause: str,
) -> None:
    """With the scope of everything the very request is forwarded, and the cause is told."""
    decision = decided(state, ALL, representation, options, foreign_token=foreign)
    assert decision == Delegation(Target.UPSTREAM, cause)


def test_kept_rows_are_for_those_whom_upstream_would_refuse() -> None:
    """Upstream's own rows make the Tables of partial scopes; upstream's are asked for where it would answer."""
    assert decided(KEPT, SOME, TABLE) is CACHE
    assert decided(KEPT, NOTHING, TABLE) is CACHE
    assert decided(KEPT, ALL) is CACHE
    assert decided(KEPT, ALL, TABLE) == Delegation(Target.UPSTREAM, "table", else_cache=True)


def test_pages_of_a_table_that_is_upstreams_now() -> None:
    """A further page of ours comes from kept rows, or the list is to be begun anew: upstream knows no such token."""
    page = ListOptions(limit=10, continue_token="larder")
    assert decided(KEPT, ALL, TABLE, page) is CACHE
    refused = decided(UNFAITHFUL, ALL, TABLE, page)
    assert refused.target is Target.REFUSE
    assert refused.error is not None
    assert refused.error.code == 410
    assert decided(UNFAITHFUL, SOME, TABLE, page).target is Target.OTHER_FORM


def test_nothing_is_forwarded_that_upstream_would_refuse() -> None:
    """With a partial scope no combination of states and options goes upstream; what cannot be given has an error."""
    forms = (JSON, TABLE, PROTOBUF)
    for state, scope, form, foreign in itertools.product(
        (READY, UNFAITHFUL, KEPT, ABSENT, STALE), (SOME, NOTHING), forms, (False, True)
    ):
        decision = decided(state, scope, form, foreign_token=foreign)
        assert decision.target is not Target.UPSTREAM
        assert (decision.error is not None) == (decision.target is Target.REFUSE)
    assert decided(ABSENT, SOME).error is not None
    assert decided(ABSENT, SOME).error.code == 503  # type: ignore[union-attr]
    assert decided(READY, SOME, foreign_token=True).error.code == 410  # type: ignore[union-attr]
    assert decided(UNFAITHFUL, SOME, TABLE).target is Target.OTHER_FORM


def test_accept_without_what_cannot_be_given() -> None:
    """Only the clauses that came to the form go; where nothing else is left, that is told."""
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    assert accept_without(f"{table}, {table},application/json", TABLE) == "application/json"
    assert accept_without(table, TABLE) is None
    assert accept_without("application/vnd.kubernetes.protobuf,*/*", PROTOBUF) == "*/*"
    assert accept_without("application/vnd.kubernetes.protobuf", PROTOBUF) is None
