"""One JSON line per request, written in batches by a task of its own: a request only appends a tuple.

Who (user, audit ID), what (method, path, verb, resource, scope) and how it went (code, source, seconds).
Never a header, so never a token; a query may hold what users typed as selectors, and is logged as it is.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TextIO

import msgspec

FLUSH_SECONDS = 0.2
"""How long a line may wait. Long enough for hundreds to share one write."""

BUFFER_LIMIT = 20_000
"""Lines waiting at most (some 8 MB); above it new ones are dropped and counted: a full disk stops no request."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """One request, in the order in which the JSON shows it."""

    time: float
    user: str
    method: str
    uri: str
    code: int
    source: str
    seconds: float
    audit_id: str
    verb: str
    resource: str
    scope: str
    client: str
    message: str = "request"


class AccessLog:
    """Collects lines and writes them."""

    def __init__(self, dropped: Callable[[], object], stream: TextIO | None = None) -> None:
        self._lines: list[Line] = []
        self._dropped = dropped
        self._stream = stream
        self._encoder = msgspec.json.Encoder()

    def add(self, line: Line) -> None:
        """Note a request; returns at once."""
        if len(self._lines) >= BUFFER_LIMIT:
            self._dropped()
            return
        self._lines.append(line)

    async def write(self) -> None:
        """Write what is collected, for ever; what is left is written at the end."""
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                if self._lines:
                    lines, self._lines = self._lines, []
                    await asyncio.to_thread(self._write, lines)
        finally:
            self._write(self._lines)
            self._lines = []

    def _write(self, lines: list[Line]) -> None:
        if not lines:
            return
        text = self._encoder.encode_lines(lines)
        stream = self._stream or sys.stdout
        stream.write(text.decode())
        stream.flush()
