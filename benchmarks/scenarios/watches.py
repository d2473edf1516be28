"""Watch scenarios: how late an event is, what a delivery costs, and what slow readers do to others."""

from __future__ import annotations

import asyncio
import statistics
import time

import aiohttp

from benchmarks.bench import ADMIN, Bench
from benchmarks.figures import Figure, absolute, percentile, ratio
from benchmarks.larder_parts import Replica
from benchmarks.processes import cpu_seconds, resident_bytes
from benchmarks.watchers import Watcher, open_all

MERGE_PATCH = {"Content-Type": "application/merge-patch+json", "Authorization": f"Bearer {ADMIN}"}
SETTLE_SECONDS = 1.0


def lag(bench: Bench) -> list[Figure]:
    """One watcher on each side of the same writes, 100 a second: how much later larder's sees them."""
    late = asyncio.run(_lag(bench, rate=100, writes=600 if bench.full else 300))
    return [
        absolute("watch lag", "an event arrives later than upstream's by, p50", "ms", [percentile(late, 0.5)], "<= 3"),
        absolute(
            "watch lag", "an event arrives later than upstream's by, p99", "ms", [percentile(late, 0.99)], "<= 15"
        ),
    ]


async def _lag(bench: Bench, rate: int, writes: int) -> list[float]:
    path = f"/api/v1/namespaces/{bench.namespace()}/pods?watch=true&resourceVersion="
    version = await _version(bench)
    ours = Watcher(bench.replica.url, path + version, ADMIN, bench.tls(), timed=True)
    theirs = Watcher(bench.upstream.url, path + version, ADMIN, bench.tls(), timed=True)
    await open_all([ours, theirs])
    tasks = [asyncio.create_task(watcher.follow()) for watcher in (ours, theirs)]
    await _write(bench, writes, rate)
    await asyncio.sleep(SETTLE_SECONDS)
    for task, watcher in zip(tasks, (ours, theirs), strict=True):
        task.cancel()
        watcher.close()
    both = ours.arrivals.keys() & theirs.arrivals.keys()
    if len(both) < writes * 0.99:
        raise RuntimeError(f"of {writes} events {len(both)} reached both watchers")
    return [(ours.arrivals[key] - theirs.arrivals[key]) * 1e3 for key in both]


def fan_out(bench: Bench) -> list[Figure]:
    """One namespace's events to many watchers: deliveries per CPU second of the server."""
    watchers = 2000 if bench.full else 500
    events = 30
    ours = asyncio.run(deliveries(bench, bench.replica.url, bench.replica.pids, watchers, events))
    theirs = asyncio.run(deliveries(bench, bench.upstream.url, bench.upstream.pids, watchers, events))
    return [ratio("fan-out", f"deliveries to {watchers} watchers per CPU second", "1/CPU s", [ours], [theirs], ">= 2")]


async def deliveries(bench: Bench, url: str, pids: list[int], count: int, events: int, rate: int = 5) -> float:
    """Deliveries per CPU second of the server: `count` watchers of one namespace, `events` at that rate."""
    path = f"/api/v1/namespaces/{bench.namespace()}/pods?watch=true&resourceVersion={await _version(bench)}"
    tls = bench.tls()
    watchers = [Watcher(url, path, ADMIN, tls) for _ in range(count)]
    await open_all(watchers)
    tasks = [asyncio.create_task(watcher.follow()) for watcher in watchers]
    await asyncio.sleep(SETTLE_SECONDS)
    before = cpu_seconds(pids)
    await _write(bench, events, rate)
    until = time.monotonic() + 60
    while sum(watcher.deliveries for watcher in watchers) < count * events:
        if time.monotonic() > until:
            raise RuntimeError(f"{sum(w.deliveries for w in watchers)} of {count * events} deliveries within a minute")
        await asyncio.sleep(0.05)
    used = cpu_seconds(pids) - before
    for task, watcher in zip(tasks, watchers, strict=True):
        task.cancel()
        watcher.close()
    return count * events / used


def stalled_readers(bench: Bench) -> list[Figure]:
    """The p99 of a hundred readers' arrival, with and without 1 % of readers that never read."""
    alone = [asyncio.run(_spread(bench, stalled=0)) for _ in range(bench.repetitions)]
    beside = [asyncio.run(_spread(bench, stalled=5)) for _ in range(bench.repetitions)]
    return [
        Figure(
            scenario="stalled readers",
            name="p99 of arrival, with 1 % stalled / without",
            unit="ms",
            larder=statistics.median(beside),
            value=statistics.median(beside) / statistics.median(alone),
            goal="<= 1.1",
            spread=(min(beside), max(beside)),
            note=f"without {statistics.median(alone):.1f} ms",
        )
    ]


async def _spread(bench: Bench, stalled: int, count: int = 500, writes: int = 100) -> float:
    """p99 of milliseconds between the first watcher's arrival of an event and each other's."""
    path = f"/api/v1/namespaces/{bench.namespace()}/pods?watch=true&resourceVersion={await _version(bench)}"
    tls = bench.tls()
    readers = [Watcher(bench.replica.url, path, ADMIN, tls, timed=True) for _ in range(count)]
    sleepers = [Watcher(bench.replica.url, path, ADMIN, tls, paused=True) for _ in range(stalled)]
    await open_all([*readers, *sleepers])
    tasks = [asyncio.create_task(watcher.follow()) for watcher in readers]
    await asyncio.sleep(SETTLE_SECONDS)
    await _write(bench, writes, rate=20)
    await asyncio.sleep(SETTLE_SECONDS)
    for task in tasks:
        task.cancel()
    for watcher in [*readers, *sleepers]:
        watcher.close()
    late = []
    for version in readers[0].arrivals:
        moments = [reader.arrivals[version] for reader in readers if version in reader.arrivals]
        if len(moments) < count:
            raise RuntimeError(f"{count - len(moments)} readers missed version {version}")
        late += [(moment - min(moments)) * 1e3 for moment in moments]
    return percentile(late, 0.99)


def idle_watches(bench: Bench) -> list[Figure]:
    """Resident memory per idle TLS watch, on a fresh replica."""
    replica = bench.larder.start_replica(0)
    bench.larder.servers.append(replica)
    used = asyncio.run(_idle(bench, replica, 5000))
    return [absolute("idle watches", "memory of an idle TLS watch", "KB", [used / 1e3], "<= 45")]


async def _idle(bench: Bench, replica: Replica, count: int) -> float:
    path = f"/api/v1/namespaces/{bench.namespace()}/pods?watch=true&resourceVersion={await _version(bench)}"
    tls = bench.tls()
    first = [Watcher(replica.url, path, ADMIN, tls) for _ in range(50)]
    await open_all(first)
    await asyncio.sleep(SETTLE_SECONDS)
    before = resident_bytes(replica.pids)
    watchers = [Watcher(replica.url, path, ADMIN, tls) for _ in range(count)]
    await open_all(watchers)
    await asyncio.sleep(SETTLE_SECONDS)
    used = (resident_bytes(replica.pids) - before) / count
    for watcher in [*first, *watchers]:
        watcher.close()
    return used


async def _version(bench: Bench) -> str:
    """The store's newest resourceVersion, as upstream says it."""
    return (await asyncio.to_thread(bench.pods, 1))[0]


async def _write(bench: Bench, writes: int, rate: float) -> None:
    """Change an annotation of one pod of the namespace after the other, evenly spaced."""
    _, pods = await asyncio.to_thread(bench.pods)
    started = time.monotonic()
    async with aiohttp.ClientSession(headers=MERGE_PATCH) as session:
        for number in range(writes):
            path = f"/api/v1/namespaces/{bench.namespace()}/pods/{pods[number % len(pods)]}"
            body = b'{"metadata":{"annotations":{"example.com/tick":"%d"}}}' % time.monotonic_ns()
            async with session.patch(bench.upstream.url + path, data=body, ssl=bench.tls()) as answer:
                if answer.status != 200:
                    raise RuntimeError(f"PATCH {path}: {answer.status} {await answer.text()}")
                await answer.read()
            await asyncio.sleep(max(0.0, started + (number + 1) / rate - time.monotonic()))
