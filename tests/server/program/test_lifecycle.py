from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from server.app import running
from store.connection import Store
from store.embedded import EmbeddedRedis
from store.errors import StoreUnsuitable
from tests.authz.objects import NODES, PODS, binding, record, role, rule
from tests.server.program.conftest import Start, client, world
from tests.server.program.stored import Stored
from tests.server.program.test_reads import names
from tests.server.program.upstream import ScriptedUpstream, status_body

pytestmark = pytest.mark.asyncio

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


async def probe(port: int, path: str) -> httpx.Response:
    """Ask the port for probes."""
    async with httpx.AsyncClient() as http:
        return await http.get(f"http://127.0.0.1:{port}{path}")


async def test_not_ready_without_control_data(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """A replica over an empty store lives, says what is missing, forwards as the user, and becomes ready by itself."""
    server = await start(ready=False)
    assert (await probe(server.metrics_port, "/livez")).status_code == 200
    found = await probe(server.metrics_port, "/readyz")
    assert found.status_code == 503
    assert "control data" in found.text
    upstream.json("GET", "/api/v1/pods", {"kind": "PodList", "items": []})
    async with client(server, "alice-token") as alice:
        answer = await alice.get("/api/v1/pods")
        assert answer.headers["x-larder-source"] == "upstream"
        assert upstream.forwarded[-1].headers["authorization"] == ["Bearer alice-token"]
        for path, code in (("/api/v1/nodes", 503), ("/api/v1/namespaces/gas-dev/pods", 403), ("/api/v1/nodes/n", 403)):
            upstream.json("GET", path, status_body(403, "Forbidden", "no"), status=403)
            answer = await alice.get(path)
            assert answer.status_code == code, "whether she may read a part is not known yet"
        await stored.load(*world())
        for _ in range(500):
            if (await probe(server.metrics_port, "/readyz")).status_code == 200:
                break
            await asyncio.sleep(0.02)
        answer = await alice.get("/api/v1/pods")
        assert answer.headers["x-larder-source"] == "cache"


async def test_an_emptied_store_changes_no_answer(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """What is in memory is served as before while the store is empty, to those who see a part too, and then anew."""
    await stored.load(*world())
    server = await start()
    redis = stored.store.redis
    async with client(server, "alice-token") as alice, client(server, "bob-token") as bob:
        before = [(await one.get("/api/v1/pods")).json()["items"] for one in (alice, bob)]
        await redis.delete(*[key async for key in redis.scan_iter(f"{stored.store.prefix}:*")])
        assert not await server.replica.catalogue.refresh()
        for one, items in zip((alice, bob), before, strict=True):
            answer = await one.get("/api/v1/pods")
            assert answer.headers["x-larder-source"] == "cache"
            assert answer.json()["items"] == items
        assert upstream.forwarded == []
        await Stored(stored.store).load(*world(), (PODS, record("new", "oil-dev", 903)))
        async with asyncio.timeout(10):
            while await names(alice, "/api/v1/pods") != ["new", "web-0", "web-1"]:
                await asyncio.sleep(0.02)


async def test_drain_ends_watches_with_a_bookmark(stored: Stored, start: Start) -> None:
    """At a stop readiness fails first, watches end cleanly after a last bookmark, and idle connections are closed."""
    await stored.load(*world())
    server = await start(drain_seconds=3.0, unready_seconds=1.5)
    async with client(server, "bob-token") as bob, asyncio.timeout(15):
        query = "?watch=1&resourceVersion=1000&allowWatchBookmarks=true"
        async with bob.stream("GET", f"/api/v1/pods{query}") as watch:
            lines = watch.aiter_lines()
            await stored.put(PODS, record("new", "oil-dev", stored.position + 1))
            assert json.loads(await anext(lines))["type"] == "ADDED"
            stopping = asyncio.create_task(server.drain())
            await asyncio.sleep(0.05)
            assert (await probe(server.metrics_port, "/readyz")).status_code == 503
            assert (await bob.get("/api/v1/namespaces/oil-dev/pods/new")).status_code == 200
            rest = [json.loads(line) async for line in lines]
            assert [event["type"] for event in rest] == ["BOOKMARK"]
        await stopping
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", server.port)


async def test_union_of_a_resource_that_is_not_synced(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """While a resource is not synced, reads go upstream as the user; a union, which upstream would refuse, is 503."""
    await stored.load(*world())
    server = await start()
    upstream.json("GET", "/api/v1/namespaces/oil-dev/pods", {"kind": "PodList", "items": []})
    await stored.store.redis.hset(stored.store.keys(PODS).meta, "state", "syncing")
    async with client(server, "alice-token") as alice:
        one = await alice.get("/api/v1/namespaces/oil-dev/pods")
        assert (one.status_code, one.headers["x-larder-source"]) == (200, "upstream")
        union = await alice.get("/api/v1/pods")
        assert union.status_code == 503
        assert union.headers["retry-after"] == "1"
    assert [seen.target for seen in upstream.forwarded] == ["/api/v1/namespaces/oil-dev/pods"]


async def test_tables_that_are_not_faithful(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """A Table whose cells are not known to be upstream's is upstream's to give; a partial scope gets the next form."""
    await stored.load(
        *world(),
        role("one-node", "", rule("list", "nodes", names="n1")),
        role("nodes", "", rule("list", "nodes")),
        binding("one", "", "ClusterRole/one-node", "User/alice"),
        binding("all", "", "ClusterRole/nodes", "User/bob"),
        (NODES, record("n1")),
        (NODES, record("n2")),
    )
    upstream.json("GET", "/api/v1/nodes", {"kind": "Table"})
    server = await start()
    async with client(server, "bob-token") as bob, client(server, "alice-token") as alice:
        given = await bob.get("/api/v1/nodes", headers={"Accept": TABLE})
        assert (given.json()["kind"], given.headers["x-larder-source"]) == ("Table", "upstream")
        path = "/api/v1/nodes?fieldSelector=metadata.name=n1"
        given = await alice.get(path, headers={"Accept": f"{TABLE},application/json"})
        assert (given.json()["kind"], given.headers["x-larder-source"]) == ("NodeList", "cache")
        assert [item["metadata"]["name"] for item in given.json()["items"]] == ["n1"]
        refused = await alice.get(path, headers={"Accept": TABLE})
        assert refused.status_code == 406


async def test_protobuf_of_a_union_falls_back_to_json(stored: Stored, start: Start) -> None:
    """A union cannot be had in protobuf, so a client that also takes JSON gets that, and one that does not is told."""
    await stored.load(*world())
    server = await start()
    protobuf = "application/vnd.kubernetes.protobuf"
    async with client(server, "alice-token") as alice:
        given = await alice.get("/api/v1/pods", headers={"Accept": f"{protobuf},application/json"})
        assert given.headers["content-type"] == "application/json"
        assert given.json()["kind"] == "PodList"
        assert (await alice.get("/api/v1/pods", headers={"Accept": protobuf})).status_code == 406


async def test_pages_of_upstream_go_on_upstream(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """A continue token that upstream made is upstream's to answer; nonsense is refused here."""
    await stored.load(*world())
    upstream.json("GET", "/api/v1/pods", {"kind": "PodList", "items": []})
    server = await start()
    token = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MjI3LCJzdGFydCI6ImEtYi9jMVx1MDAwMCJ9"
    async with client(server, "bob-token") as bob, client(server, "alice-token") as alice:
        assert (await bob.get(f"/api/v1/pods?continue={token}")).headers["x-larder-source"] == "upstream"
        assert (await bob.get("/api/v1/pods?continue=nonsense")).status_code == 400
        assert (await alice.get(f"/api/v1/pods?continue={token}")).status_code == 410
    assert len(upstream.forwarded) == 1


async def test_documents_come_from_the_store(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """Discovery and /version are answered while upstream is away, in the form asked for, with 304 for a known tag."""
    await stored.load(*world())
    await stored.document("/version", b'{"gitVersion":"v1.36.2"}', content_type="application/json")
    await stored.document("/apis", b'{"kind":"APIGroupList"}', content_type="application/json")
    aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    await stored.document(
        "/apis", b"{}", "v2", content_type=aggregated, etag='"ABC"', vary="Accept", cache_control="public"
    )
    server = await start()
    async with client(server, "alice-token") as alice:
        await alice.get("/version")
        await upstream.stop()
        assert (await alice.get("/version/")).json() == {"gitVersion": "v1.36.2"}
        assert (await alice.get("/apis")).json()["kind"] == "APIGroupList"
        accept = {"Accept": f"{aggregated},application/json"}
        found = await alice.get("/apis?timeout=32s", headers=accept)
        assert found.headers["content-type"] == aggregated
        assert found.headers["cache-control"] == "public"
        known = await alice.get("/apis", headers={**accept, "If-None-Match": '"ABC"'})
        assert (known.status_code, known.content) == (304, b"")
        assert "content-type" not in known.headers
        assert (await alice.get("/apis", headers={"Accept": "application/yaml"})).status_code == 503
    assert upstream.forwarded == []


async def test_metrics_count_what_was_answered(stored: Stored, start: Start) -> None:
    """Requests are counted by verb, resource, source and code, and what is not covered shares one name."""
    await stored.load(*world())
    server = await start()
    async with client(server, "bob-token") as bob:
        await bob.get("/api/v1/pods")
        await bob.get("/apis/made.up/v1/names")
        await bob.get("/apis/made.up/v1/others")
    text = (await probe(server.metrics_port, "/metrics")).text
    assert 'larder_requests_total{code="200",resource="pods.v1",source="cache",verb="list"} 1.0' in text
    assert 'larder_requests_total{code="404",resource="other",source="upstream",verb="list"} 2.0' in text
    assert 'larder_upstream_requests_total{cause="token"' in text
    assert "made.up" not in text


async def test_store_that_will_not_do_stops_the_start(
    stored: Stored, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that would drop data at will is refused with advice, and nothing is left listening."""
    monkeypatch.setattr("store.connection.unsuitable", lambda _: "it would drop data; change it")
    with pytest.raises(StoreUnsuitable, match="change it"):
        await start(ready=False)
    assert running is not None


async def test_store_that_is_away_does_not_stop_the_start(start: Start, upstream: ScriptedUpstream) -> None:
    """A replica starts before its store does: it forwards, and says that it is not ready."""
    server = await start(ready=False, redis_url="redis://127.0.0.1:1/0")
    upstream.json("GET", "/api/v1/pods", {"kind": "PodList", "items": []})
    async with client(server, "alice-token") as alice:
        assert (await alice.get("/api/v1/pods")).headers["x-larder-source"] == "upstream"
    assert "store: does not answer" in (await probe(server.metrics_port, "/readyz")).text


async def test_a_store_that_lost_everything_leaves_no_resource_unknown(
    stored: Stored, start: Start, upstream: ScriptedUpstream
) -> None:
    """Until it is filled again a union is 503, or answered from memory: upstream, which would say 403, is not asked."""
    await stored.load(*world())
    server = await start()
    names = [name async for name in stored.store.writes.scan_iter(f"{stored.store.prefix}:*")]
    await stored.store.writes.delete(*names)
    await server.replica.catalogue.refresh()
    async with client(server, "alice-token") as alice:
        answer = await alice.get("/api/v1/pods")
    assert answer.status_code == 503
    assert answer.json()["message"] == "the resource is not in the cache yet"
    assert upstream.forwarded == []


async def test_a_store_that_goes_away_takes_no_replica_out_of_the_balance(start: Start) -> None:
    """All replicas would go at once, and with them what they serve from memory: they stay, for `max_staleness`."""
    with EmbeddedRedis() as redis:
        async with await Store.open(redis.url, "away") as store:
            await Stored(store).load(*world())
        patient = await start(redis_url=redis.url, prefix="away")
        strict = await start(redis_url=redis.url, prefix="away", max_staleness=0.2)
        async with client(patient, "alice-token") as alice:
            assert (await alice.get("/api/v1/pods")).status_code == 200
            redis.stop()
            async with asyncio.timeout(20):
                while (await probe(strict.metrics_port, "/readyz")).status_code == 200:
                    await asyncio.sleep(0.05)
                while "larder_store_away_seconds 0.0" in (await probe(patient.metrics_port, "/metrics")).text:
                    await asyncio.sleep(0.05)
            assert "store: has not answered for" in (await probe(strict.metrics_port, "/readyz")).text
            assert (await probe(patient.metrics_port, "/readyz")).status_code == 200
            answer = await alice.get("/api/v1/pods")
    assert (answer.status_code, answer.headers["x-larder-source"]) == (200, "cache")


async def test_reads_go_upstream_when_news_is_too_old(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """While no informer is heard of the age grows; beyond `max_staleness` upstream is asked, until there is news."""
    await stored.load(*world())
    server = await start(max_staleness=4.0)
    upstream.json("GET", "/api/v1/pods", {"kind": "PodList", "items": []})
    ages = []
    async with client(server, "bob-token") as bob, client(server, "alice-token") as alice, asyncio.timeout(60):
        await stored.beat()
        while (await bob.get("/api/v1/pods")).headers["x-larder-source"] == "upstream":
            await asyncio.sleep(0.05)  # the start took longer than that
        while (answer := await bob.get("/api/v1/pods")).headers["x-larder-source"] == "cache":
            ages.append(float(answer.headers["x-larder-age"]))
            await asyncio.sleep(0.2)
        assert answer.json()["items"] == []
        assert ages == sorted(ages)
        assert 0 <= ages[0] < ages[-1] <= 4.0
        refused = await alice.get("/api/v1/pods")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["message"] == "the cache has had no news for too long"
        await stored.beat()
        while (await alice.get("/api/v1/pods")).status_code != 200:
            await asyncio.sleep(0.05)
        assert (await bob.get("/api/v1/pods")).headers["x-larder-source"] == "cache"
