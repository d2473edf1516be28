from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from informers.relist import Difference, NotTellable
from informers.sequence import OutOfOrder, Sequencer
from store import record as records
from store.record import Record
from store.writer import Event


def make(name: str, rv: int, uid: str = "") -> Record:
    """A record whose bytes hold its version."""
    metadata = f'{{"name":"{name}","namespace":"a","uid":"{uid or name}","resourceVersion":"{rv}"}}'.encode()
    body = b'{"metadata":' + metadata + b"}"
    return Record("a", name, rv, uid or name, {}, {}, None, (12, 12 + len(metadata)), len(body), records.pack(body))


def sequencer() -> Sequencer:
    """One that knows no tenants."""
    return Sequencer(lambda _: "-")


def told(events: list[Event]) -> list[tuple[str, str, int]]:
    """Kind, name and version, the latter from the bytes."""
    for event in events:
        assert f'"resourceVersion":"{event.rv}"'.encode() in event.record.body()
    return [(event.kind, event.record.name, event.rv) for event in events]


def test_ordinary_events_keep_their_versions() -> None:
    """Events with versions of their own pass unchanged."""
    events = sequencer().events(10, [("A", make("x", 12)), ("M", make("x", 15))])
    assert told(events) == [("A", "x", 12), ("M", "x", 15)]


def test_deletions_of_one_version_take_free_ones() -> None:
    """Deletions that share a version are spread over the free ones before it."""
    run = [("D", make(name, 20)) for name in "abc"]
    assert told(sequencer().events(10, run)) == [("D", "a", 18), ("D", "b", 19), ("D", "c", 20)]  # type: ignore[arg-type]


def test_deletions_wait_for_free_versions() -> None:
    """What finds no free version waits, also for a run that comes in two parts."""
    one = sequencer()
    assert told(one.events(18, [("D", make("a", 20)), ("D", make("b", 20)), ("D", make("c", 20))])) == [
        ("D", "a", 19), ("D", "c", 20),
    ]  # fmt: skip
    assert one.events(20, [("D", make("d", 20))]) == []
    assert told(one.until(20, 21)) == [("D", "b", 21)]
    assert told(one.events(21, [("A", make("e", 30))])) == [("D", "d", 29), ("A", "e", 30)]
    assert not one.pending


def test_an_object_that_is_there_again_does_not_wait() -> None:
    """A waiting deletion is forgotten when the object comes back: both show as one change."""
    one = sequencer()
    one.events(20, [("D", make("a", 20))])
    assert told(one.events(20, [("A", make("a", 21))])) == [("A", "a", 21)]


@pytest.mark.parametrize("changes", [[("M", make("a", 9))], [("M", make("a", 10))], [("D", make("a", 9))]])
def test_the_past_is_refused(changes: list[tuple[str, Record]]) -> None:
    """An event from before the position is no event of this history."""
    with pytest.raises(OutOfOrder):
        sequencer().events(10, changes)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=40))
def test_every_deletion_is_told_once_and_in_order(steps: list[tuple[int, int]]) -> None:
    """Whatever shares a version, and however batches are cut: versions grow, and nothing is lost or told twice."""
    one, position, rv = sequencer(), 100, 100
    numbers = itertools.count()
    written: list[Event] = []
    deleted = set()
    for gap, size in steps:
        rv += gap
        if gap == 0 and rv == 100:
            continue
        names = [f"o{next(numbers)}" for _ in range(size)]
        deleted.update(names)
        for part in (names[: size // 2], names[size // 2 :]):
            events = one.events(position, [("D", make(name, rv)) for name in part])
            written += events
            position = events[-1].rv if events else position
    written += one.until(position, position + 1000)
    assert [event.rv for event in written] == sorted({event.rv for event in written})
    assert sorted(event.record.name for event in written) == sorted(deleted)


def difference(stored: dict[str, tuple[int, str]], position: int) -> Difference:
    """A difference to these objects (version and uid) of the store."""
    return Difference({("a", name): known for name, known in stored.items()}, position, lambda _: "-")


def test_difference() -> None:
    """New, changed, replaced and deleted objects become events in order, each with a version of its own."""
    found = difference({"same": (5, "same"), "new": (6, "old"), "gone": (7, "gone"), "changed": (8, "changed")}, 10)
    assert found.unchanged(("a", "same"), 5)
    assert not found.unchanged(("a", "changed"), 12)
    found.add(make("changed", 12))
    found.add(make("new", 14, uid="new"))
    assert found.missing() == [("a", "gone"), ("a", "new")]
    events, untold = found.events(15, [make("gone", 7), make("new", 6, uid="old")])
    assert untold == []
    assert told(events) == [("M", "changed", 12), ("D", "new", 13), ("A", "new", 14), ("D", "gone", 15)]


def test_difference_without_room() -> None:
    """Deletions for which no version is left are told later; an object that was replaced shows as changed."""
    found = difference({"one": (5, "one"), "two": (6, "two"), "new": (7, "old")}, 10)
    found.add(make("new", 11, uid="new"))
    events, untold = found.events(12, [make("one", 5), make("two", 6), make("new", 7, uid="old")])
    assert told(events) == [("A", "new", 11), ("D", "one", 12)]
    assert [record.name for record in untold] == ["two"]


def test_difference_from_another_past() -> None:
    """An object older than the position that the store lacks: the store did not follow this history."""
    with pytest.raises(NotTellable):
        difference({}, 10).add(make("old", 4))
