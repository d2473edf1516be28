"""Writes that a real API server's watchers saw live, seen again by as many watchers of a replica."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from kube import gojson
from tests.replay.stage import Stage, staged
from tests.replay.upstream import RepeatingUpstream
from tests.replay.wire import Exchange
from tests.replay.world import histories

AGE_SLACK_SECONDS = 10
_DURATION = re.compile(r"(?:(\d+)m)?(?:(\d+)s)?")
_LONG_SECONDS = 120


@pytest.mark.asyncio
@pytest.mark.parametrize("history", histories(), ids=lambda history: history["title"])
async def test_watchers_see_what_upstreams_watchers_saw(history: dict[str, Any], tmp_path: Path) -> None:
    """Each watcher (selectors, namespaces, names, Tables, metadata) gets the recorded lines and no others."""
    upstream = RepeatingUpstream(history, progress=int(history["start"]))
    async with staged(tmp_path, upstream) as stage, AsyncExitStack() as stack:
        stage.set_clock(history["recorded"])
        exchanges = [
            await stack.enter_async_context(_watch(stage, history, watcher)) for watcher in history["watchers"]
        ]
        upstream.release()
        for exchange, watcher in zip(exchanges, history["watchers"], strict=True):
            await exchange.lines(len(watcher["lines"]))
        await stage.replica.watches.drain(5.0)
        answers = await asyncio.gather(*(exchange.whole() for exchange in exchanges))
    assert [answer.status for answer in answers] == [watcher["status"] for watcher in history["watchers"]]
    problems = [
        f"{watcher['path']} ({watcher['accept']}): line {number}: {found}, not {wanted}"
        for answer, watcher in zip(answers, history["watchers"], strict=True)
        for number, (found, wanted) in enumerate(zip_longest(answer.body.decode().splitlines(), _lines(watcher)))
        if not _same(found, wanted, first=number == 0)
    ]
    assert not problems, "\n".join(problems[:10])


def _watch(stage: Stage, history: dict[str, Any], watcher: dict[str, Any]) -> Exchange:
    """One of the watches, from where all of them began."""
    joint = "&" if "?" in watcher["path"] else "?"
    target = f"{watcher['path']}{joint}watch=true&resourceVersion={history['start']}&timeoutSeconds={_LONG_SECONDS}"
    headers = {"Accept": watcher["accept"], "Authorization": "Bearer admin-token", "User-Agent": "recorder/1"}
    return Exchange(stage.url, "GET", target, headers)


def _lines(watcher: dict[str, Any]) -> list[str]:
    return [line.rstrip("\n") for line in watcher["lines"]]


def _same(found: str | None, wanted: str | None, *, first: bool) -> bool:
    """Byte for byte; ages in cells may differ by as much as the recording took, and columns may be repeated.

    Upstream shares encoded events among watchers: one that is the first for any of them has the columns for more.
    """
    if found == wanted:
        return True
    if found is None or wanted is None or '"kind":"Table"' not in wanted or '"kind":"Table"' not in found:
        return False
    ours, theirs = json.loads(found), json.loads(wanted)
    if not first and ours["object"]["columnDefinitions"] is None:
        ours["object"]["columnDefinitions"] = theirs["object"]["columnDefinitions"]
    for row, other in zip(ours["object"]["rows"], theirs["object"]["rows"], strict=False):
        row["cells"] = [_nearest(a, b) for a, b in zip_longest(row["cells"], other["cells"])]
    return gojson.dumps(json.loads(found)) == found.encode() and gojson.dumps(ours) == wanted.encode()


def _nearest(ours: Any, theirs: Any) -> Any:
    both = _seconds(ours), _seconds(theirs)
    return theirs if None not in both and abs(both[0] - both[1]) <= AGE_SLACK_SECONDS else ours  # type: ignore[operator]


def _seconds(cell: Any) -> int | None:
    match = _DURATION.fullmatch(cell) if isinstance(cell, str) and cell else None
    return int(match[1] or 0) * 60 + int(match[2] or 0) if match else None
