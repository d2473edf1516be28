"""The default convertor: Name and Created At, for kinds that have no printer of their own."""

from __future__ import annotations

from tables.cell import Cell, Object
from tables.fields import NAME, metadata
from tables.printer import Column, KindTable


def created_at(obj: Object) -> Cell:
    """The creation time as it is on the wire: this cell does not move."""
    return metadata(obj).get("creationTimestamp") or "0001-01-01T00:00:00Z"


COLUMNS = (NAME, Column("Created At", created_at, "date"))

_RBAC = "rbac.authorization.k8s.io"

TABLES = tuple(
    KindTable(kind=kind, resources=resources, columns=COLUMNS, null_rows=True)
    for kind, resources in {
        "LimitRange": ("limitranges.v1",),
        "Role": tuple(f"roles.{version}.{_RBAC}" for version in ("v1", "v1beta1", "v1alpha1")),
        "ClusterRole": tuple(f"clusterroles.{version}.{_RBAC}" for version in ("v1", "v1beta1", "v1alpha1")),
        "CustomResourceDefinition": tuple(
            f"customresourcedefinitions.{version}.apiextensions.k8s.io" for version in ("v1", "v1beta1")
        ),
        "CSIStorageCapacity": tuple(
            f"csistoragecapacities.{version}.storage.k8s.io" for version in ("v1", "v1beta1", "v1alpha1")
        ),
    }.items()
)
