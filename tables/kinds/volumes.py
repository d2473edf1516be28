"""Persistent volumes and the claims on them."""

from __future__ import annotations

from tables.cell import Cell, Object
from tables.fields import AGE, NAME, UNSET, annotation, items, mapping, path, spec, status, terminating
from tables.printer import Column, KindTable

_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _access_modes(holder: Object) -> str:
    given = items(holder, "accessModes")
    return ",".join(short for mode, short in _MODES.items() if mode in given)


def _storage(holder: Object) -> str:
    return mapping(holder, "capacity").get("storage") or "0"


def _phase(obj: Object) -> Cell:
    return "Terminating" if terminating(obj) else status(obj).get("phase") or ""


def _class(obj: Object) -> Cell:
    """The storage class: the beta annotation hides the field, also when it is empty."""
    beta = annotation(obj, "volume.beta.kubernetes.io/storage-class")
    return spec(obj).get("storageClassName") or "" if beta is None else beta


def _claim(volume: Object) -> Cell:
    claim = spec(volume).get("claimRef")
    return "" if claim is None else f"{claim.get('namespace') or ''}/{claim.get('name') or ''}"


_ATTRIBUTES_CLASS = Column("VolumeAttributesClass", path("spec.volumeAttributesClassName", UNSET), since="1.29")
_VOLUME_MODE = Column("VolumeMode", path("spec.volumeMode", UNSET), priority=1)

PERSISTENT_VOLUMES = KindTable(
    kind="PersistentVolume",
    resources=("persistentvolumes.v1",),
    columns=(
        NAME,
        Column("Capacity", lambda volume: _storage(spec(volume))),
        Column("Access Modes", lambda volume: _access_modes(spec(volume))),
        Column("Reclaim Policy", path("spec.persistentVolumeReclaimPolicy")),
        Column("Status", _phase),
        Column("Claim", _claim),
        Column("StorageClass", _class),
        _ATTRIBUTES_CLASS,
        Column("Reason", path("status.reason")),
        AGE,
        _VOLUME_MODE,
    ),
)


def _bound(claim: Object) -> Object | None:
    """The status of a claim that has a volume; of another neither size nor modes are shown."""
    return status(claim) if spec(claim).get("volumeName") else None


def _claim_capacity(claim: Object) -> Cell:
    bound = _bound(claim)
    return "" if bound is None else _storage(bound)


def _claim_modes(claim: Object) -> Cell:
    bound = _bound(claim)
    return "" if bound is None else _access_modes(bound)


PERSISTENT_VOLUME_CLAIMS = KindTable(
    kind="PersistentVolumeClaim",
    resources=("persistentvolumeclaims.v1",),
    columns=(
        NAME,
        Column("Status", _phase),
        Column("Volume", path("spec.volumeName")),
        Column("Capacity", _claim_capacity),
        Column("Access Modes", _claim_modes),
        Column("StorageClass", _class),
        _ATTRIBUTES_CLASS,
        AGE,
        _VOLUME_MODE,
    ),
)

TABLES = (PERSISTENT_VOLUMES, PERSISTENT_VOLUME_CLAIMS)
