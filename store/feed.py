r"""The messages on a resource's feed: all that happens to it, without the records.

Every message is ASCII: `<what> <position> <before> <time_ms>` and, for some, ` ` and more. A reader whose last
position is not `before` has missed something and must read the log. What of an event concerns a shard was published
on the shard's channel before, in the same script. The kinds:

| what | more | meaning |
| --- | --- | --- |
| e | `<shard>` or `<shard>\t<old shard>` | an event; two shards where a cluster-scoped object changed its own |
| b | | the position advanced without an event (bookmark) |
| h | `<fresh_ms>` | heartbeat, each second: position = before; upstream was in touch at `fresh_ms` (store's time) |
| p | `<place>\t<from>\t<to>\t<moves>` | `places` changed; `from` is empty for a new place, `to` for a lost one |
| r | `<shard>\t<refreshes>` | a record was refreshed, so often by now: position = before |
| x | `<incarnation>` | state, incarnation or description changed: read the meta again |
"""

from __future__ import annotations

from typing import Literal

import msgspec

What = Literal["e", "b", "h", "p", "r", "x"]


class FeedMessage(msgspec.Struct, frozen=True):
    """One message. Fields that its kind does not have are empty or 0."""

    what: What
    position: int
    before: int
    time_ms: int
    shard: str = ""
    old_shard: str = ""
    place: str = ""
    moves: int = 0
    refreshes: int = 0
    fresh_ms: int = 0
    incarnation: str = ""


def parse(data: bytes) -> FeedMessage:
    r"""The inverse of what the scripts publish.

    >>> parse(b"e 12 11 1700000000000 oil").shard
    'oil'
    >>> moved = parse(b"p 12 12 1700000000000 team-a\tgas\toil\t7")
    >>> moved.place, moved.old_shard, moved.shard, moved.moves
    ('team-a', 'gas', 'oil', 7)

    Raises:
        ValueError: it is no message of a feed.
    """
    what, position, before, time_ms, *rest = data.decode().split(" ", 4)
    more = rest[0] if rest else ""
    at = (int(position), int(before), int(time_ms))
    if what == "e":
        shard, _, old = more.partition("\t")
        return FeedMessage("e", *at, shard=shard, old_shard=old)
    if what == "h":
        return FeedMessage("h", *at, fresh_ms=int(more))
    if what == "p":
        place, old, shard, moves = more.split("\t")
        return FeedMessage("p", *at, place=place, old_shard=old, shard=shard, moves=int(moves))
    if what == "x":
        return FeedMessage("x", *at, incarnation=more)
    if what == "r":
        shard, _, refreshes = more.partition("\t")
        return FeedMessage("r", *at, shard=shard, refreshes=int(refreshes or 0))
    if what == "b":
        return FeedMessage("b", *at, shard=more)
    raise ValueError(f"no message of a feed: {data[:80]!r}")
