from __future__ import annotations

import json
import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tables.cell import Cell, Moving, render
from tables.duration import human_duration
from tables.row import Row, finish, row_changes_at

_AWKWARD = '<>&"\\\b\f\n\x00\x7f\u2028\u2029\ufdd0\ufdd1é😀'
_TEXTS = st.text(st.one_of(st.sampled_from(_AWKWARD), st.characters(codec="utf-8")))
_CELLS = st.one_of(
    _TEXTS,
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.builds(Moving, st.floats(0, 2e9), _TEXTS, _TEXTS),
)


@given(st.lists(_CELLS, max_size=8), st.floats(0, 3e9))
def test_cells_come_back_as_they_went_in(cells: list[Cell], now: float) -> None:
    """Whatever the cells hold, the wire text decodes to them, with the moments that move filled in."""
    wanted = [
        cell.prefix + human_duration(now - cell.since) + cell.suffix if isinstance(cell, Moving) else cell
        for cell in cells
    ]
    text = finish(render(cells), now) + b"}"
    shown = json.loads(text)["cells"]
    # Go writes 6.5e16 as the digits of an integer, which only a float's shortest form equals.
    assert [float(a) if isinstance(b, float) else a for a, b in zip(shown, wanted, strict=True)] == wanted
    assert not {b"<", b">", b"&"} & {text[i : i + 1] for i in range(len(text))}


@given(st.lists(_CELLS, max_size=8), st.floats(0, 3e9))
def test_a_row_survives_the_store(cells: list[Cell], now: float) -> None:
    """Packed as records are, a row finishes to the same text."""
    row = render(cells)
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=Row)
    assert finish(stored, now) == finish(row, now)


@given(st.lists(st.floats(0, 2e9), max_size=3), st.floats(0, 3e9))
def test_a_row_stays_until_it_changes(times: list[float], now: float) -> None:
    """Between now and row_changes_at the row's text is one."""
    row = render([Moving(t) for t in times])
    change = row_changes_at(row, now)
    assert change > now
    if change < math.inf:
        assert finish(row, math.nextafter(change, -math.inf)) == finish(row, now)
    else:
        assert finish(row, now + 1e12) == finish(row, now)


def test_numbers_are_written_as_go_writes_them() -> None:
    """Floats keep no needless digits, and take an exponent where Go does."""
    assert (
        finish(render([5.0, 1e21, 1e-7, 0.1, -0.0, 1e20]), 0) == b'{"cells":[5,1e+21,1e-7,0.1,-0,100000000000000000000]'
    )


def test_a_future_moment_is_escaped() -> None:
    """`<invalid>` holds characters that Go escapes in JSON."""
    assert finish(render([Moving(100.0)]), 50.0) == b'{"cells":["\\u003cinvalid\\u003e"]'


def test_conditions_follow_the_cells() -> None:
    """A row's conditions end its text, also where the last cell moves."""
    row = render(["a", Moving(0.0)], b',"conditions":[]')
    assert finish(row, 60.0) == b'{"cells":["a","60s"],"conditions":[]'
