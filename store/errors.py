"""What can go wrong with the store. redis-py's exceptions stop at this package (`store.redis_errors`)."""

from __future__ import annotations


class StoreError(Exception):
    """Base of all errors of this package."""


class StoreUnavailable(StoreError):
    """Redis could not be reached, is loading, or is no longer the master; what was asked may still have happened."""


class StoreUnsuitable(StoreError):
    """Redis answers, but larder cannot run on it; the message says what to change."""


class NotSynced(StoreError):
    """The store does not hold the resource (yet, or not any more)."""


class WriteRefused(StoreError):
    """Base of the reasons for which a write did not happen.

    `applied` tells how many of the events of the same call did happen: always the first ones.
    """

    def __init__(self, message: str, applied: int = 0) -> None:
        super().__init__(message)
        self.applied = applied


class Fenced(WriteRefused):
    """Another worker holds the resource's lease now, or held it since: stop writing, acquire the lease anew."""


class PositionMismatch(WriteRefused):
    """The event does not follow the store's position: watch again from `position`, list only on 410."""

    def __init__(self, position: int, applied: int = 0) -> None:
        super().__init__(f"the store is at position {position}", applied)
        self.position = position


class StoreFull(WriteRefused):
    """Redis is out of memory. Events: although the resource's log is trimmed away; the resource was marked stale."""
