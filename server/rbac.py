"""Role-based access control in memory, decided exactly as upstream's RBAC authorizer decides.

Not here: where roles and bindings come from (`control`), tenants, scopes (`policy`).
Aggregated ClusterRoles need nothing: upstream's controller writes the aggregate into `rules`.

Invariant: what cannot be read grants nothing.
Source: kubernetes plugin/pkg/auth/authorizer/rbac and pkg/registry/rbac/validation (1.20 and later agree).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import msgspec

from server.identity import SERVICE_ACCOUNT_PREFIX, User

Key = tuple[str, str]
"""(namespace, name) of a role or binding; the namespace of ClusterRoles and their bindings is ""."""

_Entry = TypeVar("_Entry")


@dataclass(frozen=True, slots=True)
class Attributes:
    """One question to an authorizer. With a `path` it is about a non-resource URL, and the rest is empty."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Decision(NamedTuple):
    """`reason` is what upstream appends to its 403: the roles that could not be resolved, else empty."""

    allowed: bool
    reason: str = ""


class Rule(msgspec.Struct, frozen=True, rename="camel"):
    """A PolicyRule; a missing or null list is empty."""

    verbs: tuple[str, ...] | None = None
    api_groups: tuple[str, ...] | None = None
    resources: tuple[str, ...] | None = None
    resource_names: tuple[str, ...] | None = None
    non_resource_urls: tuple[str, ...] | None = msgspec.field(default=None, name="nonResourceURLs")

    def allows(self, asked: Attributes) -> bool:
        """Whether this rule alone grants what is asked.

        >>> Rule(verbs=("*",), api_groups=("",), resources=("pods/log",)).allows(Attributes("get", "", "pods", "log"))
        True
        """
        if not _contains(self.verbs, asked.verb):
            return False
        if asked.path:
            return any(_url_matches(url, asked.path) for url in self.non_resource_urls or ())
        return (
            _contains(self.api_groups, asked.group)
            and _resource_matches(self.resources or (), asked.resource, asked.subresource)
            and (not self.resource_names or asked.name in self.resource_names)
        )


def _contains(values: tuple[str, ...] | None, wanted: str) -> bool:
    return values is not None and ("*" in values or wanted in values)


def _resource_matches(rules: tuple[str, ...], resource: str, subresource: str) -> bool:
    if "*" in rules:
        return True
    if not subresource:
        return resource in rules
    return f"{resource}/{subresource}" in rules or f"*/{subresource}" in rules


def _url_matches(rule: str, path: str) -> bool:
    return rule in ("*", path) or (rule.endswith("*") and path.startswith(rule.rstrip("*")))


class _Subject(msgspec.Struct, frozen=True):
    kind: str = ""
    name: str = ""
    namespace: str = ""


class RoleRef(msgspec.Struct, frozen=True):
    """Which role a binding grants."""

    kind: str = ""
    name: str = ""


class _RoleObject(msgspec.Struct):
    rules: tuple[Rule, ...] | None = None


class _BindingObject(msgspec.Struct, rename="camel"):
    role_ref: RoleRef
    subjects: list[_Subject] | None = None


@dataclass(frozen=True, slots=True)
class Binding:
    """Who gets which role; where, says the key that it is kept under."""

    subjects: frozenset[str]
    """Subject keys, see `user_key` and `group_key`."""
    role: RoleRef


_role_decoder = msgspec.json.Decoder(_RoleObject)
_binding_decoder = msgspec.json.Decoder(_BindingObject)


def user_key(name: str) -> str:
    """The key under which bindings and owners that name a user (or service account) are found."""
    return f"u:{name}"


def group_key(name: str) -> str:
    """The key under which bindings and owners that name a group are found."""
    return f"g:{name}"


def subjects_of(user: User) -> frozenset[str]:
    """All keys that mean this user."""
    return frozenset((user_key(user.name), *map(group_key, user.groups)))


def read_rules(body: bytes) -> tuple[Rule, ...]:
    """The rules of a Role's or ClusterRole's JSON.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _role_decoder.decode(body).rules or ()


def read_binding(body: bytes, namespace: str) -> Binding:
    """The meaning of a RoleBinding's (in `namespace`) or ClusterRoleBinding's ("") JSON.

    A ServiceAccount subject without a namespace takes the binding's own, as upstream has it; without any it is nobody.

    Raises:
        msgspec.DecodeError: it is none.
    """
    binding = _binding_decoder.decode(body)
    keys = []
    for subject in binding.subjects or ():
        if subject.kind == "User":
            keys.append(user_key(subject.name))
        elif subject.kind == "Group":
            keys.append(group_key(subject.name))
        elif subject.kind == "ServiceAccount" and (owner := subject.namespace or namespace):
            keys.append(user_key(f"{SERVICE_ACCOUNT_PREFIX}{owner}:{subject.name}"))
    return Binding(frozenset(keys), binding.role_ref)


class Rbac:
    """All roles and bindings, indexed by subject. Setters return the subjects whose rights may have changed."""

    def __init__(self) -> None:
        self._roles: dict[Key, tuple[Rule, ...]] = {}
        self._bindings: dict[Key, Binding] = {}
        self._bindings_of_subject: dict[str, set[Key]] = {}
        self._bindings_of_role: dict[Key, set[Key]] = {}

    def set_role(self, key: Key, rules: tuple[Rule, ...] | None) -> frozenset[str]:
        """Add, replace or (None) remove a Role or ClusterRole."""
        if self._roles.get(key) == rules:
            return frozenset()
        if rules is None:
            self._roles.pop(key, None)
        else:
            self._roles[key] = rules
        return self.subjects_of_role(key)

    def subjects_of_role(self, key: Key) -> frozenset[str]:
        """All subjects to which some binding grants the role."""
        bindings = self._bindings_of_role.get(key, ())
        return frozenset(subject for binding in bindings for subject in self._bindings[binding].subjects)

    def set_binding(self, key: Key, binding: Binding | None) -> frozenset[str]:
        """Add, replace or (None) remove a RoleBinding or ClusterRoleBinding."""
        old = self._bindings.get(key)
        if old == binding:
            return frozenset()
        if old is not None:
            _unindex(self._bindings_of_role, _role_key(key, old.role), key)
            for subject in old.subjects:
                _unindex(self._bindings_of_subject, subject, key)
            del self._bindings[key]
        if binding is not None:
            self._bindings[key] = binding
            self._bindings_of_role.setdefault(_role_key(key, binding.role), set()).add(key)
            for subject in binding.subjects:
                self._bindings_of_subject.setdefault(subject, set()).add(key)
        return (old.subjects if old else frozenset()) | (binding.subjects if binding else frozenset())

    def grants(self, subjects: frozenset[str]) -> Grants:
        """What these subjects are bound to, as of now."""
        keys: set[Key] = set()
        for subject in subjects:
            keys.update(self._bindings_of_subject.get(subject, ()))
        cluster: list[RoleRef] = []
        namespaces: dict[str, list[RoleRef]] = {}
        for key in sorted(keys):
            role = self._bindings[key].role
            if key[0]:
                namespaces.setdefault(key[0], []).append(role)
            else:
                cluster.append(role)
        return Grants(self, tuple(cluster), {ns: tuple(roles) for ns, roles in namespaces.items()})

    def rules(self, role: RoleRef, namespace: str) -> tuple[Rule, ...] | str:
        """The rules that a binding in `namespace` ("": a ClusterRoleBinding) grants, or why there are none."""
        if role.kind == "ClusterRole":
            found = self._roles.get(("", role.name))
            missing = "clusterrole"
        elif role.kind == "Role":
            # A ClusterRoleBinding cannot name a Role; upstream looks for one without a namespace and finds none.
            found = self._roles.get((namespace, role.name)) if namespace else None
            missing = "role"
        else:
            return f'unsupported role reference kind: "{role.kind}"'
        if found is None:
            return f'{missing}.rbac.authorization.k8s.io "{role.name}" not found'
        return found


def _role_key(binding: Key, role: RoleRef) -> Key:
    return (binding[0] if role.kind == "Role" else "", role.name)


def _unindex(index: dict[_Entry, set[Key]], entry: _Entry, key: Key) -> None:
    keys = index[entry]
    keys.discard(key)
    if not keys:
        del index[entry]


@dataclass(frozen=True, slots=True)
class Grants:
    """The roles that one user's subjects are bound to: cluster-wide, and by namespace."""

    rbac: Rbac
    cluster: tuple[RoleRef, ...]
    namespaces: dict[str, tuple[RoleRef, ...]]

    def decide(self, asked: Attributes) -> Decision:
        """Whether any rule allows it; if none does, upstream's reason."""
        problems: list[str] = []
        for role, namespace in self._visited(asked.namespace):
            rules = self.rbac.rules(role, namespace)
            if isinstance(rules, str):
                problems.append(rules)
            elif any(rule.allows(asked) for rule in rules):
                return Decision(allowed=True)
        return Decision(allowed=False, reason=_reason(problems))

    def _visited(self, namespace: str) -> Iterator[tuple[RoleRef, str]]:
        for role in self.cluster:
            yield role, ""
        if namespace:
            for role in self.namespaces.get(namespace, ()):
                yield role, namespace

    def namespaces_where(self, asked: Attributes) -> frozenset[str]:
        """The namespaces whose own bindings allow it (`asked.namespace` is not looked at)."""
        answers: dict[RoleRef, bool] = {}

        def granted(role: RoleRef, namespace: str) -> bool:
            # A ClusterRole says the same in every namespace: thousands of bindings to `admin` are one evaluation.
            if role not in answers:
                answer = self._role_allows(role, namespace, asked)
                if role.kind != "ClusterRole":
                    return answer
                answers[role] = answer
            return answers[role]

        return frozenset(ns for ns, roles in self.namespaces.items() if any(granted(role, ns) for role in roles))

    def visible_namespaces(self) -> frozenset[str]:
        """The namespaces that their own bindings let the user `get`, if need be by a rule that names them."""
        visible = self.namespaces_where(Attributes("get", "", "namespaces"))
        named = {
            ns
            for ns in self.namespaces.keys() - visible
            if any(
                self._role_allows(role, ns, Attributes("get", "", "namespaces", "", ns, ns))
                for role in self.namespaces[ns]
            )
        }
        return visible | named

    def _role_allows(self, role: RoleRef, namespace: str, asked: Attributes) -> bool:
        rules = self.rbac.rules(role, namespace)
        return not isinstance(rules, str) and any(rule.allows(asked) for rule in rules)


def _reason(problems: Iterable[str]) -> str:
    """As Go prints an aggregate of errors: duplicates once, brackets only around several."""
    distinct = list(dict.fromkeys(problems))
    if not distinct:
        return ""
    return f"RBAC: {distinct[0]}" if len(distinct) == 1 else f"RBAC: [{', '.join(distinct)}]"
