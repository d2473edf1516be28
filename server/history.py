"""What a view remembers of the past: replaced and deleted versions of its objects, within a budget.

Pages of one list stay one snapshot by it, and watches resume from it. The store's log is the longer
memory; a view takes from there what happened before it was hydrated.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from store.record import Record

Key = tuple[str, str]
"""Namespace and name."""

_OVERHEAD_BYTES = 600
"""What a change takes beside the bodies: the heads of two records."""


@dataclass(frozen=True, slots=True)
class Change:
    """One event, as observers get it and as the history keeps it.

    `record` is the event's: the new state, or of a deletion the final object, whose RV is the deletion's.
    `old` is the state before, None for an object that was not there. Its body may have been let go
    (`packed == b""`): `ResourceView.body` then finds it again.
    """

    rv: int
    time_ms: int
    type: Literal["A", "M", "D"]
    shard: str
    record: Record
    old: Record | None

    @property
    def new(self) -> Record | None:
        """The state after; None after a deletion."""
        return None if self.type == "D" else self.record

    @property
    def key(self) -> Key:
        """Namespace and name of the object."""
        return self.record.namespace, self.record.name


class History:
    """Changes in the order of their RVs, the oldest dropped above `budget_bytes`.

    `trimmed` is the newest RV that was dropped: nothing from there on back is complete.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.trimmed = 0
        self.bytes = 0
        self._changes: list[Change] = []
        self._rvs: list[int] = []
        self._head = 0

    def __len__(self) -> int:
        return len(self._changes) - self._head

    def append(self, change: Change) -> None:
        """Remember a change that is newer than all others."""
        self._changes.append(change)
        self._rvs.append(change.rv)
        self.bytes += _cost(change)
        self._trim()

    def prepend(self, older: Sequence[Change]) -> None:
        """Merge changes read from the store's log; those that are here already are passed over."""
        present = set(self._rvs[self._head :])
        added = [change for change in older if change.rv not in present]
        merged = sorted([*added, *self._changes[self._head :]], key=lambda change: change.rv)
        self._changes, self._rvs, self._head = merged, [change.rv for change in merged], 0
        self.bytes += sum(map(_cost, added))
        self._trim()

    def after(self, rv: int) -> list[Change]:
        """The changes newer than `rv`."""
        return self._changes[max(bisect_right(self._rvs, rv), self._head) :]

    def shrink(self, most_bytes: int) -> None:
        """Forget the oldest changes above this size."""
        budget, self.budget_bytes = self.budget_bytes, most_bytes
        self._trim()
        self.budget_bytes = budget

    def clear(self) -> None:
        """Forget everything."""
        self._changes, self._rvs, self._head, self.bytes, self.trimmed = [], [], 0, 0, 0

    def _trim(self) -> None:
        while self.bytes > self.budget_bytes and len(self):
            change = self._changes[self._head]
            self.bytes -= _cost(change)
            self.trimmed = max(self.trimmed, change.rv)
            self._head += 1
        # Cut off the dropped part when it is half of the list, so that each change is moved once on average.
        if self._head > 1024 and self._head * 2 > len(self._changes):
            del self._changes[: self._head], self._rvs[: self._head]
            self._head = 0


def undo(changes: Iterable[Change]) -> dict[Key, Record | None]:
    """What the changed objects were before the first of `changes` (in the order of their RVs)."""
    before: dict[Key, Record | None] = {}
    for change in changes:
        before.setdefault(change.key, change.old)
    return before


def _cost(change: Change) -> int:
    return _OVERHEAD_BYTES + len(change.record.packed) + (len(change.old.packed) if change.old is not None else 0)
