"""Everything that a real API server was asked while it was recorded, asked of a replica that knows its world."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.replay.player import Tally, play
from tests.replay.reviewed import deviations
from tests.replay.stage import staged
from tests.replay.upstream import RepeatingUpstream
from tests.replay.world import cases

MOST_DEVIATIONS = 1 / 20


@pytest.mark.asyncio
async def test_every_recorded_request_is_answered_as_recorded(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Byte for byte, with status and headers; what is not is in the reviewed list, with its reason."""
    async with staged(tmp_path, RepeatingUpstream()) as stage:
        outcomes = await play(stage, cases())
    tally = Tally()
    for outcome in outcomes:
        tally.add(outcome)
    record_property("table", str(tally))
    assert len(outcomes) == len(cases())
    rows = deviations()
    unlisted = [
        outcome
        for outcome in outcomes
        if not outcome.equal
        and not any(row.matches(outcome.case) and row.forwards == outcome.forwarded for row in rows)
    ]
    assert not unlisted, "\n".join(map(str, unlisted[:20]))
    for row in rows:
        found = [outcome for outcome in outcomes if not outcome.equal and row.matches(outcome.case)]
        assert len(found) == row.count, f"{row}\nbut there are {len(found)}:\n" + "\n".join(map(str, found))


def test_the_reviewed_list_stays_short() -> None:
    """At most one recorded request in twenty is answered otherwise, and every such one has a reason."""
    rows = deviations()
    assert rows
    assert all(row.reason for row in rows)
    assert sum(row.count for row in rows) <= len(cases()) * MOST_DEVIATIONS
