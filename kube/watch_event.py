"""The frames of a JSON watch: one event per line, `{"type":"ADDED","object":{…}}`."""

from __future__ import annotations

from typing import Literal

import msgspec

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]

MAX_FRAME_BYTES = 32 * 1024 * 1024
"""Longest line that is waited for. etcd takes no object above 1.5 MB by default, and JSON can grow it
several times; far above that the stream is broken."""


class FrameTooLong(ValueError):
    """A line of a watch stream exceeds the limit: the stream cannot be trusted further."""


class FrameInvalid(ValueError):
    """A line of a watch stream is no event."""


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_decode = msgspec.json.Decoder(_Event).decode
_PREFIXES = {
    name: b'{"type":"' + name.encode() + b'","object":'
    for name in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR")
}


def encode_event(event_type: EventType, object_json: bytes) -> bytes:
    r"""One line of a watch; `object_json` is compact JSON without a newline.

    >>> encode_event("ADDED", b'{"kind":"Pod"}')
    b'{"type":"ADDED","object":{"kind":"Pod"}}\n'
    """
    return b"".join((_PREFIXES[event_type], object_json, b"}\n"))


def decode_event(line: bytes) -> tuple[str, bytes]:
    """Type and object of one line. The object is a copy: it does not keep the line's buffer alive.

    Raises:
        FrameInvalid: the line is no event.
    """
    try:
        event = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FrameInvalid(f"not a watch event: {error}: {line[:200]!r}") from None
    return event.type, bytes(event.object)


class WatchDecoder:
    """Cuts a byte stream into events, whatever the chunks.

    Each byte is looked at once: parts of an unfinished line are kept as they came and joined when its
    newline is there.
    """

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._parts: list[bytes] = []
        self._pending_bytes = 0

    @property
    def pending_bytes(self) -> int:
        """Bytes of a line whose end has not come yet; not 0 at the end of a stream that was cut off."""
        return self._pending_bytes

    def feed(self, chunk: bytes) -> list[tuple[str, bytes]]:
        """The events that this chunk completes, in order.

        Raises:
            FrameTooLong: a line exceeds the limit.
            FrameInvalid: a line is no event.
        """
        head, newline, rest = chunk.partition(b"\n")
        if not newline:
            self._keep(chunk)
            return []
        if self._parts:
            self._keep(head)
            head = b"".join(self._parts)
            self._parts.clear()
            self._pending_bytes = 0
        lines = [head]
        if rest:
            lines += rest.split(b"\n")
            self._keep(lines.pop())
        return [decode_event(line) for line in lines if self._is_event(line)]

    def _is_event(self, line: bytes) -> bool:
        if len(line) > self._max_frame_bytes:
            raise FrameTooLong(f"a watch event has more than {self._max_frame_bytes} bytes")
        return bool(line.strip())

    def _keep(self, part: bytes) -> None:
        if not part:
            return
        self._pending_bytes += len(part)
        if self._pending_bytes > self._max_frame_bytes:
            raise FrameTooLong(f"a watch event has more than {self._max_frame_bytes} bytes")
        self._parts.append(part)
