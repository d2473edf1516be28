"""One event as readers get it: from a shard's channel, or from its log.

On the channel: `<rv> <before> <time_ms> <kind> ` and the record's bytes.
In the log: id `<rv>-0`; t = store's time in ms, b = the position before, k = kind, r = record,
p = the object's previous record (absent for A).
"""

from __future__ import annotations

from typing import Literal, cast

import msgspec

from store import record as records
from store.record import Record

Kind = Literal["A", "M", "D", "R"]
"""Added, modified, deleted; R: the same object with other bytes or another row (a refresh: no event for anyone)."""


class Entry(msgspec.Struct, frozen=True):
    """One event.

    `rv` is the position after it and `before` the one before; of an R both are the position as it was.
    `time_ms` is the store's time. `record` of a D is the final object. `prev` comes from the log alone: the record
    that this one replaced or deleted.
    `shard` is where the entry was found. A cluster-scoped object that changed its shard stands in the new shard's
    log, and is published on both channels.
    """

    rv: int
    before: int
    time_ms: int
    type: Kind
    record: Record
    prev: Record | None
    shard: str


def parse_message(data: bytes, shard: str) -> Entry:
    """The entry that a message on a shard's channel carries.

    Raises:
        ValueError, msgspec.DecodeError: it is not one.
    """
    rv, before, time_ms, kind, record = data.split(b" ", 4)
    return Entry(int(rv), int(before), int(time_ms), cast("Kind", kind.decode()), records.decode(record), None, shard)


def parse_logged(shard: bytes, entry_id: bytes, flat: list[bytes]) -> Entry:
    """The entry of a log; `flat` are its field names and values in turn.

    Raises:
        ValueError, KeyError, msgspec.DecodeError: it is not one.
    """
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    prev = fields.get(b"p")
    return Entry(
        int(entry_id.partition(b"-")[0]),
        int(fields[b"b"]),
        int(fields[b"t"]),
        cast("Kind", fields[b"k"].decode()),
        records.decode(fields[b"r"]),
        records.decode(prev) if prev is not None else None,
        shard.decode(),
    )
