"""What a replica counts. Labelled children are looked up once and kept: a request costs some 2 µs here.

Label values are bounded: verbs and resources come from the catalogue of covered resources, everything else is "other".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from kube import process_metrics

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)

OTHER = "other"
"""The `resource` of requests for what is not covered: clients must not make time series."""

Sample = Callable[[], Iterable[tuple[tuple[str, ...], float]]]
"""Label values and value of each series of a gauge, read when Prometheus asks."""


class Metrics:
    """The replica's metrics, in a registry of their own (several replicas can live in one process)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        process_metrics.add_to(self.registry)
        self._requests = Counter(
            "larder_requests",
            "Requests answered.",
            ("verb", "resource", "source", "code"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "larder_request_seconds",
            "Seconds from a request's head to its answer's end; watches, which last, are not in it.",
            ("verb", "resource", "source"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._upstream = Counter(
            "larder_upstream_requests",
            "Requests sent upstream: forwarded ones by the cause, and our own reviews of tokens.",
            ("verb", "resource", "cause"),
            registry=self.registry,
        )
        self.slow_watchers_closed = Counter(
            "larder_slow_watchers_closed",
            "Watches ended because the client did not take its events in time.",
            registry=self.registry,
        )
        self.write_waits_expired = Counter(
            "larder_write_waits_expired",
            "Forwarded writes answered before their effect was in the store.",
            registry=self.registry,
        )
        self.access_log_dropped = Counter(
            "larder_access_log_dropped",
            "Lines of the access log left out because they could not be written fast enough.",
            registry=self.registry,
        )
        self.draining = Gauge("larder_draining", "1 while the replica is stopping.", registry=self.registry)
        self._request_child = lru_cache(maxsize=16_384)(self._requests.labels)
        self._seconds_child = lru_cache(maxsize=4096)(self._seconds.labels)
        self._upstream_child = lru_cache(maxsize=4096)(self._upstream.labels)

    def answered(self, verb: str, resource: str, source: str, code: int, seconds: float) -> None:
        """Count one request."""
        self._request_child(verb, resource, source, code).inc()
        if verb != "watch":
            self._seconds_child(verb, resource, source).observe(seconds)

    def sent_upstream(self, verb: str, resource: str, cause: str) -> None:
        """Count one request of ours or a client's to upstream."""
        self._upstream_child(verb, resource, cause).inc()

    def sample(self, name: str, text: str, labels: tuple[str, ...], sample: Sample) -> None:
        """A gauge whose values are asked for when Prometheus comes, so that keeping it costs nothing."""
        self.registry.register(_Sampled(name, text, labels, sample))

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)


class _Sampled:
    """A collector of one gauge family."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...], sample: Sample) -> None:
        self._name, self._text, self._labels, self._sample = name, text, labels, sample

    def describe(self) -> list[Metric]:
        """The family without samples: registering must not ask for values."""
        return [GaugeMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> Iterable[Metric]:
        """The family with its present values."""
        family = GaugeMetricFamily(self._name, self._text, labels=self._labels)
        for values, value in self._sample():
            family.add_metric(values, value)
        yield family
