"""Everything that larder is, as processes that a test may kill: two replicas, two informers, a Redis that saves."""

from __future__ import annotations

import contextlib
import os
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx

from kube.resources import GVR
from larder.up_settings import UpSettings
from store.connection import Store
from store.embedded import EmbeddedRedis
from store.reader import Reader
from tests.chaos.clients import Place
from tests.chaos.wishes import RESOURCES, TABLE
from tests.fixtures.running import Running, wait_until

SAVING = {"save": "86400 1000000"}
"""Saved when told to, and when it is ended politely."""

LEASE_SECONDS = 2
"""The shortest: a takeover after a death waits for it."""

MAPS = GVR("", "v1", "configmaps")


class Troubled:
    """The parts, and what can happen to them. All methods block."""

    def __init__(self, system: Running, redis: EmbeddedRedis, redis_directory: Path) -> None:
        self.system = system
        self._redis, self._redis_directory = redis, redis_directory
        self._saved = self._redis_directory / "dump.rdb"
        self._informers: list[str] = []
        self._number = 0

    def place(self) -> Place:
        """Where clients go."""
        return Place(lambda: self.system.url, ssl.create_default_context(cadata=self.system.ca))

    def start_informers(self) -> None:
        """Two that share the resources, with short leases, in place of the stack's own; all is cached then."""
        for _ in range(2):
            self._start_informer()
        self.system.call(self._end("informer", kill=False))
        wait_until(lambda: self._holder() in self._informers, 60)
        for replica in self.system.replicas:
            with self.system.client("admin", replica) as client:
                for resource in RESOURCES:
                    wait_until(lambda at=(client, resource): _cached(*at), 60)  # type: ignore[misc]

    def kill_replica(self) -> None:
        """The one with the most watches; it is started again."""
        watches = [self.system.metric(at, "larder_watches") for at in range(len(self.system.replicas))]
        assert max(watches) > 0, "nobody watches"
        self.system.kill(f"replica-{watches.index(max(watches)) + 1}")

    def kill_informer(self) -> None:
        """The one that holds the watched resource; returns when the other has taken it over. A third comes then."""
        killed = self._holder()
        assert killed in self._informers
        self._informers.remove(killed)
        self.system.call(self._end(killed, kill=True))
        wait_until(lambda: self._holder() in self._informers, 60)
        self._start_informer()

    def restart_redis(self) -> None:
        """It ends politely, and comes back with what it had."""
        self._redis.stop()
        self._redis.start(self._redis_directory)

    def empty_redis(self) -> None:
        """It comes back with nothing."""
        self._redis.stop()
        self._saved.unlink(missing_ok=True)
        self._redis.start(self._redis_directory)

    def save_redis(self) -> None:
        """What it comes back with after the next crash, as a replica that was behind would."""
        self.system.call(self._save())
        shutil.copy(self._saved, self._saved.with_suffix(".older"))

    def crash_redis(self) -> None:
        """It comes back with what was saved last: an older state."""
        assert self._redis.pid is not None
        os.kill(self._redis.pid, 9)
        self._redis.stop()
        shutil.copy(self._saved.with_suffix(".older"), self._saved)
        self._redis.start(self._redis_directory)

    def cut_upstream(self) -> None:
        """Every connection to upstream breaks."""
        self.system.call(self._cut())

    async def _cut(self) -> None:
        self.system.stack.relay.cut()

    async def _save(self) -> None:
        async with await Store.open(self._redis.url) as store:
            await store.redis.save()

    def _start_informer(self) -> None:
        self._number += 1
        name = f"informer-{self._number}"
        stack = self.system.stack
        self.system.call(self._start(name, stack.upstream_kubeconfig))
        self._informers.append(name)

    async def _end(self, name: str, *, kill: bool) -> None:
        """For good; `kill`: without a warning, as a machine that fails would."""
        part = self.system.stack.parts[name]
        part.stopping = True
        if kill and part.process is not None and part.pid is not None:
            part.process.kill()
        await part.stop()

    async def _start(self, name: str, kubeconfig: str) -> None:
        self.system.stack._start(
            name,
            [
                "informer", "--kubeconfig", kubeconfig, "--redis-url", self._redis.url, "--metrics-listen", "",
                "--lease-seconds", str(LEASE_SECONDS), "--worker-id", name,
            ],
        )  # fmt: skip

    def _holder(self) -> str:
        """The informer that holds the lease of the ConfigMaps."""
        return self.system.call(self._ask_holder())

    async def _ask_holder(self) -> str:
        async with await Store.open(self._redis.url) as store:
            owner = (await Reader(store).lease_holders([MAPS]))[MAPS] or ""
        return owner.partition(" ")[0]


def _cached(client: httpx.Client, resource: str) -> bool:
    answer = client.get(resource.format(""), headers={"Accept": TABLE})
    return answer.status_code == 200 and answer.headers["X-Larder-Source"] == "cache"


@contextlib.contextmanager
def troubled(directory: Path, *, kubeconfig: str | None = None) -> Iterator[Troubled]:
    """Before the cluster of a kubeconfig, or before a sandbox."""
    with contextlib.ExitStack() as exits:
        # A short path: it then listens on a socket, which is the same after each restart.
        redis_directory = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="larder-")))
        redis = EmbeddedRedis(dict(SAVING))
        exits.callback(redis.stop)
        redis.start(redis_directory)
        settings = UpSettings(kubeconfig=kubeconfig, redis_url=redis.url, directory=str(directory))
        system = Running(settings, ("--life-seconds", "0", "--bookmark-seconds", "2"))
        exits.callback(system.stop)
        system.start()
        yield Troubled(system, redis, redis_directory)
