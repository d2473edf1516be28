"""How a resource's Tables are printed, and whether they are right: learned from upstream, checked against it.

The columns are upstream's own (a Table of one row tells them); the cells are ours. Faithful or not at all: rows that
upstream prints are compared with ours, and where one differs, Tables of the resource are not served from the store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kube.client import UpstreamClient
from kube.resources import CUSTOM_RESOURCE_DEFINITIONS, GVR, Resource
from kube.status import StatusError
from kube.version import ServerVersion
from store.meta import TableInfo
from tables.columns import Columns
from tables.custom import crd_printer
from tables.printer import Printer
from tables.registry import printer_for
from tables.row import finish

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
SAMPLE_ROWS = 50
"""Rows that are compared: enough to meet most of a printer's branches, few enough to cost upstream nothing."""

CLOCK_SECONDS = (0, -1, 1, -2, 2, -3, 3)
"""Upstream's clock may differ from ours by so much: a row is right if it is at one of these."""


@dataclass(frozen=True, slots=True)
class Definition:
    """What the CRD of a custom resource says of one version: its columns and selectable fields."""

    columns: tuple[dict[str, Any], ...] = ()
    selectable: tuple[str, ...] = ()

    @classmethod
    def of(cls, crd: Mapping[str, Any], version: str) -> Definition:
        """Read a CustomResourceDefinition (apiextensions.k8s.io/v1)."""
        for entry in crd.get("spec", {}).get("versions") or ():
            if entry.get("name") == version:
                fields = (field.get("jsonPath", "") for field in entry.get("selectableFields") or ())
                return cls(
                    tuple(entry.get("additionalPrinterColumns") or ()),
                    tuple(field.removeprefix(".") for field in fields),
                )
        return cls()


async def definition(client: UpstreamClient, gvr: GVR) -> Definition | None:
    """The definition of a custom resource, or None where the resource has none (built in, or aggregated).

    Raises:
        StatusError, UpstreamError: upstream could not say.
    """
    if "." not in gvr.group:
        return None
    try:
        crd = await client.get_json(
            CUSTOM_RESOURCE_DEFINITIONS.path(name=f"{gvr.resource}.{gvr.group}"),
            verb="get", resource=str(CUSTOM_RESOURCE_DEFINITIONS), cause="columns",
        )  # fmt: skip
    except StatusError as error:
        if error.code == 404:
            return None
        raise
    return Definition.of(crd, gvr.version)


async def learn(
    client: UpstreamClient, resource: Resource, version: ServerVersion, custom: Definition | None
) -> tuple[TableInfo, Printer | None]:
    """Ask upstream for the columns, choose the printer, and compare it with rows that upstream printed.

    Raises:
        StatusError, UpstreamError: upstream refused or did not answer; a 406 (no Tables at all) is no error.
    """
    table = await _table(client, resource.gvr)
    if table is None:
        return TableInfo(columns=b"[]", served=False, reason="upstream gives no Tables of it"), None
    columns = Columns.of(table)
    printer = _printer(resource, columns, version, custom)
    if printer is None:
        reason = f"no printer for its columns ({', '.join(columns.names())})"
        return TableInfo(columns=columns.encode(), served=False, reason=reason), None
    reason = unfaithful(printer, table.get("rows") or (), client.clock.now())
    info = TableInfo(
        columns=columns.encode(), served=not reason, reason=reason, digest=printer.digest, null_rows=printer.null_rows,
        zero_row=printer.zero_row(), sort_rows=printer.sort_rows,
    )  # fmt: skip
    return info, printer


def unfaithful(printer: Printer, rows: Sequence[Mapping[str, Any]], now: float) -> str:
    """The first difference between upstream's rows and ours, as a sentence; empty where there is none.

    `rows` are rows of a Table with whole objects (`includeObject=Object`), printed at `now`.
    """
    for row in rows:
        obj = row.get("object")
        if not isinstance(obj, dict):
            continue
        ours = printer.row(obj)
        wanted = (row.get("cells"), row.get("conditions"))
        found = [_cells(finish(ours, now + seconds)) for seconds in CLOCK_SECONDS]
        if wanted not in found:
            metadata = obj.get("metadata", {})
            name = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}".lstrip("/")
            return f"the row of {name} is {wanted[0]} upstream and {found[0][0]} here"
    return ""


def _printer(resource: Resource, columns: Columns, version: ServerVersion, custom: Definition | None) -> Printer | None:
    if custom is not None:
        printer = crd_printer(custom.columns)
        return printer if len(printer.cells) == len(columns) else None
    return printer_for(resource.gvr, resource.kind, columns, version)


async def _table(client: UpstreamClient, gvr: GVR) -> dict[str, Any] | None:
    response = await client.request(
        "GET", f"{gvr.path()}?limit={SAMPLE_ROWS}&includeObject=Object", headers={"Accept": TABLE},
        verb="list", resource=str(gvr), cause="columns",
    )  # fmt: skip
    if response.status == 406:
        return None
    table: dict[str, Any] = json.loads(response.checked().body)
    return table if table.get("kind") == "Table" else None


def _cells(text: bytes) -> tuple[Any, Any]:
    row = json.loads(text + b"}")
    return row["cells"], row.get("conditions")
