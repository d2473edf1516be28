"""Priorities, and pods that are scheduled as a group."""

from __future__ import annotations

from tables.cell import Cell, Object
from tables.fields import AGE, NAME, NONE, items, mapping, path, spec, status
from tables.printer import Column, KindTable

_GROUP = "scheduling.k8s.io"

PRIORITY_CLASSES = KindTable(
    kind="PriorityClass",
    resources=tuple(f"priorityclasses.{version}.{_GROUP}" for version in ("v1", "v1beta1", "v1alpha1")),
    columns=(
        NAME,
        Column("Value", path("value", 0), "integer"),
        Column("Global-Default", path("globalDefault", default=False), "boolean"),
        AGE,
        Column("PreemptionPolicy", path("preemptionPolicy"), since="1.32"),
    ),
)

WORKLOADS = KindTable(
    kind="Workload", resources=(f"workloads.v1alpha1.{_GROUP}", f"workloads.v1alpha2.{_GROUP}"), columns=(NAME, AGE)
)


def _policy(group: Object) -> Cell:
    return "Basic" if mapping(spec(group), "schedulingPolicy").get("gang") is None else "Gang"


def _workload(group: Object) -> Cell:
    template = spec(group).get("podGroupTemplateRef")
    return NONE if template is None else mapping(template, "workload").get("workloadName") or ""


def _group_status(group: Object) -> Cell:
    """What the conditions say; the last of a type counts, and a disruption's reason before the rest."""
    conditions = {condition.get("type"): condition for condition in items(status(group), "conditions")}
    if disrupted := conditions.get("DisruptionTarget"):
        return disrupted.get("reason") or ""
    scheduled = conditions.get("PodGroupScheduled")
    if scheduled is None:
        return "Pending"
    return "Scheduled" if scheduled.get("status") == "True" else "Unschedulable"


POD_GROUPS = KindTable(
    kind="PodGroup",
    resources=(f"podgroups.v1alpha2.{_GROUP}",),
    columns=(NAME, Column("Policy", _policy), Column("Workload", _workload), Column("Status", _group_status), AGE),
)

TABLES = (PRIORITY_CLASSES, WORKLOADS, POD_GROUPS)
