"""How fast rows are made and finished, on one core: `python -m benchmarks.rows`.

The objects are those that a real API server was recorded with (tests/golden/tables), decoded already:
an informer decodes each object once, for its metadata, fields and row together.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kube.resources import GVR
from kube.version import ServerVersion
from tables.columns import Columns
from tables.registry import crd_printer, printer_for
from tables.row import finish, row_changes_at

_RECORDED = Path(__file__).parent.parent / "tests" / "golden" / "tables" / "v1.36.2.json.gz"
_VERSION = ServerVersion(1, 36)
_NOW = 1.8e9
_ROUNDS = 5
_SECONDS = 0.3


def _rate(step: Callable[[Any], object], inputs: list[Any]) -> float:
    """The best of some rounds, in inputs a second."""
    best = 0.0
    for _ in range(_ROUNDS):
        done, start = 0, time.perf_counter()
        while (taken := time.perf_counter() - start) < _SECONDS:
            for one in inputs:
                step(one)
            done += len(inputs)
        best = max(best, done / taken)
    return best


def main() -> None:
    """Print the rates of some kinds, the slow and the common ones."""
    recorded = json.loads(gzip.decompress(_RECORDED.read_bytes()))
    definitions = recorded["apiextensions.k8s.io_v1.customresourcedefinitions"]["table"]["rows"]
    wells = next(row["object"] for row in definitions if row["object"]["metadata"]["name"].startswith("wells."))
    served = next(version for version in wells["spec"]["versions"] if version["name"] == "v1")
    print(f"{'kind':24}{'rows/s':>12}{'finished/s':>14}{'next change/s':>16}")
    for name in ("v1.pods", "apps_v1.deployments", "v1.services", "v1.events", "v1.nodes", "petro.example.io_v1.wells"):
        table = recorded[name]["table"]
        group, _, version = name.rpartition(".")[0].rpartition("_")
        gvr = GVR(group, version, name.rpartition(".")[2])
        printer = printer_for(gvr, recorded[name]["kind"], Columns.of(table), _VERSION)
        if printer is None:
            printer = crd_printer(served["additionalPrinterColumns"])
        objects = [row["object"] for row in table["rows"]]
        rows = [printer.row(obj) for obj in objects]
        made = _rate(printer.row, objects)
        finished = _rate(lambda row: finish(row, _NOW), rows)
        changes = _rate(lambda row: row_changes_at(row, _NOW), rows)
        print(f"{recorded[name]['kind']:24}{made:12,.0f}{finished:14,.0f}{changes:16,.0f}")


if __name__ == "__main__":
    main()
