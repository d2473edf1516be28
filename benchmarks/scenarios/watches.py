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
from benchmarks.readers import Readers, Watch
from benchmarks.watchers import Watcher, open_all

MERGE_PATCH = {"Content-Type": "application/merge-patch+json", "Authorization": f"Bearer {ADMIN}"}
SETTLE_SECONDS = 1.0
PRELUDE_WRITES = 60
"""Of some 10 KB: more than a stalled reader's kernel and a replica's buffer for it hold together."""


def lag(bench: Bench) -> list[Figure]:
    """One watcher on each side of the same writes, 100 a second: how much later larder's sees them."""
    writes = 600 if bench.full else 300
    rounds = [asyncio.run(_lag(bench, rate=100, writes=writes)) for _ in range(bench.repetitions)]
    what = "an event arrives later than upstream's by"
    return [
        absolute("watch lag", f"{what}, p50", "ms", [percentile(late, 0.5) for late in rounds], "<= 3"),
        absolute("watch lag", f"{what}, p99", "ms", [percentile(late, 0.99) for late in rounds], "<= 15"),
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
    # The short form has half the time.
    watchers, rate = (2000, 5) if bench.full else (500, 10)
    events = 30
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(bench.repetitions):
        ours.append(asyncio.run(deliveries(bench, bench.replica.url, bench.replica.pids, watchers, events, rate)))
        theirs.append(asyncio.run(deliveries(bench, bench.upstream.url, bench.upstream.pids, watchers, events, rate)))
    return [ratio("fan-out", f"deliveries to {watchers} watchers per CPU second", "1/CPU s", ours, theirs, ">= 2")]


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
    """How late an event comes to the last 1 % of readers, with and without 1 % of readers that never read.

    Rounds with and without are in turn and over the same connections, so what drifts is in both. A round's figure is
    that of its median event, since one pause of the machine is 1 % of a round's events; the median of the ratios of
    neighbours counts.
    """
    alone, beside = asyncio.run(_spreads(bench, pairs=10 if bench.full else 5))
    without, larder = list(map(median_event, alone)), list(map(median_event, beside))
    ratios = [ours / theirs for ours, theirs in zip(larder, without, strict=True)]
    half = f"{percentile(ratios, 0.25):.2f} to {percentile(ratios, 0.75):.2f}"
    return [
        Figure(
            scenario="stalled readers",
            name="p99 of readers at the median event, with 1 % stalled / without",
            unit="ms",
            larder=statistics.median(larder),
            value=statistics.median(ratios),
            goal="<= 1.1",
            spread=(min(larder), max(larder)),
            note=f"without {statistics.median(without):.1f} ms; the middle half of {len(ratios)} pairs {half}; "
            f"p99 of all events' arrivals {p99(beside):.1f} ms with, {p99(alone):.1f} ms without",
        )
    ]


Late = list[list[float]]
"""Of each event of a round, by how many milliseconds it came later to each reader than to the first."""


def median_event(late: Late) -> float:
    """The p99 of its readers."""
    return statistics.median(percentile(event, 0.99) for event in late)


def p99(rounds: list[Late]) -> float:
    """Of all readers at all events of these rounds."""
    return percentile([moment for late in rounds for event in late for moment in event], 0.99)


async def _spreads(
    bench: Bench, pairs: int, readers: int = 500, stalled: int = 5, writes: int = 100
) -> tuple[list[Late], list[Late]]:
    """The rounds without and with stalled readers."""
    path = f"/api/v1/namespaces/{bench.namespace()}/pods?watch=true&resourceVersion={await _version(bench)}"
    watch = Watch(bench.replica.url, path, ADMIN, str(bench.upstream.ca))
    found: tuple[list[Late], list[Late]] = ([], [])
    with Readers(watch, readers) as reading:
        for pair in range(pairs):
            # Who comes first changes too.
            for number in (0, stalled) if pair % 2 else (stalled, 0):
                found[number > 0].append(await _spread(bench, reading, number, writes))
    return found


async def _spread(bench: Bench, reading: Readers, stalled: int, writes: int) -> Late:
    """One round."""
    path = f"/api/v1/namespaces/{bench.namespace()}/pods?watch=true&resourceVersion={await _version(bench)}"
    sleepers = [Watcher(bench.replica.url, path, ADMIN, bench.tls(), paused=True) for _ in range(stalled)]
    await open_all(sleepers)
    # So that those who do not read have all that they take before it counts.
    await _write(bench, PRELUDE_WRITES, rate=40)
    await asyncio.to_thread(reading.take, PRELUDE_WRITES)
    await _write(bench, writes, rate=20)
    arrivals = await asyncio.to_thread(reading.take, writes)
    for sleeper in sleepers:
        sleeper.close()
    return [[(moment - min(moments)) * 1e3 for moment in moments] for moments in zip(*arrivals, strict=True)]


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
