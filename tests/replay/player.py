"""Asks a replica the recorded cases at their recorded instants, and compares each answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from kube import paths
from tests.replay import comparison
from tests.replay.stage import Stage, seconds
from tests.replay.wire import Answer, Exchange, ask

AT_ONCE = 8
"""Requests at the same time: enough to have them meet each other, few enough that none waits for long."""

BEGIN_SECONDS = 10.0
"""For the first events of a watch to come; after that the clock may be set to another instant."""

OFFSETS = (0.0, 0.75, 0.25, -0.5, -1.0, 1.0)
"""Seconds: the instant of an answer was noted without its fraction, and some time after the answer was made."""

REFUSED = 418
"""What the repeating upstream answers to whatever was forwarded to it."""


@dataclass(slots=True)
class Outcome:
    """What became of a case: `equal`, `forwarded`, or else how the answer `differs`."""

    case: dict[str, Any]
    difference: str = ""
    forwarded: bool = False

    @property
    def equal(self) -> bool:
        """Whether the answer was the recorded one."""
        return not self.difference and not self.forwarded

    def __str__(self) -> str:
        case = self.case
        what = "forwarded" if self.forwarded else self.difference
        return f"{case['group']}: {case.get('method', 'GET')} {case['path']} (Accept: {case['accept']}): {what}"


async def play(stage: Stage, cases: list[dict[str, Any]]) -> list[Outcome]:
    """The outcome of every case, in the order of the instants at which they were recorded.

    An instant is true to a second, so a case whose answer differs is asked again a little later and earlier.
    """
    outcomes: list[Outcome] = []
    for offset in OFFSETS:
        played = await _play_at(stage, cases, offset)
        outcomes += [outcome for outcome in played if outcome.equal or outcome.forwarded or offset == OFFSETS[-1]]
        cases = [outcome.case for outcome in played if not outcome.equal and not outcome.forwarded]
    return sorted(outcomes, key=lambda outcome: str(outcome.case["answered"]))


async def _play_at(stage: Stage, cases: list[dict[str, Any]], offset: float) -> list[Outcome]:
    """Ask all cases, each `offset` seconds after the instant that was noted with it."""
    by_instant: dict[float, list[dict[str, Any]]] = defaultdict(list)
    for case in cases:
        # The instant of a watch was noted at its end.
        before = 1 if "watch" in case["path"] else 0
        by_instant[seconds(case["answered"]) - before + offset].append(case)
    room = asyncio.Semaphore(AT_ONCE)
    ending: list[asyncio.Task[Outcome]] = []
    for instant, together in sorted(by_instant.items()):
        stage.replica.time.set(instant)
        players = [_Player(stage, case, room) for case in together]
        ending += [asyncio.create_task(player.run()) for player in players]
        # Watches end a second later, while the next instants are played already.
        await asyncio.gather(*(player.clock_read.wait() for player in players))
    return list(await asyncio.gather(*ending))


class _Player:
    def __init__(self, stage: Stage, case: dict[str, Any], room: asyncio.Semaphore) -> None:
        self._stage = stage
        self._case = case
        self._room = room
        self.clock_read = asyncio.Event()
        """The answer does not depend on the clock any more."""

    async def run(self) -> Outcome:
        """Ask, and compare."""
        case = self._case
        try:
            if "pages" in case:
                async with self._room:
                    return await self._pages()
            info = paths.parse("GET", case["path"].partition("?")[0].replace("%zz", ""), case["path"].partition("?")[2])
            if info.verb == "watch":
                answer = await self._watch()
            else:
                async with self._room:
                    answer = await self._ask(case["path"])
            return self._judged(case, answer, listed=info.verb == "list")
        finally:
            self.clock_read.set()

    def _judged(self, recorded: dict[str, Any], answer: Answer, *, listed: bool) -> Outcome:
        if answer.status == REFUSED:
            return Outcome(self._case, forwarded=True)
        return Outcome(self._case, comparison.difference(recorded, answer, listed=listed))

    def _headers(self) -> dict[str, str]:
        case = self._case
        headers = {"User-Agent": "recorder/1"}
        if case["accept"] is not None:
            headers["Accept"] = case["accept"]
        token = case.get("token", "admin-token")
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return headers | (case.get("request_headers") or {})

    async def _ask(self, target: str) -> Answer:
        # Whether a future RV comes after all is waited for for three seconds; no clock is in the answer.
        if "99999999999" in target or "18446744073709551615" in target:
            self.clock_read.set()
        return await ask(self._stage.url, self._case.get("method", "GET"), target, self._headers())

    async def _watch(self) -> Answer:
        wanted = self._case["body"].get("text", "").count("\n")
        async with Exchange(self._stage.url, "GET", self._case["path"], self._headers()) as exchange:
            await exchange.lines(wanted, BEGIN_SECONDS)
            self.clock_read.set()
            return await exchange.whole()

    async def _pages(self) -> Outcome:
        case, token = self._case, ""
        query = {**case["query"], "limit": str(case["limit"])}
        for page in case["pages"]:
            answer = await self._ask(f"{case['path']}?{urlencode(query)}")
            outcome = self._judged(page, answer, listed=True)
            if not outcome.equal:
                return outcome
            token = json.loads(answer.content)["metadata"].get("continue", "")
            query = {name: value for name, value in query.items() if not name.startswith("resourceVersion")}
            query["continue"] = token
        return Outcome(case, "a token that leads nowhere" if token else "")


@dataclass(slots=True)
class Tally:
    """How many cases of each group came out how, as a table."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, outcome: Outcome) -> None:
        """Count a case."""
        what = "equal" if outcome.equal else "forwarded" if outcome.forwarded else "otherwise"
        self.counts[outcome.case["group"]][what] += 1

    def __str__(self) -> str:
        """The table."""
        lines = [f"{'group':20} {'cases':>6} {'equal':>6} {'forwarded':>10} {'otherwise':>10}"]
        total: Counter[str] = Counter()
        for group, counts in [*sorted(self.counts.items()), ("all", total)]:
            lines.append(
                f"{group:20} {counts.total():6} {counts['equal']:6} {counts['forwarded']:10} {counts['otherwise']:10}"
            )
            if counts is not total:
                total.update(counts)
        return "\n".join(lines)
