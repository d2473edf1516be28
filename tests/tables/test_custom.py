from __future__ import annotations

from typing import Any

import pytest

from tables.registry import crd_columns, crd_printer
from tests.tables.goldens import printed

NOW = 1_700_000_000.0


def cell(column_type: str, value: Any, path: str = ".v") -> Any:
    """What a column of this type shows of a value."""
    printer = crd_printer([{"name": "V", "type": column_type, "jsonPath": path}])
    return printed(printer.row({"metadata": {"name": "x"}, "v": value}), NOW)["cells"][1]


@pytest.mark.parametrize(
    ("column_type", "value", "shown"),
    [
        ("string", "x", "x"), ("string", True, "true"), ("string", 5, "5"), ("string", 1.5, "1.5"),
        ("string", 1000000.5, "1.0000005e+06"), ("string", 0.00001, "1e-05"),
        ("string", 24000000.25, "2.400000025e+07"),
        ("string", None, "<no value>"), ("string", ["x", "y"], '["x","y"]'), ("string", "", ""),
        ("string", {"b": 1, "a": "<t>"}, '{"a":"\\u003ct\\u003e","b":1}'), ("string", 2**70, "1.1805916207174113e+21"),
        ("integer", 5, 5), ("integer", 5.9, 5), ("integer", -5.9, -5), ("integer", "5", None), ("integer", True, None),
        ("integer", 1e300, -(2**63)), ("integer", 2**63, -(2**63)), ("integer", 2**63 - 1, 2**63 - 1),
        ("integer", None, None), ("number", 5, 5), ("number", 1.5, 1.5),
        ("number", "1.5", None), ("number", False, None),
        ("boolean", True, True), ("boolean", "true", None), ("boolean", 1, None), ("date", 5, None),
        ("date", None, None),
        ("date", "2023-11-14T22:13:10Z", "10s"), ("date", "", "<unknown>"), ("date", "null", "<unknown>"),
        ("date", "0001-01-01T00:00:00Z", "<unknown>"), ("date", "yesterday", "<invalid>"),
        ("date", "1600-01-01T00:00:00Z", "292y"), ("date", "9999-01-01T00:00:00Z", "<invalid>"),
        ("unheard-of", "x", None),
    ],
)  # fmt: skip
def test_each_type(column_type: str, value: Any, shown: Any) -> None:
    """Values as the column's type takes them; what does not fit is null."""
    assert cell(column_type, value) == shown


@pytest.mark.parametrize(
    ("path", "shown"),
    [(".v.*", "116"), (".v[0]", None), (".missing", None), (".v[?(@.x)]", None), (".metadata.name", "x"), (".", None)],
)
def test_paths_that_do_not_fit_show_nothing(path: str, shown: Any) -> None:
    """An evaluation error is a null cell, never an error of the Table."""
    assert cell("string", "text", path) == shown


def test_numbers_of_the_path_itself_are_no_json_numbers() -> None:
    """Bytes of a string print as text, and fit no integer column."""
    assert cell("integer", "text", ".v.*") is None
    assert cell("number", "text", ".v.*") is None


def test_without_columns_there_is_an_age() -> None:
    """Name and Age where the definition declares nothing; given columns bring no Age of their own."""
    nothings: tuple[list[dict[str, Any]] | None, ...] = (None, [])
    for nothing in nothings:
        printer = crd_printer(nothing)
        row = printer.row({"metadata": {"name": "x", "creationTimestamp": "2023-11-14T22:13:10Z"}})
        assert printed(row, NOW)["cells"] == ["x", "10s"]
        assert crd_columns(nothing).names() == ("Name", "Age")


def test_columns_end_at_the_first_path_that_does_not_parse() -> None:
    """A broken path hides its column and all after it."""
    columns = [
        {"name": "A", "type": "string", "jsonPath": ".a"},
        {"name": "B", "type": "string", "jsonPath": ".b["},
        {"name": "C", "type": "string", "jsonPath": ".c"},
    ]
    assert crd_columns(columns).names() == ("Name", "A")
    assert printed(crd_printer(columns).row({"metadata": {"name": "x"}, "a": "1", "c": "2"}), NOW)["cells"] == [
        "x",
        "1",
    ]


def test_zero_rows_and_identity() -> None:
    """A bookmark's row is an empty name and nulls; the digest is that of the columns."""
    columns = [{"name": "A", "type": "string", "jsonPath": ".a"}, {"name": "Age", "type": "date", "jsonPath": ".b"}]
    assert printed(crd_printer(columns).zero_row(), NOW)["cells"] == ["", None, None]
    kinds = crd_printer([{"name": "Kind", "type": "string", "jsonPath": ".kind"}])
    assert printed(kinds.zero_row(kind="Well", apiVersion="petro.io/v1"), NOW)["cells"] == ["", "Well"]
    assert crd_printer(columns).digest == crd_printer(list(columns)).digest
    assert crd_printer(columns).digest != crd_printer(columns[:1]).digest
    assert not crd_printer(columns).null_rows
