"""Disruption budgets and the pod security policies of servers before 1.25."""

from __future__ import annotations

from tables.cell import Cell, Object
from tables.fields import AGE, NAME, items, mapping, path, spec
from tables.printer import Column, KindTable


def _bound(budget: Object, key: str) -> Cell:
    """A number or a percentage, as text."""
    value = spec(budget).get(key)
    return "N/A" if value is None else str(value)


POD_DISRUPTION_BUDGETS = KindTable(
    kind="PodDisruptionBudget",
    resources=("poddisruptionbudgets.v1.policy", "poddisruptionbudgets.v1beta1.policy"),
    columns=(
        NAME,
        Column("Min Available", lambda budget: _bound(budget, "minAvailable")),
        Column("Max Unavailable", lambda budget: _bound(budget, "maxUnavailable")),
        Column("Allowed Disruptions", path("status.disruptionsAllowed", 0), "integer"),
        AGE,
    ),
)


def _rule(policy: Object, key: str) -> Cell:
    return mapping(spec(policy), key).get("rule") or ""


POD_SECURITY_POLICIES = KindTable(
    kind="PodSecurityPolicy",
    resources=("podsecuritypolicies.v1beta1.policy",),
    columns=(
        NAME,
        Column("Priv", lambda policy: "true" if spec(policy).get("privileged") else "false"),
        Column("Caps", lambda policy: ",".join(items(spec(policy), "allowedCapabilities"))),
        Column("SELinux", lambda policy: _rule(policy, "seLinux")),
        Column("RunAsUser", lambda policy: _rule(policy, "runAsUser")),
        Column("FsGroup", lambda policy: _rule(policy, "fsGroup")),
        Column("SupGroup", lambda policy: _rule(policy, "supplementalGroups")),
        Column("ReadOnlyRootFs", path("spec.readOnlyRootFilesystem", default=False)),
        Column("Volumes", lambda policy: ",".join(items(spec(policy), "volumes"))),
    ),
)

TABLES = (POD_DISRUPTION_BUDGETS, POD_SECURITY_POLICIES)
