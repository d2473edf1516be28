from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from kube.client import UpstreamClient
from kube.credentials import Credentials, _Fixed
from kube.discovery import discover, openapi
from kube.resources import GVR
from kube.upstream_error import UpstreamUnreachable
from tests.informers.upstream import CONFIG_MAPS, WIDGETS, Fault, Served, Upstream
from tests.replay.upstream import RepeatingUpstream


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A scripted upstream with a custom resource."""
    server = Upstream()
    server.serve(Served(WIDGETS, "Widget", True, typed=False))
    await server.start()
    yield server
    await server.stop()


def client_of(url: str) -> UpstreamClient:
    """A client as informers have it."""
    return UpstreamClient(Credentials(url, _Fixed("")), user_agent="larder-informer/1")


@pytest.mark.asyncio
async def test_an_old_server(upstream: Upstream) -> None:
    """A server without aggregated discovery is read group by group."""
    async with client_of(upstream.url) as client:
        found = await discover(client)
        assert found.version == "v1.20.2"
        assert found.resources[CONFIG_MAPS].namespaced
        assert found.resources[WIDGETS].kind == "Widget"
        assert {CONFIG_MAPS, WIDGETS} <= found.preferred
        assert ("/apis", "v2") not in found.documents
        assert found.documents["/apis/shop.example.com/v1", ""].status == 200
        assert await openapi(client, {}) == {}


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", ["status", "reset"])
async def test_a_broken_group_keeps_what_was_known(upstream: Upstream, fault: str) -> None:
    """A group that does not answer is named, and stays as it was; the others are read."""
    async with client_of(upstream.url) as client:
        before = await discover(client)
        path = "/apis/shop.example.com/v1"
        # An idle connection that is reset is tried once more by the HTTP library.
        upstream.misbehave("get", path, Fault(fault, 2 if fault == "reset" else 1, 503, "service unavailable"))
        after = await discover(client, before)
        assert list(after.errors) == ["shop.example.com/v1"]
        assert after.resources == before.resources
        assert after.documents[path, ""].status == 200
        healed = await discover(client, after)
        assert healed.errors == {}


@pytest.mark.asyncio
async def test_a_group_that_never_answered(upstream: Upstream) -> None:
    """A group that is broken from the beginning is left out and named."""
    upstream.extra_groups["metrics.k8s.io"] = "v1beta1"
    upstream.broken_groups.add("metrics.k8s.io")
    async with client_of(upstream.url) as client:
        found = await discover(client)
    assert found.errors == {"metrics.k8s.io/v1beta1": "service unavailable"}
    assert CONFIG_MAPS in found.resources


@pytest.mark.asyncio
async def test_unreachable() -> None:
    """Without upstream there is no discovery, and the error says so."""
    async with client_of("http://127.0.0.1:9") as client:
        with pytest.raises(UpstreamUnreachable):
            await discover(client)


@pytest.mark.asyncio
async def test_a_new_server() -> None:
    """The recorded 1.36 server: aggregated documents are kept as they are, its broken groups are named."""
    upstream = RepeatingUpstream()
    async with client_of(await upstream.start()) as client:
        found = await discover(client)
        assert found.version.startswith("v1.36.2")
        assert found.documents["/apis", "v2"].headers["content-type"].endswith("v=v2;as=APIGroupDiscoveryList")
        assert GVR("autoscaling", "v2", "horizontalpodautoscalers") in found.preferred
        assert GVR("autoscaling", "v1", "horizontalpodautoscalers") not in found.preferred
        assert "service unavailable" in found.errors["noendpoints.oil.example.io/v1"]
        again = await discover(client, found)
        assert again.resources == found.resources
        assert again.errors == found.errors
    await upstream.stop()
