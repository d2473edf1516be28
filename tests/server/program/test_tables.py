"""Tables that our cells do not make: upstream's where it can be asked, its kept rows where it would refuse."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from msgspec.structs import replace

from store.meta import TableInfo
from store.record import Record
from tables.row import Row
from tests.authz.objects import KINDS, PODS, record
from tests.server.program.conftest import Start, client, world
from tests.server.program.stored import COLUMNS, Stored
from tests.server.program.upstream import ScriptedUpstream

pytestmark = pytest.mark.asyncio

TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
KUBECTL = {"Accept": TABLE["Accept"] + ",application/json"}
KEPT = TableInfo(columns=COLUMNS, served=False, kept=True, reason="a column is unknown")
PODS_ = KINDS[PODS]


def pod(name: str, namespace: str, rv: int, *, row: bool = True) -> Record:
    """A pod with a row, or without."""
    made = record(name, namespace, rv)
    return replace(made, row=Row((b'{"cells":["%b of %d"]' % (name.encode(), rv),)) if row else None)


async def load(stored: Stored, *, row: bool = True) -> None:
    """The world, with kept rows of its pods."""
    others = [(gvr, found) for gvr, found in world() if gvr != PODS]
    pods = [(PODS, pod(found.name, found.namespace, found.rv, row=row)) for gvr, found in world() if gvr == PODS]
    await stored.load(*others, *pods)


def cells(answer: httpx.Response) -> list[str]:
    """The first cell of each row."""
    return [row["cells"][0] for row in answer.json()["rows"]]


async def test_kept_rows_are_given_where_upstream_would_refuse(
    stored: Stored, start: Start, upstream: ScriptedUpstream
) -> None:
    """A union's Table has the kept rows, in lists and watches; who may ask upstream gets upstream's answer."""
    await load(stored)
    await stored.describe(PODS_, KEPT)
    upstream.json("GET", "/api/v1/pods", {"kind": "Table", "rows": [{"cells": ["fresh"]}]})
    upstream.json("GET", "/api/v1/namespaces/oil-dev/pods", {"kind": "Table", "rows": [{"cells": ["fresh"]}]})
    server = await start()
    async with client(server, "bob-token") as bob, client(server, "alice-token") as alice, asyncio.timeout(15):
        given = await bob.get("/api/v1/pods", headers=TABLE)
        assert (cells(given), given.headers["x-larder-source"]) == (["fresh"], "upstream")
        given = await alice.get("/api/v1/namespaces/oil-dev/pods", headers=TABLE)
        assert (cells(given), given.headers["x-larder-source"]) == (["fresh"], "upstream")
        given = await alice.get("/api/v1/pods", headers=KUBECTL)
        assert (cells(given), given.headers["x-larder-source"]) == (["web-0 of 900", "web-1 of 901"], "cache")
        first = await alice.get("/api/v1/pods?limit=1", headers=KUBECTL)
        token = first.json()["metadata"]["continue"]
        rest = await alice.get("/api/v1/pods", params={"limit": 1, "continue": token}, headers=KUBECTL)
        assert (cells(first), cells(rest)) == (["web-0 of 900"], ["web-1 of 901"])
        async with alice.stream("GET", "/api/v1/pods?watch=1&resourceVersion=1000", headers=KUBECTL) as watch:
            lines = watch.aiter_lines()
            await stored.put(PODS, pod("web-0", "oil-dev", stored.position + 1))
            event = json.loads(await anext(lines))
            assert event["object"]["rows"][0]["cells"] == [f"web-0 of {stored.position}"]
            assert event["object"]["columnDefinitions"][0]["name"] == "Name"


async def test_kept_rows_while_upstream_is_away(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """Where upstream cannot be reached, those that it would answer get the kept rows, too."""
    await load(stored)
    await stored.describe(PODS_, KEPT)
    server = await start()
    async with client(server, "bob-token") as bob:
        assert (await bob.get("/api/v1/pods")).status_code == 200  # who bob is, is known from here on
        await upstream.stop()
        given = await bob.get("/api/v1/pods", headers=TABLE)
        assert (given.status_code, given.headers["x-larder-source"]) == (200, "cache")
        assert cells(given) == ["db-0 of 902", "web-0 of 900", "web-1 of 901"]


async def test_a_table_ends_where_its_rows_become_others(stored: Stored, start: Start) -> None:
    """Watches of a Table end in order when its columns change or its rows are not right any more; others go on."""
    await load(stored)
    server = await start()
    changes = (
        TableInfo(columns=COLUMNS.replace(b"Name", b"Title"), served=True, since=stored.position),
        replace(KEPT, reason="a row differs"),
    )
    async with client(server, "bob-token") as bob, asyncio.timeout(15):
        path = "/api/v1/pods?watch=1&resourceVersion="
        for table in changes:
            position = stored.position
            async with (
                bob.stream("GET", f"{path}{position}", headers=TABLE) as printed,
                bob.stream("GET", f"{path}{position}") as plain,
            ):
                lines = plain.aiter_lines()
                await stored.describe(PODS_, table)
                assert [line async for line in printed.aiter_lines()] == []
                await stored.put(PODS, pod("web-0", "oil-dev", stored.position + 1))
                assert json.loads(await anext(lines))["type"] == "MODIFIED"


async def test_old_rows_are_not_shown_under_new_columns(stored: Stored, start: Start) -> None:
    """Versions of objects from before the columns have rows of another kind: resumes and next pages get 410."""
    await load(stored)
    server = await start()
    async with client(server, "bob-token") as bob, asyncio.timeout(15):
        first = await bob.get("/api/v1/pods?limit=1", headers=TABLE)
        token = first.json()["metadata"]["continue"]
        plain = await bob.get("/api/v1/pods?limit=1")
        await stored.put(PODS, pod("web-1", "oil-dev", stored.position + 1))
        await stored.describe(PODS_, TableInfo(columns=COLUMNS, served=True, digest="new", since=stored.position))
        while (answer := await bob.get("/api/v1/pods", params={"continue": token}, headers=TABLE)).status_code == 200:
            await asyncio.sleep(0.01)
        assert answer.status_code == 410
        token = plain.json()["metadata"]["continue"]
        assert (await bob.get("/api/v1/pods", params={"continue": token})).status_code == 200
        query = "/api/v1/pods?watch=1&timeoutSeconds=1&resourceVersion="
        event = json.loads((await bob.get(f"{query}1000", headers=TABLE)).text)
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        assert (await bob.get(f"{query}{stored.position}", headers=TABLE)).text == ""
        assert (await bob.get(f"{query}1000")).text.startswith('{"type":"MODIFIED"')


async def test_a_row_that_is_missing(stored: Stored, start: Start) -> None:
    """Where a row has not come yet a union is told to ask again, and a watch ends in order, before that object."""
    await load(stored)
    await stored.describe(PODS_, KEPT)
    server = await start()
    async with client(server, "alice-token") as alice, asyncio.timeout(15):
        async with alice.stream("GET", "/api/v1/pods?watch=1&resourceVersion=1000", headers=TABLE) as watch:
            await stored.put(PODS, pod("web-0", "oil-dev", stored.position + 1))
            await stored.put(PODS, pod("web-1", "oil-dev", stored.position + 1, row=False))
            events = [json.loads(line) async for line in watch.aiter_lines()]
        assert [event["object"]["rows"][0]["cells"] for event in events] == [["web-0 of 1001"]]
        answer = await alice.get("/api/v1/pods", headers=TABLE)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert (await alice.get("/api/v1/pods")).status_code == 200
