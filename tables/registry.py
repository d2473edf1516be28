"""Which printer a resource has: by its group, version and plural, and by the columns learned from upstream.

Faithful or not at all: where upstream shows a column that is not known here, there is no printer,
and the resource's Tables are upstream's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from kube.resources import GVR
from kube.version import ServerVersion
from tables.columns import ColumnDefinition, Columns
from tables.custom import crd_columns, crd_kept_rows, crd_printer
from tables.fields import AGE, age
from tables.kept import KeptRows
from tables.kinds import (
    admission,
    apps,
    autoscaling,
    batch,
    certificates,
    coordination,
    core,
    default,
    devices,
    events,
    flowcontrol,
    machinery,
    networking,
    nodes,
    pods,
    policy,
    rbac,
    scheduling,
    services,
    storage,
    volumes,
)
from tables.printer import KindTable, Printer

__all__ = [
    "KIND_TABLES",
    "ColumnDefinition",
    "Columns",
    "KeptRows",
    "Printer",
    "crd_columns",
    "crd_kept_rows",
    "crd_printer",
    "declared_columns",
    "default_printer",
    "kept_rows",
    "printer_for",
]

_MODULES: tuple[ModuleType, ...] = (
    admission,
    apps,
    autoscaling,
    batch,
    certificates,
    coordination,
    core,
    default,
    devices,
    events,
    flowcontrol,
    machinery,
    networking,
    nodes,
    pods,
    policy,
    rbac,
    scheduling,
    services,
    storage,
    volumes,
)


def _index() -> dict[GVR, KindTable]:
    tables: dict[GVR, KindTable] = {}
    for module in _MODULES:
        for table in module.TABLES:
            for resource in table.resources:
                gvr = GVR.parse(resource)
                if gvr in tables:
                    raise ValueError(f"two printers are declared for {gvr}")
                tables[gvr] = table
    return tables


KIND_TABLES: dict[GVR, KindTable] = _index()
"""Every built-in resource that has a printer."""

_DEFAULT = KindTable(kind="", resources=(), columns=default.COLUMNS, null_rows=True)
_ANY_VERSION = ServerVersion(1, 36)


def printer_for(gvr: GVR, kind: str, columns: Sequence[ColumnDefinition], version: ServerVersion) -> Printer | None:
    """The printer of a resource that is not a custom one, for the columns that upstream gives it.

    None where upstream's Table is to be forwarded: an unknown resource, an unknown column, or a
    version whose JSON lacks what the cells show.
    """
    table = KIND_TABLES.get(gvr)
    if table is not None and table.kind == kind:
        return table.compile(columns, version)
    # An aggregated API server that has no printers uses the same default convertor.
    return _DEFAULT.compile(columns, version) if tuple(c.name for c in columns) == ("Name", "Created At") else None


def kept_rows(gvr: GVR, kind: str, columns: Sequence[ColumnDefinition], version: ServerVersion) -> KeptRows:
    """For upstream's own rows of a resource that is not a custom one; of an unknown kind only Age is known."""
    table = KIND_TABLES.get(gvr)
    if table is None or table.kind != kind:
        return KeptRows.of(columns, {(AGE.name, AGE.type): age, (AGE.name, "date"): age})
    summarize = table.summarize
    known = {(column.name, column.type): column.cell for column in table.columns_of(version)}
    summary = None if summarize is None else lambda obj: summarize(obj, version)
    return KeptRows.of(columns, known, summary, table.beyond)


def default_printer() -> Printer:
    """Name and Created At."""
    printer = _DEFAULT.compile([column.definition() for column in default.COLUMNS], _ANY_VERSION)
    assert printer is not None, "the default columns print themselves"
    return printer


def declared_columns(gvr: GVR, version: ServerVersion) -> Columns | None:
    """The columns that a server of this version gives the resource, without descriptions, in its order.

    For servers that stand in for an API server; a real one's columns are learned.
    """
    table = KIND_TABLES.get(gvr)
    if table is None:
        return None
    return Columns(tuple(column.definition() for column in table.columns_of(version)))
