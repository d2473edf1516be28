"""What a cell can hold, and how the cells of one object become a stored row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from kube.gojson import escape
from tables.gotext import json_float
from tables.row import Row

Object = dict[str, Any]
"""An object decoded from its JSON to built-in types, as an API server serves it."""


class Moving(NamedTuple):
    """A text that depends on the clock: `prefix + human_duration(now - since) + suffix`.

    `since` is in Unix seconds.
    """

    since: float
    prefix: str = ""
    suffix: str = ""


Cell = str | int | float | bool | None | Moving
"""Its JSON form is that of its Python type, whatever type its column declares."""

Written = Cell | msgspec.Raw
"""A cell, or the JSON text of one that was printed elsewhere."""

_encode = msgspec.json.Encoder().encode
# Two noncharacters, which no text is likely to hold; a row that has them is rendered piece by piece.
_MARK = "\ufdd0\ufdd1"
_MARK_BYTES = _MARK.encode()


def render(cells: Sequence[Written], conditions: bytes = b"") -> Row:
    """The row of these cells; `conditions` is `,"conditions":[…]` as wire text, or nothing.

    >>> render(["web", 3, Moving(1000.0, suffix=" ago")])
    Row(parts=(b'{"cells":["web",3,"', b' ago"]'), times=(1000.0,))
    """
    values: list[Any] = []
    times: list[float] = []
    for cell in cells:
        if isinstance(cell, Moving):
            times.append(cell.since)
            values.append(f"{cell.prefix}{_MARK}{cell.suffix}")
        elif isinstance(cell, float):
            values.append(msgspec.Raw(json_float(cell).encode()))
        else:
            values.append(cell)
    text = b'{"cells":' + escape(_encode(values)) + conditions
    if not times:
        return Row((text,))
    parts = text.split(_MARK_BYTES)
    if len(parts) != len(times) + 1:
        return _render_each(cells, conditions)
    return Row(tuple(parts), tuple(times))


def _render_each(cells: Sequence[Written], conditions: bytes) -> Row:
    """As `render`, for cells that hold the mark themselves."""
    parts = [b'{"cells":[']
    times: list[float] = []
    for index, cell in enumerate(cells):
        parts[-1] += b"," if index else b""
        if isinstance(cell, Moving):
            times.append(cell.since)
            parts[-1] += escape(_encode(cell.prefix))[:-1]
            parts.append(escape(_encode(cell.suffix))[1:])
        else:
            parts[-1] += escape(json_float(cell).encode() if isinstance(cell, float) else _encode(cell))
    parts[-1] += b"]" + conditions
    return Row(tuple(parts), tuple(times))
