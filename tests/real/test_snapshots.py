"""Lists of the past beside a real API server: exact versions, and pages that go on while writes do."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from kube.version import ServerVersion
from tests.real.every import every_server
from tests.real.test_watches import METADATA, TABLE, Both, _comparable, _present, both
from tests.replay.comparison import free

pytestmark = pytest.mark.real

SEED = int(os.environ.get("REAL_SEED", "36"))
WRITES = 60
QUESTIONS = 250
EXACT_SAID_SINCE = ServerVersion(1, 30)

PLACES = (
    "/api/v1/configmaps", "/api/v1/namespaces/west/configmaps", "/apis/example.com/v1/widgets",
    "/apis/example.com/v1/namespaces/east/widgets", "/api/v1/serviceaccounts",
)  # fmt: skip
FORMS = ("application/json", TABLE.format("v1"), METADATA.replace("Metadata;", "MetadataList;"))
SELECTORS = (
    "", "labelSelector=app%3Dweb", "labelSelector=app", "fieldSelector=metadata.name%3Dx1",
    "fieldSelector=metadata.namespace%3Dwest", "fieldSelector=metadata.name%21%3Dx1",
)  # fmt: skip


@pytest.mark.parametrize("assets", every_server())
@pytest.mark.asyncio
@pytest.mark.timeout(300)
async def test_the_past_is_the_same(assets: Path, tmp_path: Path) -> None:
    """Lists at versions of the past, with and without a limit; each says the version that was asked for."""
    async with both(assets, tmp_path) as pair:
        versions = [await _present(pair)] + [version for _ in range(WRITES) if (version := await pair.write())]
        chance = random.Random(SEED)
        for _ in range(QUESTIONS):
            rv = chance.choice(versions)
            how = chance.choice(
                ("resourceVersionMatch=Exact", "resourceVersionMatch=Exact&limit=2", "limit=3", "limit=1")
            )
            query = f"resourceVersion={rv}&{how}&{chance.choice(SELECTORS)}"
            target, accept = f"{chance.choice(PLACES)}?{query}", chance.choice(FORMS)
            await _same(pair, target, target, accept)


@pytest.mark.parametrize("assets", every_server())
@pytest.mark.asyncio
@pytest.mark.timeout(300)
async def test_pages_stay_in_the_state_of_the_first(assets: Path, tmp_path: Path) -> None:
    """Lists that are begun at the same instant have the same pages, whatever is written between two of them."""
    async with both(assets, tmp_path) as pair:
        for _ in range(20):
            await pair.write()
        chance = random.Random(SEED)
        for _ in range(QUESTIONS // 10):
            rv = await _settled(pair)
            # An exact version, so that both begin in the same state.
            begun = f"resourceVersion={rv}&resourceVersionMatch=Exact"
            query = f"limit={chance.choice((1, 2, 3))}&{chance.choice(SELECTORS)}"
            place, accept = chance.choice(PLACES), chance.choice(FORMS)
            targets = [f"{place}?{begun}&{query}"] * 2
            while True:
                tokens = await _same(pair, targets[0], targets[1], accept)
                await pair.write()
                if not all(tokens):
                    break
                targets = [f"{place}?{query}&continue={quote(token)}" for token in tokens]


async def _settled(pair: Both) -> str:
    """A version that both have."""
    rv = ""
    while not rv:
        rv = await pair.write()
    return rv


async def _same(pair: Both, real: str, larder: str, accept: str) -> list[str]:
    """Compare two answers, and their own versions; returns the tokens of the next pages."""
    answers = []
    for side, target in ((pair.real, real), (pair.larder, larder)):
        async with side.session.get(side.url + target, headers={"Accept": accept}) as answer:
            answers.append((answer.status, await answer.read()))
    (status, wanted), (found_status, found) = answers
    assert found_status == status, (larder, accept, found[:300])
    # One key is read as it is now, unless the version is to be exact; an old server says even then how far it is now.
    single = "/namespaces/" in larder and "metadata.name%3D" in larder
    latest = single and ("Exact" not in larder or pair.version < EXACT_SAID_SINCE)
    freed = [free(_comparable(body.strip(), first=True), listed=latest) for body in (wanted, found)]
    assert freed[1] == freed[0], (larder, accept)
    return [_metadata(body).get("continue", "") for body in (wanted, found)]


def _metadata(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body).get("metadata", {})
    return found
