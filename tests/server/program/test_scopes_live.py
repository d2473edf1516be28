from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from kube.resources import CONTROL, GVR, NAMESPACES, ROLE_BINDINGS
from server.app import Server
from server.identity import User
from store.reader import Reader
from tests.authz.objects import KINDS, PODS, TENANT_LABEL, TENANTS, binding, namespace, record, tenant
from tests.server.program.conftest import Start, client, world
from tests.server.program.stored import Stored

pytestmark = pytest.mark.asyncio

BINDING = binding("more", "gas-dev", "ClusterRole/pod-reader", "User/alice")


async def events(answer: httpx.Response) -> AsyncIterator[tuple[str, str]]:
    """Type and name of each event; a bookmark has no name."""
    async for line in answer.aiter_lines():
        event: dict[str, Any] = json.loads(line)
        yield event["type"], event["object"].get("metadata", {}).get("name", "")


async def test_watch_follows_the_users_rights(stored: Stored, start: Start) -> None:
    """A namespace that is gained appears in an open watch, and one that is lost disappears."""
    await stored.load(*world())
    server = await start()
    async with (
        asyncio.timeout(20),
        client(server, "alice-token") as alice,
        alice.stream("GET", "/api/v1/pods?watch=1&allowWatchBookmarks=true") as answer,
    ):
        seen = events(answer)
        assert [await anext(seen) for _ in range(2)] == [("ADDED", "web-0"), ("ADDED", "web-1")]
        assert await anext(seen) == ("BOOKMARK", "")
        await stored.put(*BINDING)
        assert await anext(seen) == ("ADDED", "db-0")
        assert await anext(seen) == ("BOOKMARK", "")
        await stored.put(PODS, record("db-1", "gas-dev", stored.position + 1))
        assert await anext(seen) == ("ADDED", "db-1")
        await stored.remove(*BINDING)
        assert sorted([await anext(seen) for _ in range(2)]) == [("DELETED", "db-0"), ("DELETED", "db-1")]


async def test_owners_watch_their_namespaces(stored: Stored, start: Start) -> None:
    """The watch of namespaces shows an owner those that come to their tenant, and takes away those that leave it."""
    await stored.load(*world())
    server = await start()
    async with (
        asyncio.timeout(20),
        client(server, "alice-token") as alice,
        alice.stream("GET", "/api/v1/namespaces?watch=1") as answer,
    ):
        seen = events(answer)
        assert [await anext(seen) for _ in range(2)] == [("ADDED", "oil-dev"), ("ADDED", "oil-prod")]
        await stored.put(*namespace("oil-new", "oil", stored.position + 1))
        assert await anext(seen) == ("ADDED", "oil-new")
        await stored.put(*namespace("oil-new", "gas", stored.position + 1))
        # The change that takes it away is not for them.
        assert await anext(seen) == ("DELETED", "oil-new")


async def test_resume_after_rights_changed_begins_anew(stored: Stored, start: Start) -> None:
    """A union's watch that goes on from before its user's rights changed is told to list again; others go on."""
    await stored.load(*world())
    server = await start()
    path = "/api/v1/pods?watch=1&resourceVersion=1000&timeoutSeconds=1"
    async with client(server, "alice-token") as alice, client(server, "bob-token") as bob, asyncio.timeout(20):
        assert [json.loads(line) for line in (await alice.get(path)).text.splitlines()] == []
        await stored.put(*BINDING)
        await stored.put(PODS, record("new", "oil-dev", stored.position + 1))
        while len((await alice.get("/api/v1/pods")).json()["items"]) < 4:
            await asyncio.sleep(0.01)
        (fault,) = [json.loads(line) for line in (await alice.get(path)).text.splitlines()]
        assert (fault["type"], fault["object"]["code"]) == ("ERROR", 410)
        went_on = [json.loads(line) for line in (await bob.get(path)).text.splitlines()]
        assert [event["object"]["metadata"]["name"] for event in went_on] == ["new"]
        in_one = await alice.get("/api/v1/namespaces/oil-dev/pods?watch=1&resourceVersion=1000&timeoutSeconds=1")
        assert [json.loads(line)["type"] for line in in_one.text.splitlines()] == ["ADDED"]
    assert NAMESPACES in {gvr for gvr, _ in world()}


@pytest.mark.parametrize("pods_before_rights_ms", [0, 2_000])
async def test_resume_soon_after_the_store_was_filled(stored: Stored, start: Start, pods_before_rights_ms: int) -> None:
    """Resources are loaded in any order; an RV of the load is of no earlier scope than the replica began with."""
    await stored.load(*world())
    await _set_clock(stored, PODS, 1000, (await _loaded_ms(stored, PODS)) - pods_before_rights_ms)
    assert await _resumes(stored, await start())


async def test_resume_after_one_control_resource_began_anew(stored: Stored, start: Start) -> None:
    """What changed while it was loaded alone, long after the others, is not known: list again."""
    await stored.load(*world())
    loaded_ms = await _loaded_ms(stored, PODS)
    for gvr in (*CONTROL, TENANTS, PODS):
        if gvr != ROLE_BINDINGS:
            await _set_clock(stored, gvr, 1000, loaded_ms - 60_000)
    assert not await _resumes(stored, await start())


async def test_resume_when_rights_are_older_than_the_clock(stored: Stored, start: Start) -> None:
    """Rights that have not changed for as long as the clock reaches back have not changed since then."""
    await stored.load(*world())
    loaded_ms = await _loaded_ms(stored, PODS)
    await _set_clock(stored, PODS, 1000, loaded_ms - 10_000)
    for gvr in (*CONTROL, TENANTS):
        await _set_clock(stored, gvr, 1001, loaded_ms - 3_600_000)
    assert await _resumes(stored, await start())


async def _loaded_ms(stored: Stored, gvr: GVR) -> int:
    found = await Reader(stored.store).rv_time(gvr, 1000)
    assert found is not None
    return found


async def _set_clock(stored: Stored, gvr: GVR, rv: int, time_ms: int) -> None:
    """Have the clock of a resource begin with this."""
    key = stored.store.keys(gvr).clock
    await stored.store.ask_all((("DEL", key), ("XADD", key, f"{rv}-0", "t", time_ms)), atomic=True)


async def _resumes(stored: Stored, server: Server) -> bool:
    """Whether the watch of an owner's union goes on from the load to a pod that came since."""
    await stored.put(PODS, record("new", "oil-dev", stored.position + 1))
    async with client(server, "alice-token") as alice, asyncio.timeout(20):
        await alice.get("/api/v1/pods")
        answer = await alice.get("/api/v1/pods?watch=1&resourceVersion=1000&timeoutSeconds=1")
    (event,) = [json.loads(line) for line in answer.text.splitlines()]
    return bool(event["object"].get("code") != 410)


async def test_next_page_after_rights_changed_begins_anew(stored: Stored, start: Start) -> None:
    """A page goes on only in the scope in which its list began."""
    await stored.load(*world())
    server = await start()
    async with client(server, "alice-token") as alice, asyncio.timeout(20):
        page = (await alice.get("/api/v1/pods?limit=1")).json()
        token = page["metadata"]["continue"]
        assert (await alice.get(f"/api/v1/pods?limit=1&continue={token}")).status_code == 200
        await stored.put(*BINDING)
        while len((await alice.get("/api/v1/pods")).json()["items"]) < 3:
            await asyncio.sleep(0.01)
        assert (await alice.get(f"/api/v1/pods?limit=1&continue={token}")).status_code == 410


async def test_control_data_that_begins_anew(stored: Stored, start: Start) -> None:
    """When a control resource's history starts anew, scopes are those of the new state, also in open watches."""
    await stored.load(*world())
    server = await start()
    async with client(server, "alice-token") as alice, asyncio.timeout(20):
        async with alice.stream("GET", "/api/v1/pods?watch=1&allowWatchBookmarks=true") as answer:
            seen = events(answer)
            assert [await anext(seen) for _ in range(3)] == [("ADDED", "web-0"), ("ADDED", "web-1"), ("BOOKMARK", "")]
            await stored.reload(ROLE_BINDINGS, BINDING[1])
            changes = [await anext(seen) for _ in range(3)]
        assert sorted(changes) == [("ADDED", "db-0"), ("DELETED", "web-0"), ("DELETED", "web-1")]
        assert [item["metadata"]["name"] for item in (await alice.get("/api/v1/pods")).json()["items"]] == ["db-0"]


async def test_many_subscribers_hear_of_one_change(stored: Stored, start: Start) -> None:
    """A change that concerns thousands of watches reaches them all, without stopping everything else."""
    await stored.load(*world())
    server = await start()
    control = server.replica.control
    heard: list[int] = []
    users = [User(f"user-{number}", ("devs",)) for number in range(3000)]
    for number, user in enumerate(users):
        control.subscribe(user, KINDS[PODS], lambda _, number=number: heard.append(number))  # type: ignore[misc]
    await stored.put(*binding("devs", "gas-dev", "ClusterRole/pod-reader", "Group/devs"))
    async with asyncio.timeout(20):
        while len(heard) < len(users):
            await asyncio.sleep(0.001)
    assert sorted(heard) == list(range(3000))


async def lines(answer: httpx.Response) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
    """Type, name and metadata of each event about an object, whether as it is or as a Table's only row."""
    async for line in answer.aiter_lines():
        event: dict[str, Any] = json.loads(line)
        shown = event["object"]
        if event["type"] != "BOOKMARK":
            metadata = (shown["rows"][0]["object"] if shown["kind"] == "Table" else shown)["metadata"]
            yield event["type"], metadata["name"], metadata


AS_TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
FORMS: tuple[dict[str, str], ...] = ({}, {}, AS_TABLE, AS_TABLE)


async def test_namespace_moves_between_tenants(stored: Stored, start: Start) -> None:
    """Who loses a namespace is not shown the change by which it left, who gains it sees it as it is."""
    await stored.load(*world(), tenant("gas", "User/carol"))
    await stored.put(*namespace("moving", "oil", stored.position + 1))
    server = await start()
    path = "/api/v1/namespaces?watch=1"
    async with asyncio.timeout(20), AsyncExitStack() as stack:
        alice = await stack.enter_async_context(client(server, "alice-token"))
        carol = await stack.enter_async_context(client(server, "carol-token"))
        losing = [lines(await stack.enter_async_context(alice.stream("GET", path, headers=form))) for form in FORMS]
        gaining = [lines(await stack.enter_async_context(carol.stream("GET", path, headers=form))) for form in FORMS]
        for seen in losing:
            assert [(await anext(seen))[1] for _ in range(3)] == ["moving", "oil-dev", "oil-prod"]
        for seen in gaining:
            assert (await anext(seen))[1] == "gas-dev"
        before = stored.position
        for rv in range(before + 1, before + 4):
            await stored.put(*namespace("moving", "gas", rv))
        await stored.put(*namespace("oil-dev", "oil", stored.position + 1))
        for seen in losing:
            kind, name, metadata = await anext(seen)
            assert (kind, name, metadata["labels"]) == ("DELETED", "moving", {TENANT_LABEL: "oil"})
            assert int(metadata["resourceVersion"]) == before
            assert (await anext(seen))[:2] == ("MODIFIED", "oil-dev")
        for seen in gaining:
            kind, name, metadata = await anext(seen)
            assert (kind, name, metadata["labels"]) == ("ADDED", "moving", {TENANT_LABEL: "gas"})
            assert int(metadata["resourceVersion"]) > before


async def test_pods_change_while_a_binding_goes(stored: Stored, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment a right is known to be gone nothing new is shown, also to those that were not told of it yet."""
    monkeypatch.setattr("server.control._SLICE_SECONDS", 0.0)
    await stored.load(*world())
    group = binding("devs", "gas-dev", "ClusterRole/pod-reader", "Group/devs")
    await stored.put(*group)
    server = await start()
    control = server.replica.control
    for number in range(3000):
        control.subscribe(User(f"user-{number}", ("devs",)), KINDS[PODS], lambda _: None)
    user = User("alice", ("devs", "system:authenticated"))
    async with asyncio.timeout(20), AsyncExitStack() as stack:
        alice = await stack.enter_async_context(client(server, "alice-token"))
        path = "/api/v1/pods?watch=1"
        watches = [lines(await stack.enter_async_context(alice.stream("GET", path, headers=form))) for form in FORMS]
        for seen in watches:
            assert [(await anext(seen))[1] for _ in range(3)] == ["db-0", "web-0", "web-1"]
        await stored.remove(*group)
        while (scope := control.scope(user, KINDS[PODS], "watch")) is not None and scope.covers("gas-dev", "db-0"):
            await asyncio.sleep(0)
        late = {"late": "yes"}
        for rv in range(stored.position + 1, stored.position + 4):
            await stored.put(PODS, record("db-0", "gas-dev", rv, late))
            await stored.put(PODS, record("db-1", "gas-dev", rv, late))
        await stored.put(PODS, record("web-0", "oil-dev", stored.position + 1, late))
        for seen in watches:
            kind, name, metadata = await anext(seen)
            assert (kind, name, metadata.get("labels")) == ("DELETED", "db-0", None)
            assert (await anext(seen))[:2] == ("MODIFIED", "web-0")
