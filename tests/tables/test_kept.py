from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube import gojson
from kube.version import ServerVersion
from tables.columns import ColumnDefinition
from tables.duration import instant
from tables.registry import KeptRows, crd_kept_rows, kept_rows
from tables.row import finish
from tests.tables import goldens

COLUMNS = (ColumnDefinition("Name"), ColumnDefinition("Mood"), ColumnDefinition("Age"))
CREATED = "2026-11-22T10:00:00Z"


def keeper(version: str, name: str) -> KeptRows:
    """What an informer would keep the rows of a recorded Table by."""
    gvr, columns = goldens.gvr_of(name), goldens.columns_of(version, name)
    if gvr in goldens.custom(version):
        return crd_kept_rows(goldens.custom(version)[gvr], columns)
    return kept_rows(gvr, goldens.recordings(version)[name]["kind"], columns, ServerVersion.parse(version))


@pytest.mark.parametrize(("version", "name"), goldens.NAMES)
def test_kept_rows_are_upstreams_and_follow_the_clock(version: str, name: str) -> None:
    """Each recorded row, kept, reads as recorded then; later it reads as our own rows would, where we have them."""
    recording = goldens.recordings(version)[name]
    answered = instant(recording["answered"])
    assert answered is not None
    printer = goldens.printer(version, name)
    rows = [(row["object"], gojson.dumps(row["cells"]), row.get("conditions")) for row in recording["table"]["rows"]]
    kept = keeper(version, name).tried([(obj, cells) for obj, cells, _ in rows], answered)
    for obj, cells, conditions in rows:
        text = gojson.dumps(conditions) if conditions else b""
        row = kept.row(obj, cells, text, answered)
        wanted = b'{"cells":' + cells + (b',"conditions":' + text if text else b"")
        near = {finish(row, answered + seconds / 2) for seconds in range(-8, 9)}
        assert wanted in near
        if printer is not None:
            later = answered + 400 * 86400
            assert goldens.printed(row, later) == goldens.printed(printer.row(obj), later)


def kept_by_age() -> KeptRows:
    """Of a kind that is not known here."""
    return kept_rows(goldens.gvr_of("future_v1.gizmos"), "Gizmo", COLUMNS, ServerVersion(1, 40))


def gizmo(**metadata: Any) -> dict[str, Any]:
    """An object of that kind."""
    return {"metadata": {"name": "g", "creationTimestamp": CREATED, **metadata}}


def test_only_the_age_of_an_unknown_kind_goes_on() -> None:
    """A cell that looks like an age stays as it came; Age itself follows the creation."""
    now = (instant(CREATED) or 0.0) + 90
    row = kept_by_age().row(gizmo(), b'["g","90s","90s"]', b"", now)
    assert finish(row, now + 30) == b'{"cells":["g","90s","2m"]'


def test_what_upstream_prints_otherwise_stays() -> None:
    """An Age that is no time since the creation is kept as it came; where a sample shows that, in every row."""
    now = (instant(CREATED) or 0.0) + 7200
    kept = kept_by_age()
    assert kept.row(gizmo(), b'["g","",  "5m"]', b"", now).times == ()
    assert kept.row(gizmo(), b'["g","","120m"]', b"", now).times == (now - 7200,)
    tried = kept.tried([(gizmo(), b'["g","","5m"]')], now)
    assert tried.row(gizmo(), b'["g","","120m"]', b"", now).times == ()
    assert tried.digest == kept.digest


def test_a_row_may_have_waited() -> None:
    """A row that was printed some while before it is looked at shows the age of its time; it goes on all the same."""
    now = (instant(CREATED) or 0.0) + 100
    row = kept_by_age().row(gizmo(), b'["g","","58s"]', b"", now)
    assert finish(row, now) == b'{"cells":["g","","100s"]'
    assert kept_by_age().row(gizmo(), b'["g","","20s"]', b"", now).times == ()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(ANYTHING), st.dictionaries(st.text(), ANYTHING), st.sampled_from(goldens.NAMES))
def test_any_cells_of_any_object(cells: list[Any], obj: dict[str, Any], which: tuple[str, str]) -> None:
    """Whatever a later version prints, of whatever objects, is kept as it came."""
    try:
        text = gojson.dumps(cells)
    except UnicodeEncodeError:
        return
    row = keeper(*which).row(obj, text, b"", 0.0)
    assert json.loads(finish(row, 0.0) + b"}")["cells"] == json.loads(text)
