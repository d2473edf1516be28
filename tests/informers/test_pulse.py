"""What is asked of upstream for all resources together."""

from __future__ import annotations

import asyncio
import time

import pytest

from informers import pulse
from informers.pulse import Pulse
from kube.client import UpstreamClient
from tests.informers.upstream import CONFIG_MAPS, Fault, Upstream


@pytest.mark.asyncio
async def test_the_newest_version_is_asked_for_once_for_many(
    upstream: Upstream, client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer serves all for a while, but nobody who knows of something newer; what is not there stays away."""
    monkeypatch.setattr(pulse, "NEWEST_SECONDS", 60.0)
    asked: list[str] = []
    client._on_request = lambda _verb, _resource, cause: asked.append(cause)
    one = Pulse(client, upstream.version, lambda _: None)
    first = await one.newest(0)
    assert await asyncio.gather(*(one.newest(first) for _ in range(20))) == [first] * 20
    assert asked == ["newest"]
    written = upstream.put(CONFIG_MAPS, "free", "c")
    assert await asyncio.gather(*(one.newest(written) for _ in range(20))) == [written] * 20
    assert asked == ["newest"] * 2
    assert await one.newest(written + 1000) == written
    assert asked == ["newest"] * 3


@pytest.mark.asyncio
async def test_an_upstream_that_is_there_again_is_told(upstream: Upstream, client: UpstreamClient) -> None:
    """What waits for it need not wait out its pause."""
    told = asyncio.Event()
    upstream.misbehave("get", "/version", Fault("status", times=2, status=503))
    running = asyncio.create_task(Pulse(client, upstream.version, lambda _: None, told.set).run())
    async with asyncio.timeout(20):
        await told.wait()
    assert not upstream.faults.get(("get", "/version"))
    running.cancel()
    await asyncio.wait({running})


@pytest.mark.asyncio
async def test_nobody_waits_on_when_upstream_is_there_again(
    upstream: Upstream, client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long pauses end with a silence; one that began before it ended is not even waited for; a failure after it is."""
    monkeypatch.setattr(pulse, "SPREAD_SECONDS", 0.01)
    upstream.misbehave("get", "/version", Fault("status", times=2, status=503))
    one = Pulse(client, upstream.version, lambda _: None)
    begun = time.monotonic()
    resting = [asyncio.create_task(one.rest(3600.0, begun)) for _ in range(3)]
    running = asyncio.create_task(one.run())
    async with asyncio.timeout(20):
        assert await asyncio.gather(*resting) == [True] * 3
        assert await one.rest(3600.0, begun)
        assert not await one.rest(0.05, time.monotonic())
    running.cancel()
    await asyncio.wait({running})
