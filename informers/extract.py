"""From an object's bytes to its record: decoded once here, and by nobody after.

The bytes are kept as upstream sent them. Watch events of built-in kinds carry kind and apiVersion where items of
lists do not; that prefix is cut off, so that one object has one form, and readers put it back where it belongs.

Managed fields are half of many objects, and hundreds of small dicts when decoded, though nothing in a row or a selector
is about them: built-in kinds are decoded without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from kube.resources import GVR
from kube.version import ServerVersion
from store import record as records
from store.record import Record
from tables.row import Row

Print = Callable[[dict[str, Any]], Row]
Fields = Callable[[Mapping[str, Any]], dict[str, str]]


class Unreadable(ValueError):
    """Bytes that are no Kubernetes object; the message says which of its parts is missing."""


class _Envelope(msgspec.Struct):
    metadata: msgspec.Raw


class _Managed(msgspec.Struct):
    fields: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw, name="managedFields")


class _Metadata(msgspec.Struct):
    """What a record needs of it; a record that is read must not find other types than these."""

    name: str
    version: str = msgspec.field(name="resourceVersion")
    namespace: str | None = None
    uid: str | None = None
    labels: dict[str, str] | None = None


class _Named(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    version: str = msgspec.field(default="", name="resourceVersion")


class Head(msgspec.Struct):
    """What must be known of every object."""

    metadata: _Named


decode_head = msgspec.json.Decoder(Head).decode

_envelope = msgspec.json.Decoder(_Envelope)
_managed = msgspec.json.Decoder(_Managed)
_object = msgspec.json.Decoder()


class Extractor:
    """Makes the records of one resource.

    `fields` gives the selectable fields of a decoded object, `row` its Table row; where there is no printer, None.
    `failed` is told of an object whose row could not be printed: it is stored all the same, without a row.
    """

    def __init__(
        self,
        gvr: GVR,
        kind: str,
        *,
        typed: bool,
        fields: Fields,
        row: Print | None,
        failed: Callable[[str, Exception], None],
    ) -> None:
        self._prefix = type_prefix(gvr, kind) if typed else b""
        self._fields = fields
        self._row = row
        self._failed = failed

    def record(self, data: bytes, row: Print | None = None) -> Record:
        """The record of an object as a list's item or a watch event carries it; `row` prints this one.

        Raises:
            Unreadable: it is not JSON, or lacks name or resourceVersion.
        """
        if self._prefix and data.startswith(self._prefix):
            data = b"{" + data[len(self._prefix) :]
        try:
            start, end = metadata_span(data)
            # A definition's columns may show anything, so custom objects are decoded as they are.
            obj = _object.decode(_without_managed_fields(data, start, end) if self._prefix else data)
            metadata = msgspec.convert(obj["metadata"], _Metadata)
            namespace, name, version = metadata.namespace or "", metadata.name, int(metadata.version)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise Unreadable(f"no name and resourceVersion in {data[:200]!r}: {error}") from error
        return Record(
            namespace=namespace,
            name=name,
            rv=version,
            uid=metadata.uid or "",
            labels=metadata.labels or {},
            fields=self._fields(obj),
            row=self._print(row or self._row, obj, f"{namespace}/{name}"),
            meta=(start, end),
            size=len(data),
            packed=records.pack(data),
        )

    def _print(self, row: Print | None, obj: dict[str, Any], key: str) -> Row | None:
        if row is None:
            return None
        try:
            return row(obj)
        except Exception as error:  # noqa: BLE001  (a printer's fault must not keep the object from its readers)
            self._failed(key, error)
            return None


def type_prefix(gvr: GVR, kind: str) -> bytes:
    """How an object of a built-in kind begins where it stands alone: what items of lists lack.

    >>> type_prefix(GVR("", "v1", "pods"), "Pod")
    b'{"kind":"Pod","apiVersion":"v1",'
    """
    return f'{{"kind":"{kind}","apiVersion":"{gvr.api_version}",'.encode()


def metadata_span(data: bytes) -> tuple[int, int]:
    """Where the value of the top-level `metadata` stands in an object's JSON: a half-open range of bytes.

    >>> metadata_span(b'{"metadata":{"name":"a"},"data":{}}')
    (12, 24)
    """
    return _place(data, b'"metadata":', bytes(_envelope.decode(data).metadata))


def _without_managed_fields(data: bytes, start: int, end: int) -> bytes:
    """An object's JSON with no managed fields in its metadata, which stands between `start` and `end`.

    >>> _without_managed_fields(b'{"metadata":{"name":"a","managedFields":[{}]}}', 12, 45)
    b'{"metadata":{"name":"a","managedFields":[]}}'
    """
    metadata = data[start:end]
    fields = bytes(_managed.decode(metadata).fields)
    if not fields:
        return data
    begin, stop = _place(metadata, b'"managedFields":', fields)
    return data[: start + begin] + b"[]" + data[start + stop :]


def _place(text: bytes, key: bytes, value: bytes) -> tuple[int, int]:
    """Where the value of a key stands that was decoded from this text."""
    start = text.find(key) + len(key)
    if not text.startswith(value, start):
        # Another key of this name stands before it. An equal text further in front is the same bytes: any hit will do.
        start = text.find(key + value)
        start = text.index(value) if start < 0 else start + len(key)
    return start, start + len(value)


def with_version(record: Record, version: int) -> Record:
    """The same object with another resourceVersion, in its bytes too: deletions that only a list told of have none."""
    body = record.body()
    start, end = record.meta
    metadata = body[start:end]
    old, new = f'"resourceVersion":"{record.rv}"'.encode(), f'"resourceVersion":"{version}"'.encode()
    # Built-in kinds have it before the labels, others after: the outermost is the first there and the last here.
    at = metadata.find(old) if body.startswith(b'{"metadata"') else metadata.rfind(old)
    if at < 0:
        raise Unreadable(f"no {old.decode()} in the metadata of {record.namespace}/{record.name}")
    changed = metadata[:at] + new + metadata[at + len(old) :]
    body = body[:start] + changed + body[end:]
    return msgspec.structs.replace(
        record, rv=version, meta=(start, start + len(changed)), size=len(body), packed=records.pack(body)
    )


def field_reader(gvr: GVR, version: ServerVersion, selectable: tuple[str, ...] = ()) -> Fields:
    """The selectable fields of a resource's objects, as `kube.fields` has them."""
    from kube.fields import reader  # noqa: PLC0415

    return reader(gvr, version, selectable)
