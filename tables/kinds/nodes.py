"""Nodes, and the runtime classes that they offer."""

from __future__ import annotations

from tables.cell import Cell, Object
from tables.fields import AGE, NAME, NONE, UNKNOWN, items, mapping, metadata, path, spec, status
from tables.printer import Column, KindTable

_ROLE_PREFIX = "node-role.kubernetes.io/"


def _status(node: Object) -> Cell:
    ready = None
    for condition in items(status(node), "conditions"):
        if condition.get("type") == "Ready":
            ready = condition
    text = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    return f"{text},SchedulingDisabled" if spec(node).get("unschedulable") else text


def _roles(node: Object) -> Cell:
    labels = mapping(metadata(node), "labels")
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    roles.add(labels.get("kubernetes.io/role", ""))
    return ",".join(sorted(filter(None, roles))) or NONE


def _address(node: Object, kind: str) -> Cell:
    for address in items(status(node), "addresses"):
        if address.get("type") == kind:
            return address.get("address") or ""
    return NONE


def _info(node: Object, key: str) -> str:
    return mapping(status(node), "nodeInfo").get(key) or UNKNOWN


def _kernel_and_architecture(node: Object) -> Cell:
    architecture = mapping(status(node), "nodeInfo").get("architecture")
    kernel = _info(node, "kernelVersion")
    return f"{kernel} ({architecture})" if architecture else kernel


NODES = KindTable(
    kind="Node",
    resources=("nodes.v1",),
    columns=(
        NAME,
        Column("Status", _status),
        Column("Roles", _roles),
        AGE,
        Column("Version", path("status.nodeInfo.kubeletVersion")),
        Column("Internal-IP", lambda node: _address(node, "InternalIP"), priority=1),
        Column("External-IP", lambda node: _address(node, "ExternalIP"), priority=1),
        Column("OS-Image", lambda node: _info(node, "osImage"), priority=1),
        Column("Kernel-Version", lambda node: _info(node, "kernelVersion"), priority=1, until="1.35"),
        Column("Kernel-Version", _kernel_and_architecture, priority=1, since="1.36"),
        Column("Container-Runtime", lambda node: _info(node, "containerRuntimeVersion"), priority=1),
    ),
)

RUNTIME_CLASSES = KindTable(
    kind="RuntimeClass",
    resources=("runtimeclasses.v1.node.k8s.io", "runtimeclasses.v1beta1.node.k8s.io"),
    columns=(NAME, Column("Handler", path("handler")), AGE),
)

RUNTIME_CLASSES_ALPHA = KindTable(
    kind="RuntimeClass",
    resources=("runtimeclasses.v1alpha1.node.k8s.io",),
    columns=(NAME, Column("Handler", path("spec.runtimeHandler")), AGE),
)

TABLES = (NODES, RUNTIME_CLASSES, RUNTIME_CLASSES_ALPHA)
