"""What scripts that write answer: `{OK, …}`, or why they did nothing."""

from __future__ import annotations

from typing import Any

from store.errors import Fenced, NotSynced, PositionMismatch, StoreError


def checked(reply: Any) -> list[Any]:
    """What a script returned after OK.

    Raises:
        Fenced, PositionMismatch, NotSynced: the script said so.
        StoreError: `reply` is that error.
    """
    if isinstance(reply, StoreError):
        raise reply
    outcome, *rest = reply
    match outcome:
        case b"OK":
            return list(rest)
        case b"FENCED":
            raise Fenced(f"the lease is held with fence {rest[0].decode() or 'none'}")
        case b"MISMATCH":
            raise PositionMismatch(int(rest[0]))
        case b"NOTSYNCED":
            raise NotSynced(f"the resource's state is {rest[0].decode() or 'unknown'}")
        case _:
            raise StoreError(f"a script answered {reply!r}")
