"""When rights last changed, by subject: what tells a resumed watch or a next page that its scope is another now.

Times are the store's (milliseconds of the log entries), so every replica comes to the same answer.

Invariant: "unchanged" is only said of a time that the journal covers completely.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable
from typing import NamedTuple

SLACK_MS = 30_000
"""A change counts as after a moment if it was up to 30 s before it: the time of an RV is known to some 10 s only,
and a Redis that took over may have a clock that is off."""

LIMIT = 20_000
"""Changes remembered; the oldest are forgotten first, and what was before them is unknown from then on."""


class _Entry(NamedTuple):
    time_ms: int
    number: int
    subjects: frozenset[str]


class Journal:
    """The changes of all control resources, in the order of their times."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._entries: list[_Entry] = []
        self._since: dict[Hashable, int] = {}
        self._forgotten_ms = 0
        self._number = 0

    def covers(self, source: Hashable, since_ms: int) -> None:
        """Say that every change of a control resource after `since_ms` is, or will be, noted."""
        self._since[source] = since_ms

    def lost(self, source: Hashable, now_ms: int) -> None:
        """Say that changes of a control resource up to now may be missing."""
        self._since[source] = max(now_ms, self._since.get(source, 0))

    def note(self, time_ms: int, subjects: frozenset[str]) -> None:
        """A change that concerned these subjects."""
        if not subjects:
            return
        self._number += 1
        insort(self._entries, _Entry(time_ms, self._number, subjects), key=lambda entry: entry[:2])
        if len(self._entries) > self._limit:
            oldest = self._entries.pop(0)
            self._forgotten_ms = max(self._forgotten_ms, oldest.time_ms)

    def changed_since(self, subjects: frozenset[str], time_ms: int) -> bool | None:
        """Whether the rights of one of the subjects changed after the moment, less the slack; None: not known."""
        after = time_ms - SLACK_MS
        for entry in reversed(self._entries):
            if entry.time_ms < after:
                break
            if not subjects.isdisjoint(entry.subjects):
                return True
        if not self._since or after < max(self._forgotten_ms, *self._since.values()):
            return None
        return False
