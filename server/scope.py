"""What a user may read of one resource with one verb: a pure value, computed once and handed to every read.

A scope never says *whether* a request is allowed (a refusal is the absence of a scope, None);
it says which objects of the resource exist for this user.

Invariant: no object reaches an answer or a stream unless `Scope.covers` its namespace and name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property


class ScopeKind(Enum):
    """How `Scope.members` are to be read."""

    ALL = "all"
    NAMESPACES = "namespaces"
    NAMES = "names"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Scope:
    """`members` are namespaces (NAMESPACES) or object names of a cluster-scoped resource (NAMES); else empty.

    On a namespaced path the scope is ALL: the path itself narrows to the namespace,
    and whether the user may read there was the question that produced the scope.

    >>> Scope.of_namespaces(["a", "b"]).covers("a", "web-0"), Scope.of_names(["a"]).covers("", "b")
    (True, False)
    """

    kind: ScopeKind
    members: frozenset[str] = frozenset()

    @classmethod
    def of_namespaces(cls, namespaces: Iterable[str]) -> Scope:
        """The objects in these namespaces; of none: an empty answer, not a refusal."""
        members = frozenset(namespaces)
        return cls(ScopeKind.NAMESPACES, members) if members else NOTHING

    @classmethod
    def of_names(cls, names: Iterable[str]) -> Scope:
        """The cluster-scoped objects with these names; of none: an empty answer, not a refusal."""
        members = frozenset(names)
        return cls(ScopeKind.NAMES, members) if members else NOTHING

    @property
    def all(self) -> bool:
        """Whether every object is covered, so that no read need ask."""
        return self.kind is ScopeKind.ALL

    def covers(self, namespace: str, name: str) -> bool:
        """Whether the object exists for the user. `namespace` is "" for cluster-scoped objects."""
        kind = self.kind
        if kind is ScopeKind.ALL:
            return True
        if kind is ScopeKind.NAMESPACES:
            return namespace in self.members
        return kind is ScopeKind.NAMES and not namespace and name in self.members

    def within(self, other: Scope) -> Scope:
        """What both cover.

        >>> Scope.of_names(["a", "b"]).within(Scope.of_names(["b", "c"])).members, ALL.within(NOTHING) == NOTHING
        (frozenset({'b'}), True)
        """
        if self.all or self == other:
            return other
        if other.all:
            return self
        members = self.members & other.members
        # Namespaces and names have no object in common: each is for another kind of resource.
        return Scope(self.kind, members) if members and self.kind is other.kind else NOTHING

    def without(self, other: Scope) -> Scope:
        """A scope that holds at least what this one covers and the other does not, and little else."""
        if other.all or self == other:
            return NOTHING
        if self.kind is not other.kind or self.kind not in (ScopeKind.NAMESPACES, ScopeKind.NAMES):
            return self
        members = self.members - other.members
        return Scope(self.kind, members) if members else NOTHING

    @cached_property
    def digest(self) -> str:
        """16 hex digits that are equal for equal scopes: in page tokens, and as the key of shared answers."""
        text = "\0".join((self.kind.value, *sorted(self.members)))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def label(self) -> str:
        """As the access log has it.

        >>> Scope.of_names(["a", "b"]).label
        'names:2'
        """
        return f"{self.kind.value}:{len(self.members)}"


ALL = Scope(ScopeKind.ALL)
NOTHING = Scope(ScopeKind.NOTHING)
