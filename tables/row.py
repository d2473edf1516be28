"""A rendered Table row in which the moments that move are left open.

The informer renders a row once per object change. What depends on the clock (Age, "(5m ago)",
Duration, Last Seen) is left out as a timestamp, and the replica puts it in as it answers.
So every clock-dependent cell is `prefix + human_duration(now - t) + suffix`, inside a JSON string.
"""

from __future__ import annotations

import msgspec


class Row(msgspec.Struct, array_like=True, frozen=True):
    """`parts[0] + dur(times[0]) + parts[1] + dur(times[1]) + … + parts[-1]` is the row's wire text

    from `{"cells":[` up to and including `]` of the cells and, where the row has them,
    `,"conditions":[…]`. What follows in an answer is `,"object":` … `}`.

    `parts` are UTF-8 JSON text (Go escaping: `<`, `>`, `&` as \\u003c …), one more than `times`.
    `times` are Unix seconds (fractions allowed) of the instants that durations are counted from.

    A pod's row: parts = (b'{"cells":["web-0","1/1","Running","3 (', b' ago)","', b'","10.0.0.1",…]'),
    times = (last restart, creation).
    """

    parts: tuple[bytes, ...]
    times: tuple[float, ...] = ()
