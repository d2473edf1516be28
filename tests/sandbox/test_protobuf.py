"""Bodies in protobuf: the few kinds that typed clients create by hand."""

from __future__ import annotations

import pytest

from sandbox.protobuf import Unreadable, decode


def field(number: int, value: bytes | int) -> bytes:
    """One protobuf field; lengths and numbers here stay below 128."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def wrapped(kind: str, raw: bytes, api_version: str = "v1") -> bytes:
    """A message as Kubernetes sends it: magic, type, the object itself."""
    return b"k8s\x00" + field(1, field(1, api_version.encode()) + field(2, kind.encode())) + field(2, raw)


def test_a_config_map_reads_as_its_json() -> None:
    """Texts, maps of texts and of bytes come out as JSON has them."""
    entry = field(1, b"key") + field(2, b"value")
    binary = field(1, b"blob") + field(2, b"\x00\x01")
    body = wrapped("ConfigMap", field(1, field(1, b"settings")) + field(2, entry) + field(3, binary))
    assert decode(body) == {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "settings"},
        "data": {"key": "value"},
        "binaryData": {"blob": "AAE="},
    }


def test_numbers_and_repeated_fields() -> None:
    """A grace period is a number, dryRun a list; fields that are not known are passed over."""
    body = wrapped("DeleteOptions", field(1, 30) + field(5, b"All") + field(9, b"?"))
    assert decode(body) == {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 30, "dryRun": ["All"]}


@pytest.mark.parametrize("body", [b"", b"{}", b"k8s\x00\xff", wrapped("Lease", b""), wrapped("Pod", b"\x0a\x7f")])
def test_what_is_no_such_message_is_refused(body: bytes) -> None:
    """Garbage, a cut-off message and a kind that is not read here raise the one error that callers expect."""
    with pytest.raises(Unreadable):
        decode(body)
