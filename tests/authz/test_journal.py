from __future__ import annotations

from server.journal import SLACK_MS, Journal

ALICE, BOB = frozenset(("u:alice", "g:devs")), frozenset(("u:bob",))
T = 1_000_000_000


def test_unknown_before_the_journal_began() -> None:
    """Of times that no control resource's log covers, nothing is known; of those that all cover, everything."""
    journal = Journal()
    assert journal.changed_since(ALICE, T) is None
    journal.covers("roles", T)
    journal.covers("bindings", T + 5000)
    assert journal.changed_since(ALICE, T + SLACK_MS) is None
    assert journal.changed_since(ALICE, T + 5000 + SLACK_MS) is False


def test_change_counts_for_those_whom_it_concerns() -> None:
    """A change is one for its subjects only, and only for moments before it (with the slack)."""
    journal = Journal()
    journal.covers("roles", 0)
    journal.note(T, frozenset(("g:devs",)))
    assert journal.changed_since(ALICE, T - 1) is True
    assert journal.changed_since(ALICE, T + SLACK_MS) is True
    assert journal.changed_since(ALICE, T + SLACK_MS + 1) is False
    assert journal.changed_since(BOB, T - 1) is False


def test_changes_of_several_logs_are_one_order() -> None:
    """Changes may be noted in any order of their times: logs are read one after the other."""
    journal = Journal()
    journal.covers("roles", 0)
    journal.note(T, frozenset(("u:alice",)))
    journal.note(T - 100_000, frozenset(("u:bob",)))
    assert journal.changed_since(ALICE, T - 1) is True
    assert journal.changed_since(BOB, T - 100_000 + SLACK_MS + 1) is False


def test_what_was_forgotten_or_lost_is_unknown() -> None:
    """Beyond the limit, and after a loss, "unchanged" is not said any more."""
    journal = Journal(limit=2)
    journal.covers("roles", 0)
    for number in range(3):
        journal.note(T + number, frozenset(("u:bob",)))
    assert journal.changed_since(ALICE, T - 1) is None
    assert journal.changed_since(ALICE, T + SLACK_MS) is False
    journal.lost("roles", T + 100_000)
    assert journal.changed_since(ALICE, T + SLACK_MS) is None
    assert journal.changed_since(ALICE, T + 100_000 + SLACK_MS) is False
