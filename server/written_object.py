"""What upstream's answer to a write says of the object: enough to know when the store has it.

JSON and protobuf are read (client-go writes built-in kinds in protobuf); other forms tell nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

_PROTOBUF_MAGIC = b"k8s\x00"


class WrittenObject(NamedTuple):
    """The object of a write's answer.

    `rv` is 0 if the answer carries none. `uid` is of the object, also where the answer is a Status about it.
    `stays`: after a DELETE, the object is still there and waits for finalizers or its grace period.
    """

    kind: str
    name: str
    uid: str
    rv: int
    stays: bool


class _Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    finalizers: tuple[str, ...] | None = None


class _Details(msgspec.Struct):
    name: str = ""
    uid: str = ""


class _Object(msgspec.Struct):
    kind: str = ""
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    details: _Details | None = None


_decoder = msgspec.json.Decoder(_Object)


def read(content_type: str, body: bytes) -> WrittenObject | None:
    """The object of an answer; None if it has none that can be read."""
    try:
        if content_type.startswith("application/json"):
            found = _decoder.decode(body)
        elif content_type.startswith("application/vnd.kubernetes.protobuf"):
            found = _from_protobuf(body)
        else:
            return None
    except (msgspec.DecodeError, ValueError, IndexError):
        return None
    return _told(found)


def _told(found: _Object) -> WrittenObject:
    if found.kind == "Status":
        details = found.details or _Details()
        return WrittenObject("Status", details.name, details.uid, 0, stays=False)
    meta = found.metadata
    # A grace period of 0 and no finalizer: the object went with this very request.
    stays = meta.deletion_timestamp is not None and bool(meta.finalizers or meta.deletion_grace_period_seconds)
    rv = int(meta.resource_version) if meta.resource_version.isdecimal() else 0
    return WrittenObject(found.kind, meta.name, meta.uid, rv, stays)


def _from_protobuf(body: bytes) -> _Object:
    """From `runtime.Unknown`: typeMeta is field 1 (kind its field 2), raw is field 2, metadata field 1 of every kind.

    Raises:
        ValueError, IndexError: it is none.
    """
    if not body.startswith(_PROTOBUF_MAGIC):
        raise ValueError("no Kubernetes protobuf")
    unknown = dict(_fields(body[len(_PROTOBUF_MAGIC) :]))
    kind = _text(dict(_fields(_bytes(unknown.get(1)))).get(2))
    raw = list(_fields(_bytes(unknown.get(2))))
    if kind == "Status":
        details = dict(_fields(_bytes(dict(raw).get(5))))
        return _Object(kind, details=_Details(_text(details.get(1)), _text(details.get(6))))
    fields = list(_fields(_bytes(dict(raw).get(1))))
    single = dict(fields)
    grace = single.get(10)
    return _Object(
        kind,
        _Metadata(
            name=_text(single.get(1)),
            uid=_text(single.get(5)),
            resource_version=_text(single.get(6)),
            deletion_timestamp="set" if 9 in single else None,
            deletion_grace_period_seconds=grace if isinstance(grace, int) else None,
            finalizers=tuple(_text(value) for number, value in fields if number == 14),
        ),
    )


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of one protobuf message: number and value, an int or the bytes of whatever it holds."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire_type == 2:
            size, at = _varint(data, at)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type}")
        if at + size > len(data):
            raise ValueError("the message is cut off")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _bytes(value: int | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else b""


def _text(value: int | bytes | None) -> str:
    return _bytes(value).decode("utf-8", "replace")
