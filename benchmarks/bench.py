"""What every scenario is given: the loaded upstream, larder in front of it, and how long to measure."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import wrk
from benchmarks.larder_parts import Larder, Replica
from benchmarks.pods import Cluster
from benchmarks.processes import cpu_seconds
from benchmarks.upstream import Upstream

KUBECTL_TABLE = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
JSON = "application/json"
ADMIN = "admin-token"


@dataclass
class Bench:
    """One run's parts and its measure of patience."""

    cluster: Cluster
    upstream: Upstream
    larder: Larder
    seconds: float = 2.0
    """Of each measurement."""

    repetitions: int = 3
    full: bool = False
    say: Callable[[str], None] = print

    @property
    def replica(self) -> Replica:
        """The replica that single-replica scenarios measure: alone on its core."""
        return self.larder.servers[0]

    def tls(self) -> ssl.SSLContext:
        """A client context that trusts both sides: they share a certificate."""
        return ssl.create_default_context(cafile=str(self.upstream.ca))

    def namespace(self, number: int = 1) -> str:
        """The name of namespace number N."""
        return self.upstream.namespaces[number]

    def tenant_token(self) -> str:
        """The token of the user who owns the namespaces of tenant number 1."""
        return self.upstream.tenant_token

    def pods(self, limit: int = 50) -> tuple[str, list[str]]:
        """Upstream's resourceVersion, and the names of some pods of namespace number 1."""
        path = f"{self.upstream.url}/api/v1/namespaces/{self.namespace()}/pods?limit={limit}"
        request = urllib.request.Request(path, headers=headers(JSON))
        with urllib.request.urlopen(request, context=self.tls(), timeout=30) as answer:
            found = json.loads(answer.read())
        return found["metadata"]["resourceVersion"], [item["metadata"]["name"] for item in found["items"]]

    def side_by_side(
        self,
        ours: tuple[str, dict[str, str]],
        theirs: tuple[str, dict[str, str]],
        connections: int = 16,
        upstream_connections: int | None = None,
    ) -> tuple[list[Measured], list[Measured]]:
        """Load both sides in turn, `repetitions` times after a warm-up; each side is a path and headers.

        `upstream_connections`: fewer for what upstream takes seconds for, so that it is busy but not flooded.
        """
        larder: list[Measured] = []
        upstream: list[Measured] = []
        for round_number in range(self.repetitions + 1):
            seconds = 1.0 if round_number == 0 else self.seconds
            for url, (path, headers), pids, kept, cpu, clients in (
                (self.replica.url, ours, self.replica.pids, larder, 1, connections),
                (self.upstream.url, theirs, self.upstream.pids, upstream, None, upstream_connections or connections),
            ):
                measured = _run(url + path, headers, seconds, clients, cpu, pids)
                if round_number:
                    kept.append(measured)
        return larder, upstream


@dataclass(frozen=True)
class Measured:
    """A load and the CPU seconds of the server per request."""

    load: wrk.Load
    cpu_each: float


def _run(
    url: str, headers: dict[str, str], seconds: float, connections: int, cpu: int | None, pids: list[int]
) -> Measured:
    """One load; where not one request is answered in the time, again with more of it."""
    for longer in (1, 10):
        before = cpu_seconds(pids)
        try:
            load = wrk.run(url, headers, seconds=seconds * longer, connections=connections, cpu=cpu)
        except wrk.NothingDone:
            if longer > 1:
                raise
            continue
        return Measured(load, (cpu_seconds(pids) - before) / load.requests)
    raise AssertionError("the last try returns or raises")


def headers(accept: str, token: str = ADMIN, *, gzip: bool = False) -> dict[str, str]:
    """A request's headers as kubectl sends them."""
    found = {"Accept": accept, "Authorization": f"Bearer {token}", "User-Agent": "kubectl/v1.33.1 (linux/amd64)"}
    if gzip:
        found["Accept-Encoding"] = "gzip"
    return found
