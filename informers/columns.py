"""How a resource's Tables are printed, and whether they are right: learned from upstream, checked against it.

The columns are upstream's own (a Table tells them); the cells are ours. Faithful or not at all: rows that
upstream prints are compared with ours, and where one differs, Tables of the resource are not served from the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from kube.client import UpstreamClient
from kube.resources import GVR, Resource
from kube.status import StatusError, TooManyRequests, Unauthorized
from kube.upstream_error import UpstreamBroken
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

CLOCK_SECONDS = tuple(sorted((step / 10 for step in range(-30, 31)), key=abs))
"""Upstream may have printed a row so long before or after our now: it is right if it is at one of these."""


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


class SampleRow(msgspec.Struct):
    """A row as upstream printed it, with the whole object."""

    cells: msgspec.Raw
    conditions: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    """Empty where there are none. Not Optional: in a union with None msgspec takes nothing but null."""
    object: dict[str, Any] | None = None


class _Table(msgspec.Struct):
    kind: str = ""
    columns: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"[]"), name="columnDefinitions")
    rows: list[SampleRow] | None = None


@dataclass(frozen=True, slots=True)
class Learned:
    """What upstream taught: `compared` is the number of rows that were compared with its own."""

    info: TableInfo
    printer: Printer | None
    compared: int = 0


def printer_of(
    resource: Resource, columns: Columns, version: ServerVersion, custom: Definition | None
) -> Printer | None:
    """The printer for upstream's columns; None where there is none."""
    if custom is not None:
        printer = crd_printer(custom.columns)
        return printer if len(printer.cells) == len(columns) else None
    return printer_for(resource.gvr, resource.kind, columns, version)


async def learn(
    client: UpstreamClient, resource: Resource, version: ServerVersion, custom: Definition | None
) -> Learned:
    """Ask upstream for the columns, choose the printer, and compare it with rows that upstream printed.

    Raises:
        StatusError, UpstreamError: upstream cannot be asked now. That it gives no Tables is no error.
    """
    try:
        table = await _table(client, resource.gvr)
    except (Unauthorized, TooManyRequests):
        raise
    except StatusError as error:
        return Learned(TableInfo(columns=b"[]", served=False, reason=f"upstream gives no Table: {error}"), None)
    columns = Columns.decode(bytes(table.columns))
    printer = printer_of(resource, columns, version, custom)
    if printer is None:
        reason = f"no printer for its columns ({', '.join(columns.names())})"
        return Learned(TableInfo(columns=bytes(table.columns), served=False, reason=reason), None)
    rows = table.rows or ()
    reason = unfaithful(printer, rows, client.clock.now())
    info = TableInfo(
        columns=bytes(table.columns), served=not reason, reason=reason, digest=printer.digest,
        null_rows=printer.null_rows, zero_row=printer.zero_row(), sort_rows=printer.sort_rows,
    )  # fmt: skip
    return Learned(info, printer, len(rows))


def unfaithful(printer: Printer, rows: Sequence[SampleRow], now: float) -> str:
    """The first difference between upstream's rows and ours, as a sentence; empty where there is none.

    Byte by byte, but for what depends on the clock: `rows` were printed within some seconds of `now`.
    """
    for row in rows:
        if row.object is None:
            continue
        wanted = b'{"cells":' + bytes(row.cells)
        if bytes(row.conditions):
            wanted += b',"conditions":' + bytes(row.conditions)
        metadata = row.object.get("metadata") or {}
        name = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}".lstrip("/")
        try:
            ours = printer.row(row.object)
        except Exception as error:  # noqa: BLE001 (whatever is wrong with a printer: its Tables are not served)
            return f"the row of {name} cannot be printed here: {error!r}"
        if not any(finish(ours, now + seconds) == wanted for seconds in CLOCK_SECONDS):
            return f"the row of {name} is {wanted.decode()} upstream and {finish(ours, now).decode()} here"
    return ""


async def _table(client: UpstreamClient, gvr: GVR) -> _Table:
    response = await client.request(
        "GET", f"{gvr.path()}?limit={SAMPLE_ROWS}&includeObject=Object", headers={"Accept": TABLE},
        verb="list", resource=str(gvr), cause="columns",
    )  # fmt: skip
    try:
        table = msgspec.json.decode(response.checked().body, type=_Table)
    except msgspec.DecodeError as error:
        raise UpstreamBroken(f"upstream's Table of {gvr} has another form: {error}") from error
    if table.kind != "Table":
        raise StatusError(406, "NotAcceptable", f"it sent a {table.kind or 'document'} instead")
    return table
