"""The time that ages are counted from: upstream's, so that a node with a wrong clock prints no `<invalid>`.

Upstream says its time in the `Date` header of every answer, in whole seconds. A difference that could
be transfer time and rounding is no difference: only more than two seconds count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache

TOLERANCE_SECONDS = 2.0
"""Up to this difference our own clock is taken: Date has whole seconds, and answers take their time."""


class Clock:
    """`now()` in Unix seconds; `offset` is what is added to our own clock, 0 within the tolerance.

    >>> clock = Clock(own=lambda: 1000.0)
    >>> clock.heard(1100.0, sent=999.9, received=1000.0)
    >>> 1100 <= clock.now() < 1102
    True
    """

    def __init__(self, fixed: float | None = None, own: Callable[[], float] = time.time) -> None:
        """`fixed`: the clock stands still at this instant, whatever it hears."""
        self._fixed = fixed
        self._own = own
        self.offset = 0.0

    def now(self) -> float:
        """Unix seconds."""
        return self._own() + self.offset if self._fixed is None else self._fixed

    def set(self, fixed: float | None) -> None:
        """Stand still at this instant, or go on (None)."""
        self._fixed = fixed

    def heard(self, date: float, sent: float, received: float) -> None:
        """Upstream's time was in [date, date + 1) some time between `sent` and `received` of our own clock."""
        lowest, highest = date - received, date + 1.0 - sent
        if lowest <= TOLERANCE_SECONDS and highest >= -TOLERANCE_SECONDS:
            self.offset = 0.0
        elif not lowest <= self.offset <= highest:
            self.offset = (lowest + highest) / 2

    def heard_header(self, date: str | None, sent: float, received: float) -> None:
        """As `heard`, for a Date header; one that is missing or malformed says nothing."""
        moment = _moment(date) if date else None
        if moment is not None:
            self.heard(moment, sent, received)


@lru_cache(maxsize=4)
def http_date(seconds: int) -> str:
    """The value of a Date header: all answers of a second have the same.

    >>> http_date(0)
    'Thu, 01 Jan 1970 00:00:00 GMT'
    """
    return formatdate(seconds, usegmt=True)


@lru_cache(maxsize=4)
def _moment(date: str) -> float | None:
    """Unix seconds of a Date header."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
