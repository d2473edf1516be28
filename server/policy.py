"""Who may read what: RBAC and tenancy put together into scopes. Pure; `control` feeds it.

Everything that is worked out about a user hangs on their `Standing`, which is thrown away whole
as soon as a role, binding, tenant or namespace changes that concerns one of their subjects.
So an answer is as new as the control data, and nothing need be told apart.

Invariant: a scope covers what RBAC lets the user read, and the namespaces of the tenants they own. Nothing else.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from kube.resources import (
    CAPSULE_GROUP,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    GVR,
    NAMESPACES,
    ROLE_BINDINGS,
    ROLES,
    Resource,
)
from server.identity import User
from server.rbac import (
    Attributes,
    Decision,
    Grants,
    Rbac,
    read_binding,
    read_rules,
    subjects_of,
)
from server.scope import ALL, NOTHING, Scope
from server.tenants import Tenants, read_owners, tenant_from_labels
from store.record import Record

_log = logging.getLogger(__name__)

STANDINGS_LIMIT = 20_000
"""Users whose standing is kept; the least recently asked about goes first. One takes some 2 KB and its scopes."""

_SCOPES_LIMIT = 500
"""Scopes remembered per user: some 60 kinds with list and watch, in a few namespaces each."""


def is_tenants(gvr: GVR) -> bool:
    """Whether the resource is Capsule's Tenants, in any version."""
    return gvr.group == CAPSULE_GROUP and gvr.resource == "tenants"


class Standing:
    """What holds for one user until `valid` turns false."""

    __slots__ = ("grants", "scopes", "subjects", "tenants", "user", "valid")

    def __init__(self, user: User, subjects: frozenset[str], grants: Grants, tenants: frozenset[str]) -> None:
        self.user = user
        self.subjects = subjects
        self.grants = grants
        self.tenants = tenants
        """Names of the tenants that the user owns."""
        self.valid = True
        self.scopes: dict[tuple[GVR, str, str], Scope | None] = {}

    def decide(self, asked: Attributes) -> Decision:
        """Upstream's answer to the question: members of `system:masters` may all."""
        return Decision(allowed=True) if self.user.master else self.grants.decide(asked)


class Policy:
    """RBAC and tenants as of the newest control data, and the scopes that follow from them."""

    def __init__(self, tenant_labels: Sequence[str]) -> None:
        self._rbac = Rbac()
        self._tenants = Tenants()
        self._tenant_labels = tuple(tenant_labels)
        self._standings: OrderedDict[User, Standing] = OrderedDict()
        self._users_of_subject: dict[str, set[User]] = {}

    # Feeding

    def apply(self, gvr: GVR, old: Record | None, new: Record | None) -> frozenset[str]:
        """Take in one change of a control resource; both None changes nothing.

        Returns:
            The subjects whose scopes may differ now; their standings are no longer valid.
        """
        record = new or old
        if record is None:
            return frozenset()
        touched = self._apply(gvr, record, gone=new is None)
        self._invalidate(touched)
        return touched

    def _apply(self, gvr: GVR, record: Record, *, gone: bool) -> frozenset[str]:
        key = (record.namespace, record.name)
        if gvr == NAMESPACES:
            tenant = None if gone else tenant_from_labels(record.labels, self._tenant_labels)
            return self._tenants.set_namespace(record.name, tenant)
        try:
            if gvr in (ROLES, CLUSTER_ROLES):
                return self._rbac.set_role(key, None if gone else read_rules(record.body()))
            if gvr in (ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS):
                binding = None if gone else read_binding(record.body(), record.namespace)
                return self._rbac.set_binding(key, binding)
            if is_tenants(gvr):
                return self._tenants.set_owners(record.name, None if gone else read_owners(record.body()))
        except msgspec.DecodeError as error:
            _log.error("cannot read %s %s/%s, it grants nothing: %s", gvr, *key, error)
            return self._apply(gvr, record, gone=True)
        raise ValueError(f"{gvr} is no control resource")

    def concerned(self, gvr: GVR, record: Record) -> frozenset[str]:
        """The subjects that a past version of a control object concerned, by the present bindings and owners."""
        try:
            if gvr in (ROLES, CLUSTER_ROLES):
                return self._rbac.subjects_of_role((record.namespace, record.name))
            if gvr in (ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS):
                return read_binding(record.body(), record.namespace).subjects
            if is_tenants(gvr):
                return read_owners(record.body())
        except msgspec.DecodeError:
            return frozenset()  # it granted nothing
        return self._tenants.owners_of(tenant_from_labels(record.labels, self._tenant_labels))

    def same_meaning(self, gvr: GVR, old: Record, new: Record) -> bool:
        """Whether two versions of a control object grant the same: most changes are of a status or an annotation."""
        try:
            if gvr in (ROLES, CLUSTER_ROLES):
                return read_rules(old.body()) == read_rules(new.body())
            if gvr in (ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS):
                return read_binding(old.body(), old.namespace) == read_binding(new.body(), new.namespace)
            if is_tenants(gvr):
                return read_owners(old.body()) == read_owners(new.body())
        except msgspec.DecodeError:
            return False
        labels = self._tenant_labels
        return tenant_from_labels(old.labels, labels) == tenant_from_labels(new.labels, labels)

    def _invalidate(self, touched: frozenset[str]) -> None:
        for user in {user for subject in touched for user in self._users_of_subject.get(subject, ())}:
            self._drop(user)

    def _drop(self, user: User) -> None:
        standing = self._standings.pop(user)
        standing.valid = False
        for subject in standing.subjects:
            users = self._users_of_subject[subject]
            users.discard(user)
            if not users:
                del self._users_of_subject[subject]

    # Asking

    def standing(self, user: User) -> Standing:
        """The user's standing as of now."""
        standing = self._standings.get(user)
        if standing is not None:
            self._standings.move_to_end(user)
            return standing
        subjects = subjects_of(user)
        standing = Standing(user, subjects, self._rbac.grants(subjects), self._tenants.owned(subjects))
        self._standings[user] = standing
        for subject in subjects:
            self._users_of_subject.setdefault(subject, set()).add(user)
        if len(self._standings) > STANDINGS_LIMIT:
            self._drop(next(iter(self._standings)))
        return standing

    def decide(self, user: User, asked: Attributes) -> Decision:
        """Upstream's answer to one question about a user."""
        return self.standing(user).decide(asked)

    def scope(self, user: User, resource: Resource, verb: str, namespace: str = "", name: str = "") -> Scope | None:
        """What `verb` (get, list or watch) may show the user; None: refuse.

        `namespace` is that of the path: "" for all namespaces and for cluster-scoped resources; for the resource
        `namespaces` it is not looked at. `name` is that of the object, or what a field selector `metadata.name=` wants.
        """
        standing = self.standing(user)
        if user.master:
            return ALL
        if name:  # not remembered: names are as many as clients care to ask for
            return self._scope(standing, resource, verb, namespace, name)
        scopes = standing.scopes
        key = (resource.gvr, verb, namespace)
        if key not in scopes:
            if len(scopes) >= _SCOPES_LIMIT:
                scopes.clear()
            scopes[key] = self._scope(standing, resource, verb, namespace, "")
        return scopes[key]

    def _scope(self, standing: Standing, resource: Resource, verb: str, namespace: str, name: str) -> Scope | None:
        gvr = resource.gvr
        if gvr.group == "" and gvr.resource == "namespaces":
            return self._scope_of_namespaces(standing, verb, name)
        asked = Attributes(verb, gvr.group, gvr.resource, "", namespace, name)
        if resource.namespaced and not namespace and verb != "get":
            return self._scope_across_namespaces(standing, asked)
        if not standing.grants.decide(asked).allowed:
            return None
        if resource.namespaced or not name or self._allowed_without_name(standing, asked):
            return ALL
        return Scope.of_names((name,))

    @staticmethod
    def _allowed_without_name(standing: Standing, asked: Attributes) -> bool:
        return standing.grants.decide(Attributes(asked.verb, asked.group, asked.resource)).allowed

    @staticmethod
    def _scope_across_namespaces(standing: Standing, asked: Attributes) -> Scope | None:
        if standing.grants.decide(asked).allowed:
            return ALL
        namespaces = standing.grants.namespaces_where(asked)
        if namespaces:
            return Scope.of_namespaces(namespaces)
        # An owner whose tenant has no namespace yet is no stranger: kubectl and dashboards get an empty list.
        return NOTHING if standing.tenants else None

    def _scope_of_namespaces(self, standing: Standing, verb: str, name: str) -> Scope | None:
        """One's own namespaces: of one's tenants, and those whose own bindings let one `get` them."""
        # Upstream takes the name in the path for the namespace too; a name in a selector it does not.
        asked = Attributes(verb, "", "namespaces", "", name if verb == "get" else "", name)
        if standing.grants.decide(asked).allowed:
            everything = not name or self._allowed_without_name(standing, asked)
            return ALL if everything else Scope.of_names((name,))
        owned = self._tenants.namespaces(standing.tenants)
        if verb == "get":
            return Scope.of_names((name,)) if name in owned else None
        visible = owned | standing.grants.visible_namespaces()
        if visible:
            return Scope.of_names(visible)
        return NOTHING if standing.tenants else None
