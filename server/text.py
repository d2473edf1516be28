"""The joined items or rows of a block, and how they are compressed: a Table's in units of a few rows.

When an age ticks, a few bytes of a block of 180 KB read otherwise. Only their unit is compressed anew. A unit may refer
to the rows before it in the block, as it would in one stream, or it would be much longer; but not to what moves: its
dictionary has zeros there, which no JSON text has. So it stays good when they tick, as long as they keep their length.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING

from server.deflate import WINDOW_BYTES, Piece, compress_off_loop, joined
from tables.row import blanked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from server.deflate import Segment
    from tables.row import Row

UNIT_BYTES = 20_000
"""A unit's least length, if the block has as much: four rows with the metadata of pods. Their compression takes some
0.2 ms, and all units of a block are 2 % longer than its rows compressed in one (units of two rows: 4 %)."""

_COMMA = b","


class Text:
    """The joined items or rows of some objects, true for instants in [since, until).

    The bytes are `heads[i] + tails[i]`, joined by commas; `length` of them. The heads of a Table are its finished
    `rows`; other texts have neither tails nor rows, and one unit. A text never changes: `ticked` makes another one.
    """

    __slots__ = ("_segment", "_starts", "_units", "heads", "length", "rows", "since", "tails", "until")

    def __init__(
        self,
        heads: Sequence[bytes],
        tails: Sequence[bytes] | None = None,
        rows: Sequence[Row] | None = None,
        since: float = -math.inf,
        until: float = math.inf,
    ) -> None:
        self.heads = heads
        self.tails = tails
        self.rows = rows
        self.since = since
        self.until = until
        self.length = sum(map(len, heads)) + (sum(map(len, tails)) if tails is not None else 0) + len(heads) - 1
        self._starts: Sequence[int] = ()
        """The index of each unit's first row."""
        self._units: list[Segment | None] = []
        self._segment: Segment | None = None

    def body(self) -> bytes:
        """The joined bytes."""
        return self._joined(0, len(self.heads))

    def ticked(self, heads: Mapping[int, bytes], now: float, until: float) -> Text:
        """The text after time has passed: with these heads, by their index, and all else as it is."""
        changed = list(self.heads)
        for index, head in heads.items():
            changed[index] = head
        text = Text(changed, self.tails, self.rows, now, until)
        text._starts = self._starts
        text._units = list(self._units)
        for index, head in heads.items():
            if self._units:
                self._outdate(text._units, index, same_length=len(head) == len(self.heads[index]))
        return text

    async def segment(self) -> Segment:
        """The bytes compressed."""
        if self._segment is None:
            if not self._units:
                self._starts = self._cut()
                self._units = [None] * len(self._starts)
            missing = [unit for unit, made in enumerate(self._units) if made is None]
            made = await compress_off_loop([self._piece(unit) for unit in missing])
            for unit, segment in zip(missing, made, strict=True):
                self._units[unit] = segment
            self._segment = joined([unit for unit in self._units if unit is not None])
        return self._segment

    @property
    def kept_bytes(self) -> int:
        """Memory that it takes."""
        units = sum(len(unit.data) for unit in self._units if unit is not None)
        return self.length + units + (len(self._segment.data) if self._segment is not None else 0)

    def _joined(self, begin: int, end: int) -> bytes:
        if self.tails is None:
            return _COMMA.join(self.heads[begin:end])
        return _COMMA.join(map(bytes.__add__, self.heads[begin:end], self.tails[begin:end]))

    def _cut(self) -> Sequence[int]:
        if self.rows is None or self.tails is None:
            return (0,)
        starts, size = [0], 0
        for index, (head, tail) in enumerate(zip(self.heads, self.tails, strict=True)):
            if size >= UNIT_BYTES:
                starts.append(index)
                size = 0
            size += len(head) + len(tail) + 1
        return starts

    def _piece(self, unit: int) -> Piece:
        begin, end = self._starts[unit], self._end(unit)
        if not begin:
            return Piece(self._joined(begin, end))
        assert self.rows is not None
        assert self.tails is not None
        before = slice(self._reach(begin), begin)
        heads = map(blanked, self.rows[before], self.heads[before])
        dictionary = _COMMA.join(map(bytes.__add__, heads, self.tails[before]))[-WINDOW_BYTES:]
        return Piece(_COMMA + self._joined(begin, end), dictionary)

    def _end(self, unit: int) -> int:
        """The index behind the unit's last row."""
        return self._starts[unit + 1] if unit + 1 < len(self._starts) else len(self.heads)

    def _reach(self, begin: int) -> int:
        """The first row that a unit with the first row `begin` may refer to."""
        assert self.tails is not None
        size = 0
        while begin and size < WINDOW_BYTES:
            begin -= 1
            size += len(self.heads[begin]) + len(self.tails[begin]) + 1
        return begin

    def _outdate(self, units: list[Segment | None], index: int, *, same_length: bool) -> None:
        """Take out the units that are not as they were, now that a row has another head."""
        unit = bisect_right(self._starts, index) - 1
        units[unit] = None
        if not same_length:
            for later in range(unit + 1, len(units)):
                if self._reach(self._starts[later]) <= index:
                    units[later] = None
