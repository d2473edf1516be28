"""Harbour & Pine, a mail-order company: its teams, their namespaces, and what runs there.

Five tenants in Capsule's manner, a platform team without one, and people who may do different things.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sandbox import workloads
from sandbox.access import Person
from sandbox.cluster import Cluster
from sandbox.objects import Object

TENANT_LABEL = "capsule.clastix.io/tenant"
OWNERS_GROUP = "capsule.clastix.io"
"""The group that Capsule's users are in."""

_DAY = 86_400.0
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True)
class App:
    """A deployment with its service: `port` 0 means that nothing calls it."""

    name: str
    image: str
    replicas: int = 2
    port: int = 8080
    tier: str = "backend"


@dataclass(frozen=True)
class Team:
    """A tenant: who owns it, and which apps run in which of its namespaces."""

    name: str
    owners: tuple[str, ...]
    namespaces: dict[str, tuple[App, ...]]
    owner_groups: tuple[str, ...] = ()
    cron: dict[str, str] = field(default_factory=dict)


_SHOP = (
    App("web", "registry.harbourpine.example/web:4.11.2", 3, 8080, "frontend"),
    App("basket", "registry.harbourpine.example/basket:2.3.0", 2),
    App("search", "registry.harbourpine.example/search:1.19.4", 2, 9200),
)
_PAY = (
    App("gateway", "registry.harbourpine.example/pay-gateway:7.0.1", 2, 8443, "frontend"),
    App("ledger", "registry.harbourpine.example/ledger:3.8.0", 2),
)

TEAMS: tuple[Team, ...] = (
    Team(
        "storefront", ("alice",),
        {"storefront-prod": _SHOP, "storefront-staging": _SHOP[:2], "storefront-preview": _SHOP[:1]},
    ),
    Team("payments", ("bob",), {"payments-prod": _PAY, "payments-staging": _PAY[:1]}, cron={"payments-prod": "settle"}),
    Team(
        "logistics", ("carol",),
        {
            "logistics-prod": (
                App("routes", "registry.harbourpine.example/routes:5.2.2", 2),
                App("labels", "registry.harbourpine.example/labels:1.4.7", 1),
            ),
            "logistics-lab": (App("planner", "registry.harbourpine.example/planner:0.9.0-rc2", 1),),
        },
        owner_groups=("warehouse-leads",),
    ),
    Team(
        "insights", ("dave",),
        {
            "insights-batch": (App("ingest", "registry.harbourpine.example/ingest:12.1.0", 2, 0),),
            "insights-notebooks": (App("hub", "registry.harbourpine.example/notebook-hub:3.1.1", 1, 8000, "frontend"),),
        },
        cron={"insights-batch": "daily-report"},
    ),
    Team("people", ("erin",), {"people-apps": (App("intranet", "registry.harbourpine.example/intranet:2.0.6", 1),)}),
)  # fmt: skip

_PLATFORM = {
    "kube-system": (App("coredns", "registry.k8s.io/coredns/coredns:v1.11.3", 2, 53, "dns"),),
    "monitoring": (App("metrics", "registry.harbourpine.example/metrics:2.54.1", 1, 9090),),
}
_EMPTY = ("default", "kube-public", "kube-node-lease")

PEOPLE: dict[str, Person] = {
    "alice-token": Person("alice", (OWNERS_GROUP,)),
    "bob-token": Person("bob", (OWNERS_GROUP,)),
    "carol-token": Person("carol", (OWNERS_GROUP, "warehouse-leads")),
    "dave-token": Person("dave", (OWNERS_GROUP,)),
    "erin-token": Person("erin", (OWNERS_GROUP,)),
    "grace-token": Person("grace", ("auditors",)),
    "mallory-token": Person("mallory"),
    "deployer-token": Person("system:serviceaccount:storefront-prod:deployer", ("system:serviceaccounts",)),
}
"""Token → person."""

ABOUT = {
    "admin": "may do everything",
    **{owner: f"owns the tenant {team.name}" for team in TEAMS for owner in team.owners},
    "dave": "owns the tenant insights, and may look into storefront-staging",
    "grace": "audits: may read everything",
    "mallory": "may read nothing",
    "deployer": "a service account of storefront-prod",
}
"""Who the people are, by the names of their kubeconfigs."""


def found(cluster: Cluster) -> dict[str, Person]:
    """Fill an empty cluster with the company; returns everybody's token."""
    for obj, age in _everything(cluster):
        cluster.load(obj, age_seconds=age)
    workloads.settle(cluster)
    return PEOPLE


def _everything(cluster: Cluster) -> Iterator[tuple[Object, float]]:
    yield from ((node, 210 * _DAY) for node in (workloads.node(number) for number in range(1, 5)))
    yield tenant_definition(), 200 * _DAY
    yield from ((one, 210 * _DAY) for one in _cluster_roles())
    for name in (*_EMPTY, *_PLATFORM):
        yield namespace(name), 210 * _DAY
    for team in TEAMS:
        yield tenant(team.name, team.owners, team.owner_groups, tuple(team.namespaces)), 190 * _DAY
        for number, name in enumerate(team.namespaces):
            yield namespace(name, team.name), (180 - 20 * number) * _DAY
            yield from ((one, 170 * _DAY) for one in owner_bindings(name, team.owners, team.owner_groups))
    for name, apps in [*_PLATFORM.items(), *(pair for team in TEAMS for pair in team.namespaces.items())]:
        yield from _namespace_contents(cluster, name, apps)
    for team in TEAMS:
        for name, job in team.cron.items():
            yield workloads.cron_job(name, job), 90 * _DAY
    yield from ((one, 60 * _DAY) for one in _grants())


def _namespace_contents(cluster: Cluster, name: str, apps: tuple[App, ...]) -> Iterator[tuple[Object, float]]:
    yield workloads.config_map(name, "kube-root-ca.crt", {"ca.crt": "(the cluster's certificate)\n"}), 170 * _DAY
    yield workloads.service_account(name, "default"), 170 * _DAY
    for app in apps:
        age = cluster.random.uniform(2, 120) * _DAY
        labels = {"app.kubernetes.io/name": app.name, "app.kubernetes.io/part-of": name, "tier": app.tier}
        yield workloads.deployment(name, app.name, app.image, app.replicas, app.port, labels), age
        if app.port:
            yield workloads.service(name, app.name, app.port, labels), age
        settings = {"LOG_LEVEL": "info", "REGION": "north", "settings.yaml": "retries: 3\ntimeout: 5s\n"}
        yield workloads.config_map(name, f"{app.name}-settings", settings), age


def namespace(name: str, tenant_name: str = "") -> Object:
    """A namespace, in a tenant if one is given."""
    metadata: Object = {"name": name}
    if tenant_name:
        metadata["labels"] = {TENANT_LABEL: tenant_name}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def tenant(name: str, owners: tuple[str, ...], groups: tuple[str, ...], namespaces: tuple[str, ...]) -> Object:
    """Capsule's object of a tenant, its status as its controller fills it in."""
    who = [{"kind": "User", "name": owner} for owner in owners] + [{"kind": "Group", "name": one} for one in groups]
    return {
        "apiVersion": "capsule.clastix.io/v1beta2",
        "kind": "Tenant",
        "metadata": {"name": name},
        "spec": {"owners": who, "namespaceOptions": {"quota": 9}},
        "status": {
            "state": "Active", "size": len(namespaces), "namespaces": sorted(namespaces),
            "owners": [{**one, "clusterRoles": ["admin", "capsule-namespace-deleter"]} for one in who],
        },
    }  # fmt: skip


def tenant_definition() -> Object:
    """The custom resource of tenants, with as much of a schema as is needed to hold them."""
    column = {"type": "string", "priority": 0}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "tenants.capsule.clastix.io"},
        "spec": {
            "group": "capsule.clastix.io",
            "names": {
                "kind": "Tenant", "listKind": "TenantList", "plural": "tenants", "singular": "tenant",
                "shortNames": ["tnt"],
            },
            "scope": "Cluster",
            "conversion": {"strategy": "None"},
            "versions": [
                {
                    "name": "v1beta2", "served": True, "storage": True, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                    "additionalPrinterColumns": [
                        {**column, "name": "State", "jsonPath": ".status.state"},
                        {**column, "name": "Namespaces", "type": "integer", "jsonPath": ".status.size"},
                        {**column, "name": "Owner", "jsonPath": ".spec.owners[0].name", "priority": 1},
                        {**column, "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                    ],
                }
            ],
        },
    }  # fmt: skip


def owner_bindings(namespace_name: str, owners: tuple[str, ...], groups: tuple[str, ...]) -> Iterator[Object]:
    """What Capsule binds in each namespace of a tenant: its owners are admin there."""
    subjects = [{"kind": "User", "apiGroup": _RBAC, "name": owner} for owner in owners]
    subjects += [{"kind": "Group", "apiGroup": _RBAC, "name": group} for group in groups]
    yield binding(namespace_name, "capsule-owners-admin", "admin", subjects)


def binding(namespace_name: str, name: str, role: str, subjects: list[dict[str, str]]) -> Object:
    """A RoleBinding to a ClusterRole; cluster-wide where `namespace_name` is ""."""
    metadata = {"name": name, **({"namespace": namespace_name} if namespace_name else {})}
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding" if namespace_name else "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": subjects,
    }


def cluster_role(name: str, *rules: dict[str, Any]) -> Object:
    """A ClusterRole."""
    return {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": list(rules)}


def system_roles() -> Iterator[Object]:
    """The roles that every API server makes for itself, as far as the sandbox's people need them."""
    read, write = ["get", "list", "watch"], ["create", "delete", "deletecollection", "patch", "update"]
    groups = ["", "apps", "batch", "autoscaling", "networking.k8s.io", "policy", "discovery.k8s.io"]
    yield cluster_role(
        "cluster-admin",
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    )
    in_namespaces = [
        "configmaps", "endpoints", "events", "limitranges", "persistentvolumeclaims", "pods", "pods/log",
        "pods/status", "resourcequotas", "serviceaccounts", "services", "deployments", "deployments/scale",
        "deployments/status", "replicasets", "replicasets/scale", "statefulsets", "statefulsets/scale", "daemonsets",
        "jobs", "cronjobs", "horizontalpodautoscalers", "ingresses", "networkpolicies", "poddisruptionbudgets",
        "endpointslices",
    ]  # fmt: skip
    rbac_rule = {"apiGroups": [_RBAC], "resources": ["roles", "rolebindings"]}
    yield cluster_role("view", {"apiGroups": groups, "resources": in_namespaces, "verbs": read})
    yield cluster_role(
        "admin",
        {"apiGroups": groups, "resources": [*in_namespaces, "secrets"], "verbs": [*read, *write]},
        {**rbac_rule, "verbs": [*read, *write]},
    )
    yield cluster_role(
        "system:discovery",
        {
            "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/version"],
            "verbs": ["get"],
        },
    )
    yield cluster_role(
        "system:basic-user",
        {
            "apiGroups": ["authorization.k8s.io", "authentication.k8s.io"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"],
            "verbs": ["create"],
        },
    )
    yield cluster_role(
        "system:public-info-viewer",
        {"nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version"], "verbs": ["get"]},
    )
    everyone = [{"kind": "Group", "apiGroup": _RBAC, "name": "system:authenticated"}]
    strangers = [{"kind": "Group", "apiGroup": _RBAC, "name": "system:unauthenticated"}]
    masters = [{"kind": "Group", "apiGroup": _RBAC, "name": "system:masters"}]
    yield binding("", "cluster-admin", "cluster-admin", masters)
    yield binding("", "system:discovery", "system:discovery", everyone)
    yield binding("", "system:basic-user", "system:basic-user", everyone)
    yield binding("", "system:public-info-viewer", "system:public-info-viewer", everyone + strangers)


def _cluster_roles() -> Iterator[Object]:
    yield from system_roles()
    yield cluster_role("auditor", {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]})


def _grants() -> Iterator[Object]:
    """What people got beside their tenants: an auditor, a colleague who helps out, a deployer."""
    yield binding("", "auditors", "auditor", [{"kind": "Group", "apiGroup": _RBAC, "name": "auditors"}])
    dave = [{"kind": "User", "apiGroup": _RBAC, "name": "dave"}]
    yield binding("storefront-staging", "insights-may-look", "view", dave)
    yield workloads.service_account("storefront-prod", "deployer")
    deployer = [{"kind": "ServiceAccount", "name": "deployer", "namespace": "storefront-prod"}]
    yield binding("storefront-prod", "deployer", "admin", deployer)
