"""What views over a real Redis answer, while the resource changes, moves, begins anew, and messages get lost."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from kube import status
from kube.selectors import LabelSelector
from server import text
from server.assembly import Assembly
from server.deflate import Piece, Segment, compress
from server.pause import Pause
from server.scope import ALL, NOTHING, Scope
from server.view import AskUpstream, Unusable
from store.connection import Store
from store.embedded import EmbeddedRedis
from store.meta import Meta, TableInfo
from store.writer import Refresh
from tables.row import Row
from tests.server.views.cluster import COLUMNS, METADATA, TABLE, VERSION, Cluster, Replica, record_of, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from server.answers import Items

PATH = "/api/v1/pods"
NAMESPACES = ["a", "a-b", "b", "c", "d"]
TENANTS = ["-", "oil", "gas"]


async def kill_subscribers(store: Store) -> None:
    """Break every subscription, as a failover would."""
    await store.ask("CLIENT", "KILL", "TYPE", "pubsub")


async def churn(cluster: Cluster, rng: random.Random, steps: int, shards: dict[str, str]) -> None:
    """So many random writes, with moves and bookmarks among them."""
    for _ in range(steps):
        namespace = rng.choice(NAMESPACES)
        name = f"pod-{rng.randrange(40)}"
        dice = rng.random()
        if dice < 0.25 and (namespace, name) in cluster.objects:
            await cluster.delete(namespace, name)
        elif dice < 0.30:
            await cluster.advance(cluster.position + rng.randrange(1, 4))
        elif dice < 0.36:
            shards[namespace] = rng.choice(TENANTS)
            await cluster.writer.move(namespace, shards[namespace])
        else:
            await cluster.put(namespace, name, shards[namespace], data="x" * rng.randrange(50), app=rng.choice("xyz"))


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(4))
async def test_lists_are_the_naive_join_at_their_rv(pods: Cluster, seed: int) -> None:
    """Under random writes, moves and broken connections, every list equals the naive join at its own RV."""
    rng = random.Random(seed)
    shards = {namespace: rng.choice(TENANTS) for namespace in NAMESPACES}
    await churn(pods, rng, 100, shards)
    scopes = [ALL, Scope.of_namespaces(["a", "b"]), Scope.of_namespaces(["a-b", "c", "d"])]
    async with Replica(pods.store) as replica:
        writing = asyncio.create_task(churn(pods, rng, 500, shards))
        compared = 0
        while not writing.done():
            scope = rng.choice(scopes)
            namespace = rng.choice(["", *NAMESPACES])
            if namespace and not scope.covers(namespace, ""):
                continue
            path = f"/api/v1/namespaces/{namespace}/pods" if namespace else PATH
            before = pods.position
            found = await replica.list(path, scope=ALL if namespace else scope)
            assert found.rv >= before
            # The model learns of a write only when the store has answered.
            await until(partial(pods.states.__contains__, found.rv))
            assert found.items == pods.expected(found.rv, ALL if namespace else scope, namespace)
            compared += 1
            if rng.random() < 0.03:
                await kill_subscribers(pods.store)
        await writing
        final = await replica.list(PATH)
        assert final.items == pods.expected(pods.position)
        assert compared


@pytest.mark.asyncio
async def test_pages_of_two_replicas_are_one_snapshot(pods: Cluster) -> None:
    """Pages asked in turn of two replicas, between writes, join to the list at the first page's RV."""
    rng = random.Random(7)
    shards = dict.fromkeys(NAMESPACES, "-")
    await churn(pods, rng, 300, shards)
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(Replica(pods.store)) for _ in range(2)]
        for scope in (ALL, Scope.of_namespaces(["a", "a-b", "d"])):
            first = page = await replicas[0].list(PATH, scope=scope, limit=7)
            items, pages = list(page.items), 1
            while page.token:
                assert page.remaining == len(pods.expected(first.rv, scope)) - len(items)
                await churn(pods, rng, 20, shards)
                await pods.put("a", f"new-{pods.position}")
                query = {"limit": 7, "continue": page.token}
                page = await replicas[pages % 2].list(PATH, scope=scope, **query)
                assert page.rv == first.rv
                items += page.items
                pages += 1
            assert pages > 5
            assert items == pods.expected(first.rv, scope)
            assert page.remaining is None


@pytest.mark.asyncio
async def test_exact_states_are_read_from_the_log(pods: Cluster) -> None:
    """A replica that came later answers exact RVs of the time before it; from before the log it asks upstream."""
    rng = random.Random(3)
    await churn(pods, rng, 200, dict.fromkeys(NAMESPACES, "-"))
    async with Replica(pods.store) as replica:
        for rv in sorted(rng.sample([rv for rv in pods.states if rv > 100], 20)):
            found = await replica.list(PATH, resourceVersion=rv, resourceVersionMatch="Exact")
            assert (found.rv, found.items) == (rv, pods.expected(rv))
            legacy = await replica.list(f"{'/api/v1/namespaces/a/pods'}", resourceVersion=rv, limit=500)
            assert (legacy.rv, legacy.items) == (rv, pods.expected(rv, namespace="a"))
        with pytest.raises(AskUpstream):
            await replica.list(PATH, resourceVersion=99, resourceVersionMatch="Exact")
        with pytest.raises(status.Expired):
            await replica.list(PATH, scope=Scope.of_namespaces(["a"]), resourceVersion=99, resourceVersionMatch="Exact")


@pytest.mark.asyncio
async def test_a_page_whose_snapshot_is_gone_offers_to_go_on(pods: Cluster) -> None:
    """Once the log is trimmed, a page gets 410 with a token that continues at the latest state."""
    for number in range(20):
        await pods.put("a", f"pod-{number:02}")
    async with Replica(pods.store) as first, Replica(pods.store) as second:
        page = await first.list(PATH, limit=5)
        await pods.put("a", "pod-00b")
        await pods.put("a", "pod-19", data="changed")
        await pods.writer.trim(0)
        with pytest.raises(status.Expired) as expired:
            await second.list(PATH, limit=5, **{"continue": page.token})
        token = expired.value.metadata_continue
        rest = await second.list(PATH, **{"continue": token})
        assert page.items + rest.items == [item for item in pods.expected(pods.position) if b'"pod-00b"' not in item]
        assert rest.rv == pods.position


@pytest.mark.asyncio
async def test_a_page_of_another_scope_or_list_is_refused(pods: Cluster) -> None:
    """A token is good for its own scope, resource, namespace and selectors only, and cannot be forged."""
    for number in range(5):
        await pods.put("a", f"pod-{number}")
    async with Replica(pods.store) as replica:
        token = (await replica.list(PATH, limit=2)).token
        with pytest.raises(status.Expired):
            await replica.list(PATH, scope=Scope.of_namespaces(["a"]), **{"continue": token})
        with pytest.raises(status.BadRequest):
            await replica.list("/api/v1/namespaces/a/pods", **{"continue": token})
        with pytest.raises(status.BadRequest):
            await replica.list(PATH, labelSelector="app=x", **{"continue": token})
        with pytest.raises(status.BadRequest):
            await replica.list(PATH, **{"continue": token, "resourceVersion": "5"})
        with pytest.raises(status.Expired):
            await replica.list(PATH, **{"continue": token[:-4] + "AAAA"})


@pytest.mark.asyncio
async def test_other_incarnations_end_pages_and_reset_observers(pods: Cluster) -> None:
    """After a load the view has the new objects, old pages get 410, and observers hear of the reset."""
    for number in range(5):
        await pods.put("a", f"pod-{number}")
    async with Replica(pods.store) as replica:
        token = (await replica.list(PATH, limit=2)).token
        view = await replica.views.open(pods.gvr)
        resets: list[int] = []
        view.observe(lambda _: None, lambda: resets.append(view.count))
        objects = [(record_of("b", f"pod-{number}", 40 + number, {}), "oil") for number in range(3)]
        await pods.load(50, objects)
        await until(lambda: resets)
        assert resets == [3]
        found = await replica.list(PATH)
        assert (found.rv, found.items) == (50, pods.expected(50))
        with pytest.raises(status.Expired):
            await replica.list(PATH, **{"continue": token})


@pytest.mark.asyncio
async def test_a_gap_longer_than_the_log_starts_the_view_over(pods: Cluster) -> None:
    """What was missed and is no longer in the log is read from the objects, and observers are told."""
    for number in range(5):
        await pods.put("a", f"pod-{number}")
    async with Replica(pods.store) as replica:
        await replica.list(PATH)
        view = await replica.views.open(pods.gvr)
        changes: list[int] = []
        resets: list[int] = []
        view.observe(lambda change: changes.append(change.rv), lambda: resets.append(view.position))
        feed = view.source
        feed._arrived = _Lossy()  # type: ignore[union-attr]
        await pods.delete("a", "pod-0")
        await pods.writer.trim(0)
        await pods.put("a", "pod-9")
        found = await replica.list(PATH)
        assert found.items == pods.expected(pods.position)
        # Whichever came first: the log without its entry, or the entry that had no message.
        await until(lambda: resets or len(changes) == 2)


class _Lossy(dict):  # type: ignore[type-arg]
    """Forgets the first entry that it is given."""

    def __setitem__(self, key: object, value: object) -> None:
        if not hasattr(self, "lost"):
            self.lost = True
            return
        super().__setitem__(key, value)


@pytest.mark.asyncio
async def test_changes_reach_observers_in_order_and_once(pods: Cluster) -> None:
    """Through writes, moves and broken connections an observer gets each change once, in order, with the old state."""
    rng = random.Random(11)
    shards = dict.fromkeys(NAMESPACES, "oil")
    await churn(pods, rng, 50, shards)
    async with Replica(pods.store) as replica:
        await replica.list(PATH)
        view = await replica.views.open(pods.gvr)
        seen: list[int] = []
        state = {(record.namespace, record.name): record.rv for record in view.records()}

        def changed(change: object) -> None:
            old, new = change.old, change.new  # type: ignore[attr-defined]
            assert state.get(change.key) == (old.rv if old is not None else None)  # type: ignore[attr-defined]
            seen.append(change.rv)  # type: ignore[attr-defined]
            if new is None:
                del state[change.key]  # type: ignore[attr-defined]
            else:
                state[change.key] = new.rv  # type: ignore[attr-defined]

        begin = view.position
        view.observe(changed, lambda: pytest.fail("nothing was lost for good"))
        for _ in range(10):
            await churn(pods, rng, 30, shards)
            await kill_subscribers(pods.store)
        await view.fresh()
        rvs = sorted(pods.states)
        before = dict(zip(rvs[1:], rvs[:-1], strict=True))
        assert seen == [rv for rv in rvs if rv > begin and pods.states[rv] != pods.states[before[rv]]]
        assert state == {key: record.rv for key, record in pods.objects.items()}


@pytest.mark.asyncio
async def test_namespaces_that_come_up_and_move(pods: Cluster) -> None:
    """A namespace without objects is empty, not unknown: its first object shows, whatever shard it lands in."""
    await pods.put("a", "pod-0", "oil")
    async with Replica(pods.store) as replica:
        assert (await replica.list("/api/v1/namespaces/new/pods")).items == []
        await pods.put("new", "pod-1", "gas")
        assert len((await replica.list("/api/v1/namespaces/new/pods")).items) == 1
        await pods.writer.move("new", "coal")
        await pods.put("new", "pod-2", "gas")
        found = await replica.list("/api/v1/namespaces/new/pods")
        assert found.items == pods.expected(pods.position, namespace="new")
        assert (await replica.list(PATH, scope=NOTHING)).items == []
        await pods.put("newer", "pod-3", "wind")
        assert (await replica.list(PATH)).items == pods.expected(pods.position)
        await pods.put("newest", "pod-4", "water")
        assert (await replica.list(PATH)).items == pods.expected(pods.position)


@pytest.mark.asyncio
async def test_cluster_scoped_objects_change_their_shard(nodes: Cluster) -> None:
    """Objects of a cluster-scoped resource are in tenants' shards, and move between them as they change."""
    rng = random.Random(5)
    for number in range(50):
        await nodes.put("", f"node-{number}", rng.choice(TENANTS))
    async with Replica(nodes.store) as replica:
        for _ in range(60):
            name = f"node-{rng.randrange(60)}"
            if rng.random() < 0.3 and ("", name) in nodes.objects:
                await nodes.delete("", name)
            else:
                await nodes.put("", name, rng.choice([*TENANTS, f"t{rng.randrange(9)}"]), data=str(rng.random()))
            if rng.random() < 0.1:
                await kill_subscribers(nodes.store)
            scope = Scope.of_names([f"node-{rng.randrange(60)}" for _ in range(20)]) if rng.random() < 0.5 else ALL
            found = await replica.list("/api/v1/nodes", scope=scope)
            assert found.items == nodes.expected(nodes.position, scope)


@pytest.mark.asyncio
async def test_selectors_agree_with_a_naive_model(pods: Cluster) -> None:
    """Label and field selectors, with limits, select what a naive filter does."""
    rng = random.Random(2)
    await churn(pods, rng, 400, dict.fromkeys(NAMESPACES, "-"))
    selectors = ["app=x", "app in (x,y)", "app notin (x)", "app", "!app", "app!=z,app", "none=1", "!none"]
    async with Replica(pods.store) as replica:
        for selector in selectors:
            found = await replica.list(PATH, labelSelector=selector)
            matches = LabelSelector.parse(selector, VERSION).matches
            chosen = {record.body() for record in pods.objects.values() if matches(record.labels)}
            assert found.items == [item for item in pods.expected(pods.position) if item in chosen]
            items, token = [], ""
            while True:
                query = {"continue": token} if token else {}
                page = await replica.list(PATH, labelSelector=selector, limit=9, **query)
                assert page.remaining is None
                assert len(page.items) <= 9
                items += page.items
                token = page.token
                if not token:
                    break
            assert items == found.items
        one = await replica.list(PATH, fieldSelector="metadata.namespace=a,metadata.name!=pod-1")
        expected = [i for i in pods.expected(pods.position, namespace="a") if b'"name":"pod-1"' not in i]
        assert one.items == expected
        single = await replica.list("/api/v1/namespaces/a/pods", fieldSelector="metadata.name=pod-3", limit=1)
        assert single.token == ""


@pytest.mark.asyncio
async def test_gzip_inflates_to_the_identity(pods: Cluster) -> None:
    """A compressed answer is put together from blocks and inflates to the very identity answer, change after change."""
    rng = random.Random(4)
    for number in range(300):
        await pods.put(rng.choice(NAMESPACES), f"pod-{number:03}", data=str(rng.random()) * 60)
    async with Replica(pods.store) as replica:
        for round_ in range(6):
            for accept in ("application/json", TABLE, METADATA):
                asked = {"accept": accept, "includeObject": "Object"}
                plain = await replica.body(PATH, **asked)
                assert len(plain) > 131072 or accept == METADATA
                assert await replica.body(PATH, gzip=True, **asked) == plain
                scoped = {**asked, "scope": Scope.of_namespaces(["a", "c"])}
                assert await replica.body(PATH, gzip=True, **scoped) == await replica.body(PATH, **scoped)
            for _ in range(3):
                await pods.put(rng.choice(NAMESPACES), f"pod-{rng.randrange(320):03}", data="changed" * 100)
            replica.now += [0.5, 1, 60, 3600, -7200, 0][round_]


def _count_compressions(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What texts compress from now on, slowly."""
    compressed: list[bytes] = []

    async def counted(pieces: Sequence[Piece]) -> list[Segment]:
        compressed.extend(piece.raw for piece in pieces)
        await asyncio.sleep(0.01)
        return [compress(*piece) for piece in pieces]

    monkeypatch.setattr(text, "compress_off_loop", counted)
    return compressed


@pytest.mark.asyncio
async def test_an_answer_is_compressed_once_for_all_who_wait(pods: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty who want the same new gzip answer at the same time get it of one compression of each of its blocks."""
    for number in range(96):
        await pods.put("a", f"pod-{number:03}", data=str(number) * 1000)
    compressed = _count_compressions(monkeypatch)
    async with Replica(pods.store) as replica:
        plain = await replica.body(PATH)
        answers = await asyncio.gather(*(replica.body(PATH, gzip=True) for _ in range(20)))
        assert set(answers) == {plain}
        first = len(compressed)
        assert 1 < first == len(set(compressed))
        await pods.put("a", "pod-050", data="changed" * 100)
        answers = await asyncio.gather(*(replica.body(PATH, gzip=True) for _ in range(20)))
        assert set(answers) == {await replica.body(PATH)} != {plain}
        assert len(compressed) == first + 1


@pytest.mark.asyncio
@pytest.mark.parametrize("accept", [TABLE, METADATA, "application/json"])
async def test_both_encodings_are_made_once_each(pods: Cluster, monkeypatch: pytest.MonkeyPatch, accept: str) -> None:
    """Who asks for gzip and who does not, in whatever order, wait for one making of each, and what is kept is both."""
    for number in range(96):
        await pods.put("a", f"pod-{number:03}", data=str(number) * 1000, note="x" * 2000)
    made: list[str] = []

    def counted(form: str) -> Callable[[Assembly, object], Awaitable[Items]]:
        make = getattr(Assembly, form)

        async def making(assembly: Assembly, stamp: object) -> Items:
            made.append(form)
            await asyncio.sleep(0.01)
            return await make(assembly, stamp)  # type: ignore[no-any-return]

        return making

    for form in ("joined", "packed"):
        monkeypatch.setattr(Assembly, form, counted(form))
    for order in ((True,), (False,), (True, False), (False, True)):
        async with Replica(pods.store) as replica:
            del made[:]
            answers = await asyncio.gather(
                *(replica.body(PATH, gzip=gzip, accept=accept) for _ in range(10) for gzip in order)
            )
            assert sorted(made) == ["joined"] * (False in order) + ["packed"] * (True in order)
            for gzip in (True, False):
                answers.append(await replica.body(PATH, gzip=gzip, accept=accept))
            assert sorted(made) == ["joined", "packed"]
            assert len(set(answers)) == 1
            kept = replica.views.answers
            assert (len(kept), kept.bytes) == (1, sum(items.kept_bytes for items, _ in kept._kept.values()))
            assert kept.bytes > len(answers[0])


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(3))
async def test_what_was_asked_before_does_not_show(pods: Cluster, seed: int) -> None:
    """After any requests in any forms and encodings, ticks and changes, answers are those of a replica just started."""
    rng = random.Random(seed)
    for number in range(120):
        note = "x" * rng.choice([10, 3000])
        await pods.put(rng.choice("ab"), f"pod-{number:03}", data=note, born=1000.0 + rng.randrange(200), note=note)
    asked = [
        (path, {"accept": accept, **query})
        for path in (PATH, "/api/v1/namespaces/a/pods")
        for accept, query in (
            (TABLE, {}),
            (TABLE, {"includeObject": "Object"}),
            (TABLE, {"includeObject": "None"}),
            (TABLE, {"limit": 50}),
            (METADATA, {}),
            ("application/json", {}),
        )
    ]
    async with Replica(pods.store) as replica:
        replica.now = 1300.0
        for _ in range(40):
            path, form = rng.choice(asked)
            encodings = [rng.random() < 0.6 for _ in range(rng.choice([1, 1, 3]))]
            answers = await asyncio.gather(*(replica.body(path, gzip=gzip, **form) for gzip in encodings))
            async with Replica(pods.store) as fresh:
                fresh.now = replica.now
                assert {await fresh.body(path, **form)} == set(answers)
            kept = replica.views.answers
            assert kept.bytes == sum(items.kept_bytes for items, _ in kept._kept.values())
            if rng.random() < 0.6:
                replica.now += rng.choice([0.5, 1, 1, 7, 60, 4000])
            if rng.random() < 0.3:
                name = f"pod-{rng.randrange(130):03}"
                await pods.put(rng.choice("ab"), name, data="changed", born=replica.now - rng.randrange(100))


@pytest.mark.asyncio
async def test_rows_grow_older_with_the_clock(pods: Cluster) -> None:
    """Ages in Tables are those of the replica's clock, in answers that are kept as in new ones."""
    for number in range(70):
        await pods.put("a", f"pod-{number}")
    async with Replica(pods.store) as replica:
        for now, age in ((1060.0, "60s"), (1060.9, "60s"), (1061.0, "61s"), (1300.0, "5m"), (1010.0, "10s")):
            replica.now = now
            table = json.loads(await replica.body(PATH, accept=TABLE, includeObject="None"))
            assert {row["cells"][1] for row in table["rows"]} == {age}


@pytest.mark.asyncio
async def test_refreshed_bytes_replace_the_old_ones(pods: Cluster) -> None:
    """A refresh changes what is answered without an event, also when it comes during a resync."""
    for number in range(40):
        await pods.put("a", f"pod-{number}", data="old")
    async with Replica(pods.store) as replica:
        before = await replica.list(PATH)
        await pods.refresh("a", "pod-3", "new")
        view = await replica.views.open(pods.gvr)
        await until(lambda: view.get("a", "pod-3") == pods.objects["a", "pod-3"])
        found = await replica.list(PATH)
        assert found.items == pods.expected(pods.position)
        assert found.rv == before.rv


@pytest.mark.asyncio
async def test_lost_refreshes_are_read_from_the_store(pods: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh whose message was lost stands in no log: after a loss the view takes in what is stored."""
    for number in range(40):
        await pods.put("a", f"pod-{number}", data="old")
    async with Replica(pods.store) as replica:
        before = await replica.list(PATH)
        view = await replica.views.open(pods.gvr)
        feed: Any = view.source
        hear = feed.on_shard
        monkeypatch.setattr(feed, "on_shard", lambda shard, data: None if b" R " in data[:60] else hear(shard, data))
        for number in (3, 17):
            await pods.refresh("a", f"pod-{number}", "new")
        await pods.put("a", "pod-5", data="event")
        await replica.list(PATH)
        assert (await replica.list(PATH)).items != pods.expected(pods.position)
        untouched = view.get("a", "pod-20")
        feed._refreshes._told -= 2  # their messages on the feed were lost, too
        await kill_subscribers(pods.store)
        await until(lambda: view.get("a", "pod-17") == pods.objects["a", "pod-17"])
        found = await replica.list(PATH)
        assert found.items == pods.expected(pods.position)
        assert found.rv == before.rv + 1
        assert view.get("a", "pod-20") is untouched


@pytest.mark.asyncio
@pytest.mark.parametrize("losses", [False, True])
async def test_a_description_never_comes_before_its_rows(pods: Cluster, losses: bool) -> None:
    """Rows are refreshed before their columns are said to be served: so it is in every view, whatever is lost."""
    for number in range(300):
        await pods.put("a", f"pod-{number}")
    async with Replica(pods.store) as replica:
        await replica.list(PATH)
        view = await replica.views.open(pods.gvr)
        seen: list[tuple[int, bool, int]] = []

        def described(_: Meta) -> None:
            table = view.meta.table
            assert table is not None
            wanted = Row((b'{"cells":["%b"]' % table.digest.encode(),))
            seen.append((int(table.digest or 0), table.served, sum(one.row == wanted for one in view.records())))

        view.observe(lambda _: None, None, described)
        for digest in range(1, 6):
            await pods.describe(TableInfo(columns=COLUMNS, served=False, digest=str(digest)))
            row = Row((b'{"cells":["%d"]' % digest,))
            changes = [Refresh(old, replace(old, row=row)) for old in pods.objects.values()]
            for first in range(0, len(changes), 100):
                await pods.writer.refresh_many(changes[first : first + 100])
                if losses and digest % 2:
                    await kill_subscribers(pods.store)
            pods.states[pods.position] = {(one.new.namespace, one.new.name): one.new for one in changes}
            await pods.describe(TableInfo(columns=COLUMNS, served=True, digest=str(digest)))
            await until(lambda wanted=digest: (wanted, True) == seen[-1][:2] if seen else False)  # type: ignore[misc]
            assert all(record.row == row for record in view.records())
        assert all(marked == 300 for digest, served, marked in seen if served and digest)


@pytest.mark.asyncio
async def test_evicted_bodies_are_read_back(pods: Cluster) -> None:
    """With a tiny budget bodies are let go, and answers are the same; then whole shards, and they are read anew."""
    rng = random.Random(8)
    await churn(pods, rng, 300, dict.fromkeys(NAMESPACES, "oil"))
    async with Replica(pods.store, budget_bytes=4096) as replica:
        before = await replica.list(PATH)
        view = await replica.views.open(pods.gvr)
        for shard in list(view.shards):
            await view.evict(shard, Pause())
        assert view.packed_bytes == 0
        replica.views.answers._kept.clear()
        for space in view.spaces.values():
            for block in space.blocks:
                block.renderings.clear()
        assert (await replica.list(PATH)).items == before.items
        record = next(iter(pods.objects))
        body = await replica.body(f"/api/v1/namespaces/{record[0]}/pods/{record[1]}")
        assert json.loads(body)["metadata"]["name"] == record[1]
        await replica.views.sweep()
        assert not view.count
        assert (await replica.list(PATH)).items == before.items


@pytest.mark.asyncio
async def test_what_was_read_last_is_let_go_last(pods: Cluster) -> None:
    """A read of a namespace counts for its shard alone, one of everything for all of them."""
    for namespace, tenant in (("a", "oil"), ("b", "gas")):
        await pods.put(namespace, "pod-0", tenant, data="x")
    async with Replica(pods.store) as replica:
        view = await replica.views.open(pods.gvr)

        async def used(path: str) -> dict[str, float]:
            await replica.list(path)
            await asyncio.sleep(0.003)  # the loop's clock has milliseconds
            return {shard: view.last_used(held) for shard, held in view.shards.items()}

        await used("/api/v1/namespaces/a/pods")
        before = await used("/api/v1/namespaces/b/pods")
        assert before["oil"] < before["gas"]
        between = await used("/api/v1/namespaces/a/pods")
        assert between["gas"] == before["gas"] < between["oil"]
        after = await used(PATH)
        assert min(after.values()) > max(between.values())


@pytest.mark.asyncio
async def test_gets_are_as_new_as_asked(pods: Cluster) -> None:
    """A get finds the newest state in a cold shard as in a hot one, waits for an RV, and knows what is not there."""
    await pods.put("a", "pod-0", "oil", data="one")
    path = "/api/v1/namespaces/a/pods/pod-0"
    async with Replica(pods.store) as replica:
        assert json.loads(await replica.body(path))["spec"]["data"] == "one"
        view = await replica.views.open(pods.gvr)
        assert not view.shards
        await replica.list("/api/v1/namespaces/a/pods")
        assert view.shards
        for number in range(20):
            await pods.put("a", "pod-0", "oil", data=f"n{number}")
            body = json.loads(await replica.body(path))
            assert body["spec"]["data"] == f"n{number}"
            assert (body["kind"], body["apiVersion"]) == ("Pod", "v1")
        waiting = asyncio.create_task(replica.body(path, resourceVersion=pods.position + 1))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await pods.put("a", "pod-0", "oil", data="last")
        assert json.loads(await waiting)["spec"]["data"] == "last"
        with pytest.raises(status.NotFound):
            await replica.body("/api/v1/namespaces/a/pods/none")
        with pytest.raises(status.NotFound):
            await replica.body(path, scope=Scope.of_namespaces(["b"]))


@pytest.mark.asyncio
async def test_future_versions_are_refused_as_upstream_does(pods: Cluster) -> None:
    """A list of a future RV waits for it; one key at an exact RV is refused at once, without Retry-After."""
    await pods.put("a", "pod-0")
    path = "/api/v1/namespaces/a/pods"
    rv = pods.position + 1
    async with Replica(pods.store) as replica:
        with pytest.raises(status.TooLargeResourceVersion) as refused:
            await replica.list(
                path, fieldSelector="metadata.name=pod-0", resourceVersion=rv, resourceVersionMatch="Exact"
            )
        assert refused.value.retry_after_seconds == 0
        waiting = asyncio.create_task(replica.list(path, resourceVersion=rv, resourceVersionMatch="NotOlderThan"))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await pods.put("a", "pod-1")
        assert len((await waiting).items) == 2
        view = await replica.views.open(pods.gvr)
        with pytest.raises(status.TooLargeResourceVersion) as refused:
            await view.reach(rv + 1, 0.01)
        assert refused.value.retry_after_seconds == 1
        assert not view._waiters


@pytest.mark.asyncio
async def test_versions_that_another_resource_is_at_are_upstreams_to_answer(pods: Cluster) -> None:
    """A list, a page and a get at an RV that exists elsewhere ask upstream; who may not ask it waits for the store."""
    await pods.put("a", "pod-0")
    rv = pods.position + 1
    async with Replica(pods.store) as replica:
        replica.known = rv
        for path, query in ((PATH, {}), (PATH, {"limit": 1}), ("/api/v1/namespaces/a/pods/pod-0", {})):
            with pytest.raises(AskUpstream):
                await replica.body(path, resourceVersion=rv, **query)
        waiting = asyncio.create_task(replica.list(PATH, scope=Scope.of_namespaces(["a"]), resourceVersion=rv))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await pods.put("a", "pod-1")
        assert len((await waiting).items) == 2


@pytest.mark.asyncio
async def test_the_time_before_the_load_is_not_known_to_have_been_empty(pods: Cluster) -> None:
    """An exact list from before the cache began asks upstream, also in a namespace in which nothing is known to be."""
    await pods.put("a", "pod-0")
    async with Replica(pods.store) as replica:
        for path in (PATH, "/api/v1/namespaces/a/pods", "/api/v1/namespaces/none/pods"):
            with pytest.raises(AskUpstream):
                await replica.list(path, resourceVersion=1, resourceVersionMatch="Exact")


@pytest.mark.asyncio
async def test_one_key_with_a_limit_is_read_as_it_is_now(pods: Cluster) -> None:
    """A version without a match is then a lower bound, as where upstream asks etcd for a key; Exact stays exact."""
    rv = (await pods.put("a", "pod-0", data="old")).rv
    await pods.put("a", "pod-0", data="new")
    async with Replica(pods.store) as replica:
        query = {"fieldSelector": "metadata.name=pod-0", "resourceVersion": rv}
        present = await replica.list("/api/v1/namespaces/a/pods", limit=1, **query)
        assert (present.rv, json.loads(present.items[0])["spec"]["data"]) == (pods.position, "new")
        past = await replica.list("/api/v1/namespaces/a/pods", resourceVersionMatch="Exact", limit=1, **query)
        assert (past.rv, json.loads(past.items[0])["spec"]["data"]) == (rv, "old")
        with pytest.raises(status.TooLargeResourceVersion) as refused:
            await replica.list("/api/v1/namespaces/a/pods", limit=1, **{**query, "resourceVersion": pods.position + 1})
        assert refused.value.retry_after_seconds == 0


@pytest.mark.asyncio
async def test_names_that_cannot_be_stored_are_refused_before_anything_is_read(pods: Cluster) -> None:
    """A get of `..` is a bad request, also where its RV is none."""
    async with Replica(pods.store) as replica:
        for query in ({}, {"resourceVersion": "x"}):
            with pytest.raises(status.BadRequest, match="Name parameter invalid"):
                await replica.body("/api/v1/namespaces/a/pods/..", **query)


@pytest.mark.asyncio
async def test_a_resource_that_is_loaded_anew_is_served_from_memory(pods: Cluster) -> None:
    """While the store has lost a resource, who holds it serves it, as stale; who does not forwards. Then all is new."""
    await pods.put("a", "pod-0")
    before = pods.expected(pods.position)
    async with Replica(pods.store) as replica, Replica(pods.store) as late:
        await replica.list(PATH)
        view = await replica.views.open(pods.gvr)
        await pods.writer.load_begin()
        await until(lambda: view.stale_seconds)
        assert (await replica.list(PATH)).items == before
        with pytest.raises(Unusable):
            await late.list(PATH)
        await pods.writer.load_commit(500)
        pods.states[500] = {}
        await until(lambda: not view.stale_seconds)
        for either in (replica, late):
            found = await either.list(PATH)
            assert (found.rv, found.items) == (500, [])


@pytest.mark.asyncio
async def test_without_the_store_views_go_on(tmp_path: Path) -> None:
    """Reads are answered from memory while Redis is gone; it comes back empty, is filled, and they follow it again."""
    server = EmbeddedRedis()
    try:
        await _lose_and_regain(server, server.start(tmp_path), tmp_path)
    finally:
        server.stop()


async def _lose_and_regain(server: EmbeddedRedis, url: str, tmp_path: Path) -> None:
    async with await Store.open(url) as store:
        pods = await Cluster.begin(store)
        await pods.put("a", "pod-0")
        before = pods.expected(pods.position)
        async with Replica(store) as replica:
            await replica.list(PATH)
            view = await replica.views.open(pods.gvr)
            server.stop()
            for _ in range(3):
                assert (await replica.list(PATH)).items == before
            with pytest.raises(Unusable):
                await replica.list("/api/v1/nodes")
            assert server.start(tmp_path) == url
            again = await Cluster.begin(store, position=7)
            await again.put("b", "pod-1")
            await until(lambda: view.position == again.position)
            assert (await replica.list(PATH)).items == again.expected(again.position)


@pytest.mark.asyncio
async def test_one_reading_of_the_position_serves_all_that_wait(pods: Cluster) -> None:
    """Plain reads that come together read the store's position once or twice, not each for itself."""
    await pods.put("a", "pod-0")
    async with Replica(pods.store) as replica:
        await replica.list(PATH)
        feed = (await replica.views.open(pods.gvr)).source
        asked = 0
        real = feed._reader.position  # type: ignore[union-attr]

        async def counted(gvr: object) -> int:
            nonlocal asked
            asked += 1
            return int(await real(gvr))

        feed._reader.position = counted  # type: ignore[union-attr]
        await asyncio.gather(*(replica.list(PATH) for _ in range(50)))
        assert asked <= 2


@pytest.mark.asyncio
async def test_views_know_what_they_take(pods: Cluster) -> None:
    """The counts of objects and bytes that budgets and metrics go by are those of the spaces."""
    rng = random.Random(9)
    shards = {namespace: rng.choice(TENANTS) for namespace in NAMESPACES}
    await churn(pods, rng, 200, shards)
    async with Replica(pods.store) as replica:
        await replica.list(PATH)
        view = await replica.views.open(pods.gvr)
        for step in range(4):
            await churn(pods, rng, 60, shards)
            await view.fresh()
            if step == 2:
                await view.evict(next(iter(view.shards)), Pause())
            if step == 3:
                view.drop(next(iter(view.shards)))
            assert view.count == sum(space.count for space in view.spaces.values())
            packed = sum(len(record.packed) for space in view.spaces.values() for record in space)
            assert view.packed_bytes == packed
        families = {name: list(sample()) for name, _, _, sample in replica.views.samples()}
        assert families["larder_view_objects"] == [((str(pods.gvr),), float(view.count))]
        assert families["larder_staleness_seconds"][0][1] >= 0
