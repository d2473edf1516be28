"""What a scenario gives: named figures, each beside the same thing measured at upstream, and its goal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec


class Figure(msgspec.Struct, kw_only=True):
    """One line of the report.

    `larder` and `upstream` are the medians over the repetitions, in `unit`; `value` is what the goal is about
    (a ratio, or the figure itself). `goal` reads like `>= 30` or `<= 0.8`; empty: shown for information.
    """

    scenario: str
    name: str
    unit: str
    larder: float
    upstream: float | None = None
    value: float
    value_unit: str = "x"
    goal: str = ""
    spread: tuple[float, float] | None = None
    """Least and greatest `larder` over the repetitions."""

    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal holds; None where there is none."""
        if not self.goal:
            return None
        relation, bound = self.goal.split()
        return self.value >= float(bound) if relation == ">=" else self.value <= float(bound)


class Failure(msgspec.Struct, kw_only=True):
    """A scenario that could not be measured: shown as such, never as a zero."""

    scenario: str
    error: str


class Curve(msgspec.Struct, kw_only=True):
    """One plot: `points` are (x, y) pairs, `upstream` is where upstream stands, where that is known."""

    name: str
    x: str
    y: str
    points: list[tuple[float, float]]
    upstream: float | None = None


class Results(msgspec.Struct, kw_only=True):
    """One run: what was measured, of what, where."""

    date: str
    commit: str
    form: str
    machine: dict[str, str]
    versions: dict[str, str]
    upstream: str
    cluster: dict[str, int]
    figures: list[Figure]
    failures: list[Failure] = []
    curves: list[Curve] = []
    standing: dict[str, float] = {}
    """Where upstream stands in the plots of growth, by the curve's name."""


def ratio(
    scenario: str,
    name: str,
    unit: str,
    larder: Sequence[float],
    upstream: Sequence[float],
    goal: str = "",
    note: str = "",
) -> Figure:
    """Larder ÷ upstream, medians over repetitions made in turn."""
    ours, theirs = statistics.median(larder), statistics.median(upstream)
    return Figure(
        scenario=scenario,
        name=name,
        unit=unit,
        larder=ours,
        upstream=theirs,
        value=ours / theirs,
        goal=goal,
        spread=(min(larder), max(larder)),
        note=note,
    )


def absolute(scenario: str, name: str, unit: str, larder: Sequence[float], goal: str = "", note: str = "") -> Figure:
    """A figure with a goal of its own."""
    ours = statistics.median(larder)
    return Figure(
        scenario=scenario,
        name=name,
        unit=unit,
        larder=ours,
        value=ours,
        value_unit=unit,
        goal=goal,
        spread=(min(larder), max(larder)),
        note=note,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0…1) of the values lie.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.0
    """
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, round(share * len(ordered)) - 1))]
