"""A rendered Table row in which the moments that move are left open.

The informer renders a row once per object change. What depends on the clock (Age, "(5m ago)",
Duration, Last Seen) is left out as a timestamp, and the replica puts it in as it answers.
So every clock-dependent cell is `prefix + human_duration(now - t) + suffix`, inside a JSON string.
"""

from __future__ import annotations

import math

import msgspec

from tables.duration import human_duration, next_change

_decode = msgspec.json.Decoder().decode


class Row(msgspec.Struct, array_like=True, frozen=True, gc=False):
    r"""`parts[0] + dur(times[0]) + parts[1] + dur(times[1]) + … + parts[-1]` is the row's wire text.

    It goes from `{"cells":[` up to and including `]` of the cells and, where the row has them,
    `,"conditions":[…]`. What follows in an answer is `,"object":` … `}`.

    `parts` are UTF-8 JSON text (Go escaping: `<`, `>`, `&` as \u003c …), one more than `times`.
    `times` are Unix seconds (fractions allowed) of the instants that durations are counted from.

    A pod's row: parts = (b'{"cells":["web-0","1/1","Running","3 (', b' ago)","', b'","10.0.0.1",…]'),
    times = (last restart, creation).
    """

    parts: tuple[bytes, ...]
    times: tuple[float, ...] = ()


def finish(row: Row, now: float) -> bytes:
    """The row's wire text as of `now`, up to and including its cells and conditions.

    >>> finish(Row((b'{"cells":["web","', b'"]'), (1000.0,)), 1090.0)
    b'{"cells":["web","90s"]'
    """
    times, parts = row.times, row.parts
    if not times:
        return parts[0]
    if len(times) == 1:
        return parts[0] + _wire(now - times[0]) + parts[1]
    pieces = [parts[0]]
    for index, t in enumerate(times, 1):
        pieces.append(_wire(now - t))
        pieces.append(parts[index])
    return b"".join(pieces)


def blanked(row: Row, text: bytes) -> bytes:
    r"""The finished text with zeros for all that moves, and what stands between such: as long, the same at any time.

    >>> blanked(Row((b'{"cells":["web","', b'"]'), (1000.0,)), b'{"cells":["web","90s"]')
    b'{"cells":["web","\x00\x00\x00"]'
    """
    if not row.times:
        return text
    begin, end = row.parts[0], row.parts[-1]
    return begin + bytes(len(text) - len(begin) - len(end)) + end


def row_changes_at(row: Row, now: float) -> float:
    """The earliest instant after `now` at which `finish` gives another text; infinite if none will."""
    return min((next_change(t, now) for t in row.times), default=math.inf)


def row_order(row: Row) -> tuple[int, str]:
    """The key by which rows are sorted where the printer says `sort_rows`.

    FlowSchemas are listed by matching precedence (their third cell), then by name.
    """
    cells = _decode(finish(row, 0.0) + b"}")["cells"]
    return cells[2], cells[0]


def _wire(seconds: float) -> bytes:
    """A duration as it stands inside a JSON string of an API server."""
    # The only text with a character that Go escapes.
    return b"\\u003cinvalid\\u003e" if seconds <= -2 else human_duration(seconds).encode()
