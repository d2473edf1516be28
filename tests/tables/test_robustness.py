from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kube.version import ServerVersion
from tables.registry import KIND_TABLES, declared_columns, printer_for
from tables.row import finish
from tests.tables import goldens


@pytest.fixture
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every look at the clock an error while rows are printed."""

    def read() -> float:
        raise AssertionError("a printer read the clock")

    for name, module in sys.modules.items():
        assert not (name.startswith("tables.") and {"datetime", "time"} & set(vars(module))), name
    for name in ("time", "time_ns", "gmtime", "localtime"):
        monkeypatch.setattr(time, name, read)


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a decoded object, outside of what no printer looks at."""
    if isinstance(value, dict):
        for key in list(value):
            if key != "managedFields":
                yield value, key
                yield from _places(value[key])
    elif isinstance(value, list):
        for index in range(min(len(value), 4)):
            if isinstance(value[index], dict | list):
                yield from _places(value[index])


_ABSENT = object()


def _mutations(value: Any) -> list[Any]:
    """What the API could serve there instead: nothing, a null, an empty value of the same type."""
    return [_ABSENT, None, *([type(value)()] if isinstance(value, dict | list | str) else [])]


@pytest.mark.parametrize("version", goldens.VERSIONS)
def test_no_printer_raises_on_an_object_with_a_hole(version: str, no_clock: None) -> None:
    """Each field of the recorded objects is left out, nulled and emptied in turn; printing goes on, without a clock."""
    printed = 0
    for name in goldens.recordings(version):
        printer = goldens.printer(version, name)
        if printer is None:
            continue
        for row in goldens.recordings(version)[name]["table"]["rows"][:12]:
            obj = row["object"]
            for container, key in list(_places(obj)):
                kept = dict(container)
                for instead in _mutations(container[key]):
                    if instead is _ABSENT:
                        del container[key]
                    else:
                        container[key] = instead
                    assert finish(printer.row(obj), 1e9).startswith(b'{"cells":[')
                    printed += 1
                container.clear()
                container.update(kept)  # in the order it had
    assert printed > 20_000


@pytest.mark.parametrize("minor", range(20, 38))
def test_every_printer_compiles_for_every_version(minor: int) -> None:
    """Each kind prints its zero object, with as many cells as columns, on every server version."""
    version = ServerVersion(1, minor)
    for gvr, table in KIND_TABLES.items():
        columns = declared_columns(gvr, version)
        assert columns is not None
        assert len(set(columns.names())) == len(columns), f"{gvr} on {version}"
        printer = printer_for(gvr, table.kind, columns, version)
        if printer is None:
            assert version > ServerVersion.parse(table.until)
            continue
        cells = goldens.printed(printer.zero_row(), 0.0)["cells"]
        assert len(cells) == len(columns) + len(table.beyond)
