"""The core group apart from pods, nodes, services, volumes and events, which have their own files."""

from __future__ import annotations

from dataclasses import replace

from tables.cell import Cell, Object
from tables.fields import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    count,
    items,
    labels_text,
    mapping,
    metadata,
    path,
    spec,
    status,
)
from tables.printer import Column, KindTable

NAMESPACES = KindTable(
    kind="Namespace", resources=("namespaces.v1",), columns=(NAME, Column("Status", path("status.phase")), AGE)
)

SECRETS = KindTable(
    kind="Secret",
    resources=("secrets.v1",),
    columns=(NAME, Column("Type", path("type")), Column("Data", count("data")), AGE),
)

CONFIG_MAPS = KindTable(
    kind="ConfigMap", resources=("configmaps.v1",), columns=(NAME, Column("Data", count("data", "binaryData")), AGE)
)

SERVICE_ACCOUNTS = KindTable(
    kind="ServiceAccount",
    resources=("serviceaccounts.v1",),
    columns=(NAME, Column("Secrets", count("secrets"), until="1.34"), AGE),
)

POD_TEMPLATES = KindTable(
    kind="PodTemplate",
    resources=("podtemplates.v1",),
    columns=(
        NAME,
        Column("Containers", lambda obj: _names(obj, "name")),
        Column("Images", lambda obj: _names(obj, "image")),
        Column("Pod Labels", lambda obj: labels_text(metadata(mapping(obj, "template")).get("labels"))),
    ),
)


def _names(template: Object, key: str) -> str:
    """One field of each container of a PodTemplate, which has its template outside of a spec."""
    return ",".join(container.get(key) or "" for container in items(spec(mapping(template, "template")), "containers"))


REPLICATION_CONTROLLERS = KindTable(
    kind="ReplicationController",
    resources=("replicationcontrollers.v1",),
    columns=(
        NAME,
        Column("Desired", path("spec.replicas", 0), "integer"),
        Column("Current", path("status.replicas", 0), "integer"),
        Column("Ready", path("status.readyReplicas", 0), "integer"),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", lambda obj: labels_text(spec(obj).get("selector")), priority=1),
    ),
)


def _component(obj: Object, key: str) -> str:
    """One field of a component's first Healthy condition."""
    for condition in items(obj, "conditions"):
        if condition.get("type") == "Healthy":
            return condition.get(key) or ""
    return ""


def _component_status(obj: Object) -> Cell:
    for condition in items(obj, "conditions"):
        if condition.get("type") == "Healthy":
            return "Healthy" if condition.get("status") == "True" else "Unhealthy"
    return "Unknown"


COMPONENT_STATUSES = KindTable(
    kind="ComponentStatus",
    resources=("componentstatuses.v1",),
    columns=(
        NAME,
        Column("Status", _component_status),
        Column("Message", lambda obj: _component(obj, "message")),
        Column("Error", lambda obj: _component(obj, "error")),
    ),
)


def _quota(obj: Object, *, limits: bool) -> str:
    """The quota's resources that are limits, or those that are not: the first dot segment decides."""
    hard, used = mapping(status(obj), "hard"), mapping(status(obj), "used")
    return ", ".join(
        f"{resource}: {used.get(resource, '0')}/{hard[resource]}"
        for resource in sorted(hard)
        if resource.startswith("limits.") == limits
    )


RESOURCE_QUOTAS = KindTable(
    kind="ResourceQuota",
    resources=("resourcequotas.v1",),
    columns=(
        NAME,
        replace(AGE, until="1.32"),
        Column("Request", lambda obj: _quota(obj, limits=False)),
        Column("Limit", lambda obj: _quota(obj, limits=True)),
        replace(AGE, since="1.33"),
    ),
)

TABLES = (
    NAMESPACES,
    SECRETS,
    CONFIG_MAPS,
    SERVICE_ACCOUNTS,
    POD_TEMPLATES,
    REPLICATION_CONTROLLERS,
    COMPONENT_STATUSES,
    RESOURCE_QUOTAS,
)
