"""Durations of request parameters, as Go's time.ParseDuration reads them (`1m30s`, `1.5h`)."""

from __future__ import annotations

import re

from kube.strconv import MAX_INT64, quote

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3600 * 1_000_000_000,
}
_NUMBER = re.compile(r"([0-9]*)(\.?)([0-9]*)")
_UNIT = re.compile(r"[^.0-9]*")


class DurationError(ValueError):
    """Not a duration; the message is Go's, such as `time: invalid duration "x"`."""


def parse_duration(text: str) -> float:
    """Seconds.

    >>> parse_duration("1m30s"), parse_duration("-1.5s")
    (90.0, -1.5)

    Raises:
        DurationError: with Go's message.
    """
    rest = text
    negative = rest.startswith("-")
    if rest[:1] in ("-", "+"):
        rest = rest[1:]
    if rest == "0":
        return 0.0
    if not rest:
        raise DurationError(f"time: invalid duration {quote(text)}")
    nanoseconds = 0
    while rest:
        number = _NUMBER.match(rest)
        assert number is not None  # every part of the pattern is optional
        whole, _, fraction = number.groups()
        if not whole and not fraction:
            raise DurationError(f"time: invalid duration {quote(text)}")
        rest = rest[number.end() :]
        unit_match = _UNIT.match(rest)
        assert unit_match is not None
        unit = unit_match[0]
        if not unit:
            raise DurationError(f"time: missing unit in duration {quote(text)}")
        if unit not in _NANOSECONDS:
            raise DurationError(f"time: unknown unit {quote(unit)} in duration {quote(text)}")
        rest = rest[len(unit) :]
        scale = _NANOSECONDS[unit]
        if len(whole.lstrip("0")) > 19:
            raise DurationError(f"time: invalid duration {quote(text)}")
        nanoseconds += int(whole or "0") * scale
        if fraction:
            nanoseconds += int(float(f"0.{fraction[:18]}") * scale)
        if nanoseconds > MAX_INT64 + negative:
            raise DurationError(f"time: invalid duration {quote(text)}")
    return (-nanoseconds if negative else nanoseconds) / 1e9
