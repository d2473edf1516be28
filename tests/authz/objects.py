"""Control objects and records of tests, as an API server would have them."""

from __future__ import annotations

import json
from typing import Any

from kube.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    GVR,
    NAMESPACES,
    ROLE_BINDINGS,
    ROLES,
    Resource,
)
from store.record import Record, pack
from tables.row import Row

TENANTS = GVR("capsule.clastix.io", "v1beta2", "tenants")
PODS = GVR("", "v1", "pods")
NODES = GVR("", "v1", "nodes")
ALL_VERBS = frozenset(("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"))
TENANT_LABEL = "capsule.clastix.io/tenant"

KINDS = {
    NAMESPACES: Resource(NAMESPACES, "Namespace", False, ALL_VERBS),
    ROLES: Resource(ROLES, "Role", True, ALL_VERBS),
    ROLE_BINDINGS: Resource(ROLE_BINDINGS, "RoleBinding", True, ALL_VERBS),
    CLUSTER_ROLES: Resource(CLUSTER_ROLES, "ClusterRole", False, ALL_VERBS),
    CLUSTER_ROLE_BINDINGS: Resource(CLUSTER_ROLE_BINDINGS, "ClusterRoleBinding", False, ALL_VERBS),
    TENANTS: Resource(TENANTS, "Tenant", False, ALL_VERBS),
    PODS: Resource(PODS, "Pod", True, ALL_VERBS),
    NODES: Resource(NODES, "Node", False, ALL_VERBS),
}

Rule = dict[str, list[str]]


def record(name: str, namespace: str = "", rv: int = 1, labels: dict[str, str] | None = None, **body: Any) -> Record:
    """A stored object with these members beside its metadata."""
    metadata: dict[str, Any] = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    metadata |= {"uid": f"uid-{namespace}-{name}", "resourceVersion": str(rv)}
    if labels:
        metadata["labels"] = labels
    meta = json.dumps(metadata, separators=(",", ":")).encode()
    rest = json.dumps(body, separators=(",", ":")).encode()[1:]
    data = b'{"metadata":' + meta + (b"," if rest != b"}" else b"") + rest
    cells = Row((b'{"cells":[' + json.dumps(name).encode() + b"]",))
    return Record(
        namespace, name, rv, metadata["uid"], labels or {}, {}, cells, (12, 12 + len(meta)), len(data), pack(data)
    )


def rule(verbs: str, resources: str, groups: str = "", names: str = "", urls: str = "") -> Rule:
    """A PolicyRule from words; the core group is written `""` or left out."""
    made: Rule = {"verbs": verbs.split()}
    if urls:
        return {**made, "nonResourceURLs": urls.split()}
    made |= {"apiGroups": [group.strip('"') for group in groups.split()] or [""], "resources": resources.split()}
    return {**made, "resourceNames": names.split()} if names else made


def role(name: str, namespace: str = "", *rules: Rule) -> tuple[GVR, Record]:
    """A Role, or a ClusterRole without a namespace."""
    return ROLES if namespace else CLUSTER_ROLES, record(name, namespace, rules=list(rules))


def binding(name: str, namespace: str, ref: str, *subjects: str) -> tuple[GVR, Record]:
    """A RoleBinding, or a ClusterRoleBinding without a namespace.

    `ref` is `Role/x` or `ClusterRole/x`; subjects are `User/x`, `Group/x` or `ServiceAccount/namespace/x`.
    """
    kind, _, ref_name = ref.partition("/")
    return ROLE_BINDINGS if namespace else CLUSTER_ROLE_BINDINGS, record(
        name,
        namespace,
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": ref_name},
        subjects=[_subject(text) for text in subjects],
    )


def _subject(text: str) -> dict[str, str]:
    kind, _, name = text.partition("/")
    if kind == "ServiceAccount":
        namespace, _, name = name.rpartition("/")
        return {"kind": kind, "name": name, **({"namespace": namespace} if namespace else {})}
    return {"kind": kind, "name": name}


def namespace(name: str, tenant: str = "", rv: int = 1) -> tuple[GVR, Record]:
    """A Namespace, with the tenant's label if it has one."""
    return NAMESPACES, record(name, rv=rv, labels={TENANT_LABEL: tenant} if tenant else {})


def tenant(name: str, *owners: str, status: bool = False, rv: int = 1) -> tuple[GVR, Record]:
    """A Capsule Tenant with owners `User/x`, `Group/x` or `ServiceAccount/system:serviceaccount:…`."""
    listed = [dict(zip(("kind", "name"), text.split("/", 1), strict=True)) for text in owners]
    part = {"owners": listed}
    return TENANTS, record(name, rv=rv, spec={} if status else part, status=part if status else {})
