"""Instants and the short durations that Tables print: "5d", "3m12s", "<unknown>".

The text depends on whole seconds alone, and within a unit on fewer still, so every possible text is
made once. Source: apimachinery util/duration HumanDuration; Go's time.Parse(time.RFC3339).
"""

from __future__ import annotations

import math
import re

ZERO_INSTANT = -62135596800.0
"""Unix seconds of Go's zero time, the year 1: printed as an absent one."""

_SATURATED = 9223372036
"""Seconds of Go's longest duration: longer spans are cut to it."""

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400
_INVALID = "<invalid>"


def _text(seconds: int) -> str:
    """What `seconds` ≥ 0 print as."""
    if seconds < 2 * _MINUTE:
        return f"{seconds}s"
    if seconds < 10 * _MINUTE:
        return _two(seconds // _MINUTE, "m", seconds % _MINUTE, "s")
    if seconds < 3 * _HOUR:
        return f"{seconds // _MINUTE}m"
    if seconds < 8 * _HOUR:
        return _two(seconds // _HOUR, "h", seconds // _MINUTE % 60, "m")
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR}h"
    if seconds < 8 * _DAY:
        return _two(seconds // _DAY, "d", seconds // _HOUR % 24, "h")
    if seconds < 2 * _YEAR:
        return f"{seconds // _DAY}d"
    if seconds < 8 * _YEAR:
        return _two(seconds // _YEAR, "y", seconds // _DAY % 365, "d")
    return f"{seconds // _YEAR}y"


def _two(major: int, major_unit: str, minor: int, minor_unit: str) -> str:
    return f"{major}{major_unit}{minor}{minor_unit}" if minor else f"{major}{major_unit}"


# One text for each step, some 4,400 in all: looking one up is three times as fast as making it.
_BY_SECOND = [_text(s) for s in range(10 * _MINUTE)]
_BY_MINUTE = [_text(m * _MINUTE) for m in range(8 * 60)]
_BY_HOUR = [_text(h * _HOUR) for h in range(8 * 24)]
_BY_DAY = [_text(d * _DAY) for d in range(8 * 365)]
_BY_YEAR = [_text(y * _YEAR) for y in range(_SATURATED // _YEAR + 1)]


def human_duration(seconds: float) -> str:
    """The text of a span: truncated, never rounded.

    >>> [human_duration(s) for s in (-2, -1.9, 119.9, 120, 125, 11000, 700000, 2e8)]
    ['<invalid>', '0s', '119s', '2m', '2m5s', '3h3m', '8d', '6y124d']
    """
    if seconds >= _SATURATED:
        return _BY_YEAR[-1]
    if seconds <= -2:
        return _INVALID
    whole = int(seconds)
    if whole < 10 * _MINUTE:
        return _BY_SECOND[whole] if whole > 0 else "0s"
    if whole < 8 * _HOUR:
        return _BY_MINUTE[whole // _MINUTE]
    if whole < 8 * _DAY:
        return _BY_HOUR[whole // _HOUR]
    if whole < 8 * _YEAR:
        return _BY_DAY[whole // _DAY]
    return _BY_YEAR[whole // _YEAR]


def next_change(t: float, now: float) -> float:
    """The instant after `now` from which `human_duration(instant - t)` reads otherwise.

    Never later than the true change. Infinite once the text can change no more.

    >>> next_change(1000.0, 1130.5), next_change(0.0, 700 * 86400.0 + 5) == 701 * 86400
    (1131.0, True)
    """
    seconds = now - t
    if seconds >= _SATURATED // _YEAR * _YEAR:
        return math.inf
    if seconds <= -2:
        return max(t - 2, math.nextafter(now, math.inf))
    change = t + (bound := _next_bound(int(seconds)))
    # The sum may have been rounded past an instant at which the text has changed already.
    while (earlier := math.nextafter(change, -math.inf)) > now and earlier - t >= bound:
        change = earlier
    return max(change, math.nextafter(now, math.inf))


def _next_bound(whole: int) -> int:
    """The seconds at which the text of `whole` seconds gives way to the next."""
    if whole < 10 * _MINUTE:
        return whole + 1 if whole > 0 else 1
    if whole < 8 * _HOUR:
        return (whole // _MINUTE + 1) * _MINUTE
    if whole < 8 * _DAY:
        return (whole // _HOUR + 1) * _HOUR
    if whole < 8 * _YEAR:
        return (whole // _DAY + 1) * _DAY
    return (whole // _YEAR + 1) * _YEAR


_RFC3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})T(\d{1,2}):(\d{2}):(\d{2})(?:[.,](\d+))?(?:Z|([+-])(\d{2}):(\d{2}))", re.ASCII
)
_DAYS_IN_MONTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def instant(text: str) -> float | None:
    """Unix seconds of an RFC 3339 text as Go's time.Parse takes it; None where Go refuses it.

    >>> instant("2026-11-22T10:48:11Z"), instant("1970-01-01T01:00:00.5+01:00"), instant("2026-02-30T00:00:00Z")
    (1795344491.0, 0.5, None)
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
    if not 1 <= month <= 12 or hour > 23 or minute > 59 or second > 59:
        return None
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= day <= _DAYS_IN_MONTH[month - 1] + (month == 2 and leap):
        return None
    seconds: float = _days(year, month, day) * _DAY + hour * _HOUR + minute * _MINUTE + second
    fraction, sign, offset_hours, offset_minutes = match.group(7, 8, 9, 10)
    if sign:
        if int(offset_hours) > 24 or int(offset_minutes) > 60:
            return None
        offset = int(offset_hours) * _HOUR + int(offset_minutes) * _MINUTE
        seconds += offset if sign == "-" else -offset
    if fraction:
        seconds += int(fraction[:9]) / 10 ** len(fraction[:9])
    return float(seconds)


def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 in the proleptic Gregorian calendar (datetime has no year 0)."""
    if month <= 2:
        year, month = year - 1, month + 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719469
