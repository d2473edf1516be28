"""Stored bytes → the bodies of answers and the objects of watch events, in each form.

Tables are printed by our own printers: good to look at, and no evidence of what upstream would print.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from kube import gojson
from kube.version import ServerVersion
from sandbox import objects
from sandbox.catalogue import VERSION, Served
from sandbox.negotiation import Form, Kind
from sandbox.storage import Item
from tables.columns import Columns
from tables.kinds import default
from tables.printer import Printer
from tables.registry import crd_columns, crd_printer, declared_columns, default_printer, printer_for
from tables.row import finish

SERVER_VERSION = ServerVersion.parse(VERSION)

_NULL_COLUMNS = b"null"


class _HasMetadata(msgspec.Struct):
    metadata: msgspec.Raw


_metadata_of = msgspec.json.Decoder(_HasMetadata).decode
_decode = msgspec.json.Decoder().decode


def one(served: Served, item: Item, form: Form, now: float) -> bytes:
    """The body of a get."""
    if form.kind is Kind.TABLE:
        metadata = b'{"resourceVersion":"%d"}' % item.rv
        return table(served, [item], form, now, metadata) + b"\n"
    return alone(served, item, form) + b"\n"


def alone(served: Served, item: Item, form: Form) -> bytes:
    """An object outside of a list, whole or its metadata."""
    if form.kind is Kind.METADATA:
        return _metadata_object(item, form)
    return objects.whole(served, item)


def listed(
    served: Served, items: Sequence[Item], form: Form, now: float, *, rv: int, token: str = "", remaining: int = 0
) -> bytes:
    """The body of a list. `token` and `remaining` are those of the next page, if there is one."""
    metadata = _list_metadata(rv, token, remaining, custom=served.custom and form.kind is Kind.OBJECT)
    if form.kind is Kind.TABLE:
        return table(served, items, form, now, metadata) + b"\n"
    if form.kind is Kind.METADATA:
        joined = b",".join(_metadata_object(item, form) for item in items)
        array = b"[" + joined + b"]" if items else b"null"
        version = form.version.encode()
        return (b'{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/%s","metadata":%s,"items":%s}\n') % (
            version,
            metadata,
            array,
        )
    array = b",".join(item.body for item in items)
    kind, api_version = served.list_kind.encode(), served.gvr.api_version.encode()
    if served.custom:
        return b'{"apiVersion":"%s","items":[%s],"kind":"%s","metadata":%s}\n' % (api_version, array, kind, metadata)
    return b'{"kind":"%s","apiVersion":"%s","metadata":%s,"items":[%s]}\n' % (kind, api_version, metadata, array)


def table(
    served: Served, items: Sequence[Item], form: Form, now: float, metadata: bytes, *, columns: bool = True
) -> bytes:
    """A Table; in a watch only the first has its columns."""
    definitions, printer = printing(served)
    rows = b",".join(_row(served, item, form, printer, now) for item in items)
    array = b"null" if not items and printer.null_rows else b"[" + rows + b"]"
    return b'{"kind":"Table","apiVersion":"meta.k8s.io/%s","metadata":%s,"columnDefinitions":%s,"rows":%s}' % (
        form.version.encode(),
        metadata,
        definitions.encode() if columns else _NULL_COLUMNS,
        array,
    )


def event_object(served: Served, item: Item, form: Form, now: float, *, first: bool) -> bytes:
    """The object of a watch event."""
    if form.kind is Kind.TABLE:
        return table(served, [item], form, now, b'{"resourceVersion":"%d"}' % item.rv, columns=first)
    return alone(served, item, form)


def bookmark(served: Served, rv: int, form: Form, now: float, *, first: bool, initial_end: bool = False) -> bytes:
    """The object of a BOOKMARK: nothing but kind and resourceVersion, and the mark at the end of initial events."""
    metadata: dict[str, Any] = {"resourceVersion": str(rv)}
    if initial_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        if served.custom:
            metadata = dict(sorted(metadata.items()))
    body = b'{"metadata":%s}' % gojson.dumps(metadata)
    if served.custom:
        api_version, kind = served.gvr.api_version, served.resource.kind
        body = gojson.dumps({"apiVersion": api_version, "kind": kind, "metadata": metadata})
    elif served.resource.kind == "Pod":
        body = body[:-1] + b',"spec":{"containers":null},"status":{}}'
    empty = Item("", "", "", "", rv, {}, body)
    return event_object(served, empty, form, now, first=first)


def printing(served: Served) -> tuple[Columns, Printer]:
    """The columns and the printer of a resource; Name and Created At where we know none."""
    return _printing(served.gvr, served.resource.kind, gojson.dumps(served.columns) if served.custom else None)


@lru_cache(maxsize=256)
def _printing(gvr: Any, kind: str, custom_columns: bytes | None) -> tuple[Columns, Printer]:
    if custom_columns is not None:
        declared = _decode(custom_columns)
        return crd_columns(declared), crd_printer(declared)
    columns = declared_columns(gvr, SERVER_VERSION)
    printer = printer_for(gvr, kind, columns, SERVER_VERSION) if columns is not None else None
    if columns is None or printer is None:
        return Columns(tuple(column.definition() for column in default.COLUMNS)), default_printer()
    return columns, printer


def _row(served: Served, item: Item, form: Form, printer: Printer, now: float) -> bytes:
    row = finish(printer.row(_decode(item.body)), now)
    if form.include == "None":
        shown = b"null"
    elif form.include == "Object":
        shown = objects.whole(served, item)
    else:
        shown = _metadata_object(item, form)
    return row + b',"object":' + shown + b"}"


def _metadata_object(item: Item, form: Form) -> bytes:
    metadata = bytes(_metadata_of(item.body).metadata)
    return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/%s","metadata":%s}' % (
        form.version.encode(),
        metadata,
    )


def _list_metadata(rv: int, token: str, remaining: int, *, custom: bool) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(rv)}
    if token:
        metadata["continue"] = token
        if remaining:
            metadata["remainingItemCount"] = remaining
    elif custom:
        metadata["continue"] = ""
    return gojson.dumps(dict(sorted(metadata.items())) if custom else metadata)
