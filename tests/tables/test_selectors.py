from __future__ import annotations

from typing import Any

import pytest

from tables.gotext import lower, sprint_float, trim_space
from tables.selectors import selector_dump, selector_text


def _expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("selector", "shown"),
    [
        (None, "(nothing)"),
        ({}, "(empty)"),
        ({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
        ({"matchLabels": {"a": ""}}, "a="),
        (_expression("tier", "In", "web", "api", "api"), "tier in (api,api,web)"),
        (_expression("tier", "NotIn", "", "a"), "tier notin (,a)"),
        (_expression("tier", "In", ""), "tier in ()"),
        (_expression("tier", "Exists"), "tier"),
        (_expression("tier", "DoesNotExist"), "!tier"),
        ({"matchLabels": {"a": "1"}, **_expression("a", "Exists")}, "a=1,a"),
        (_expression("tier", "In"), "(invalid)"),
        (_expression("tier", "Exists", "x"), "(invalid)"),
        (_expression("tier", "Near", "x"), "(invalid)"),
        (_expression("tier", "In", "no label"), "(invalid)"),
        ({"matchLabels": {"a": "-"}}, "(invalid)"),
        ({"matchLabels": {"app.kubernetes.io/name": "x"}}, "app.kubernetes.io/name=x"),
        ({"matchLabels": {"UP.io/name": "x"}}, "(invalid)"),
        ({"matchLabels": {"/name": "x"}}, "(invalid)"),
        ({"matchLabels": {"a" * 64: "x"}}, "(invalid)"),
    ],
)
def test_the_string_form(selector: dict[str, Any] | None, shown: str) -> None:
    """Requirements sorted by key, values sorted and kept double, what does not parse told apart."""
    assert selector_text(selector, empty="(empty)", nothing="(nothing)", invalid="(invalid)") == shown


def test_the_dump() -> None:
    """A selector that upstream prints as a Go value."""
    selector = {"matchLabels": {"b": "2", "a": "1"}, **_expression("tier", "In", "x", "y")}
    assert selector_dump(selector) == (
        "&LabelSelector{MatchLabels:map[string]string{a: 1,b: 2,},"
        "MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:tier,Operator:In,Values:[x y],},},}"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (-0.0, "-0"), (1.0, "1"), (999999.0, "999999"), (1e6, "1e+06"), (123456.7, "123456.7"),
        (1234567.8, "1.2345678e+06"), (0.0001, "0.0001"), (0.00001234, "1.234e-05"), (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"), (-2.5, "-2.5"), (100.0, "100"),
    ],
)  # fmt: skip
def test_floats_as_go_prints_them(value: float, text: str) -> None:
    """The shortest digits, with an exponent outside of 1e-4 … 1e6."""
    assert sprint_float(value) == text


def test_white_space_and_case_are_gos() -> None:
    """What Python strips and lowers otherwise."""
    assert trim_space("\x85\xa0\u2003 x\u200b\x1f\t") == "x\u200b\x1f"
    assert lower("ΑΣ İ") == "ας i".replace("ς", "σ")
