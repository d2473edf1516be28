"""Where upstream stands in the plots of growth: the same questions, asked of the run's own upstream."""

from __future__ import annotations

import asyncio

from benchmarks import growth, times, wrk
from benchmarks.bench import KUBECTL_TABLE, Bench, headers
from benchmarks.processes import resident_bytes
from benchmarks.scenarios.watches import deliveries

WATCHERS, EVENTS = 100, 50


def standing(bench: Bench) -> dict[str, float]:
    """By the name of the curve. A tenant's share is asked for with a label selector, as proxies do.

    Raises:
        LoadFailed, RuntimeError: upstream did not answer.
    """
    upstream, tenant = bench.upstream, bench.cluster.tenant_of(1)
    asked = headers(KUBECTL_TABLE, gzip=True)

    nothing = "/api/v1/pods?labelSelector=nobody%3Dhas-it"

    def load(path: str) -> wrk.Load:
        wrk.run(upstream.url + path, asked, seconds=2, connections=8)
        return wrk.run(upstream.url + path, asked, seconds=4, connections=8)

    delivered = asyncio.run(deliveries(bench, upstream.url, upstream.pids, WATCHERS, EVENTS, rate=10))
    return {
        growth.TABLE: load(f"/api/v1/namespaces/{bench.namespace()}/pods?limit=100").p50,
        growth.NOTHING: times.measure([(upstream.url + nothing, asked)], seconds=4, cpu=None)[0].p99,
        growth.MEMORY: resident_bytes(upstream.pids[:1]) / 1e6,
        growth.UNION: load(f"/api/v1/pods?limit=20&labelSelector=tenant%3D{tenant}").rate,
        growth.NAMES: load(f"/api/v1/namespaces?labelSelector=capsule.clastix.io%2Ftenant%3D{tenant}").rate,
        growth.DELIVERIES: delivered,
    }
