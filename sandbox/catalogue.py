"""What the sandbox serves: the built-in resources that a small company uses, and those its CRDs add."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kube.resources import GVR, Resource

VERSION = "v1.34.2"
"""The version of the API server that the sandbox stands in for: its printers and protocol are of this one."""

_ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_CREATE = ("create",)
_CRD_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


@dataclass(frozen=True, slots=True)
class Served:
    """A resource as the sandbox serves it.

    `custom`: defined by a CRD, so objects keep kind and apiVersion and have alphabetical keys.
    `columns` are the additionalPrinterColumns of a custom resource; `warning` comes with each answer, "" for none.
    """

    resource: Resource
    custom: bool = False
    subresources: tuple[str, ...] = ()
    columns: tuple[Mapping[str, Any], ...] = ()
    warning: str = ""

    @property
    def gvr(self) -> GVR:
        """Its address."""
        return self.resource.gvr

    @property
    def list_kind(self) -> str:
        """The kind of its lists."""
        return f"{self.resource.kind}List"


def _served(
    group_version: str,
    plural: str,
    kind: str,
    *,
    short: str = "",
    cluster: bool = False,
    subresources: str = "",
    categories: str = "",
    verbs: tuple[str, ...] = _ALL,
    warning: str = "",
) -> Served:
    group, _, version = group_version.rpartition("/")
    return Served(
        Resource(
            gvr=GVR(group, version, plural),
            kind=kind,
            namespaced=not cluster,
            verbs=frozenset(verbs),
            singular=kind.lower(),
            short_names=tuple(short.split()),
            categories=tuple(categories.split()),
        ),
        subresources=tuple(subresources.split()),
        warning=warning,
    )


_ENDPOINTS_WARNING = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"


BUILT_IN: tuple[Served, ...] = (
    _served("v1", "configmaps", "ConfigMap", short="cm"),
    _served("v1", "endpoints", "Endpoints", short="ep", warning=_ENDPOINTS_WARNING),
    _served("v1", "events", "Event", short="ev"),
    _served("v1", "limitranges", "LimitRange", short="limits"),
    _served("v1", "namespaces", "Namespace", short="ns", cluster=True, subresources="status finalize"),
    _served("v1", "nodes", "Node", short="no", cluster=True, subresources="status"),
    _served("v1", "persistentvolumeclaims", "PersistentVolumeClaim", short="pvc", subresources="status"),
    _served("v1", "persistentvolumes", "PersistentVolume", short="pv", cluster=True, subresources="status"),
    _served("v1", "pods", "Pod", short="po", categories="all", subresources="status log"),
    _served("v1", "resourcequotas", "ResourceQuota", short="quota", subresources="status"),
    _served("v1", "secrets", "Secret"),
    _served("v1", "serviceaccounts", "ServiceAccount", short="sa"),
    _served("v1", "services", "Service", short="svc", categories="all", subresources="status"),
    _served("apps/v1", "daemonsets", "DaemonSet", short="ds", categories="all", subresources="status"),
    _served("apps/v1", "deployments", "Deployment", short="deploy", categories="all", subresources="scale status"),
    _served("apps/v1", "replicasets", "ReplicaSet", short="rs", categories="all", subresources="scale status"),
    _served("apps/v1", "statefulsets", "StatefulSet", short="sts", categories="all", subresources="scale status"),
    _served("batch/v1", "cronjobs", "CronJob", short="cj", categories="all", subresources="status"),
    _served("batch/v1", "jobs", "Job", categories="all", subresources="status"),
    _served("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", short="hpa", categories="all"),
    _served("networking.k8s.io/v1", "ingresses", "Ingress", short="ing", subresources="status"),
    _served("networking.k8s.io/v1", "ingressclasses", "IngressClass", cluster=True),
    _served("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", short="netpol"),
    _served("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", short="pdb", subresources="status"),
    _served("storage.k8s.io/v1", "storageclasses", "StorageClass", short="sc", cluster=True),
    _served("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", short="pc", cluster=True),
    _served("coordination.k8s.io/v1", "leases", "Lease"),
    _served("discovery.k8s.io/v1", "endpointslices", "EndpointSlice"),
    _served("rbac.authorization.k8s.io/v1", "roles", "Role"),
    _served("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding"),
    _served("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", cluster=True),
    _served("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", cluster=True),
    _served(
        "apiextensions.k8s.io/v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        short="crd crds",
        categories="api-extensions",
        cluster=True,
        subresources="status",
    ),
    _served("authentication.k8s.io/v1", "tokenreviews", "TokenReview", cluster=True, verbs=_CREATE),
    _served("authentication.k8s.io/v1", "selfsubjectreviews", "SelfSubjectReview", cluster=True, verbs=_CREATE),
    _served(
        "authorization.k8s.io/v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", cluster=True, verbs=_CREATE
    ),
    _served("authorization.k8s.io/v1", "subjectaccessreviews", "SubjectAccessReview", cluster=True, verbs=_CREATE),
    _served(
        "authorization.k8s.io/v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", cluster=True, verbs=_CREATE
    ),
)


@dataclass
class Catalogue:
    """Everything that is served now; custom resources come and go with their definitions."""

    served: dict[GVR, Served] = field(default_factory=lambda: {one.gvr: one for one in BUILT_IN})
    generation: int = 0
    """Counts the changes, so that documents made from it can be kept."""

    def __iter__(self) -> Iterator[Served]:
        return iter(self.served.values())

    def find(self, gvr: GVR) -> Served | None:
        """The served resource, or None."""
        return self.served.get(gvr)

    def by_kind(self, api_version: str, kind: str) -> Served | None:
        """The resource of an object with this apiVersion and kind, or None."""
        for one in self.served.values():
            if one.resource.kind == kind and one.gvr.api_version == api_version:
                return one
        return None

    def groups(self) -> dict[str, dict[str, list[Served]]]:
        """Group → version → what it serves; the core group is ""."""
        found: dict[str, dict[str, list[Served]]] = {}
        for one in self.served.values():
            found.setdefault(one.gvr.group, {}).setdefault(one.gvr.version, []).append(one)
        return found

    def define(self, definition: Mapping[str, Any]) -> Served:
        """Serve what a CustomResourceDefinition declares: its storage version alone."""
        spec = definition["spec"]
        names = spec["names"]
        version = next((one for one in spec["versions"] if one.get("storage")), spec["versions"][0])
        one = Served(
            Resource(
                gvr=GVR(spec["group"], version["name"], names["plural"]),
                kind=names["kind"],
                namespaced=spec["scope"] == "Namespaced",
                verbs=frozenset(_CRD_VERBS),
                singular=names.get("singular") or names["kind"].lower(),
                short_names=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
            ),
            custom=True,
            subresources=tuple(version.get("subresources") or ()),
            columns=tuple(version.get("additionalPrinterColumns") or ()),
        )
        if self.served.get(one.gvr) != one:
            self.served[one.gvr] = one
            self.generation += 1
        return one

    def forget(self, group: str, plural: str) -> list[GVR]:
        """Stop serving a custom resource; returns what was served."""
        gone = [gvr for gvr, one in self.served.items() if one.custom and (gvr.group, gvr.resource) == (group, plural)]
        for gvr in gone:
            del self.served[gvr]
        if gone:
            self.generation += 1
        return gone
