"""Asks both servers the same question, and says how the answers differ."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, Protocol

import yaml

from kube import paths
from kube.status import ApiError
from kube.version import ServerVersion
from tests.real.questions import Question
from tests.replay.comparison import between
from tests.replay.wire import Answer

TRIES = 8
"""A second may pass between two answers with ages, and upstream's own controllers write now and then."""

PAUSE_SECONDS = 0.3
PAGES = 60
"""Followed at most: a list of one object a page would go on for hundreds."""

SORTED_SINCE = ServerVersion(1, 30)
"""Before, initial events (before 1.27 lists too) came from upstream's watch cache in no order."""

TOLD_OF_ALL_SINCE = ServerVersion(1, 21)
"""Before, upstream's watch cache of a resource heard nothing of writes to others: it refuses, as too large, a version
that its own store has long reached."""

_CONTINUE = re.compile(rb'"continue": ?"([^"]+)"|\n  continue: (\S+)')
_COLUMNS = re.compile(rb'"columnDefinitions":(null|\[.*?\]),"rows":')
_TOO_LARGE = re.compile(rb"Too large resource version: (\d+), current")


class Both(Protocol):
    """The two servers."""

    @property
    def version(self) -> ServerVersion:
        """Of the real one."""

    async def ask(self, question: Question, target: str, *, real: bool) -> Answer:
        """One request to one of them."""

    async def reached(self, rv: int) -> bool:
        """Whether anything in the store is at this resourceVersion."""


async def difference(both: Both, question: Question) -> tuple[str, Answer]:
    """How the two answers differ, "" if they do not or soon stop doing so; and larder's (last page's) answer."""
    verb = _verb(question, both.version)
    answer = Answer()
    problem = ""
    for _ in range(TRIES):
        problem, answer = await _asked(both, question, verb)
        if not problem:
            break
        await asyncio.sleep(PAUSE_SECONDS)
    return problem, answer


async def _asked(both: Both, question: Question, verb: str) -> tuple[str, Answer]:
    targets = question.target, question.target
    for number in range(PAGES):
        real, larder = await asyncio.gather(
            both.ask(question, targets[0], real=True), both.ask(question, targets[1], real=False)
        )
        if await _behind_its_store(both, real):
            return "", larder
        if verb in ("list", "watch") and both.version < SORTED_SINCE:
            _sort(real)
            _sort(larder)
        problem = between(real.status, real.headers, real.content, larder, listed=verb == "list")
        found = [_CONTINUE.search(answer.content) for answer in (real, larder)]
        if problem or not question.pages or None in found:
            return (f"page {number}: " if question.pages and problem else "") + problem, larder
        tokens = [(match[1] or match[2]).decode() for match in found if match is not None]
        rest = "&".join(pair for pair in question.target.partition("?")[2].split("&") if "resourceVersion" not in pair)
        path = question.target.partition("?")[0]
        targets = f"{path}?{rest}&continue={tokens[0]}", f"{path}?{rest}&continue={tokens[1]}"
    return "", larder


async def _behind_its_store(both: Both, real: Answer) -> bool:
    """Whether upstream refused what larder may answer: see `TOLD_OF_ALL_SINCE`."""
    refused = _TOO_LARGE.search(real.content)
    return both.version < TOLD_OF_ALL_SINCE and refused is not None and await both.reached(int(refused[1]))


def _verb(question: Question, version: ServerVersion) -> str:
    """What upstream understands of it: `list`, `watch` …, "" for a path that it cannot read."""
    path, _, query = question.target.partition("?")
    try:
        return paths.parse(question.method, path, query, version).verb
    except ApiError:
        return ""


def _json(document: dict[str, Any]) -> bytes:
    """With a list's own RV at the end, where the comparison looks for it."""
    metadata = document.pop("metadata", {})
    if "resourceVersion" in metadata:
        metadata["resourceVersion"] = metadata.pop("resourceVersion")
    document["metadata"] = metadata
    return json.dumps(document, separators=(",", ":"), default=str).encode()


def _sort(answer: Answer) -> None:
    """Put the members of a JSON list, or the events of a watch, in an order of our own."""
    body = answer.content
    if body.startswith(b'{"type":"'):
        lines = [_COLUMNS.sub(b'"rows":', line) for line in body.splitlines(keepends=True)]
        body = b"".join(sorted(lines))
    elif body[:1] == b"{":
        document = json.loads(body)
        for members in ("items", "rows"):
            if isinstance(document.get(members), list):
                document[members].sort(key=json.dumps)
                body = _json(document)
    elif answer.header("content-type") == "application/yaml" and (b"\nitems:" in body or b"\nrows:" in body):
        document = yaml.load(body, yaml.CSafeLoader)
        for members in ("items", "rows"):
            if isinstance(document.get(members), list):
                document[members].sort(key=lambda member: json.dumps(member, default=str))
        body = _json(document)
    else:
        return
    answer.headers.pop("content-encoding", None)
    answer.body = body
