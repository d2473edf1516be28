"""What Prometheus can read off an informer. Labels are resources (`pods.v1`): bounded by what is covered."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from kube import process_metrics

REGISTRY = CollectorRegistry()
"""Apart from the default one: a replica in the same process has metrics of the same names."""
process_metrics.add_to(REGISTRY)

upstream_requests = Counter(
    "larder_upstream_requests", "Requests to the API server", ["verb", "resource", "cause"], registry=REGISTRY
)
events = Counter("larder_informer_events", "Events written to the store", ["resource"], registry=REGISTRY)
apply_seconds = Histogram(
    "larder_informer_apply_seconds",
    "Seconds from the arrival of watch events until they are in the store",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=REGISTRY,
)
relists = Counter(
    "larder_informer_relists", "Whole lists taken from the API server", ["resource", "cause"], registry=REGISTRY
)
failures = Counter(
    "larder_informer_failures", "Interruptions of a watch or list that were not planned", ["resource"],
    registry=REGISTRY,
)  # fmt: skip
unreadable = Counter(
    "larder_informer_unreadable_objects", "Objects left out because they are none", ["resource"], registry=REGISTRY
)
rows_failed = Counter(
    "larder_informer_rows_failed", "Objects whose Table row could not be printed", ["resource"], registry=REGISTRY
)
position = Gauge(
    "larder_informer_position", "resourceVersion up to which the store is complete", ["resource"], registry=REGISTRY
)
silence = Gauge(
    "larder_informer_silence_seconds", "Seconds since upstream was last in touch", ["resource"], registry=REGISTRY
)
pending = Gauge(
    "larder_informer_pending_deletions", "Deletions that wait for a resourceVersion of their own", ["resource"],
    registry=REGISTRY,
)  # fmt: skip
table_served = Gauge(
    "larder_informer_table_served", "Whether Tables come from the store (1) or upstream", ["resource"],
    registry=REGISTRY,
)  # fmt: skip
table_kept = Gauge(
    "larder_informer_table_kept", "Whether upstream's own rows are kept (1), for Tables that upstream would refuse",
    ["resource"], registry=REGISTRY,
)  # fmt: skip
discovery_errors = Gauge("larder_informer_discovery_errors", "Group versions whose discovery fails", registry=REGISTRY)
held = Gauge("larder_informer_resources_held", "Resources whose lease this worker holds", registry=REGISTRY)
covered = Gauge("larder_informer_resources_covered", "Resources that are to be covered", registry=REGISTRY)


def forget(resource: str) -> None:
    """The worker no longer has this resource: whoever has it tells."""
    for gauge in (position, silence, pending, table_served, table_kept):
        if (resource,) in gauge._metrics:  # noqa: SLF001 (removing a child that is not there raises)
            gauge.remove(resource)


def exposition() -> bytes:
    """All of it, in Prometheus' text form."""
    return generate_latest(REGISTRY)
