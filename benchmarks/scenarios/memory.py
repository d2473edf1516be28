"""What things weigh, and how long a replica takes to be of use."""

from __future__ import annotations

import http.client
import json
import statistics
import time
import urllib.parse
import urllib.request

from benchmarks.bench import ADMIN, KUBECTL_TABLE, Bench
from benchmarks.figures import Figure, absolute
from benchmarks.larder_parts import Replica
from benchmarks.processes import resident_bytes


def memory_and_start(bench: Bench) -> list[Figure]:
    """A replica's start, a cold tenant, the whole cluster hydrated; and Redis."""
    scenario = "memory and start"
    starts: list[float] = []
    colds: list[float] = []
    grown: list[float] = []
    whole: list[float] = []
    bodies = len(_get(bench, bench.replica, "/api/v1/pods", accept="application/json"))
    for _ in range(bench.repetitions):
        replica = bench.larder.start_replica(0)
        starts.append(replica.started_seconds)
        before = resident_bytes(replica.pids)
        colds.append(_cold_table(bench, replica))
        _get(bench, replica, "/api/v1/pods")
        after = resident_bytes(replica.pids)
        grown.append((after - before) / bodies)
        whole.append(float(after))
        replica.process.terminate()
        replica.process.wait(30)
    upstream = resident_bytes(bench.upstream.pids[:1])
    return [
        absolute(scenario, "replica: start to ready", "s", starts, "<= 1.5"),
        absolute(scenario, "first Table of a cold tenant", "ms", colds, "<= 30"),
        absolute(scenario, "replica memory per hydrated object byte", "B/B", grown, "<= 1.3"),
        Figure(
            scenario=scenario,
            name="replica holding every pod / upstream's memory",
            unit="MB",
            larder=statistics.median(whole) / 1e6,
            upstream=upstream / 1e6,
            value=statistics.median(whole) / upstream,
            goal="<= 0.125",
        ),
        absolute(
            scenario,
            "bytes in Redis per object byte",
            "B/B",
            [bench.larder.redis_bytes("larder:{pods.v1}:objects:*") / bodies],
            "<= 0.35",
        ),
        absolute(scenario, "informer: start to synced", "s", [bench.larder.synced_seconds]),
    ]


def _cold_table(bench: Bench, replica: Replica) -> float:
    """Milliseconds of a tenant's first Table. The connection is open and the user known: the tenant's pods are not."""
    parts = urllib.parse.urlsplit(replica.url)
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, context=bench.tls(), timeout=30)
    asked = {"Authorization": f"Bearer {bench.tenant_token()}", "Accept": KUBECTL_TABLE}
    try:
        connection.request("GET", "/version", headers=asked)
        connection.getresponse().read()
        started = time.monotonic()
        connection.request("GET", "/api/v1/pods", headers=asked)
        answer = connection.getresponse()
        body = answer.read()
        took = (time.monotonic() - started) * 1e3
    finally:
        connection.close()
    if answer.status != 200 or not json.loads(body)["rows"]:
        raise RuntimeError(f"the tenant's pods: {answer.status} {body[:200]!r}")
    return took


def _get(bench: Bench, replica: Replica, path: str, token: str = ADMIN, accept: str = KUBECTL_TABLE) -> bytes:
    request = urllib.request.Request(replica.url + path, headers={"Authorization": f"Bearer {token}", "Accept": accept})
    with urllib.request.urlopen(request, context=bench.tls(), timeout=60) as answer:
        body: bytes = answer.read()
    document = json.loads(body)
    if "items" not in document and "rows" not in document:
        raise RuntimeError(f"{path} answered {body[:200]!r}")
    return body
