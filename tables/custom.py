"""Custom resources: their columns are JSONPaths, declared in the version of their definition.

What does not fit a column's type is null, never an error: each object is its author's own.
Source: apiextensions-apiserver registry/customresource/tableconvertor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tables.cell import Cell, Object
from tables.columns import ColumnDefinition, Columns
from tables.fields import name, since
from tables.gotext import MAX_INT64, MIN_INT64, marshal, sprint_float
from tables.jsonpath import EvaluationError, JSONPath, ParseError
from tables.jsonpath_steps import Byte, Word
from tables.kept import KeptRows
from tables.printer import CellFunction, Printer

_INVALID = "<invalid>"
_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def _as_text(value: Any) -> Cell:
    """As fmt.Sprint prints it; maps and lists as JSON."""
    match value:
        case None:
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int():
            return str(int(value)) if MIN_INT64 <= value <= MAX_INT64 else sprint_float(float(value))
        case float():
            return sprint_float(value)
    return marshal(value)


def _as_integer(value: Any) -> Cell:
    """An int64; what is beyond it becomes its least, as on amd64."""
    if not _is_number(value):
        return None
    whole = int(value)
    return whole if MIN_INT64 <= whole <= MAX_INT64 else MIN_INT64


def _as_number(value: Any) -> Cell:
    return float(value) if _is_number(value) else None


def _is_number(value: Any) -> bool:
    """Whether it is one of JSON's numbers, not one that the path itself made."""
    return isinstance(value, int | float) and not isinstance(value, bool | Byte | Word)


def _as_boolean(value: Any) -> Cell:
    return value if isinstance(value, bool) else None


def _as_date(value: Any) -> Cell:
    if not isinstance(value, str):
        return None
    return since(value, invalid=_INVALID) if value != "null" else since(None)


_CONVERSIONS: dict[str, Callable[[Any], Cell]] = {
    "string": _as_text,
    "integer": _as_integer,
    "number": _as_number,
    "boolean": _as_boolean,
    "date": _as_date,
}


def _cell(path: JSONPath, column_type: str) -> CellFunction:
    convert = _CONVERSIONS.get(column_type, lambda _value: None)

    def show(obj: Object) -> Cell:
        try:
            found = path.first(obj)
        except EvaluationError:
            return None  # a path that does not fit this object shows nothing
        return convert(found[0]) if found else None

    return show


def _parsed(additional_columns: Sequence[dict[str, Any]] | None) -> list[tuple[dict[str, Any], JSONPath]]:
    """The declared columns up to the first whose path does not parse: upstream stops there too."""
    parsed = []
    for column in additional_columns or (_AGE,):
        try:
            parsed.append((column, JSONPath.parse(f"{{{column.get('jsonPath') or ''}}}")))
        except ParseError:
            break
    return parsed


def crd_printer(additional_columns: Sequence[dict[str, Any]] | None) -> Printer:
    """The printer for a definition version's `additionalPrinterColumns`; without any, Name and Age."""
    parsed = _parsed(additional_columns)
    return Printer(
        cells=(name, *(_cell(path, column.get("type") or "") for column, path in parsed)),
        identity=("custom", *(f"{column.get('type')}:{column.get('jsonPath')}" for column, _ in parsed)),
    )


def crd_columns(additional_columns: Sequence[dict[str, Any]] | None) -> Columns:
    """The columns that such a version's Tables have; what upstream takes from its own documents stays undescribed."""
    own = [ColumnDefinition("Name", "string", "name")]
    for column, _ in _parsed(additional_columns):
        path = column.get("jsonPath") or ""
        description = column.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
        own.append(
            ColumnDefinition(
                column.get("name") or "",
                column.get("type") or "",
                column.get("format") or "",
                "" if column is _AGE else description,
                column.get("priority") or 0,
            )
        )
    return Columns(tuple(own))


def crd_kept_rows(additional_columns: Sequence[dict[str, Any]] | None, columns: Columns) -> KeptRows:
    """For rows whose columns are not those that the definition tells; where some are, their dates follow the clock."""
    own, cells = crd_columns(additional_columns), crd_printer(additional_columns).cells
    names = own.names()
    known = {
        (column.name, column.type): cell
        for column, cell in zip(own, cells, strict=True)
        if names.count(column.name) == 1
    }
    return KeptRows.of(columns, known)
