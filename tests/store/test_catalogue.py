"""The catalogue, upstream's documents and its identity."""

from __future__ import annotations

import pytest
import pytest_asyncio

from kube.resources import GVR, Resource
from store.catalogue import CatalogueEntry
from store.catalogue_writer import CatalogueWriter, claim
from store.connection import Store
from store.documents import StoredDocument
from store.errors import Fenced, StoreUnsuitable
from store.leases import Lease
from store.reader import Reader
from store.subscriber import Message, Subscriber

pytestmark = pytest.mark.asyncio

PODS = CatalogueEntry(Resource(GVR("", "v1", "pods"), "Pod", namespaced=True, verbs=frozenset({"get"})), "PodList")
OILS = CatalogueEntry(
    Resource(GVR("x.io", "v1", "oils"), "Oil", namespaced=False, verbs=frozenset({"get", "list"}), short_names=("o",)),
    "OilList",
    typed=False,
    custom=True,
)


@pytest_asyncio.fixture
async def writer(store: Store) -> CatalogueWriter:
    """The holder of the global lease."""
    fence = await Lease(store, None, "worker").acquire()
    assert fence is not None
    return CatalogueWriter(store, fence)


async def test_the_catalogue_is_replaced_as_a_whole(store: Store, writer: CatalogueWriter) -> None:
    """Resources come, change and go; only a change counts as one."""
    reader = Reader(store)
    assert await reader.resources() == {}
    assert await writer.put_resources({entry.resource.gvr: entry for entry in (PODS, OILS)})
    assert await reader.resources() == {PODS.resource.gvr: PODS, OILS.resource.gvr: OILS}
    assert not await writer.put_resources({entry.resource.gvr: entry for entry in (PODS, OILS)})
    assert await writer.put_resources({PODS.resource.gvr: PODS})
    assert await reader.resources() == {PODS.resource.gvr: PODS}


async def test_documents_are_kept_by_path_and_form(store: Store, writer: CatalogueWriter) -> None:
    """Each form of a path is a document of its own; what upstream no longer has is dropped."""
    reader = Reader(store)
    plain = StoredDocument(200, {"ETag": '"1"', "Content-Type": "application/json"}, b"{}")
    aggregated = StoredDocument(200, {}, bytes(3_000_000))
    assert await writer.put_documents({("/apis", ""): plain, ("/apis", "aggregated"): aggregated})
    assert not await writer.put_documents({("/apis", ""): plain})
    assert await reader.documents() == [("/apis", ""), ("/apis", "aggregated")]
    assert await reader.document("/apis") == plain
    assert await reader.document("/apis", "aggregated") == aggregated
    assert await reader.document("/version") is None
    await writer.drop_documents({("/apis", "")})
    assert await reader.documents() == [("/apis", "")]


async def test_changes_are_told(store: Store, writer: CatalogueWriter) -> None:
    """Replicas hear what changed, and nothing if nothing did."""
    async with Subscriber(store) as subscriber:
        events = store.global_keys.events
        await subscriber.subscribe(events)
        for _ in range(2):
            await writer.put_resources({PODS.resource.gvr: PODS})
            await writer.put_documents({("/version", ""): StoredDocument(200, {}, b"{}")})
            await writer.put_upstream({"version": "v1.36.0"})
        await writer.drop_documents(set())
        heard = [await anext(subscriber) for _ in range(4)]
    assert heard == [Message(events, name) for name in (b"resources", b"docs", b"upstream", b"docs")]
    assert await Reader(store).upstream() == {"version": "v1.36.0"}


async def test_only_the_holder_of_the_global_lease_writes(store: Store, writer: CatalogueWriter) -> None:
    """A worker that lost it changes nothing."""
    await store.redis.delete(store.global_keys.lease)
    await Lease(store, None, "rival").acquire()
    for attempt in (
        writer.put_resources({}),
        writer.put_documents({("/version", ""): StoredDocument(200, {}, b"{}")}),
        writer.put_upstream({"version": "x"}),
        writer.drop_documents(set()),
    ):
        with pytest.raises(Fenced):
            await attempt
    assert await Reader(store).documents() == []


async def test_a_store_belongs_to_one_cluster(store: Store) -> None:
    """The first cluster claims the store; another one is refused, and told what to do."""
    await claim(store, "uid-1")
    await claim(store, "uid-1")
    with pytest.raises(StoreUnsuitable, match="mirrors the cluster uid-1, not uid-2; give each cluster its own"):
        await claim(store, "uid-2")
