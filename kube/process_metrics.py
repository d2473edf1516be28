"""What every part of larder tells Prometheus of itself: its version, its memory, processor time and open files."""

from __future__ import annotations

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, disable_created_metrics


def add_to(registry: CollectorRegistry) -> None:
    """Put them beside a part's own metrics."""
    # One more series for each counter, which says when it began: no query uses it.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    ProcessCollector(registry=registry)
    build = Gauge("larder_build_info", "Always 1; the label says which version runs.", ["version"], registry=registry)
    build.labels(version("larder")).set(1)
