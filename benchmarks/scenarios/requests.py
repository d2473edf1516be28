"""Request scenarios: rates, times and CPU per request, larder beside upstream in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks import times, wrk
from benchmarks.bench import JSON, KUBECTL_TABLE, Bench, Measured, headers
from benchmarks.fetch import fetch
from benchmarks.figures import Figure, absolute, ratio
from benchmarks.larder_parts import Replica
from benchmarks.processes import cpu_seconds

CAPSULE_PROXY_NAMESPACES = 300.0
"""Requests per second of capsule-proxy for a tenant's namespaces, as measured for this project's goals."""


def _rates(measured: Sequence[Measured]) -> list[float]:
    return [one.load.rate for one in measured]


def _cpu(measured: Sequence[Measured]) -> list[float]:
    return [1.0 / one.cpu_each for one in measured]


def _compare(
    bench: Bench,
    scenario: str,
    name: str,
    goal: str,
    ours: tuple[str, dict[str, str]],
    theirs: tuple[str, dict[str, str]],
    upstream_connections: int | None = None,
) -> tuple[list[Figure], list[Measured], list[Measured]]:
    larder, upstream = bench.side_by_side(ours, theirs, upstream_connections=upstream_connections)
    figures = [
        ratio(scenario, name, "req/s", _rates(larder), _rates(upstream), goal),
        ratio(scenario, f"{name}: per CPU second", "req/CPU s", _cpu(larder), _cpu(upstream)),
    ]
    return figures, larder, upstream


def tables_and_lists(bench: Bench) -> list[Figure]:
    """The requests of kubectl and of controllers for a namespace, and a tenant's at cluster scope."""
    scenario = "tables and lists"
    path = f"/api/v1/namespaces/{bench.namespace()}/pods"
    tenant = f"/api/v1/pods?labelSelector=tenant%3D{bench.cluster.tenant_of(1)}"
    token = bench.tenant_token()
    found: list[Figure] = []
    table_gzip = headers(KUBECTL_TABLE, gzip=True)
    figures, larder, upstream = _compare(
        bench, scenario, "Table of a namespace, gzip", ">= 30", (path, table_gzip), (path, table_gzip)
    )
    found += figures
    found.append(
        ratio(
            scenario,
            "size of that gzip answer",
            "bytes",
            [one.load.bytes_each for one in larder],
            [one.load.bytes_each for one in upstream],
            "<= 0.8",
        )
    )
    found += _compare(
        bench,
        scenario,
        "Table of a tenant's namespaces, gzip",
        ">= 50",
        ("/api/v1/pods", headers(KUBECTL_TABLE, token, gzip=True)),
        (tenant, table_gzip),
        upstream_connections=2,
    )[0]
    table = headers(KUBECTL_TABLE)
    found += _compare(bench, scenario, "Table of a namespace, identity", ">= 8", (path, table), (path, table))[0]
    plain, plain_gzip = headers(JSON), headers(JSON, gzip=True)
    found += _compare(bench, scenario, "list of a namespace, gzip", ">= 30", (path, plain_gzip), (path, plain_gzip))[0]
    found += _compare(bench, scenario, "list of a namespace, identity", ">= 6", (path, plain), (path, plain))[0]
    selected = f"/api/v1/namespaces?labelSelector=capsule.clastix.io%2Ftenant%3D{bench.cluster.tenant_of(1)}"
    figures, larder, _ = _compare(
        bench,
        scenario,
        "a tenant's namespaces, Table",
        ">= 2",
        ("/api/v1/namespaces", headers(KUBECTL_TABLE, token, gzip=True)),
        (selected, table_gzip),
    )
    found += figures
    found.append(
        absolute(
            scenario,
            "a tenant's namespaces against capsule-proxy's 300/s",
            "x",
            [rate / CAPSULE_PROXY_NAMESPACES for rate in _rates(larder)],
            ">= 15",
        )
    )
    return found


def pages(bench: Bench) -> list[Figure]:
    """The first page of kubectl's `get pods -A`, one client, so that the figure is a time."""
    found: list[Figure] = []
    path = "/api/v1/pods?limit=500"
    for form, goal, gzip in (("identity", "<= 0.25", False), ("gzip", "<= 0.125", True)):
        asked = headers(KUBECTL_TABLE, gzip=gzip)
        larder: list[times.Times] = []
        upstream: list[times.Times] = []
        for round_number in range(bench.repetitions + 1):
            # Not request by request: what upstream does for such a page goes on after its answer.
            for url, kept in ((bench.replica.url, larder), (bench.upstream.url, upstream)):
                (measured,) = times.measure([(url + path, asked)], seconds=bench.seconds if round_number else 1, cpu=1)
                if round_number:
                    kept.append(measured)
        found += [
            ratio(
                "pages",
                f"Table page of 500, {form}, {share}",
                "ms",
                [getattr(one, share) for one in larder],
                [getattr(one, share) for one in upstream],
                goal,
            )
            for share in ("p50", "p99")
        ]
    return found


def whole_lists(bench: Bench) -> list[Figure]:
    """Everything at once, as an informer without paging or a dashboard asks."""
    found: list[Figure] = []
    for name, accept, gzip, goal in (
        ("whole list, JSON", JSON, False, "<= 0.7"),
        ("whole list, Table", KUBECTL_TABLE, False, "<= 0.333"),
        ("whole list, JSON, gzip", JSON, True, "<= 0.2"),
    ):
        asked = headers(accept, gzip=gzip)
        larder: list[float] = []
        upstream: list[float] = []
        for round_number in range(bench.repetitions + 1):
            for url, kept in ((bench.replica.url, larder), (bench.upstream.url, upstream)):
                milliseconds = fetch(f"{url}/api/v1/pods", asked, least_bytes=1_000_000)
                if round_number:
                    kept.append(milliseconds)
        found.append(ratio("whole lists", name, "ms", larder, upstream, goal))
    return found


def others_during_whole_lists(bench: Bench) -> list[Figure]:
    """Whether one client that takes whole lists without pause is felt by everybody else."""
    path = f"{bench.replica.url}/api/v1/namespaces/{bench.namespace()}/pods"
    asked = [(path, headers(KUBECTL_TABLE, gzip=True))]
    alone: list[float] = []
    beside: list[float] = []
    for _ in range(bench.repetitions):
        alone.append(times.measure(asked, seconds=bench.seconds, cpu=1)[0].p99)
        with ThreadPoolExecutor(1) as pool:
            everything = f"{bench.replica.url}/api/v1/pods"
            whole = pool.submit(wrk.run, everything, headers(JSON), seconds=bench.seconds + 2, connections=1, cpu=1)
            beside.append(times.measure(asked, seconds=bench.seconds, cpu=1)[0].p99)
            whole.result()
    value = statistics.median(beside) / statistics.median(alone)
    return [
        Figure(
            scenario="others during whole lists",
            name="p99 of a namespace's Table, beside / alone",
            unit="ms",
            larder=statistics.median(beside),
            value=value,
            goal="<= 3",
            spread=(min(beside), max(beside)),
            note=f"alone {statistics.median(alone):.1f} ms",
        )
    ]


def gets(bench: Bench) -> list[Figure]:
    """One object."""
    _, names = bench.pods()
    asked = (f"/api/v1/namespaces/{bench.namespace()}/pods/{names[0]}", headers(JSON, gzip=True))
    larder, upstream = bench.side_by_side(asked, asked)
    return [
        ratio("gets", "get one pod: per CPU second", "req/CPU s", _cpu(larder), _cpu(upstream), ">= 1.5"),
        ratio("gets", "get one pod", "req/s", _rates(larder), _rates(upstream)),
    ]


def forwarded(bench: Bench) -> list[Figure]:
    """What a request that is not ours pays for the way through a replica: asked there and at upstream in turn."""
    path = "/api/v1/namespaces/default/secrets?limit=1"
    asked = [(url + path, headers(JSON)) for url in (bench.replica.url, bench.upstream.url)]
    times.measure(asked, seconds=1, cpu=1)
    rounds = [times.measure(asked, seconds=2 * bench.seconds, cpu=1) for _ in range(bench.repetitions)]
    found = []
    for share, goal in (("p50", "<= 1"), ("p99", "<= 5")):
        ours, theirs = ([getattr(side, share) for side in both] for both in zip(*rounds, strict=True))
        added = [one - other for one, other in zip(ours, theirs, strict=True)]
        found.append(
            Figure(
                scenario="forwarded",
                name=f"added by forwarding, {share}",
                unit="ms",
                larder=statistics.median(ours),
                upstream=statistics.median(theirs),
                value=statistics.median(added),
                value_unit="ms",
                goal=goal,
                spread=(min(ours), max(ours)),
                note=f"added: {min(added):.2f} to {max(added):.2f} ms",
            )
        )
    return found


def two_replicas(bench: Bench) -> list[Figure]:
    """CPU per request of two busy replicas against one: whether anything that they share makes them slower.

    Each replica's load comes from its own core, one replica or two: so a core does the same work either way.
    """
    path = f"/api/v1/namespaces/{bench.namespace()}/pods"
    second = bench.larder.start_replica(1)
    bench.larder.servers.append(second)
    replicas = [bench.replica, second]
    _busy_cpu(replicas, path, seconds=1)
    alone: list[float] = []
    both: list[float] = []
    for _ in range(bench.repetitions):
        alone.append(statistics.mean(_busy_cpu([replica], path, seconds=bench.seconds) for replica in replicas))
        both.append(_busy_cpu(replicas, path, seconds=bench.seconds))
    value = statistics.median(both) / statistics.median(alone)
    return [
        Figure(
            scenario="two replicas",
            name="CPU per request, two replicas / one",
            unit="ms",
            larder=statistics.median(both) * 1e3,
            value=value,
            goal="<= 1.1",
            spread=(min(both) * 1e3, max(both) * 1e3),
            note=f"one alone {statistics.median(alone) * 1e3:.3f} ms",
        )
    ]


def _busy_cpu(replicas: list[Replica], path: str, *, seconds: float) -> float:
    """CPU seconds per request of these replicas, all loaded at the same time."""
    asked = headers(KUBECTL_TABLE, gzip=True)
    pids = [pid for replica in replicas for pid in replica.pids]
    before = cpu_seconds(pids)
    with ThreadPoolExecutor(len(replicas)) as pool:
        runs = [
            pool.submit(wrk.run, replica.url + path, asked, seconds=seconds, cpu=replica.cpu) for replica in replicas
        ]
        loads = [run.result() for run in runs]
    return (cpu_seconds(pids) - before) / sum(load.requests for load in loads)
