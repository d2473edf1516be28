"""How the sandbox misbehaves when it is told to: each way is a method, and a path under /sandbox/faults."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from kube.resources import GVR
from sandbox.cluster import Cluster


class ConnectionCut(Exception):
    """The connection is to be closed without another byte."""


@dataclass
class Failure:
    """The next `times` requests of a resource and verb ("" is any) fail with `code`."""

    code: int
    times: int
    resource: str = ""
    verb: str = ""


@dataclass
class Faults:
    """What is wrong at the moment. In a fresh one nothing is."""

    cluster: Cluster
    down: bool = False
    failures: list[Failure] = field(default_factory=list)
    broken_groups: set[str] = field(default_factory=set)
    """API groups whose discovery and resources answer 503, like an aggregated API whose server is away."""

    _drops: dict[str, int] = field(default_factory=dict)
    _abrupt: bool = False
    _running: asyncio.Event | None = None

    def drop_watches(self, resource: str = "", *, abrupt: bool = False) -> None:
        """End every watch (of one resource, by its plural); `abrupt`: without the end of the chunked body."""
        self._abrupt = abrupt
        self._drops[resource] = self._drops.get(resource, 0) + 1
        self._wake()

    def compact(self) -> None:
        """Forget all history, as etcd's compaction does: resumes from before get 410."""
        self.cluster.storage.compact()

    def pause(self) -> None:
        """Answer nothing and send no event until `resume`; connections stay open."""
        if self._running is None:
            self._running = asyncio.Event()

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._running is not None:
            self._running.set()
            self._running = None

    def go_down(self) -> None:
        """Cut every connection, and every new one at its first request, until `come_up`."""
        self.down = True
        self.drop_watches(abrupt=True)

    def come_up(self) -> None:
        """Serve again."""
        self.down = False

    def fail(self, code: int, times: int = 1, *, resource: str = "", verb: str = "") -> None:
        """Answer the next requests with this code."""
        self.failures.append(Failure(code, times, resource, verb))

    def take_failure(self, resource: str, verb: str) -> int:
        """The code that this request is to fail with, 0 if it is not to."""
        for failure in self.failures:
            if failure.resource in {"", resource} and failure.verb in {"", verb}:
                failure.times -= 1
                if failure.times <= 0:
                    self.failures.remove(failure)
                return failure.code
        return 0

    def generation(self, gvr: GVR) -> int:
        """Changes when the watches of this resource are to end."""
        return self._drops.get("", 0) + self._drops.get(gvr.resource, 0)

    def end_as_wanted(self) -> None:
        """Called by a watch that was dropped.

        Raises:
            ConnectionCut: the drop was to be abrupt.
        """
        if self._abrupt:
            raise ConnectionCut

    async def wait_while_paused(self) -> None:
        """Returns at once unless paused."""
        while (running := self._running) is not None:
            await running.wait()

    def _wake(self) -> None:
        for collection in self.cluster.storage.collections():
            collection.wake()
