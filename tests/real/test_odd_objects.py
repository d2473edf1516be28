"""Objects full of odd values beside a real API server: every form of them has the same bytes."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest

from tests.real import odd_values
from tests.real.every import every_server
from tests.real.test_watches import METADATA, TABLE, Both, both
from tests.replay.comparison import free

pytestmark = pytest.mark.real

SEED = int(os.environ.get("REAL_SEED", "36"))
OBJECTS = int(os.environ.get("REAL_OBJECTS", "80"))
TRIES = 4
ENOUGH = 30
"""Differences after which no more are looked for."""

_AGE = re.compile(rb'(,"|,\n\s+"|\n\s+- )\d+m?\d*s\b')
"""In the cells of a Table, as JSON (indented too) and as YAML."""
FORMS = (
    ("", "application/json"), ("", "application/yaml"), ("pretty=1", "application/json"), ("", TABLE.format("v1")),
    ("includeObject=Object", TABLE.format("v1")), ("", "application/yaml;as=Table;v=v1;g=meta.k8s.io"),
    ("includeObject=None&pretty=1", TABLE.format("v1beta1")), ("pretty=1", METADATA), ("", METADATA),
    ("", METADATA.replace("json", "yaml")),
)  # fmt: skip


@pytest.mark.parametrize("assets", every_server())
@pytest.mark.asyncio
@pytest.mark.timeout(600)
async def test_odd_objects_have_the_same_bytes(assets: Path, tmp_path: Path) -> None:
    """JSON, indented JSON, YAML, Tables and metadata, of each object and of lists."""
    async with both(assets, tmp_path) as pair:
        chance = random.Random(SEED)
        paths = [path for number in range(OBJECTS) if (path := await _create(pair, chance, number))]
        assert len(paths) > OBJECTS / 3
        collections = sorted({path.rpartition("/")[0] for path in paths})
        await _arrived(pair, paths[-1])
        problems: list[str] = []
        for path, (query, accept) in itertools.product((*paths, *collections), FORMS):
            listed = path in collections
            form = accept.replace("Metadata;", "MetadataList;") if listed else accept
            problem = await _problem(pair, f"{path}?{query}", form, listed=listed) if len(problems) < ENOUGH else ""
            if problem:
                problems.append(f"{path}?{query} ({form}): {problem}")
    assert not problems, f"{len(problems)} differ:\n" + "\n".join(problems[:20])


async def _create(pair: Both, chance: random.Random, number: int) -> str:
    """One object, where upstream takes it; returns its path."""
    notes = {f"note-{index}": odd_values.text(chance) for index in range(chance.randint(0, 4))}
    metadata = {"name": f"odd-{number}", "annotations": notes}
    body: dict[str, Any]
    if chance.random() < 0.5:
        place = "/api/v1/namespaces/west/configmaps"
        data = {
            chance.choice(
                ("y", "no", "null", "1", "1.5", "true", ".a", "a_b", "0x1", "1e3", f"k{index}")
            ): odd_values.text(chance)
            for index in range(4)
        }
        binary = {"bin": base64.b64encode(os.urandom(chance.randint(0, 100))).decode()} if chance.random() < 0.2 else {}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data, "binaryData": binary}
    else:
        place = "/apis/example.com/v1/namespaces/west/widgets"
        spec = {odd_values.key(chance): odd_values.value(chance) for _ in range(4)}
        spec |= {"size": odd_values.value(chance), "text": odd_values.value(chance)}
        body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata, "spec": spec}
    async with pair.real.session.post(pair.real.url + place, json=body) as answer:
        assert answer.status in (201, 400, 422), await answer.text()
        return f"{place}/odd-{number}" if answer.status == 201 else ""


async def _arrived(pair: Both, path: str) -> None:
    async with asyncio.timeout(30):
        while (await _get(pair, path, "application/json", real=False))[0] != 200:
            await asyncio.sleep(0.1)


async def _problem(pair: Both, target: str, accept: str, *, listed: bool) -> str:
    problem = ""
    for _ in range(TRIES):
        real, larder = await asyncio.gather(*(_get(pair, target, accept, real=which) for which in (True, False)))
        if real[:2] != larder[:2]:
            return f"{larder[:2]}, not {real[:2]}: {larder[2][:200]!r}"
        problem = _difference(*(_free(answer[2], listed=listed) for answer in (real, larder)))
        if not problem:
            break
        await asyncio.sleep(0.3)
    return problem


def _free(body: bytes, *, listed: bool) -> bytes:
    return free(_AGE.sub(rb"\1<age>", body), listed=listed)


def _difference(wanted: bytes, found: bytes) -> str:
    at = next(
        (at for at, (a, b) in enumerate(zip(wanted, found, strict=False)) if a != b), min(len(wanted), len(found))
    )
    begin = max(at - 60, 0)
    return "" if wanted == found else f"…{found[begin : at + 80]!r}, not …{wanted[begin : at + 80]!r}"


async def _get(pair: Both, target: str, accept: str, *, real: bool) -> tuple[int, str, bytes]:
    side = pair.real if real else pair.larder
    async with side.session.get(side.url + target, headers={"Accept": accept}) as answer:
        return answer.status, answer.content_type, await answer.read()
