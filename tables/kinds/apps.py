"""The apps group: deployments, replica sets, stateful sets, daemon sets, controller revisions."""

from __future__ import annotations

from tables.cell import Cell, Object
from tables.fields import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    NONE,
    items,
    labels_text,
    metadata,
    path,
    pod_spec,
    spec,
    status,
)
from tables.gotext import lower
from tables.printer import Column, KindTable
from tables.selectors import selector_text


def selector(obj: Object) -> Cell:
    """`spec.selector`, where an invalid one is told as an error."""
    return selector_text(spec(obj).get("selector"), empty=NONE, nothing=NONE, invalid="<error>")


SELECTOR = Column("Selector", selector, priority=1)


def _ready(obj: Object) -> Cell:
    return f"{status(obj).get('readyReplicas') or 0}/{spec(obj).get('replicas') or 0}"


def _deployment_selector(obj: Object) -> Cell:
    return selector_text(spec(obj).get("selector"), empty="", nothing="", invalid="<invalid>")


DEPLOYMENTS = KindTable(
    kind="Deployment",
    resources=("deployments.v1.apps",),
    columns=(
        NAME,
        Column("Ready", _ready),
        Column("Up-to-date", path("status.updatedReplicas", 0)),
        Column("Available", path("status.availableReplicas", 0)),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", _deployment_selector, priority=1),
    ),
)

REPLICA_SETS = KindTable(
    kind="ReplicaSet",
    resources=("replicasets.v1.apps",),
    columns=(
        NAME,
        Column("Desired", path("spec.replicas", 0), "integer"),
        Column("Current", path("status.replicas", 0), "integer"),
        Column("Ready", path("status.readyReplicas", 0), "integer"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ),
)

STATEFUL_SETS = KindTable(
    kind="StatefulSet",
    resources=("statefulsets.v1.apps",),
    columns=(NAME, Column("Ready", _ready), AGE, CONTAINERS, IMAGES),
)

DAEMON_SETS = KindTable(
    kind="DaemonSet",
    resources=("daemonsets.v1.apps",),
    columns=(
        NAME,
        Column("Desired", path("status.desiredNumberScheduled", 0), "integer"),
        Column("Current", path("status.currentNumberScheduled", 0), "integer"),
        Column("Ready", path("status.numberReady", 0), "integer"),
        Column("Up-to-date", path("status.updatedNumberScheduled", 0), "integer"),
        Column("Available", path("status.numberAvailable", 0), "integer"),
        Column("Node Selector", lambda obj: labels_text(pod_spec(obj).get("nodeSelector"))),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ),
)


def _controller(obj: Object) -> Cell:
    """The owner that controls the object: "daemonset.apps/logs"."""
    for owner in items(metadata(obj), "ownerReferences"):
        if owner.get("controller"):
            group = (owner.get("apiVersion") or "").rpartition("/")[0]
            kind = lower(owner.get("kind") or "")
            return f"{kind}.{group}/{owner.get('name') or ''}" if group else f"{kind}/{owner.get('name') or ''}"
    return NONE


CONTROLLER_REVISIONS = KindTable(
    kind="ControllerRevision",
    resources=("controllerrevisions.v1.apps",),
    columns=(NAME, Column("Controller", _controller), Column("Revision", path("revision", 0)), AGE),
)

TABLES = (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS, CONTROLLER_REVISIONS)
