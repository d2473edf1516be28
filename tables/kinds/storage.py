"""Storage classes, CSI drivers, and what is attached where."""

from __future__ import annotations

from tables.cell import Cell, Object
from tables.fields import AGE, NAME, NONE, UNSET, annotation, count, items, name, path, spec
from tables.printer import Column, KindTable

_GROUP = "storage.k8s.io"


def _storage_class_name(storage_class: Object) -> Cell:
    defaults = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
    default = any(annotation(storage_class, key) == "true" for key in defaults)
    return f"{name(storage_class)} (default)" if default else name(storage_class)


STORAGE_CLASSES = KindTable(
    kind="StorageClass",
    resources=(f"storageclasses.v1.{_GROUP}", f"storageclasses.v1beta1.{_GROUP}"),
    columns=(
        Column("Name", _storage_class_name, format="name"),
        Column("Provisioner", path("provisioner")),
        Column("ReclaimPolicy", path("reclaimPolicy", "Delete")),
        Column("VolumeBindingMode", path("volumeBindingMode", "Immediate")),
        Column("AllowVolumeExpansion", path("allowVolumeExpansion", default=False)),
        AGE,
    ),
)


def _attributes_class_name(attributes_class: Object) -> Cell:
    if annotation(attributes_class, "storageclass.kubernetes.io/is-default-class") == "true":
        return f"{name(attributes_class)} (default)"
    return name(attributes_class)


VOLUME_ATTRIBUTES_CLASSES = KindTable(
    kind="VolumeAttributesClass",
    resources=tuple(f"volumeattributesclasses.{version}.{_GROUP}" for version in ("v1", "v1beta1", "v1alpha1")),
    columns=(
        Column("Name", _attributes_class_name, format="name", until="1.33"),
        Column("Name", name, format="name", since="1.34"),
        Column("DriverName", path("driverName")),
        AGE,
    ),
)

VOLUME_ATTACHMENTS = KindTable(
    kind="VolumeAttachment",
    resources=tuple(f"volumeattachments.{version}.{_GROUP}" for version in ("v1", "v1beta1", "v1alpha1")),
    columns=(
        NAME,
        Column("Attacher", path("spec.attacher"), format="name"),
        Column("PV", path("spec.source.persistentVolumeName")),
        Column("Node", path("spec.nodeName")),
        Column("Attached", path("status.attached", default=False), "boolean"),
        AGE,
    ),
)

CSI_NODES = KindTable(
    kind="CSINode",
    resources=(f"csinodes.v1.{_GROUP}", f"csinodes.v1beta1.{_GROUP}"),
    columns=(NAME, Column("Drivers", count("spec.drivers"), "integer"), AGE),
)


def _audiences(driver: Object) -> Cell:
    requests = items(spec(driver), "tokenRequests")
    return ",".join(request.get("audience") or "" for request in requests) if requests else UNSET


# The columns with a gate before 1.24 need no versions: a server without the gate does not show them.
CSI_DRIVERS = KindTable(
    kind="CSIDriver",
    resources=(f"csidrivers.v1.{_GROUP}", f"csidrivers.v1beta1.{_GROUP}"),
    columns=(
        NAME,
        Column("AttachRequired", path("spec.attachRequired", default=True), "boolean"),
        Column("PodInfoOnMount", path("spec.podInfoOnMount", default=False), "boolean"),
        Column("StorageCapacity", path("spec.storageCapacity", default=False), "boolean"),
        Column("TokenRequests", _audiences),
        Column("RequiresRepublish", path("spec.requiresRepublish", default=False), "boolean"),
        Column("Modes", lambda driver: ",".join(items(spec(driver), "volumeLifecycleModes")) or NONE),
        AGE,
    ),
)

TABLES = (STORAGE_CLASSES, VOLUME_ATTRIBUTES_CLASSES, VOLUME_ATTACHMENTS, CSI_NODES, CSI_DRIVERS)
