"""Figures for people: a table in the terminal, a page with plots, and two results side by side."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.capacity import NODES, PODS, TENANTS, capacity
from benchmarks.figures import Figure, Results

METHOD = (
    "Method: TLS and HTTP/1.1 keep-alive on both sides; the replica is pinned to one core, upstream may use all; "
    "both sides are loaded in turn, after a warm-up; medians over the repetitions (least–greatest in brackets)."
)


def show(console: Console, results: Results) -> None:
    """Print every figure with its goal, and every failure."""
    table = Table(title=f"larder beside {results.upstream}, {results.cluster['pods']} pods ({results.form})")
    for name in ("what", "unit", "larder", "upstream", "is", "goal"):
        table.add_column(name, justify="left" if name in ("what", "unit") else "right")
    for figure in results.figures:
        colour = {True: "green", False: "red", None: ""}[figure.met]
        value = _value(figure)
        table.add_row(
            figure.name,
            figure.unit,
            _number(figure.larder),
            "" if figure.upstream is None else _number(figure.upstream),
            f"[{colour}]{value}[/]" if colour else value,
            figure.goal,
        )
    console.print(table)
    for failure in results.failures:
        console.print(f"[red]failed[/] {failure.scenario}: {failure.error}")


def show_comparison(console: Console, before: Results, after: Results) -> None:
    """Print what two runs measured of the same names, with the change."""
    table = Table(title=f"{before.commit} → {after.commit}")
    for name in ("what", before.commit, after.commit, "change"):
        table.add_column(name, justify="left" if name == "what" else "right")
    known = {(figure.scenario, figure.name): figure for figure in before.figures}
    for figure in after.figures:
        old = known.get((figure.scenario, figure.name))
        if old is not None and old.value:
            change = f"{(figure.value / old.value - 1) * 100:+.0f} %"
            table.add_row(figure.name, _value(old), _value(figure), change)
    console.print(table)


def write_page(results: Results, saved: Path) -> Path:
    """Write the report page beside the saved figures, with a plot where matplotlib is installed."""
    lines = [
        f"# Benchmark of {results.date[:10]}, commit {results.commit} ({results.form} form)",
        "",
        _what(results, saved),
        "",
        METHOD,
        "",
        "| what | unit | larder | upstream | is | goal | |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for figure in results.figures:
        spread = f" ({_number(figure.spread[0])}–{_number(figure.spread[1])})" if figure.spread else ""
        met = {True: "met", False: "**missed**", None: ""}[figure.met]
        upstream = "" if figure.upstream is None else _number(figure.upstream)
        lines.append(
            f"| {figure.name} | {figure.unit} | {_number(figure.larder)}{spread} | {upstream} | {_value(figure)} "
            f"| {figure.goal.replace('<=', '≤').replace('>=', '≥')} | {met} {figure.note} |"
        )
    lines += [f"\nFailed: {failure.scenario}: {failure.error}" for failure in results.failures]
    plot = _plot(results, saved.with_suffix(".svg"))
    if plot:
        lines += ["", f"![how each figure stands to its goal]({plot.name})"]
    lines += _grown(results, saved)
    lines += _capacity(results)
    page = saved.with_suffix(".md")
    page.write_text("\n".join(lines) + "\n")
    return page


def _grown(results: Results, saved: Path) -> list[str]:
    """How cost grows: a table, and a plot of each curve with the line where upstream stands."""
    if not results.curves:
        return []
    lines = ["", "## How cost grows", "", "In front of the sandbox, one replica on one core.", ""]
    lines += [f"Upstream is {results.upstream} with its {results.cluster['pods']:,} pods, on all cores.", ""]
    lines += ["| what | by | figures | upstream |", "| --- | --- | --- | ---: |"]
    for curve in results.curves:
        points = "; ".join(f"{_number(x)}: {_number(y)} {curve.y}" for x, y in curve.points)
        upstream = "" if curve.upstream is None else f"{_number(curve.upstream)} {curve.y}"
        lines.append(f"| {curve.name} | {curve.x} | {points} | {upstream} |")
    plot = _plot_curves(results, saved.with_name(f"{saved.stem}-growth.svg"))
    return [*lines, "", f"![how cost grows]({plot.name})"] if plot else lines


def _capacity(results: Results) -> list[str]:
    found = capacity(results.figures)
    if not found:
        return []
    title = f"## A cluster of {NODES:,} nodes, {PODS:,} pods and {TENANTS:,} tenants, worked out from these figures"
    lines = ["", title, "", "| what | needs | how |", "| --- | --- | --- |"]
    return [*lines, *(f"| {line.what} | {line.value} | {line.how} |" for line in found)]


def _what(results: Results, saved: Path) -> str:
    """What was measured, of what, where, in one sentence each."""
    cluster, machine = results.cluster, results.machine
    versions = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    return (
        f"Rendered from `{saved.name}`. Upstream: {results.upstream}. {cluster['pods']} pods in "
        f"{cluster['namespaces']} namespaces of {cluster['tenants']} tenants. Machine: {machine['cpu']}, "
        f"{machine['cores']} cores. Versions: {versions}."
    )


def _plot(results: Results, path: Path) -> Path | None:
    """How far each figure is beyond its goal, as bars on a logarithmic axis: right of 1 is met."""
    try:
        import matplotlib as mpl  # noqa: PLC0415  half a second, and only wanted here

        mpl.use("Agg")
        from matplotlib import pyplot as plt  # noqa: PLC0415
    except ImportError:
        return None
    figures = [figure for figure in results.figures if figure.goal and figure.value > 0]
    if not figures:
        return None
    beyond = [_beyond(figure) for figure in figures]
    drawing, axes = plt.subplots(figsize=(10, 0.35 * len(figures) + 1))
    axes.barh([figure.name for figure in figures], beyond, color=["#2a7" if value >= 1 else "#c43" for value in beyond])
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("times the goal (1 = just met, more is better)")
    axes.invert_yaxis()
    drawing.tight_layout()
    drawing.savefig(path)
    plt.close(drawing)
    return path


def _plot_curves(results: Results, path: Path) -> Path | None:
    try:
        import matplotlib as mpl  # noqa: PLC0415

        mpl.use("Agg")
        from matplotlib import pyplot as plt  # noqa: PLC0415
    except ImportError:
        return None
    columns = 2
    rows = (len(results.curves) + 1) // columns
    drawing, grid = plt.subplots(rows, columns, figsize=(11, 3 * rows), squeeze=False)
    for axes in grid.flat[len(results.curves) :]:
        axes.set_visible(False)
    for axes, curve in zip(grid.flat, results.curves, strict=False):
        axes.plot([x for x, _ in curve.points], [y for _, y in curve.points], marker="o", color="#2a7")
        if curve.upstream is not None:
            axes.axhline(
                curve.upstream, color="#c43", linestyle="--", label=f"upstream, {results.cluster['pods']:,} pods"
            )
            axes.legend()
        axes.set(xscale="log", title=curve.name, xlabel=curve.x, ylabel=curve.y)
        axes.set_ylim(bottom=0)
    drawing.tight_layout()
    drawing.savefig(path)
    plt.close(drawing)
    return path


def _beyond(figure: Figure) -> float:
    relation, bound = figure.goal.split()
    return figure.value / float(bound) if relation == ">=" else float(bound) / figure.value


def _value(figure: Figure) -> str:
    return f"{_number(figure.value)} {'×' if figure.value_unit == 'x' else figure.value_unit}"


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
