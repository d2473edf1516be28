"""The steps of a JSONPath: each turns the values that the one before it gave into new ones.

Missing keys give nothing; most other misfits are errors, with client-go's own exceptions to both.
Source: client-go util/jsonpath, the evaluation; text/template's comparisons.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tables.gotext import MAX_INT64, MIN_INT64

Values = list[Any]
Node = Callable[[Values], Values]
"""One step of an action.

Raises:
    EvaluationError: the values do not fit.
"""


class EvaluationError(ValueError):
    """A step did not fit its values; `partial` is what had been found, which a filter's existence test counts."""

    def __init__(self, message: str, partial: Values) -> None:
        super().__init__(message)
        self.partial = partial


class Byte(int):
    """An element of a string, a uint8: not comparable with the integers of JSON."""


class Word(int):
    """An integer of the template, an int: comparable with an int64, and no int64 itself."""


def run(nodes: tuple[Node, ...], values: Values) -> Values:
    """Take the values through one step after the other."""
    for node in nodes:
        values = node(values)
    return values


@dataclass(frozen=True, slots=True)
class Field:
    """`.key`: of what is no map, nothing."""

    key: str

    def __call__(self, values: Values) -> Values:
        """Give the values under the key, null among them."""
        return [value[self.key] for value in values if isinstance(value, dict) and self.key in value]


def _children(value: Any) -> Values:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, str):
        return [Byte(byte) for byte in value.encode()]
    return value if isinstance(value, list) else []


def wildcard(values: Values) -> Values:
    """`*`: all elements of lists, values of maps, bytes of strings."""
    return [child for value in values for child in _children(value)]


def recursive(values: Values) -> Values:
    """The values and everything below them that has children of its own, parents first."""
    found: Values = []
    waiting = list(reversed(values))
    while waiting:
        value = waiting.pop()
        if children := _children(value):
            found.append(value)
            waiting.extend(reversed(children))
    return found


def literal(value: Any) -> Node:
    """`90`, `true`: the same for each value."""
    return lambda values: [value] * len(values)


def text_node(text: str) -> Node:
    """`"Ready"`, and what stands outside of the braces."""
    return lambda _values: [text]


def identifier(name: str) -> Node:
    """A bare word, which means nothing here."""

    def fail(values: Values) -> Values:
        raise EvaluationError(f"unrecognized identifier {name}", values)

    return fail


def union(actions: list[tuple[Node, ...]]) -> Node:
    """`[0,2]`: what each part gives, one part after the other."""

    def join(values: Values) -> Values:
        joined: Values = []
        for action in actions:
            try:
                joined.extend(run(action, values))
            except EvaluationError as error:
                raise EvaluationError(str(error), values) from error
        return joined

    return join


def slice_of(start: int | None, end: int | None, step: int | None, *, single: bool) -> Node:
    """`[start:end:step]`; `single` is `[start]`, whose end is the next index."""

    def cut(values: Values) -> Values:
        result: Values = []
        for value in values:
            if value is None:
                continue
            if not isinstance(value, list):
                raise EvaluationError("not an array or slice", values)
            length = len(value)
            first = 0 if start is None else start + length if start < 0 else start
            last = length if end is None else end + length if end < 0 or (end == 0 and single) else end
            if first == last:
                return result
            if not 0 <= first < length or not 0 <= last <= length or first > last:
                raise EvaluationError("array index out of bounds", values)
            if step is not None and step <= 0:
                raise EvaluationError("step must be > 0", values)
            result.extend(value[first : last : step or 1])
        return result

    return cut


def filtered(left: tuple[Node, ...], operator: str, right: tuple[Node, ...]) -> Node:
    """`[?(@.a == 1)]`: the elements for which the comparison holds."""

    def choose(values: Values) -> Values:
        chosen: Values = []
        for value in values:
            if not isinstance(value, list):
                raise EvaluationError("not an array or slice and cannot be filtered", values)
            for element in value:
                lefts = _one(left, element, values)
                rights = _one(right, element, values) if lefts else []
                if lefts and rights and _compare(lefts[0], operator, rights[0], chosen):
                    chosen.append(element)
        return chosen

    return choose


def _one(action: tuple[Node, ...], element: Any, values: Values) -> Values:
    """At most one value, since no more can be compared."""
    try:
        found = run(action, [element])
    except EvaluationError as error:
        raise EvaluationError(str(error), values) from error
    if len(found) > 1:
        raise EvaluationError("can only compare one element at a time", values)
    return found


def existing(action: tuple[Node, ...]) -> Node:
    """`[?(@.a)]`: the elements that have it."""

    def present(element: Any) -> bool:
        try:
            return bool(run(action, [element]))
        except EvaluationError as error:
            return bool(error.partial)

    def choose(values: Values) -> Values:
        for value in values:
            if not isinstance(value, list):
                raise EvaluationError("not an array or slice and cannot be filtered", values)
        return [element for value in values for element in value if present(element)]

    return choose


def _kind(value: Any) -> str:
    """The kind by which Go compares; empty where it does not."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, Byte):
        return "uint"
    if isinstance(value, int):
        return "int" if MIN_INT64 <= value <= MAX_INT64 else "float"
    if isinstance(value, float):
        return "float"
    return "string" if isinstance(value, str) else ""


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def _compare(left: Any, operator: str, right: Any, chosen: Values) -> bool:
    if operator not in _COMPARISONS:
        raise EvaluationError(f"unrecognized filter operator {operator}", chosen)
    kind = _kind(left)
    if not kind or kind != _kind(right):
        raise EvaluationError("incompatible types for comparison", chosen)
    if kind == "bool" and operator not in ("==", "!="):
        raise EvaluationError("invalid type for comparison", chosen)
    if kind == "string":  # Go orders strings by their UTF-8 bytes
        return _COMPARISONS[operator](left.encode(), right.encode())
    return _COMPARISONS[operator](left, right)
