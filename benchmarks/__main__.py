"""`python -m benchmarks`: run the scenarios, save the figures, render the report; or compare two results."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import msgspec
from rich.console import Console

from benchmarks import wrk
from benchmarks.bench import Bench
from benchmarks.figures import Failure, Results
from benchmarks.growth import goals, measure
from benchmarks.larder_parts import Larder
from benchmarks.pods import Cluster
from benchmarks.report import show, show_comparison, write_page
from benchmarks.scenarios import FULL, SHORT
from benchmarks.standing import standing
from benchmarks.upstream import Upstream, loaded

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Exit code 1: a scenario failed; 2: the benchmark could not run; goals that are missed are shown, not fatal."""
    options = _options()
    console = Console()
    if options.compare:
        show_comparison(console, *(_read(path) for path in options.compare))
        return 0
    if not wrk.available():
        console.print(
            "[red]wrk is not installed[/] (Debian: apt install wrk); it makes the load. Nothing was measured."
        )
        return 2
    cluster = Cluster(pods=options.pods)
    with loaded(cluster) as upstream:
        results = _run(options, console, cluster, upstream)
    if options.full or options.growth:
        with console.status("measuring: how cost grows"):
            try:
                results.curves = measure(results.standing, quick=not options.full)
                results.figures += goals(results.curves)
            except Exception as error:  # noqa: BLE001  reported like any scenario's failure
                results.failures.append(Failure(scenario="growth", error=f"{type(error).__name__}: {error}"))
    show(console, results)
    RESULTS.mkdir(exist_ok=True)
    saved = options.out or RESULTS / f"{results.date[:10]}-{results.commit}-{results.form}.json"
    saved.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))
    page = write_page(results, saved)
    console.print(f"saved {saved}, report {page}")
    return 1 if results.failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures larder beside kube-apiserver.")
    parser.add_argument("--full", action="store_true", help="every scenario, longer, more watchers (some 30 minutes)")
    parser.add_argument("--seconds", type=float, help="of each measurement (default 2, with --full 8)")
    parser.add_argument("--repetitions", type=int, help="of each measurement (default 3, with --full 5)")
    parser.add_argument("--pods", type=int, default=10_000, help="pods in the cluster (default 10000)")
    parser.add_argument("--only", nargs="*", metavar="SCENARIO", help=f"of: {', '.join(FULL)}")
    parser.add_argument(
        "--growth", action="store_true", help="how cost grows, in front of the sandbox (part of --full)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the figures are saved")
    parser.add_argument("--compare", nargs=2, type=Path, metavar="FILE", help="print two saved results side by side")
    return parser.parse_args()


def _run(options: argparse.Namespace, console: Console, cluster: Cluster, upstream: Upstream) -> Results:
    scenarios = FULL if options.full else SHORT
    if options.only:
        scenarios = {name: FULL[name] for name in options.only}
    results = Results(
        date=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        form="full" if options.full else "short",
        machine=_machine(),
        versions=_versions(),
        upstream=upstream.description,
        cluster={"pods": cluster.pods, "namespaces": cluster.namespaces, "tenants": cluster.tenants},
        figures=[],
    )
    with console.status("starting Redis, an informer and a replica") as status, Larder(upstream) as larder:
        bench = Bench(
            cluster,
            upstream,
            larder,
            seconds=options.seconds or (8.0 if options.full else 2.0),
            repetitions=options.repetitions or (5 if options.full else 3),
            full=options.full,
        )
        for name, scenario in scenarios.items():
            status.update(f"measuring: {name}")
            try:
                results.figures += scenario(bench)
            except Exception as error:  # noqa: BLE001  a scenario that fails is reported, and the others still run
                results.failures.append(Failure(scenario=name, error=f"{type(error).__name__}: {error}"))
        if options.full or options.growth:
            status.update("measuring: where upstream stands")
            try:
                results.standing = standing(bench)
            except Exception as error:  # noqa: BLE001  as above
                results.failures.append(Failure(scenario="standing", error=f"{type(error).__name__}: {error}"))
    return results


def _read(path: Path) -> Results:
    return msgspec.json.decode(path.read_bytes(), type=Results)


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _machine() -> dict[str, str]:
    info = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
    }


def _versions() -> dict[str, str]:
    names = ("sanic", "uvloop", "redis", "msgspec", "zstandard")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


if __name__ == "__main__":
    sys.exit(main())
