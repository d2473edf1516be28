"""Random reads beside a real API server: whatever comes to mind is asked of both, and comes back with the same bytes.

`REAL_SEED` and `REAL_QUESTIONS` choose others than the usual ones.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from pathlib import Path

import pytest

from tests.real import asking
from tests.real.beside import Beside, beside
from tests.real.every import every_server
from tests.real.questions import Known, Question, Questioner

pytestmark = pytest.mark.real

SEED = int(os.environ.get("REAL_SEED", "36"))
QUESTIONS = int(os.environ.get("REAL_QUESTIONS", "2500"))
AT_ONCE = 8

STRANGERS = ("", "wrong")
USERS = ("carol-token", "dave-token", "html-token")
"""None of whom owns a tenant: owners see more of it than upstream shows them."""


@pytest.mark.parametrize("assets", every_server())
@pytest.mark.asyncio
@pytest.mark.timeout(900)
async def test_random_questions_have_the_same_answers(assets: Path, tmp_path: Path) -> None:
    """Paths, options, Accept headers and callers at random: status, headers and bodies are the real server's."""
    async with beside(assets, tmp_path) as both:
        questioner = Questioner(await _known(both), random.Random(SEED), STRANGERS, USERS)
        questions = [questioner.question() for _ in range(QUESTIONS)]
        room = asyncio.Semaphore(AT_ONCE)
        answered = await asyncio.gather(*(_asked(both, room, question) for question in questions))
    problems = [problem for problem, _ in answered if problem]
    from_cache = sum(cached for _, cached in answered)
    assert not problems, f"{len(problems)} of {len(questions)} differ:\n" + "\n".join(problems[:30])
    # The rest are paths without a resource, subresources, the past before the cache began, and the like.
    assert from_cache > QUESTIONS * 0.9


async def _asked(both: Beside, room: asyncio.Semaphore, question: Question) -> tuple[str, bool]:
    async with room:
        problem, answer = await asking.difference(both, question)
    return f"{question}: {problem}" if problem else "", answer.header("x-larder-source") == "cache"


async def _known(both: Beside) -> Known:
    """What the real server has now."""
    objects, namespaced, rv = {}, {}, "0"
    for gvr in both.served:
        listed = json.loads((await both.ask_real(gvr.path(), {})).body)
        objects[gvr] = [item["metadata"] for item in listed["items"]]
        namespaced[gvr] = both.replica.catalogue.resources[gvr].resource.namespaced
        rv = listed["metadata"]["resourceVersion"]
    semicolons = ("{};", "a;b&{}") if both.version.minor >= 23 else ("{}",)
    return Known(objects, namespaced, rv, semicolons)
