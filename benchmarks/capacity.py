"""What a big cluster would need, worked out from measured costs per unit. Every line says how.

A cluster of 5,000 nodes, 150,000 pods and 2,000 tenants, as an example; the rates are assumptions and named as such.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.figures import Figure

NODES, PODS, TENANTS = 5_000, 150_000, 2_000
OBJECT_BYTES = 10_000
OTHER_OBJECTS = 4.0
"""Objects of other kinds per pod (replica sets, config maps, endpoints, events …), a quarter of a pod's size each."""

EVENTS_PER_SECOND = 500.0
"""Changes of pods: kubelets' status updates and rollouts."""

USERS_PER_TENANT = 5
TABLES_PER_USER = 0.2
"""Tables per second and user: dashboards that poll, and people."""

WATCHES_PER_TENANT = 10
"""Open watches: controllers, dashboards, `kubectl get -w`."""

BUSY = 0.6
"""Share of a core that a replica should use at most."""


@dataclass(frozen=True)
class Line:
    """One result and how it follows."""

    what: str
    value: str
    how: str


def capacity(figures: list[Figure]) -> list[Line]:
    """The calculation; empty where a figure that it needs was not measured."""
    known = {figure.name: figure.larder for figure in figures}
    try:
        table = known["Table of a tenant's namespaces, gzip: per CPU second"]
        size = known["size of that gzip answer"]
        memory = known["replica memory per hydrated object byte"]
        redis = known["bytes in Redis per object byte"]
        deliveries = next(value for name, value in known.items() if name.startswith("deliveries to"))
    except (KeyError, StopIteration):
        return []
    stored = PODS * OBJECT_BYTES * (1 + OTHER_OBJECTS / 4)
    tables = TENANTS * USERS_PER_TENANT * TABLES_PER_USER
    # A change is delivered to the watches of its tenant that select it: taken as all of them.
    sent = EVENTS_PER_SECOND * WATCHES_PER_TENANT
    cores = (tables / table + sent / deliveries) / BUSY
    replicas = max(3, math.ceil(cores))
    return [
        Line(
            "objects",
            f"{stored / 1e9:.1f} GB",
            f"{PODS:,} pods of {OBJECT_BYTES // 1000} KB, and as much of other kinds",
        ),
        Line("Redis memory", f"{stored * redis / 1e9:.1f} GB and histories", f"{redis:.2f} bytes per object byte"),
        Line(
            "Redis nodes",
            "1, with a standby",
            f"{EVENTS_PER_SECOND:.0f} events/s at some 0.1 ms each use 5 % of a core",
        ),
        Line(
            "Tables", f"{tables:,.0f} per second", f"{TENANTS} tenants × {USERS_PER_TENANT} users × {TABLES_PER_USER}/s"
        ),
        Line(
            "deliveries", f"{sent:,.0f} per second", f"{EVENTS_PER_SECOND:.0f} events/s × {WATCHES_PER_TENANT} watches"
        ),
        Line(
            "replicas",
            f"{replicas} cores",
            f"{table:,.0f} Tables and {deliveries:,.0f} deliveries per CPU second, {BUSY:.0%} busy; 3 at least",
        ),
        Line(
            "memory of a replica",
            f"{stored * memory / 1e9:.1f} GB",
            f"all of it hydrated at {memory:.2f} bytes per object byte; less with fewer tenants each",
        ),
        Line(
            "network out",
            f"{(tables * size + sent * OBJECT_BYTES) / 1e6:,.0f} MB/s",
            f"answers of {size / 1e3:.0f} KB, events of {OBJECT_BYTES // 1000} KB",
        ),
        Line("upstream", "1 list and 1 watch per resource", "whoever reads, however many"),
    ]
