"""Priority and fairness: how requests are sorted into levels, and what each level gets."""

from __future__ import annotations

from tables.cell import Cell, Object
from tables.fields import AGE, NAME, NONE, condition, mapping, path, path_or, spec
from tables.printer import Column, KindTable

_VERSIONS = ("v1", "v1beta3", "v1beta2", "v1beta1", "v1alpha1")


def _missing_level(schema: Object) -> Cell:
    dangling = condition(schema, "Dangling")
    return "?" if dangling is None else dangling.get("status") or ""


FLOW_SCHEMAS = KindTable(
    kind="FlowSchema",
    resources=tuple(f"flowschemas.{version}.flowcontrol.apiserver.k8s.io" for version in _VERSIONS),
    columns=(
        NAME,
        Column("PriorityLevel", path("spec.priorityLevelConfiguration.name")),
        Column("MatchingPrecedence", path("spec.matchingPrecedence", 0)),
        Column("DistinguisherMethod", path_or("spec.distinguisherMethod.type", NONE)),
        AGE,
        Column("MissingPL", _missing_level),
    ),
    sort_rows=True,
)


def _shares(level: Object) -> Cell:
    """The shares of a limited level, under its older or its newer name."""
    limited = spec(level).get("limited")
    if limited is None:
        return NONE
    return limited.get("nominalConcurrencyShares") or limited.get("assuredConcurrencyShares") or 0


def _queuing(level: Object, key: str) -> Cell:
    queuing = mapping(mapping(spec(level), "limited"), "limitResponse").get("queuing")
    return NONE if queuing is None else queuing.get(key) or 0


PRIORITY_LEVELS = KindTable(
    kind="PriorityLevelConfiguration",
    resources=tuple(f"prioritylevelconfigurations.{version}.flowcontrol.apiserver.k8s.io" for version in _VERSIONS),
    columns=(
        NAME,
        Column("Type", path("spec.type")),
        Column("AssuredConcurrencyShares", _shares, until="1.25"),
        Column("NominalConcurrencyShares", _shares, since="1.26"),
        Column("Queues", lambda level: _queuing(level, "queues")),
        Column("HandSize", lambda level: _queuing(level, "handSize")),
        Column("QueueLengthLimit", lambda level: _queuing(level, "queueLengthLimit")),
        AGE,
    ),
)

TABLES = (FLOW_SCHEMAS, PRIORITY_LEVELS)
