"""Whole watches beside a real API server: initial events, changes and bookmarks, from the first line to the end."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from kube.version import ServerVersion
from tests.real.every import every_server
from tests.real.test_watches import FORMS, PLACES, Side, _present, _quiet, both, comparable
from tests.replay.comparison import free_line

pytestmark = pytest.mark.real

SECONDS = 30
WRITES = 30
INITIAL_EVENTS_SINCE = ServerVersion(1, 30)
"""In an order that can be compared."""
STARTS = (
    "resourceVersion={}&allowWatchBookmarks=true",
    "resourceVersion={}",
    "resourceVersion={}&allowWatchBookmarks=true&labelSelector=app%3Dweb",
    "resourceVersion={}&allowWatchBookmarks=true&labelSelector=no%3Dsuch",
    "resourceVersion={}&allowWatchBookmarks=true&includeObject=None",
)
INITIAL = (
    "", "allowWatchBookmarks=true", "resourceVersion=0&allowWatchBookmarks=true", "labelSelector=app&resourceVersion=0",
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion={}&allowWatchBookmarks=true",
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0&labelSelector=app%3Dweb",
    "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
    "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion={}&allowWatchBookmarks=true",
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&includeObject=Object",
)  # fmt: skip


@pytest.mark.parametrize("assets", every_server())
@pytest.mark.asyncio
@pytest.mark.timeout(240)
async def test_whole_watches_have_the_same_lines(assets: Path, tmp_path: Path) -> None:
    """Each way to begin, in each form, at each place: the same lines until the deadline, its bookmark among them."""
    async with both(assets, tmp_path) as pair:
        for _ in range(20):
            await pair.write()
        await asyncio.sleep(1)
        start = await _present(pair)
        starts = (*STARTS, *INITIAL) if pair.version >= INITIAL_EVENTS_SINCE else STARTS
        for place, query, accept in itertools.product(PLACES, starts, FORMS):
            path = f"{place.format('')}?watch=true&timeoutSeconds={SECONDS}&{query.format(start)}"
            pair.real.watch(path, accept)
            pair.larder.watch(path, accept)
        await asyncio.sleep(1)
        await _quiet(pair)
        for _ in range(WRITES):
            await pair.write()
        await asyncio.gather(*(_ended(side) for side in (pair.real, pair.larder)))
        for key, expected in pair.real.lines.items():
            assert _told(pair.larder.lines[key]) == _told(expected), key
        bookmarks = sum(b'"BOOKMARK"' in line[:20] for lines in pair.real.lines.values() for line in lines)
        assert bookmarks > len(pair.real.lines) / 4


async def _ended(side: Side) -> None:
    async with asyncio.timeout(SECONDS * 3):
        await asyncio.gather(*side.tasks)


def _told(lines: list[bytes]) -> list[bytes]:
    """The lines without the bookmarks on the way, but for one that ends the initial events and one at the very end.

    When the others come depends on the clock, and upstream sends the last of them twice now and then.
    """
    freed = [free_line(line) for line in comparable(lines)]
    freed[-1:] = comparable([b"", *freed[-1:]])[1:]
    last = len(freed) - 1
    return [
        line
        for number, line in enumerate(freed)
        if number == last or b"initial-events-end" in line or not line.startswith(b'{"type":"BOOKMARK"')
    ]
