from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tables.duration import ZERO_INSTANT, human_duration, instant, next_change

MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 365 * 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-math.inf, "<invalid>"), (-2.0, "<invalid>"), (-1.999, "0s"), (-1, "0s"), (-0.5, "0s"), (0, "0s"),
        (0.99, "0s"),
        (1, "1s"), (119.99, "119s"), (2 * MINUTE, "2m"), (2 * MINUTE + 1, "2m1s"), (10 * MINUTE - 1, "9m59s"),
        (10 * MINUTE, "10m"), (10 * MINUTE + 59, "10m"), (179 * MINUTE + 59, "179m"), (3 * HOUR, "3h"),
        (3 * HOUR + 60, "3h1m"), (8 * HOUR - 1, "7h59m"), (8 * HOUR, "8h"), (48 * HOUR - 1, "47h"), (48 * HOUR, "2d"),
        (49 * HOUR, "2d1h"), (8 * DAY - 1, "7d23h"), (8 * DAY, "8d"), (2 * YEAR - 1, "729d"), (2 * YEAR, "2y"),
        (2 * YEAR + DAY, "2y1d"), (8 * YEAR - 1, "7y364d"), (8 * YEAR, "8y"), (400 * YEAR, "292y"), (math.inf, "292y"),
    ],
)  # fmt: skip
def test_each_boundary(seconds: float, text: str) -> None:
    """Durations read as upstream's at and around every change of unit."""
    assert human_duration(seconds) == text


def _naive(seconds: float) -> str:
    """The rules as the table of units states them."""
    whole = int(min(seconds, 9223372036.0))
    if seconds <= -2:
        return "<invalid>"
    if whole < 2 * MINUTE:
        return f"{max(whole, 0)}s"
    minutes, hours = whole // MINUTE, whole // HOUR
    days = hours // 24
    pairs = [
        (whole < 10 * MINUTE, (minutes, "m", whole % 60, "s")),
        (whole < 180 * MINUTE, (minutes, "m", 0, "")),
        (whole < 8 * HOUR, (hours, "h", minutes % 60, "m")),
        (whole < 48 * HOUR, (hours, "h", 0, "")),
        (whole < 8 * DAY, (days, "d", hours % 24, "h")),
        (whole < 2 * YEAR, (days, "d", 0, "")),
        (whole < 8 * YEAR, (days // 365, "y", days % 365, "d")),
        (True, (days // 365, "y", 0, "")),
    ]
    major, unit, minor, minor_unit = next(parts for fits, parts in pairs if fits)
    return f"{major}{unit}" + (f"{minor}{minor_unit}" if minor else "")


_SPANS = st.one_of(
    st.floats(-10, 1000),
    st.floats(-1e10, 2e10),
    st.builds(
        lambda unit, count, off: unit * count + off,
        st.sampled_from((1, MINUTE, HOUR, DAY, YEAR)),
        st.integers(0, 800),
        st.floats(-1.5, 1.5),
    ),
)


@given(_SPANS)
def test_any_span_follows_the_rules(seconds: float) -> None:
    """The looked-up text is what the rules give."""
    assert human_duration(seconds) == _naive(seconds)


@given(st.floats(-1e9, 3e9), _SPANS)
@example(1_700_000_000.3, 119.5)
@example(0.1, 0.2)
def test_nothing_changes_before_next_change(t: float, span: float) -> None:
    """Up to the named instant the text stays; the instant is after now, and changes the text if it is finite."""
    now = t + span
    text = human_duration(now - t)
    change = next_change(t, now)
    assert change > now
    if change == math.inf:
        assert human_duration(now - t + 1e12) == text
        return
    before = math.nextafter(change, -math.inf)
    for moment in (before, (now + change) / 2):
        if now <= moment < change:
            assert human_duration(moment - t) == text
    after = change
    for _ in range(4):  # a text may change just after an instant that floats cannot tell from it
        if human_duration(after - t) != text:
            return
        after = max(math.nextafter(after, math.inf), t - 2 + 1e-6 if change - t <= -1.9 else after)
    assert human_duration(after + 1e-5 - t) != text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2026-11-22T10:48:11Z", 1795344491.0),
        ("2026-11-22T10:48:11.5Z", 1795344491.5),
        ("2026-11-22T10:48:11,25Z", 1795344491.25),
        ("2026-11-22T11:48:11.123456789+01:00", 1795344491.123456789),
        ("2026-11-22T1:48:11Z", 1795312091.0),
        ("2024-02-29T00:00:00-00:30", 1709166600.0),
        ("0001-01-01T00:00:00Z", ZERO_INSTANT),
        ("0000-12-31T23:00:00-01:00", ZERO_INSTANT),
    ],
)
def test_instants_that_go_reads(text: str, seconds: float) -> None:
    """RFC 3339 as Go reads it: fractions of any length, one digit for the hour, the year 0."""
    assert instant(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "2026-11-22", "2026-11-22t10:48:11Z", "2026-11-22T10:48:11z", "2026-11-22T10:48:11", "now",
        "2026-11-22T10:48:11+0530", "2026-11-22T10:48:60Z", "2026-11-22T24:00:00Z", "2026-02-30T00:00:00Z",
        "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2025-02-29T00:00:00Z",
        "2026-11-22T10:60:11Z", "2026-11-22T10:48:11+25:00", "2026-11-22T10:48:11+01:61", "2026-11-22T10:48:11.Z",
        "٢٠٢٦-11-22T10:48:11Z", "2026-11-22T10:48:11Z\n",
    ],
)  # fmt: skip
def test_instants_that_go_refuses(text: str) -> None:
    """What Go's parser calls an error is no instant."""
    assert instant(text) is None


@given(st.datetimes(timezones=st.just(UTC)))
def test_instants_agree_with_the_calendar(moment: datetime) -> None:
    """Every date of the calendar is read as Python reads it."""
    assert instant(moment.strftime("%Y").zfill(4) + moment.strftime("-%m-%dT%H:%M:%S.%fZ")) == pytest.approx(
        moment.timestamp(), abs=1e-5
    )
