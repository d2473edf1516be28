"""The Tables that real API servers answered, and the printers that have to make the same."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

from kube.resources import GVR
from kube.version import ServerVersion
from tables.cell import Object
from tables.columns import Columns
from tables.printer import Printer
from tables.registry import crd_printer, printer_for
from tables.row import Row, finish

VERSIONS = ("v1.20.2", "v1.36.2")
_DIRECTORY = Path(__file__).parent.parent / "golden" / "tables"

FORWARDED = {("v1.36.2", "autoscaling_v1.horizontalpodautoscalers")}
"""Tables that we leave to upstream: the v1 JSON of a server that stores v2 has lost what Targets shows."""


@cache
def recordings(version: str) -> dict[str, dict[str, Any]]:
    """`<group_version>.<resource>` → the recorded answer."""
    loaded: dict[str, dict[str, Any]] = json.loads(gzip.decompress((_DIRECTORY / f"{version}.json.gz").read_bytes()))
    return loaded


NAMES = [(version, name) for version in VERSIONS for name in recordings(version)]


def gvr_of(name: str) -> GVR:
    """The resource that a recording is named after."""
    group_version, _, resource = name.rpartition(".")
    group, _, version = group_version.rpartition("_")
    return GVR(group, version, resource)


def columns_of(version: str, name: str) -> Columns:
    """The columns that the server declared."""
    return Columns.of(recordings(version)[name]["table"])


@cache
def custom(version: str) -> dict[GVR, Any]:
    """The additionalPrinterColumns of every custom resource."""
    rows = recordings(version)["apiextensions.k8s.io_v1.customresourcedefinitions"]["table"]["rows"]
    return {
        GVR(spec["group"], served["name"], spec["names"]["plural"]): served.get("additionalPrinterColumns")
        for spec in (row["object"]["spec"] for row in rows)
        for served in spec["versions"]
    }


def printer(version: str, name: str) -> Printer | None:
    """The printer that an informer would take."""
    gvr = gvr_of(name)
    if gvr in custom(version):
        return crd_printer(custom(version)[gvr])
    kind = recordings(version)[name]["kind"]
    return printer_for(gvr, kind, columns_of(version, name), ServerVersion.parse(version))


def printed(row: Row, now: float) -> dict[str, Any]:
    """The row as a client decodes it: cells and conditions."""
    decoded: dict[str, Any] = json.loads(finish(row, now) + b"}")
    return decoded


def show(gvr: GVR, obj: Object, version: str, now: float = 1_000_000_000.0) -> dict[str, Any]:
    """The cells of an object by the names of the columns that we declare for this server version."""
    from tables.registry import KIND_TABLES, declared_columns

    columns = declared_columns(gvr, ServerVersion.parse(version))
    assert columns is not None
    made = printer_for(gvr, KIND_TABLES[gvr].kind, columns, ServerVersion.parse(version))
    assert made is not None
    return dict(zip(columns.names(), printed(made.row(obj), now)["cells"], strict=False))
