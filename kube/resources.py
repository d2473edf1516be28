"""What a Kubernetes API serves: group-version-resources and what discovery says of each.

`resource` is always the plural (`pods`), `kind` the singular type (`Pod`).
This file is the only place that turns a GVR into text and back.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class GVR:
    """A served version of a group's plural: the unit of coverage, storage and leases.

    >>> str(GVR("", "v1", "pods")), str(GVR("apps", "v1", "deployments"))
    ('pods.v1', 'deployments.v1.apps')
    """

    group: str
    version: str
    resource: str

    def __str__(self) -> str:
        return ".".join(part for part in (self.resource, self.version, self.group) if part)

    @classmethod
    def parse(cls, text: str) -> GVR:
        """The inverse of `str`.

        >>> GVR.parse("deployments.v1.apps")
        GVR(group='apps', version='v1', resource='deployments')

        Raises:
            ValueError: `text` is not `resource.version[.group]`.
        """
        resource, _, rest = text.partition(".")
        version, _, group = rest.partition(".")
        if not resource or not version:
            raise ValueError(f"{text!r} is not RESOURCE.VERSION[.GROUP], like pods.v1")
        return cls(group, version, resource)

    @property
    def api_version(self) -> str:
        """`v1` or `apps/v1`, as objects carry it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def base_path(self) -> str:
        """`/api/v1` or `/apis/apps/v1`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def group_resource(self) -> str:
        """`pods` or `deployments.apps`, as error messages name it."""
        return f"{self.resource}.{self.group}" if self.group else self.resource

    def path(self, namespace: str = "", name: str = "") -> str:
        """The URL path of the collection, or of one object (not percent-encoded)."""
        path = self.base_path
        if namespace:
            path += f"/namespaces/{namespace}"
        path += f"/{self.resource}"
        return f"{path}/{name}" if name else path


@dataclass(frozen=True, slots=True)
class Resource:
    """One entry of discovery: how a GVR is served."""

    gvr: GVR
    kind: str
    namespaced: bool
    verbs: frozenset[str]
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def watchable(self) -> bool:
        """Whether an informer can follow it: a few built-ins can only be listed."""
        return {"list", "watch"} <= self.verbs


NAMESPACES = GVR("", "v1", "namespaces")
ROLES = GVR("rbac.authorization.k8s.io", "v1", "roles")
ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "rolebindings")
CLUSTER_ROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles")
CLUSTER_ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings")
CUSTOM_RESOURCE_DEFINITIONS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
CAPSULE_GROUP = "capsule.clastix.io"

CONTROL = (NAMESPACES, ROLES, ROLE_BINDINGS, CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS)
"""Always covered, and always held by every replica: scopes are computed from them."""
