"""A list told as events: what must have happened between the store's position and the list.

Live watchers and resumers then see a sequence that could have come from a watch. Deletions that only a list told of
have no resourceVersion of their own; each used up a revision, so there are enough unused ones to give them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from informers.extract import with_version
from store.record import Record
from store.writer import Event

Key = tuple[str, str]
"""Namespace and name."""


class NotTellable(Exception):
    """The difference cannot be told as events after the position: it must be stored anew, and older resumes get 410."""


@dataclass
class Difference:
    """Collects what changed; `stored` are the store's objects, `position` is where the store stands.

    `shard` tells where an object belongs.
    """

    stored: Mapping[Key, tuple[int, str]]
    position: int
    shard: Callable[[Record], str]
    _seen: set[Key] = field(default_factory=set)
    _changed: list[Event] = field(default_factory=list)
    _replaced: list[tuple[Key, int]] = field(default_factory=list)

    def unchanged(self, key: Key, version: int) -> bool:
        """Whether the store has this very version, so that the object need not be decoded; counts as seen."""
        known = self.stored.get(key)
        if known is None or known[0] != version:
            return False
        self._seen.add(key)
        return True

    def add(self, record: Record) -> None:
        """Take in an object of the list that the store lacks, or has in another version.

        Raises:
            NotTellable: it is older than the position: upstream's history is not the one that the store followed.
        """
        key = (record.namespace, record.name)
        self._seen.add(key)
        if record.rv <= self.position:
            raise NotTellable(f"{key} is at {record.rv}, not after the store's {self.position}")
        known = self.stored.get(key)
        if known is not None and known[1] != record.uid:
            self._replaced.append((key, record.rv))
            known = None
        self._changed.append(Event("A" if known is None else "M", record.rv, record, self.shard(record)))

    def missing(self) -> list[Key]:
        """Objects of the store that the list does not have, or has as another object of the same name."""
        gone = [key for key in self.stored if key not in self._seen]
        return gone + [key for key, _ in self._replaced]

    def events(self, list_version: int, last_known: Iterable[Record]) -> tuple[list[Event], list[Record]]:
        """Everything in order, after the position and up to `list_version`. `last_known` are the records of `missing`.

        The second are the deletions for which no version is left: several objects were deleted in one revision.
        """
        used = {event.rv for event in self._changed}
        before = dict(self._replaced)
        deletions: list[Event] = []
        untold: list[Record] = []
        for record in last_known:
            key = (record.namespace, record.name)
            version = before.get(key, list_version + 1) - 1
            while version in used:
                version -= 1
            if version > self.position:
                used.add(version)
                deletions.append(Event("D", version, with_version(record, version), self.shard(record)))
            elif key not in before:
                untold.append(record)
            # Else the object is another one of the same name: without its deletion it shows as changed.
        return sorted([*self._changed, *deletions], key=lambda event: event.rv), untold
