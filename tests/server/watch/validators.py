"""The guarantees of a watch, each a named error with the sentence that it broke, checked over what a client saw.

The idea is etcd's: a guarantee is one small function over a recorded history. They know nothing of how
the server works, only what happened (`Happening`) and what one client asked for and got (`Seen`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Key = tuple[str, str]
Told = tuple[str, Key, int]
"""Event type, namespace and name, resourceVersion."""


@dataclass(frozen=True)
class Happening:
    """One write: the object's data before and after (None: it was not there, or is gone)."""

    rv: int
    key: Key
    before: object | None
    after: object | None


@dataclass
class Seen:
    """What one client asked for and got, over all the streams that it opened one after the other.

    `state`: the objects it knew when it began, at `begin`. `events` are in the order in which they came;
    a bookmark is `("BOOKMARK", ("", ""), rv)`. `until` is the RV up to which it has surely been told everything.
    """

    begin: int
    selects: Callable[[Key, object], bool]
    state: dict[Key, int] = field(default_factory=dict)
    events: list[Told] = field(default_factory=list)
    until: int = 0


class OrderedBroken(Exception):
    """Events come in the order of their resourceVersions."""


class UniqueBroken(Exception):
    """An event is never told twice."""


class ReliableBroken(Exception):
    """A sequence of events is told whole: none is missing between the first and the last."""


class ResumableBroken(Exception):
    """A watch that goes on from an RV is told everything that happened since."""


class BookmarkableBroken(Exception):
    """A bookmark says that everything up to its RV was told."""


class FilterBroken(Exception):
    """What is told is what the selector selects, with transitions as if objects came and went."""


def expected(history: Sequence[Happening], seen: Seen) -> list[Told]:
    """All events that the client must get in (begin, until]."""
    told = []
    for write in history:
        if not seen.begin < write.rv <= seen.until:
            continue
        was = write.before is not None and seen.selects(write.key, write.before)
        now = write.after is not None and seen.selects(write.key, write.after)
        if was or now:
            told.append(("MODIFIED" if was and now else "ADDED" if now else "DELETED", write.key, write.rv))
    return told


def check_ordered(seen: Seen) -> None:
    """RVs grow, strictly among events."""
    last = seen.begin
    for event in seen.events:
        if event[2] < last or (event[2] == last and event[0] != "BOOKMARK"):
            raise OrderedBroken(f"{event} came after {last}")
        last = event[2]


def check_unique(seen: Seen) -> None:
    """No event about one object at one RV comes twice."""
    told = [event[1:] for event in seen.events if event[0] != "BOOKMARK"]
    twice = [event for event in set(told) if told.count(event) > 1]
    if twice:
        raise UniqueBroken(f"{twice[0]} was told {told.count(twice[0])} times")


def check_filter(history: Sequence[Happening], seen: Seen) -> None:
    """Every event is one that must come."""
    allowed = set(expected(history, seen))
    for event in seen.events:
        if event[0] != "BOOKMARK" and event not in allowed:
            raise FilterBroken(f"{event} is nothing that this selector sees")


def check_reliable(history: Sequence[Happening], seen: Seen) -> None:
    """Between the first and the last event told, none is missing."""
    told = [event for event in seen.events if event[0] != "BOOKMARK"]
    if not told:
        return
    first, last = told[0][2], told[-1][2]
    for event in expected(history, seen):
        if first <= event[2] <= last and event not in told:
            raise ReliableBroken(f"{event} is missing between {first} and {last}")


def check_resumable(history: Sequence[Happening], seen: Seen) -> None:
    """From where it began up to where it surely is, everything was told."""
    told = set(seen.events)
    for event in expected(history, seen):
        if event not in told:
            raise ResumableBroken(f"{event} was not told to a watch from {seen.begin} that is at {seen.until}")


def check_bookmarkable(history: Sequence[Happening], seen: Seen) -> None:
    """No event comes after a bookmark that covers it, and none that it covers is missing."""
    told: set[Told] = set()
    wanted = expected(history, seen)
    for event in seen.events:
        if event[0] == "BOOKMARK":
            missing = [want for want in wanted if want[2] <= event[2] and want not in told]
            if missing:
                raise BookmarkableBroken(f"a bookmark at {event[2]} came before {missing[0]}")
        told.add(event)


def check_all(history: Sequence[Happening], seen: Seen) -> None:
    """Every guarantee."""
    check_ordered(seen)
    check_unique(seen)
    check_filter(history, seen)
    check_reliable(history, seen)
    check_resumable(history, seen)
    check_bookmarkable(history, seen)
