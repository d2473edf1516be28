"""What a real API server (1.36.2) sent to watchers: the same lines for the same requests and the same writes."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sanic import Request

from kube import paths
from kube.resources import Resource
from kube.watch_event import decode_event
from server import list_options
from server.handlers.list import item_form
from server.negotiation import negotiate
from server.request_context import RequestContext
from server.view import ResourceView
from store.entry import Entry
from tests.replay.world import cases, histories
from tests.server.recorded import VERSION, definitions, extractor, load, recorded_view, resources
from tests.server.watch.harness import KEPT, FakeStream, Running, World, settled
from tests.server.watch.serving import Connection, Served

GROUPS = ("watch", "random-watch", "watch-options", "options", "accept", "path")

_BOOKMARK_RV = re.compile(rb'"resourceVersion":"\d+"')
_AGES = (0.0, 0.5, 1.0, -0.5)
"""Seconds around the recorded instant, which is sharp to a second, at which ages must be right."""


def understood(target: str) -> paths.RequestInfo:
    """What a path with a query asks for."""
    path, _, query = target.partition("?")
    return paths.parse("GET", path, query, VERSION)


class GoldenServed(Served):
    """The handler over the recorded world; a request's `X-Case` says whose instant it is."""

    def __init__(self) -> None:
        super().__init__(World())
        self.instants: dict[str, float] = {}

    def _context(self, request: Request) -> RequestContext:
        gvr = understood(request.raw_url.decode()).gvr
        assert gvr is not None
        self.world.meta, _ = load(gvr)
        verbs = frozenset(resources()[gvr]["verbs"])
        resource = Resource(gvr, self.world.meta.kind, self.world.meta.namespaced, verbs)
        ctx = self._context_of(request, resource, custom=gvr in definitions())
        view = recorded_view(gvr, self.instants[request.headers["x-case"]])

        async def opened(_gvr: object) -> ResourceView:
            return view

        parts = {**vars(self.replica), "views": SimpleNamespace(open=opened, kept=KEPT), "clock": view.clock}
        ctx.replica = cast("Any", SimpleNamespace(**parts))
        return ctx


def is_ours(case: dict[str, Any]) -> bool:
    """Whether the case is a watch that is served from the store: not protobuf, and with columns that were recorded."""
    if case["group"] not in GROUPS or "watch" not in case["path"]:
        return False
    info = understood(case["path"])
    return (
        info.verb == "watch"
        and info.gvr in resources()
        and "token" not in case
        and "protobuf" not in str(case["headers"].get("content-type"))
        and not ("as=Table" in str(case["accept"]) and case["status"] == 200 and load(info.gvr)[0].table is None)
    )


def expected_body(case: dict[str, Any]) -> bytes:
    """The recorded answer, with what is free in it made equal."""
    return normal(case["body"].get("text", "").encode())


def normal(body: bytes) -> bytes:
    """With the RVs of bookmarks made equal."""
    lines = body.split(b"\n")
    return b"\n".join(_BOOKMARK_RV.sub(b"", line) if line.startswith(b'{"type":"BOOKMARK"') else line for line in lines)


async def ask(served: GoldenServed, case: dict[str, Any], number: str) -> tuple[int, bytes]:
    """Status and body for a case."""
    client = await Connection.open(served, limit=1 << 24)
    headers = [f"X-Case: {number}", "User-Agent: recorder/1"]
    if case["accept"] is not None:
        headers.append(f"Accept: {case['accept']}")
    head = await client.get(case["path"].replace(" ", "%20"), *headers)
    body = await (client.rest() if "chunked" in head else client.body(head))
    await client.close()
    return int(head.split()[1]), normal(body)


async def fault_of(served: GoldenServed, case: dict[str, Any]) -> str:
    """Where the answer is not the recorded one; empty if it is."""
    answered = datetime.fromisoformat(case["answered"]).timestamp()
    fault = ""
    for seconds in _AGES:
        number = str(len(served.instants))
        served.instants[number] = answered + seconds
        status, body = await ask(served, case, number)
        if (status, body) == (case["status"], expected_body(case)):
            return ""
        fault = fault or difference(case, status, body)
    return fault


def difference(case: dict[str, Any], status: int, body: bytes) -> str:
    """Where two answers part."""
    expected = expected_body(case)
    parts = (index for index, (one, other) in enumerate(zip(expected, body, strict=False)) if one != other)
    at = next(parts, min(len(expected), len(body)))
    around = slice(max(at - 150, 0), at + 150)
    return f"{case['path']} {case['accept']} {status}\nexpected {expected[around]!r}\ngot      {body[around]!r}"


def resumes_the_past(case: dict[str, Any]) -> bool:
    """From an RV before the recorded list was made: the real server still knew, our history begins with the list."""
    return bool(re.search(r"resourceVersion=1(&|$)", case["path"])) and case["status"] == 200


def moved_on(case: dict[str, Any]) -> bool:
    """A lease that the recording server itself had renewed since its world was written down."""
    return "/leases?" in case["path"]


@pytest.mark.asyncio
async def test_recorded_watches() -> None:
    """Each recorded watch of a quiet world has the recorded lines, or the recorded refusal."""
    outcomes: Counter[str] = Counter()
    faults = []
    async with GoldenServed() as served:
        limit = asyncio.Semaphore(50)

        async def check(case: dict[str, Any]) -> None:
            async with limit:
                fault = await fault_of(served, case)
                outcomes["fault" if fault else "same"] += 1
                if fault:
                    faults.append(fault)

        mine = [case for case in cases() if is_ours(case)]
        past = [case for case in mine if resumes_the_past(case)]
        await asyncio.gather(*(check(case) for case in mine if case not in past and not moved_on(case)))
    assert not faults, "\n".join(faults[:5])
    assert outcomes["same"] > 230
    assert len(past) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("number", range(len(histories())))
async def test_recorded_histories(number: int) -> None:
    """Every watcher of a recorded history sees the recorded lines of the same writes."""
    history = histories()[number]
    gvr = paths.parse("GET", history["resource"]).gvr
    assert gvr is not None
    recorded = datetime.fromisoformat(history["recorded"]).timestamp()
    async with Running(world_of(history, gvr, recorded)) as running:
        view = running.world.view
        watchers = [(seen, await start(running, seen)) for seen in history["watchers"] if seen["status"] == 200]
        for kind, record in events_of(history, gvr):
            view.apply(Entry(record.rv, view.position, 0, kind, record, None, "-"), "-")
            await settled(3)
        await settled()
        for seen, stream in watchers:
            lines = [line.encode() for line in seen["lines"]]
            got = bytes(stream.data).splitlines()
            assert bool(got) == bool(lines)
            assert got[:1] == [] or has_columns(got[0]) == has_columns(lines[0])
            assert not any(has_columns(line) for line in got[1:])
            assert [comparable(line) for line in got] == [comparable(line) for line in lines], seen["path"]


_COLUMNS = re.compile(rb'"columnDefinitions":(null|\[.*?\]),"rows":')


def has_columns(line: bytes) -> bool:
    """Whether an event shows a Table's columns."""
    found = _COLUMNS.search(line)
    return found is not None and found[1] != b"null"


_AGE = re.compile(rb'"\d+(s|m\d*s?)"')


def comparable(line: bytes) -> bytes:
    """An event without what is free in a Table: ages, which are of the moment of sending, and repeated columns.

    The real server shares an encoded event among watchers, so one that got it as its first gives its columns to the
    others: how many events have them was a matter of chance.
    """
    if b'"kind":"Table"' not in line[:60]:
        return line
    return _COLUMNS.sub(b'"rows":', _AGE.sub(b'"<age>"', line))


def world_of(history: dict[str, Any], gvr: Any, now: float) -> World:
    """A world whose view has the state before the history."""
    meta, records = load(gvr, history["list"])
    world = World((), meta=meta, clock=now)
    view = recorded_view(gvr, now, history["list"])
    view.advance(int(history["start"]))
    world.view = view
    assert len(records) == view.count
    return world


async def start(running: Running, seen: dict[str, Any]) -> FakeStream:
    """A watcher as recorded, from the present position."""
    from server.watch_start import StartPlan

    path, _, query = seen["path"].partition("?")
    info = paths.parse("GET", path, query + ("&" if query else "") + "watch=1", VERSION)
    assert info.gvr is not None
    meta = running.world.meta
    resource = Resource(info.gvr, meta.kind, meta.namespaced, frozenset(("list", "watch")))
    custom = info.gvr in definitions()
    options = list_options.parse(info, info.query, VERSION, resource, custom=custom, selectable=meta.selectable)
    representation = negotiate(seen["accept"], verb="watch", custom=custom, query=info.query, version=VERSION)
    return await running.start(
        StartPlan(after=running.world.view.position),
        labels=str(options.label_selector),
        fields=str(options.field_selector),
        namespace=(info.namespace if meta.namespaced else "") or options.namespace_from_selector or "",
        form=item_form(representation, options.include_object),
    )


def events_of(history: dict[str, Any], gvr: Any) -> list[tuple[Any, Any]]:
    """The unfiltered watch's lines as kinds and records."""
    extract = extractor(gvr)
    letters = {"ADDED": "A", "MODIFIED": "M", "DELETED": "D"}
    found = []
    for line in history["raw"]:
        event, body = decode_event(line.encode())
        found.append((letters[event], extract.record(body)))
    return found
