"""Who somebody is, and what RBAC lets them do: evaluated simply, and on purpose not by the server's own code.

Tests compare the two: neither imports the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kube.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GVR, ROLE_BINDINGS, ROLES
from sandbox.catalogue import Catalogue
from sandbox.storage import Collection, Storage

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"


@dataclass(frozen=True, slots=True)
class Person:
    """An identity: a user, a service account or a component."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""

    @property
    def all_groups(self) -> tuple[str, ...]:
        """With the group that everybody who is known has."""
        return self.groups if AUTHENTICATED in self.groups else (*self.groups, AUTHENTICATED)

    def user_info(self) -> dict[str, Any]:
        """As a TokenReview's status and a SelfSubjectReview show it."""
        uid = {"uid": self.uid} if self.uid else {}
        return {"username": self.name, **uid, "groups": list(self.all_groups)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What is asked of the authorizer. For a path that is no resource `gvr` is None."""

    verb: str
    gvr: GVR | None = None
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


@dataclass
class Access:
    """The sandbox's tokens and its RBAC, read from its own objects at each question."""

    catalogue: Catalogue
    storage: Storage
    tokens: dict[str, Person] = field(default_factory=dict)

    def allowed(self, person: Person, wanted: Attributes) -> bool:
        """Whether some rule grants it."""
        if MASTERS in person.groups:
            return True
        return any(_grants(rule, wanted) for rule in self.rules(person, wanted.namespace))

    def rules(self, person: Person, namespace: str) -> Iterator[Mapping[str, Any]]:
        """Every rule that holds for the person, cluster-wide and in the namespace."""
        for item in list(self._collection(CLUSTER_ROLE_BINDINGS).items.values()):
            binding = item.decoded()
            if _binds(binding, person, ""):
                yield from self._role_rules(binding["roleRef"], "")
        if not namespace:
            return
        for item in list(self._collection(ROLE_BINDINGS).snapshot(self.storage.rv, namespace)):
            binding = item.decoded()
            if _binds(binding, person, namespace):
                yield from self._role_rules(binding["roleRef"], namespace)

    def _role_rules(self, reference: Mapping[str, str], namespace: str) -> list[Mapping[str, Any]]:
        if reference["kind"] == "ClusterRole":
            item = self._collection(CLUSTER_ROLES).get("", reference["name"])
        else:
            item = self._collection(ROLES).get(namespace, reference["name"])
        return [] if item is None else item.decoded().get("rules") or []

    def _collection(self, gvr: GVR) -> Collection:
        served = self.catalogue.find(gvr)
        assert served is not None, f"{gvr} is built in"
        return self.storage.collection(served)


def _binds(binding: Mapping[str, Any], person: Person, namespace: str) -> bool:
    for subject in binding.get("subjects") or ():
        kind, name = subject.get("kind"), subject.get("name")
        if kind == "User" and name == person.name:
            return True
        if kind == "Group" and name in person.all_groups:
            return True
        account = f"system:serviceaccount:{subject.get('namespace') or namespace}:{name}"
        if kind == "ServiceAccount" and account == person.name:
            return True
    return False


def _grants(rule: Mapping[str, Any], wanted: Attributes) -> bool:
    if not _has(rule.get("verbs"), wanted.verb):
        return False
    if wanted.gvr is None:
        return any(_path_matches(pattern, wanted.path) for pattern in rule.get("nonResourceURLs") or ())
    resource = wanted.gvr.resource
    names = rule.get("resourceNames") or ()
    if names and wanted.name not in names:
        return False
    if not _has(rule.get("apiGroups"), wanted.gvr.group):
        return False
    resources = rule.get("resources") or ()
    if not wanted.subresource:
        return _has(resources, resource)
    return "*" in resources or f"{resource}/{wanted.subresource}" in resources or f"*/{wanted.subresource}" in resources


def _has(values: Any, value: str) -> bool:
    return bool(values) and ("*" in values or value in values)


def _path_matches(pattern: str, path: str) -> bool:
    return pattern == path or (pattern.endswith("*") and path.startswith(pattern[:-1]))
