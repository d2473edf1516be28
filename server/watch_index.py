"""Who wants to see a change: watchers grouped by what they select, and found without asking each.

Watchers with equal selections share a group, so a selector is evaluated once per change however many watch.
A group hangs at its most telling mark (a name, a field's value, a label's value) within the namespaces it can
see; a change looks up its own marks and meets only the groups that may match.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kube.fields import NAME, NAMESPACE
from server.scope import ScopeKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from kube.selectors import FieldSelector, LabelSelector
    from server.scope import Scope
    from server.watcher import Watcher
    from store.record import Record


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects a watcher sees: all conditions hold at once.

    `namespace` is "" on a path across namespaces and for cluster-scoped resources.
    """

    scope: Scope
    namespace: str
    labels: LabelSelector
    fields: FieldSelector

    def matcher(self) -> Callable[[Record], bool]:
        """The fastest way to match many objects."""
        tests: list[Callable[[Record], bool]] = []
        if namespace := self.namespace:
            tests.append(lambda record: record.namespace == namespace)
        if not (scope := self.scope).all:
            tests.append(lambda record: scope.covers(record.namespace, record.name))
        if not self.labels.empty:
            labels = self.labels.matcher()
            tests.append(lambda record: labels(record.labels))
        if not self.fields.empty:
            tests.append(_field_test(self.fields))
        if len(tests) == 1:
            return tests[0]
        return lambda record: all(test(record) for test in tests)


def _field_test(fields: FieldSelector) -> Callable[[Record], bool]:
    matches = fields.matcher()
    if not {NAME, NAMESPACE}.intersection(fields.fields()):
        return lambda record: matches(record.fields)
    # These two are not among a record's fields, since every record has them anyway.
    return lambda record: matches({**record.fields, NAME: record.name, NAMESPACE: record.namespace})


class Group:
    """All watchers with one selection."""

    __slots__ = ("matches", "members", "selection")

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.matches = selection.matcher()
        self.members: dict[Watcher, None] = {}

    def __repr__(self) -> str:
        return f"Group({self.selection!r}, {len(self.members)} watchers)"


_Hooks = dict[str, dict[str, list[Group]]]


class _Bucket:
    """The groups that look at one namespace, or at all (the bucket None)."""

    __slots__ = ("fields", "labels", "names", "rest")

    def __init__(self) -> None:
        self.names: dict[str, list[Group]] = {}
        self.fields: _Hooks = {}
        self.labels: _Hooks = {}
        self.rest: list[Group] = []

    @property
    def empty(self) -> bool:
        return not (self.names or self.fields or self.labels or self.rest)

    def candidates(self, old: Record | None, new: Record | None) -> Iterator[Group]:
        known = new or old
        if known is None:
            return
        yield from self.names.get(known.name, ())
        for field, by_value in self.fields.items():
            for value in {record.fields.get(field, "") for record in (old, new) if record}:
                yield from by_value.get(value, ())
        for key, by_value in self.labels.items():
            for value in {record.labels[key] for record in (old, new) if record and key in record.labels}:
                yield from by_value.get(value, ())
        yield from self.rest


class Index:
    """All groups of one resource's watchers."""

    def __init__(self) -> None:
        self._groups: dict[Selection, Group] = {}
        self._buckets: dict[str | None, _Bucket] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Watcher]:
        for group in list(self._groups.values()):
            yield from list(group.members)

    def add(self, watcher: Watcher) -> None:
        """Let the watcher's group know it; the group is made with its first member."""
        selection = watcher.selection
        group = self._groups.get(selection)
        if group is None:
            group = self._groups[selection] = Group(selection)
            for place in _places(selection):
                _hook(self._buckets.setdefault(place, _Bucket()), group)
        if watcher not in group.members:
            group.members[watcher] = None
            self._count += 1

    def discard(self, watcher: Watcher) -> None:
        """Forget the watcher, and its group with its last member. Unknown watchers are ignored."""
        selection = watcher.selection
        group = self._groups.get(selection)
        if group is None or watcher not in group.members:
            return
        del group.members[watcher]
        self._count -= 1
        if group.members:
            return
        del self._groups[selection]
        for place in _places(selection):
            bucket = self._buckets[place]
            _unhook(bucket, group)
            if bucket.empty:
                del self._buckets[place]

    def candidates(self, old: Record | None, new: Record | None) -> Iterator[Group]:
        """The groups that may match the object before or after its change, each once."""
        known = new or old
        if known is None:
            return
        for place in (known.namespace, None):
            bucket = self._buckets.get(place)
            if bucket is not None:
                yield from bucket.candidates(old, new)


def _places(selection: Selection) -> list[str | None]:
    """The namespaces whose changes the selection can see; [None]: those of all."""
    if selection.namespace:
        return [selection.namespace]
    if selection.scope.kind is ScopeKind.NAMESPACES:
        return [*selection.scope.members]
    return [None]


def _hooks(bucket: _Bucket, selection: Selection) -> Iterator[tuple[dict[str, list[Group]], str]]:
    """Where a group hangs in a bucket, best first; nothing for the rest."""
    name = selection.fields.required(NAME)
    if name is not None:
        yield bucket.names, name
        return
    if selection.scope.kind is ScopeKind.NAMES:
        for member in selection.scope.members:
            yield bucket.names, member
        return
    for field in selection.fields.fields():
        value = selection.fields.required(field)
        if value is not None and field != NAMESPACE:
            yield bucket.fields.setdefault(field, {}), value
            return
    for key, value in selection.labels.equalities().items():
        yield bucket.labels.setdefault(key, {}), value
        return


def _hook(bucket: _Bucket, group: Group) -> None:
    lists = [by_value.setdefault(value, []) for by_value, value in _hooks(bucket, group.selection)]
    for groups in lists or [bucket.rest]:
        groups.append(group)


def _unhook(bucket: _Bucket, group: Group) -> None:
    hooks = list(_hooks(bucket, group.selection))
    if not hooks:
        bucket.rest.remove(group)
    for by_value, value in hooks:
        by_value[value].remove(group)
        if not by_value[value]:
            del by_value[value]
    for hooked in (bucket.fields, bucket.labels):
        for key in [key for key, by_value in hooked.items() if not by_value]:
            del hooked[key]
