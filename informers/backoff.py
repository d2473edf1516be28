"""How long to wait before trying again: longer each time, with jitter, so that many do not come back at once."""

from __future__ import annotations

import random


class Backoff:
    """Pauses of `first` seconds, doubling up to `longest`, each up to half as long again.

    >>> backoff = Backoff(first=1.0, longest=3.0, jitter=0.0)
    >>> backoff.next(), backoff.next(), backoff.next()
    (1.0, 2.0, 3.0)
    """

    def __init__(self, *, first: float = 0.5, longest: float = 30.0, jitter: float = 0.5) -> None:
        self._first = first
        self._longest = longest
        self._jitter = jitter
        self._pause = first

    def next(self) -> float:
        """Seconds to wait now."""
        pause = self._pause
        self._pause = min(self._longest, pause * 2)
        return pause * (1 + random.random() * self._jitter)  # noqa: S311 (spreads load, keeps no secret)

    def reset(self) -> None:
        """It worked: the next pause is the first again."""
        self._pause = self._first
