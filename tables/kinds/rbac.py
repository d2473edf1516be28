"""Role bindings; roles themselves are printed by the default convertor."""

from __future__ import annotations

from tables.cell import Cell, Object
from tables.fields import AGE, NAME, items, mapping
from tables.printer import Column, KindTable

_VERSIONS = ("v1", "v1beta1", "v1alpha1")


def _role(binding: Object) -> Cell:
    role = mapping(binding, "roleRef")
    return f"{role.get('kind') or ''}/{role.get('name') or ''}"


def _subjects(binding: Object, kind: str) -> Cell:
    subjects = [subject for subject in items(binding, "subjects") if subject.get("kind") == kind]
    if kind == "ServiceAccount":
        return ", ".join(f"{subject.get('namespace') or ''}/{subject.get('name') or ''}" for subject in subjects)
    return ", ".join(subject.get("name") or "" for subject in subjects)


def _bindings(kind: str, resource: str) -> KindTable:
    return KindTable(
        kind=kind,
        resources=tuple(f"{resource}.{version}.rbac.authorization.k8s.io" for version in _VERSIONS),
        columns=(
            NAME,
            Column("Role", _role),
            AGE,
            Column("Users", lambda binding: _subjects(binding, "User"), priority=1),
            Column("Groups", lambda binding: _subjects(binding, "Group"), priority=1),
            Column("ServiceAccounts", lambda binding: _subjects(binding, "ServiceAccount"), priority=1),
        ),
    )


ROLE_BINDINGS = _bindings("RoleBinding", "rolebindings")
CLUSTER_ROLE_BINDINGS = _bindings("ClusterRoleBinding", "clusterrolebindings")

TABLES = (ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS)
