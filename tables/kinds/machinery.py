"""The API server's own kinds: stored versions, their migration, and aggregated APIs."""

from __future__ import annotations

from tables.cell import Cell, Object
from tables.fields import AGE, NAME, UNSET, condition, first_and_more, items, mapping, name, path, spec, status
from tables.printer import Column, KindTable

_MOST = 3


def _stored_versions(storage_version: Object) -> Cell:
    servers = items(status(storage_version), "storageVersions")
    texts = [f"{one.get('apiServerID') or ''}={one.get('encodingVersion') or ''}" for one in servers[:_MOST]]
    return first_and_more(texts, _MOST, len(servers)) or UNSET


STORAGE_VERSIONS = KindTable(
    kind="StorageVersion",
    resources=("storageversions.v1alpha1.internal.apiserver.k8s.io",),
    columns=(
        NAME,
        Column("CommonEncodingVersion", path("status.commonEncodingVersion", UNSET)),
        Column("StorageVersions", _stored_versions),
        AGE,
    ),
)


def _migrated_version(migration: Object) -> Cell:
    resource = mapping(spec(migration), "resource")
    return ".".join(resource.get(key) or "" for key in ("resource", "version", "group"))


def _migrated(migration: Object) -> Cell:
    resource = mapping(spec(migration), "resource")
    return ".".join(filter(None, (resource.get("resource"), resource.get("group"))))


def _migration_status(migration: Object) -> Cell:
    """The last of the deciding conditions that is True."""
    shown = "Unknown"
    for one in items(status(migration), "conditions"):
        if one.get("type") in ("Running", "Succeeded", "Failed") and one.get("status") == "True":
            shown = one["type"]
    return shown


STORAGE_VERSION_MIGRATIONS_ALPHA = KindTable(
    kind="StorageVersionMigration",
    resources=("storageversionmigrations.v1alpha1.storagemigration.k8s.io",),
    columns=(Column("Name", name), Column("Resource", _migrated_version)),
    until="1.34",
)

STORAGE_VERSION_MIGRATIONS = KindTable(
    kind="StorageVersionMigration",
    resources=tuple(f"storageversionmigrations.{version}.storagemigration.k8s.io" for version in ("v1", "v1beta1")),
    columns=(Column("Name", name), Column("Resource", _migrated), Column("Status", _migration_status)),
)


def _service(api: Object) -> Cell:
    service = spec(api).get("service")
    return "Local" if service is None else f"{service.get('namespace') or ''}/{service.get('name') or ''}"


def _available(api: Object) -> Cell:
    available = condition(api, "Available")
    if available is None:
        return "Unknown"
    shown = available.get("status") or ""
    reason = available.get("reason")
    return f"{shown} ({reason})" if reason and shown != "True" else shown


API_SERVICES = KindTable(
    kind="APIService",
    resources=tuple(f"apiservices.{version}.apiregistration.k8s.io" for version in ("v1", "v1beta1")),
    columns=(NAME, Column("Service", _service), Column("Available", _available), AGE),
)

TABLES = (STORAGE_VERSIONS, STORAGE_VERSION_MIGRATIONS_ALPHA, STORAGE_VERSION_MIGRATIONS, API_SERVICES)
