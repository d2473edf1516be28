from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

import pytest

from kube.version import ServerVersion
from tables.duration import instant
from tables.registry import crd_columns, declared_columns
from tables.row import finish, row_order
from tests.replay import world
from tests.tables import goldens

TOLERANCE = (0.0, -1.0, 1.0, -0.5, 0.5)
"""Seconds by which a recording's instant may be off."""


@cache
def _different(version: str, name: str) -> list[tuple[object, object]] | None:
    """The rows of a recorded Table that we print otherwise, theirs and ours; None: we leave its Tables to upstream."""
    recording = goldens.recordings(version)[name]
    printer = goldens.printer(version, name)
    if printer is None:
        return None
    answered = instant(recording["answered"])
    assert answered is not None
    different = []
    for row in recording["table"]["rows"]:
        ours = printer.row(row["object"])
        wanted = json.dumps([row["cells"], row.get("conditions")])
        texts = [goldens.printed(ours, answered + off) for off in TOLERANCE]
        if not any(json.dumps([text["cells"], text.get("conditions")]) == wanted for text in texts):
            different.append((row["cells"], texts[0]["cells"]))
    return different


@pytest.mark.parametrize(("version", "name"), goldens.NAMES)
def test_every_cell_is_upstreams(version: str, name: str) -> None:
    """Each row of each recorded Table is printed again, cell by cell, type by type, conditions included."""
    different = _different(version, name)
    assert (different is None) == ((version, name) in goldens.FORWARDED)
    assert not different, f"{len(different)} rows differ, such as {different[0]}"


@pytest.mark.parametrize("version", goldens.VERSIONS)
def test_every_recorded_kind_is_counted(version: str, record_property: Callable[[str, object], None]) -> None:
    """Kind by kind: how many rows were recorded, and how many are printed equal. All of them."""
    lines, rows, equal = [f"{'Tables of Kubernetes ' + version:<64} rows  equal"], 0, 0
    for name, recording in sorted(goldens.recordings(version).items()):
        count, different = len(recording["table"]["rows"]), _different(version, name)
        if different is None:
            lines.append(f"{name:<64} {count:4}  left to upstream")
            continue
        same = count - len(different)
        rows, equal = rows + count, equal + same
        lines.append(f"{name:<64} {count:4}  {same:5}")
    lines.append(f"{f'{len(lines) - 1} kinds':<64} {rows:4}  {equal:5}  {100 * equal / rows:.1f} %")
    record_property("table", "\n".join(lines))
    assert equal == rows > 100


@pytest.mark.parametrize(("version", "name"), goldens.NAMES)
def test_the_declared_columns_are_upstreams(version: str, name: str) -> None:
    """Names, order, types, formats and priorities of our declarations are those of the server."""
    gvr = goldens.gvr_of(name)
    columns = goldens.columns_of(version, name)
    if gvr in goldens.custom(version):
        declared = crd_columns(goldens.custom(version)[gvr])
    else:
        found = declared_columns(gvr, ServerVersion.parse(version))
        assert found is not None
        declared = found
    ours = [(c.name, c.type, c.format, c.priority) for c in declared]
    if (version, gvr.resource) == ("v1.20.2", "csidrivers"):  # columns behind a feature gate that is off here
        ours = [c for c in ours if c[0] not in {"StorageCapacity", "TokenRequests", "RequiresRepublish"}]
    assert ours == [(c.name, c.type, c.format, c.priority) for c in columns]


@pytest.mark.parametrize("version", goldens.VERSIONS)
def test_flow_schemas_come_in_their_own_order(version: str) -> None:
    """Rows that a printer wants sorted are, by row_order, as upstream lists them; no other kind is."""
    for name in goldens.recordings(version):
        printer = goldens.printer(version, name)
        if printer is None:
            continue
        assert printer.sort_rows == name.endswith(".flowschemas")
        if printer.sort_rows:
            rows = [printer.row(row["object"]) for row in goldens.recordings(version)[name]["table"]["rows"]]
            by_text = sorted(rows, key=lambda row: row.parts)
            assert by_text != rows
            assert sorted(by_text, key=row_order) == rows


def _items() -> dict[tuple[str, str, str], dict[str, object]]:
    """The recorded world's objects by list path, namespace and name."""
    return {
        (path, item["metadata"].get("namespace", ""), item["metadata"]["name"]): item
        for path, listed in world.world()["lists"].items()
        if listed["status"] == 200
        for item in json.loads(listed["body"])["items"] or ()
    }


def _tables(text: str) -> list[tuple[dict[str, object], str]]:
    """The Tables in a body (one answer, or the events of a watch) with the text that each stands in."""
    found = []
    for line in text.split("\n"):
        if '"kind":"Table"' not in line:
            continue
        document = json.loads(line)
        if document.get("kind") == "Table":
            found.append((document, line))
        elif document.get("type") not in {"BOOKMARK", "ERROR"}:
            found.append((document["object"], line))
    return found


def test_rows_are_byte_for_byte_upstreams() -> None:
    """The wire text of each row of the recorded reads, as the server's encoder wrote it."""
    items, columns, checked = _items(), world.columns(), 0
    name_of = {recording["path"]: name for name, recording in goldens.recordings("v1.36.2").items()}
    for case in world.cases():
        path = world.collection_path(case["path"])
        text = case.get("body", {}).get("text", "")
        if path not in columns or path not in name_of or '"kind":"Table"' not in text:
            continue
        printer = goldens.printer("v1.36.2", name_of[path])
        if printer is None:
            continue
        answered = instant(case["answered"])
        assert answered is not None
        for table, line in _tables(text):
            for row in table["rows"] or ():  # type: ignore[attr-defined]
                metadata = (row.get("object") or {}).get("metadata", {})
                item = items.get((path, metadata.get("namespace", ""), metadata.get("name", "")))
                if item is None:
                    continue
                ours = printer.row(item)
                texts = [finish(ours, answered + off).decode() + ',"object":' for off in (*TOLERANCE, -2.0, 2.0)]
                assert any(text in line for text in texts), f"{case['path']}: {texts[0]}"
                checked += 1
    assert checked > 4000


def test_bookmarks_have_the_row_of_an_object_without_content() -> None:
    """The row in each recorded BOOKMARK of a Table watch is the printer's zero row."""
    name_of = {recording["path"]: name for name, recording in goldens.recordings("v1.36.2").items()}
    seen = set()
    for case in world.cases():
        for line in case.get("body", {}).get("text", "").split("\n"):
            if not line.startswith('{"type":"BOOKMARK","object":{"kind":"Table"'):
                continue
            path = world.collection_path(case["path"])
            printer = goldens.printer("v1.36.2", name_of[path])
            assert printer is not None
            assert finish(printer.zero_row(), 0.0).decode() + ',"object":' in line
            seen.add(path)
    assert len(seen) >= 5


def test_an_empty_list_of_the_default_convertor_has_null_rows() -> None:
    """Whether upstream writes `"rows":null` for nothing is known of each printer."""
    name_of = {recording["path"]: name for name, recording in goldens.recordings("v1.36.2").items()}
    seen = set()
    for case in world.cases():
        text = case.get("body", {}).get("text", "")
        empty = '"rows":null' in text
        if not text.startswith('{"kind":"Table"') or not (empty or '"rows":[]' in text):
            continue
        printer = goldens.printer("v1.36.2", name_of[world.collection_path(case["path"])])
        if printer is not None:
            assert printer.null_rows == empty
            seen.add(empty)
    assert seen == {True, False}
