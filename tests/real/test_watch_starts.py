"""Watches from anywhere in the history beside a real API server: resumed while writes go on, the same lines follow."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.real.every import every_server
from tests.real.test_watches import FORMS, PLACES, SELECTORS, _present, _quiet, both, comparable

pytestmark = pytest.mark.real

WRITES = 120
WATCHERS = 120


@pytest.mark.parametrize("assets", every_server())
@pytest.mark.asyncio
@pytest.mark.timeout(240)
async def test_watches_from_random_versions_get_the_same_lines(assets: Path, tmp_path: Path) -> None:
    """Random paths, selectors, forms and start versions: some catch up from history, some from a moment ago."""
    async with both(assets, tmp_path) as pair:
        await pair.write()
        await asyncio.sleep(1)
        starts = [await _present(pair)]
        opened = 0
        for done in range(WRITES):
            version = await pair.write()
            if version:
                starts.append(version)
            # Once a third is written, the watchers join one after the other.
            while opened < WATCHERS and opened * WRITES < (done - WRITES // 3) * WATCHERS * 2:
                path = _path(pair.chance, pair.chance.choice(starts))
                accept = pair.chance.choice(FORMS)
                if (path, accept) not in pair.real.lines:
                    pair.real.watch(path, accept)
                    pair.larder.watch(path, accept)
                opened += 1
            await asyncio.sleep(0.02)
        await _quiet(pair)
        await pair.real.end()
        await pair.larder.end()
        told = 0
        for key, expected in pair.real.lines.items():
            assert comparable(pair.larder.lines[key]) == comparable(expected), key
            told += len(expected)
        assert len(pair.real.lines) > WATCHERS // 2
        assert told > 500


def _path(chance: Any, start: str) -> str:
    place = chance.choice(PLACES).format(chance.choice(("", "namespaces/west/", "namespaces/east/")))
    selector = "" if "/x1" in place else chance.choice(SELECTORS)
    return f"{place}?watch=true&resourceVersion={start}&{selector}"
