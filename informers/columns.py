"""How a resource's Tables are printed, and whether they are right: learned from upstream, checked against it.

The columns are upstream's own (a Table tells them); the cells are ours. Faithful or not at all: rows that
upstream prints are compared with ours, and where one differs, Tables of the resource are not served from the store.
Then upstream's own rows are kept, which come with the objects if those are asked for as Tables (`kube.printed`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from informers.extract import decode_head, type_prefix
from kube.client import UpstreamClient
from kube.list_watch import list_pages
from kube.printed import Printed, PrintedPage, printed_pages
from kube.resources import Resource
from kube.status import StatusError, TooManyRequests, Unauthorized
from kube.version import ServerVersion
from store.meta import TableInfo
from tables.columns import Columns
from tables.printer import Printer
from tables.registry import KeptRows, crd_kept_rows, crd_printer, kept_rows, printer_for
from tables.row import Row, finish

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


@dataclass(frozen=True, slots=True)
class Learned:
    """What upstream taught: `compared` is the number of rows that were compared with its own.

    `kept` makes records' rows of upstream's own; None where ours are right, or upstream's cannot be had.
    """

    info: TableInfo
    printer: Printer | None = None
    kept: KeptRows | None = None
    compared: int = 0


def kept_rows_of(resource: Resource, columns: Columns, version: ServerVersion, custom: Definition | None) -> KeptRows:
    """What makes rows of upstream's own."""
    if custom is not None:
        return crd_kept_rows(custom.columns, columns)
    return kept_rows(resource.gvr, resource.kind, columns, version)


def printer_of(
    resource: Resource, columns: Columns, version: ServerVersion, custom: Definition | None
) -> Printer | None:
    """The printer for upstream's columns; None where there is none."""
    if custom is not None:
        printer = crd_printer(custom.columns)
        return printer if len(printer.cells) == len(columns) else None
    return printer_for(resource.gvr, resource.kind, columns, version)


def remembered(
    table: TableInfo, resource: Resource, version: ServerVersion, custom: Definition | None
) -> Learned | None:
    """What another worker learned and wrote down; None where it does not hold here, by other code or definitions."""
    if table.columns == b"[]":
        return Learned(table) if not table.digest else None
    columns = Columns.decode(table.columns)
    if table.kept:
        kept = kept_rows_of(resource, columns, version, custom)
        return Learned(table, kept=kept) if kept.digest == table.digest else None
    printer = printer_of(resource, columns, version, custom)
    digest = printer.digest if printer is not None and table.served else ""
    return Learned(table, printer if table.served else None) if table.digest == digest else None


async def learn(
    client: UpstreamClient, resource: Resource, version: ServerVersion, custom: Definition | None
) -> Learned:
    """Ask upstream for the columns, choose the printer, and compare it with rows that upstream printed.

    Raises:
        StatusError, UpstreamError: upstream cannot be asked now. That it gives no Tables is no error.
    """
    try:
        async with aclosing(printed_pages(client, resource.gvr, limit=SAMPLE_ROWS, cause="columns")) as pages:
            sample = await anext(pages)
    except (Unauthorized, TooManyRequests):
        raise
    except StatusError as error:
        return Learned(TableInfo(columns=b"[]", served=False, reason=f"upstream gives no Table: {error}"))
    now = client.clock.now()
    columns = Columns.decode(sample.columns)
    printer = printer_of(resource, columns, version, custom)
    if printer is None:
        reason = f"no printer for its columns ({', '.join(columns.names())})"
    else:
        reason = unfaithful(printer, sample.items, now)
    if printer is None or reason:
        zero_row = None if printer is None else _zero_row(printer, resource, custom)
        kept = kept_rows_of(resource, columns, version, custom)
        return await _keep(client, resource, sample, kept, printer, zero_row, reason)
    info = TableInfo(
        columns=sample.columns, served=True, digest=printer.digest, null_rows=printer.null_rows,
        zero_row=_zero_row(printer, resource, custom), sort_rows=printer.sort_rows,
    )  # fmt: skip
    return Learned(info, printer, compared=len(sample.items))


def unfaithful(printer: Printer, rows: Sequence[Printed], now: float) -> str:
    """The first difference between upstream's rows and ours, as a sentence; empty where there is none.

    Byte by byte, but for what depends on the clock: `rows` were printed within some seconds of `now`.
    """
    for row in rows:
        wanted = b'{"cells":' + row.cells
        if row.conditions:
            wanted += b',"conditions":' + row.conditions
        obj = row.decoded()
        metadata = obj.get("metadata") or {}
        name = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}".lstrip("/")
        try:
            ours = printer.row(obj)
        except Exception as error:  # noqa: BLE001 (whatever is wrong with a printer: its Tables are not served)
            return f"the row of {name} cannot be printed here: {error!r}"
        if not any(finish(ours, now + seconds) == wanted for seconds in CLOCK_SECONDS):
            return f"the row of {name} is {wanted.decode()} upstream and {finish(ours, now).decode()} here"
    return ""


async def _keep(
    client: UpstreamClient,
    resource: Resource,
    sample: PrintedPage,
    kept: KeptRows,
    printer: Printer | None,
    zero_row: Row | None,
    reason: str,
) -> Learned:
    """What is learned of a resource that cannot be printed here: upstream's rows, if its Tables carry its objects."""
    now = client.clock.now()
    problem = await _other_objects(client, resource, sample)
    if not problem:
        kept = kept.tried(((row.decoded(), row.cells) for row in sample.items), now)
    info = TableInfo(
        columns=sample.columns, served=False, kept=not problem, reason=f"{reason}{problem}",
        digest="" if problem else kept.digest, null_rows=printer is not None and printer.null_rows,
        zero_row=zero_row, sort_rows=printer is not None and printer.sort_rows,
    )  # fmt: skip
    return Learned(info, kept=None if problem else kept, compared=len(sample.items))


def _zero_row(printer: Printer, resource: Resource, custom: Definition | None) -> Row:
    """Of a custom resource a bookmark still has kind and apiVersion."""
    if custom is None:
        return printer.zero_row()
    return printer.zero_row(apiVersion=resource.gvr.api_version, kind=resource.kind)


async def _other_objects(client: UpstreamClient, resource: Resource, sample: PrintedPage) -> str:
    """Where the objects in upstream's Tables are not those of its lists, to the byte: what is different."""
    async with aclosing(list_pages(client, resource.gvr, limit=SAMPLE_ROWS, cause="columns")) as pages:
        items = (await anext(pages)).items
    if items and not sample.items:
        return "; and its Tables lack objects that its lists have"
    listed = {_identity(item): item for item in items}
    prefix = type_prefix(resource.gvr, resource.kind)
    for row in sample.items:
        item = listed.get(_identity(row.object))
        if item is not None and row.object not in {item, prefix + item[1:]}:
            return f"; and in its Tables are other objects than in its lists: {row.object[:200].decode()}"
    return ""


def _identity(obj: bytes) -> tuple[str, str, str]:
    """Which version of which object it is."""
    metadata = decode_head(obj).metadata
    return metadata.namespace, metadata.name, metadata.version
