"""A position of its own for every event of a watch.

The store's history has one event per resourceVersion, as a watch nearly always has. But upstream may delete many
objects in one revision: Events that expire together do. All but one of these deletions then get unused versions
of their own: numbers between the resource's events are revisions of other resources, so nobody else has them. What
finds no free number waits for the next ones: `pending`. Until then the objects are still there, a little too long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Literal

from informers.extract import with_version
from store.record import Record
from store.writer import Event

Letter = Literal["A", "M", "D"]
Change = tuple[Letter, Record]
Key = tuple[str, str]


class OutOfOrder(Exception):
    """An event that is older than what was already told: upstream went back in time, or the past was another one."""


class Sequencer:
    """Gives out positions. `shard` tells where an object belongs."""

    def __init__(self, shard: Callable[[Record], str]) -> None:
        self.pending: dict[Key, Record] = {}
        """Deletions that are still to be told, by namespace and name, the oldest first."""
        self._shard = shard

    def events(self, position: int, changes: Iterable[Change]) -> list[Event]:
        """What is to be written after `position` for these changes, in upstream's order.

        Raises:
            OutOfOrder: one of them does not come after what went before. What was pending may be told or not.
        """
        events: list[Event] = []
        for version, run in groupby(changes, key=lambda change: change[1].rv):
            same = list(run)
            if len(same) > 1 or version <= position:
                self._check(version, position, same)
            if version <= position:
                self._keep(same)
                continue
            self._keep(same[:-1])
            letter, record = same[-1]
            if letter != "D":
                # The object is there again: its deletion and its creation show as one change.
                self.pending.pop(_key(record), None)
            events += self._drain(position, version)
            events.append(Event(letter, version, record, self._shard(record)))
            position = version
        return events

    def until(self, position: int, version: int) -> list[Event]:
        """What can be told of `pending` when nothing else happened after `position` and up to `version`."""
        return self._drain(position, version + 1)

    def begin(self, untold: Iterable[Record]) -> None:
        """Forget what is pending, but for these deletions."""
        self.pending = {_key(record): record for record in untold}

    def _keep(self, deletions: list[Change]) -> None:
        for _, record in deletions:
            self.pending[_key(record)] = record

    def _drain(self, position: int, before: int) -> list[Event]:
        """Pending deletions with versions after `position` and before `before`: as late as possible."""
        count = min(len(self.pending), before - position - 1)
        if count <= 0:
            return []
        keys = list(self.pending)[:count]
        return [
            Event("D", version, with_version(record, version), self._shard(record))
            for version, record in zip(range(before - count, before), map(self.pending.pop, keys), strict=True)
        ]

    @staticmethod
    def _check(version: int, position: int, same: list[Change]) -> None:
        if version < position or any(letter != "D" for letter, _ in same):
            letter, record = same[0]
            raise OutOfOrder(f"{letter} of {record.namespace}/{record.name} at {version} came after {position}")


def _key(record: Record) -> Key:
    return record.namespace, record.name
