"""Watches of the sandbox: what they send, when they end, and how they misbehave when told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from sandbox.server import SandboxServer

pytestmark = pytest.mark.asyncio

MAPS = "/api/v1/namespaces/default/configmaps"
Events = AsyncIterator[dict[str, Any]]


@asynccontextmanager
async def watching(client: httpx.AsyncClient, path: str, **params: str) -> AsyncIterator[Events]:
    """The events of a watch, one by one."""
    async with client.stream("GET", path, params={"watch": "1", **params}) as answer:
        assert answer.status_code == 200

        async def events() -> Events:
            async for line in answer.aiter_lines():
                yield json.loads(line)

        yield events()


async def _rv(client: httpx.AsyncClient, path: str = MAPS) -> str:
    return str((await client.get(path)).json()["metadata"]["resourceVersion"])


async def _put(client: httpx.AsyncClient, name: str, **labels: str) -> None:
    body = {"metadata": {"name": name, "labels": labels}}
    answer = await client.post(MAPS, json=body)
    if answer.status_code == 409:
        answer = await client.put(f"{MAPS}/{name}", json=body)
    assert answer.status_code in {200, 201}


async def test_a_watch_tells_what_happens(admin: httpx.AsyncClient) -> None:
    """Create, change and delete arrive in order, each with its revision, the last with the deletion's."""
    async with watching(admin, MAPS, resourceVersion=await _rv(admin)) as events:
        await _put(admin, "one", x="1")
        await _put(admin, "one", x="2")
        await admin.delete(f"{MAPS}/one")
        told = [await anext(events) for _ in range(3)]
    assert [event["type"] for event in told] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in told]
    assert versions == sorted(set(versions))
    assert told[0]["object"]["kind"] == "ConfigMap"


async def test_an_object_that_leaves_the_selection_is_deleted_as_it_was(admin: httpx.AsyncClient) -> None:
    """DELETED with the labels that were selected, and the revision of the change; ADDED when it is back."""
    rv = await _rv(admin)
    async with watching(admin, MAPS, resourceVersion=rv, labelSelector="x=1") as events:
        for value in ("1", "9", "1"):
            await _put(admin, "one", x=value)
        told = [await anext(events) for _ in range(3)]
    assert [(event["type"], event["object"]["metadata"]["labels"]["x"]) for event in told] == [
        ("ADDED", "1"), ("DELETED", "1"), ("ADDED", "1"),
    ]  # fmt: skip
    assert int(told[1]["object"]["metadata"]["resourceVersion"]) == int(rv) + 2


async def test_a_watch_can_begin_with_what_there_is(admin: httpx.AsyncClient) -> None:
    """`sendInitialEvents` gives ADDED for everything, and the bookmark that ends it."""
    count = len((await admin.get("/api/v1/namespaces")).json()["items"])
    options = {
        "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true",
    }  # fmt: skip
    async with watching(admin, "/api/v1/namespaces", **options) as events:
        told = [await anext(events) for _ in range(count + 1)]
    assert {event["type"] for event in told[:-1]} == {"ADDED"}
    assert told[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_bookmarks_carry_the_revision_of_the_store(admin: httpx.AsyncClient) -> None:
    """A quiet watch learns of revisions that other resources have used."""
    rv = await _rv(admin, "/api/v1/nodes")
    async with watching(admin, "/api/v1/nodes", resourceVersion=rv, allowWatchBookmarks="true") as events:
        await _put(admin, "elsewhere")
        event = await anext(events)
    assert event["type"] == "BOOKMARK"
    assert event["object"]["metadata"]["resourceVersion"] == await _rv(admin)


async def test_a_forgotten_revision_is_said_in_the_stream(admin: httpx.AsyncClient, server: SandboxServer) -> None:
    """HTTP 200, one ERROR event with 410, and the end."""
    rv = await _rv(admin)
    await _put(admin, "one")
    server.sandbox.faults.compact()
    async with watching(admin, MAPS, resourceVersion=rv) as events:
        told = [event async for event in events]
    assert [(event["type"], event["object"]["code"], event["object"]["reason"]) for event in told] == [
        ("ERROR", 410, "Expired")
    ]


async def test_tables_are_watched_too(admin: httpx.AsyncClient) -> None:
    """Each event is a Table with one row; only the first has the columns."""
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    async with admin.stream("GET", "/api/v1/namespaces", params={"watch": "1"}, headers=accept) as answer:
        lines = answer.aiter_lines()
        first, second = json.loads(await anext(lines)), json.loads(await anext(lines))
    assert first["object"]["columnDefinitions"][0]["name"] == "Name"
    assert second["object"]["columnDefinitions"] is None
    assert len(second["object"]["rows"]) == 1


async def test_a_deadline_ends_a_watch_cleanly(admin: httpx.AsyncClient) -> None:
    """After timeoutSeconds the body ends as it should."""
    async with watching(admin, "/api/v1/nodes", resourceVersion=await _rv(admin), timeoutSeconds="1") as events:
        assert [event async for event in events] == []


async def test_dropped_watches_end_cleanly_or_not(admin: httpx.AsyncClient, server: SandboxServer) -> None:
    """A drop is the end of the body; an abrupt one is the end of the connection."""
    rv = await _rv(admin)
    async with watching(admin, MAPS, resourceVersion=rv) as events:
        server.sandbox.faults.drop_watches("configmaps")
        assert [event async for event in events] == []
    async with watching(admin, MAPS, resourceVersion=rv) as events:
        server.sandbox.faults.drop_watches(abrupt=True)
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(events)


async def test_a_paused_sandbox_answers_later(admin: httpx.AsyncClient, server: SandboxServer) -> None:
    """Nothing is answered while it is paused, and everything after."""
    server.sandbox.faults.pause()
    asked = asyncio.create_task(admin.get("/api/v1/nodes"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(asked), 0.2)
    server.sandbox.faults.resume()
    assert (await asked).status_code == 200


async def test_a_sandbox_that_is_down_cuts_every_connection(admin: httpx.AsyncClient, server: SandboxServer) -> None:
    """No answer at all, until it is up again; the admin paths go on."""
    assert (await admin.post("/sandbox/faults/down")).status_code == 200
    with pytest.raises(httpx.HTTPError):
        await admin.get("/api/v1/nodes")
    assert (await admin.post("/sandbox/faults/up")).status_code == 200
    assert (await admin.get("/api/v1/nodes")).status_code == 200


async def test_requests_fail_as_often_as_they_are_told_to(admin: httpx.AsyncClient) -> None:
    """A failure holds for one resource and verb, and so many times."""
    await admin.post("/sandbox/faults/fail", params={"code": "503", "times": "2", "resource": "pods", "verb": "list"})
    codes = [(await admin.get(f"/api/v1/{resource}")).status_code for resource in ("nodes", "pods", "pods", "pods")]
    assert codes == [200, 503, 503, 200]


async def test_a_broken_group_is_broken_alone(admin: httpx.AsyncClient) -> None:
    """As with an aggregated API whose server is away: 503 there, nothing else is touched."""
    await admin.post("/sandbox/faults/break-group", params={"group": "batch"})
    assert (await admin.get("/apis/batch/v1/jobs")).status_code == 503
    assert (await admin.get("/apis/batch/v1")).status_code == 503
    assert (await admin.get("/apis/apps/v1")).status_code == 200
