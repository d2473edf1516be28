from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.written_object import WrittenObject, read

JSON, PROTOBUF = "application/json", "application/vnd.kubernetes.protobuf"


def field(number: int, value: int | bytes | str) -> bytes:
    """One protobuf field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    """A protobuf varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def protobuf(kind: str, raw: bytes) -> bytes:
    """An object in the envelope of the API's protobuf."""
    return b"k8s\x00" + field(1, field(1, "v1") + field(2, kind)) + field(2, raw) + field(4, "")


def pod(**metadata: Any) -> bytes:
    """A Pod in JSON."""
    return json.dumps({"kind": "Pod", "metadata": {"name": "a", "uid": "u", **metadata}}).encode()


@pytest.mark.parametrize(
    ("body", "rv", "stays"),
    [
        (pod(resourceVersion="12"), 12, False),
        (pod(), 0, False),
        (pod(resourceVersion="12", deletionTimestamp="t", deletionGracePeriodSeconds=30), 12, True),
        (pod(resourceVersion="12", deletionTimestamp="t", deletionGracePeriodSeconds=0), 12, False),
        (pod(resourceVersion="12", deletionTimestamp="t", finalizers=["f"]), 12, True),
    ],
)
def test_objects_in_json(body: bytes, rv: int, *, stays: bool) -> None:
    """An object tells its RV, and after a delete whether it is still there."""
    assert read(JSON, body) == WrittenObject("Pod", "a", "u", rv, stays)


def test_status_of_a_delete() -> None:
    """A Status tells the uid of the object that is gone."""
    details = {"name": "a", "kind": "pods", "uid": "u"}
    body = json.dumps({"kind": "Status", "metadata": {}, "details": details}).encode()
    assert read(JSON, body) == WrittenObject("Status", "a", "u", 0, stays=False)
    raw = field(1, b"") + field(2, "Success") + field(5, field(1, "a") + field(3, "pods") + field(6, "u"))
    assert read(PROTOBUF, protobuf("Status", raw)) == WrittenObject("Status", "a", "u", 0, stays=False)


def test_objects_in_protobuf() -> None:
    """The same of protobuf, in which client-go writes built-in kinds."""
    meta = field(1, "a") + field(5, "u") + field(6, "345") + field(11, field(1, "k"))
    body = protobuf("Pod", field(1, meta) + field(2, b"\x00"))
    assert read(PROTOBUF, body) == WrittenObject("Pod", "a", "u", 345, stays=False)
    leaving = meta + field(9, field(1, 1700000000)) + field(10, 30)
    assert read(PROTOBUF, protobuf("Pod", field(1, leaving))) == WrittenObject("Pod", "a", "u", 345, stays=True)
    held = meta + field(9, field(1, 1700000000)) + field(14, "finalizer")
    assert read(PROTOBUF, protobuf("Pod", field(1, held))) == WrittenObject("Pod", "a", "u", 345, stays=True)


@given(st.binary(max_size=60), st.sampled_from((JSON, PROTOBUF, "application/yaml", "")))
def test_nonsense_tells_nothing(body: bytes, content_type: str) -> None:
    """Whatever else upstream answers is no reason to fail."""
    for prefix in (b"", b"k8s\x00"):
        found = read(content_type, prefix + body)
        assert found is None or isinstance(found, WrittenObject)
