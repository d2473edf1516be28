"""The protobuf form of a Status, for clients that accept nothing else: a magic and a runtime.Unknown.

Field numbers are those of apimachinery's generated.proto. Go's generated code writes every string field,
also an empty one, and so do we.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MAGIC = b"k8s\x00"


def encode_status(status: Mapping[str, Any]) -> bytes:
    """The body for a Status given as its JSON object."""
    metadata = status.get("metadata") or {}
    list_meta = _text(1, "") + _text(2, "") + _text(3, metadata.get("continue", ""))
    raw = _bytes(1, list_meta)
    raw += _text(2, status.get("status", "")) + _text(3, status.get("message", "")) + _text(4, status.get("reason", ""))
    if (details := status.get("details")) is not None:
        raw += _bytes(5, _details(details))
    raw += _number(6, status.get("code", 0))
    type_meta = _text(1, status.get("apiVersion", "v1")) + _text(2, status.get("kind", "Status"))
    return _MAGIC + _bytes(1, type_meta) + _bytes(2, raw) + _text(3, "") + _text(4, "")


def _details(details: Mapping[str, Any]) -> bytes:
    encoded = _text(1, details.get("name", "")) + _text(2, details.get("group", "")) + _text(3, details.get("kind", ""))
    for cause in details.get("causes", ()):
        members = (
            _text(1, cause.get("reason", "")) + _text(2, cause.get("message", "")) + _text(3, cause.get("field", ""))
        )
        encoded += _bytes(4, members)
    return encoded + _number(5, details.get("retryAfterSeconds", 0)) + _text(6, details.get("uid", ""))


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value & 0xFFFFFFFFFFFFFFFF)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode("utf-8", "replace"))
