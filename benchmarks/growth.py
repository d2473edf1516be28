"""How cost grows: with objects, tenants, watchers and events. In front of the sandbox, which holds any number of pods.

Each point is a stack of its own, one replica pinned to one core; the load comes from the other one. Where upstream
stands is asked of the run's own upstream, at the size that it has (`benchmarks/standing.py`).
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp

from benchmarks import times, wrk
from benchmarks.bench import KUBECTL_TABLE, headers
from benchmarks.figures import Curve, Figure, absolute, percentile
from benchmarks.processes import cpu_seconds, resident_bytes
from benchmarks.watchers import Watcher, open_all
from larder.up import Stack
from larder.up_settings import UpSettings

ADMIN = "admin-token"
NAMESPACE = "load-0001"
SECONDS = 3.0
SETTLE_SECONDS = 1.0
OBJECTS = (1_000, 10_000, 100_000)
TENANTS = (10, 100, 1_000)
WATCHERS = (10, 100, 1_000, 5_000)
EVENT_RATES = (10, 100, 300, 1_000)
"""Asked for; a point lies at what the sandbox came to."""

TABLE = "Table of 100 rows of a namespace, gzip, 8 clients"
NOTHING = "selector that matches nothing, 1 client"
MEMORY = "memory of the server that holds all of them"
UNION = "a tenant's pods across namespaces, 20 rows"
NAMES = "a tenant's namespaces"
DELIVERIES = "deliveries per CPU second"
"""The curves that upstream is measured for, too."""

MERGE_PATCH = {"Content-Type": "application/merge-patch+json", "Authorization": f"Bearer {ADMIN}"}


def measure(upstream: Mapping[str, float], *, quick: bool) -> list[Curve]:
    """Every curve; `quick` leaves out the biggest points. `upstream`: where upstream stands, by the curve's name."""
    cut = -1 if quick else None
    curves = [
        *asyncio.run(_objects(OBJECTS[:cut])),
        *asyncio.run(_tenants(TENANTS[:cut])),
        *asyncio.run(_watches(WATCHERS[:cut], EVENT_RATES[:cut])),
    ]
    for curve in curves:
        curve.upstream = upstream.get(curve.name)
    return curves


def goals(curves: Sequence[Curve]) -> list[Figure]:
    """What the biggest points have to hold."""
    most = [curve.points[-1] for curve in curves if curve.name == NOTHING and curve.points[-1][0] >= OBJECTS[-1]]
    name = f"a label selector that matches none of {OBJECTS[-1]:,} objects, p99"
    return [absolute("growth", name, "ms", [milliseconds], "<= 20") for _, milliseconds in most]


def _stack(pods: int, tenants: int = 50, namespaces: int | None = None) -> Stack:
    shape = ["--pods", str(pods), "--tenants", str(tenants), "--namespaces", str(namespaces or tenants * 2)]
    settings = UpSettings(replicas=1, haproxy=False)
    return Stack(settings, lambda _: None, sandbox_options=(*shape, "--life-seconds", "0"))


def _pin(stack: Stack) -> int:
    pid = stack.parts["replica-1"].pid
    assert pid is not None, "the replica runs"
    os.sched_setaffinity(pid, {0})
    return pid


async def _load(url: str, asked: dict[str, str], connections: int = 8) -> wrk.Load:
    return await asyncio.to_thread(wrk.run, url, asked, seconds=SECONDS, connections=connections, cpu=1)


async def _objects(sizes: Sequence[int]) -> list[Curve]:
    table: list[tuple[float, float]] = []
    nothing: list[tuple[float, float]] = []
    memory: list[tuple[float, float]] = []
    synced: list[tuple[float, float]] = []
    for pods in sizes:
        started = time.monotonic()
        async with _stack(pods) as stack:
            synced.append((pods, time.monotonic() - started))
            pid = _pin(stack)
            asked = headers(KUBECTL_TABLE, ADMIN, gzip=True)
            path = f"{stack.url}/api/v1/namespaces/{NAMESPACE}/pods?limit=100"
            await _load(path, asked)
            table.append((pods, (await _load(path, asked)).p50))
            everything = f"{stack.url}/api/v1/pods?labelSelector=nobody%3Dhas-it"
            await _load(everything, asked, 1)
            (found,) = await asyncio.to_thread(times.measure, [(everything, asked)], seconds=SECONDS, cpu=1)
            nothing.append((pods, found.p99))
            memory.append((pods, resident_bytes([pid]) / 1e6))
    return [
        Curve(name=TABLE, x="pods in the cluster", y="p50 ms", points=table),
        Curve(name=NOTHING, x="pods in the cluster", y="p99 ms", points=nothing),
        Curve(name=MEMORY, x="pods in the cluster", y="MB", points=memory),
        Curve(name="from nothing to ready, sandbox included", x="pods in the cluster", y="s", points=synced),
    ]


async def _tenants(counts: Sequence[int]) -> list[Curve]:
    union: list[tuple[float, float]] = []
    names: list[tuple[float, float]] = []
    for tenants in counts:
        async with _stack(10_000, tenants) as stack:
            _pin(stack)
            asked = headers(KUBECTL_TABLE, "tenant-0001-token", gzip=True)
            for path, points in (("pods?limit=20", union), ("namespaces", names)):
                await _load(f"{stack.url}/api/v1/{path}", asked)
                points.append((tenants, (await _load(f"{stack.url}/api/v1/{path}", asked)).rate))
    return [
        Curve(name=UNION, x="tenants, 10,000 pods", y="req/s", points=union),
        Curve(name=NAMES, x="tenants, 10,000 pods", y="req/s", points=names),
    ]


async def _watches(counts: Sequence[int], rates: Sequence[int]) -> list[Curve]:
    async with _stack(1_000) as stack:
        pid = _pin(stack)
        tls = ssl.create_default_context(cadata=(stack.ca or b"").decode())
        sandbox_tls = ssl.create_default_context(cafile=str(Path(stack.directory) / "sandbox" / "ca.crt"))
        delivered = [(float(count), await _deliveries(stack, tls, sandbox_tls, pid, count)) for count in counts]
        late = [await _lateness(stack, tls, sandbox_tls, rate) for rate in rates]
    return [
        Curve(name=DELIVERIES, x="watchers", y="1/CPU s", points=delivered),
        Curve(name="later than upstream's own watcher", x="events/s", y="p99 ms", points=late),
    ]


async def _deliveries(stack: Stack, tls: ssl.SSLContext, upstream_tls: ssl.SSLContext, pid: int, count: int) -> float:
    events = max(10, min(50, 20_000 // count))
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?watch=true&resourceVersion={await _version(stack, upstream_tls)}"
    watchers = [Watcher(stack.url, path, ADMIN, tls) for _ in range(count)]
    await open_all(watchers)
    tasks = [asyncio.create_task(watcher.follow()) for watcher in watchers]
    await asyncio.sleep(SETTLE_SECONDS)
    before = cpu_seconds([pid])
    await _write(stack, upstream_tls, events, 10)
    until = time.monotonic() + 60
    while sum(watcher.deliveries for watcher in watchers) < count * events:
        if time.monotonic() > until:
            raise RuntimeError(f"{sum(w.deliveries for w in watchers)} of {count * events} deliveries within a minute")
        await asyncio.sleep(0.05)
    used = cpu_seconds([pid]) - before
    for task, watcher in zip(tasks, watchers, strict=True):
        task.cancel()
        watcher.close()
    return count * events / max(used, 0.01)


async def _lateness(stack: Stack, tls: ssl.SSLContext, upstream_tls: ssl.SSLContext, rate: int) -> tuple[float, float]:
    """Events per second as they came to be, and by how much the 99th percentile is later here."""
    writes = max(50, rate * 3)
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?watch=true&resourceVersion={await _version(stack, upstream_tls)}"
    ours = Watcher(stack.url, path, ADMIN, tls, timed=True)
    theirs = Watcher(stack.upstream_url, path, ADMIN, upstream_tls, timed=True)
    await open_all([ours, theirs])
    tasks = [asyncio.create_task(watcher.follow()) for watcher in (ours, theirs)]
    seconds = await _write(stack, upstream_tls, writes, rate)
    await asyncio.sleep(SETTLE_SECONDS)
    for task, watcher in zip(tasks, (ours, theirs), strict=True):
        task.cancel()
        watcher.close()
    both = ours.arrivals.keys() & theirs.arrivals.keys()
    if len(both) < writes * 0.99:
        raise RuntimeError(f"of {writes} events {len(both)} reached both watchers")
    late = percentile([(ours.arrivals[key] - theirs.arrivals[key]) * 1e3 for key in both], 0.99)
    return round(writes / seconds), late


async def _pods(stack: Stack, tls: ssl.SSLContext) -> tuple[str, list[str]]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {ADMIN}"}) as session:
        path = f"{stack.upstream_url}/api/v1/namespaces/{NAMESPACE}/pods?limit=10"
        async with session.get(path, ssl=tls) as answer:
            found = await answer.json()
    return found["metadata"]["resourceVersion"], [item["metadata"]["name"] for item in found["items"]]


async def _version(stack: Stack, tls: ssl.SSLContext) -> str:
    return (await _pods(stack, tls))[0]


async def _write(stack: Stack, tls: ssl.SSLContext, writes: int, rate: float) -> float:
    """Change pods at that rate, or as fast as it goes; the seconds that it took."""
    _, names = await _pods(stack, tls)
    started = time.monotonic()
    gate = asyncio.Semaphore(16)

    async def one(session: aiohttp.ClientSession, number: int) -> None:
        path = f"{stack.upstream_url}/api/v1/namespaces/{NAMESPACE}/pods/{names[number % len(names)]}"
        body = b'{"metadata":{"annotations":{"example.com/tick":"%d"}}}' % time.monotonic_ns()
        async with gate, session.patch(path, data=body, ssl=tls) as answer:
            if answer.status != 200:
                raise RuntimeError(f"PATCH {path}: {answer.status} {await answer.text()}")
            await answer.read()

    async with aiohttp.ClientSession(headers=MERGE_PATCH) as session, asyncio.TaskGroup() as group:
        for number in range(writes):
            group.create_task(one(session, number))
            await asyncio.sleep(max(0.0, started + (number + 1) / rate - time.monotonic()))
    return time.monotonic() - started
