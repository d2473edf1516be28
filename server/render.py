"""What stands around the items: lists, Tables and metadata lists as upstream writes them, and other encodings.

The list's own metadata is apart from everything else, so that the RV can be the view's present position
while all that follows is reused.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from kube import gojson, goyaml, status
from server.deflate import Gzip, Piece, Segment, compress, compress_off_loop

if TYPE_CHECKING:
    from kube.resources import GVR
    from server.objects import ItemForm
    from store.meta import Meta

GZIP_ABOVE_BYTES = 131072
"""Upstream compresses bodies that are longer than this, to the byte."""

_OFF_LOOP_BYTES = 32 * 1024
"""Bodies above are indented in a thread: some 0.3 ms of work."""


@dataclass(frozen=True, slots=True)
class ListMeta:
    """A list's own metadata. `continue_token` is "" and `remaining` None on the last page."""

    rv: int
    continue_token: str = ""
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """`head + columns + opening + items + tail` is the body. `columns` (of a Table) never changes with the list."""

    head: bytes
    columns: bytes
    opening: bytes
    tail: bytes

    @property
    def length(self) -> int:
        """Bytes without the items."""
        return len(self.head) + len(self.columns) + len(self.opening) + len(self.tail)

    def parts(self, items: bytes) -> tuple[bytes, ...]:
        """The whole answer, in parts."""
        return self.head, self.columns, self.opening, items, self.tail

    def gzip(self, items: Segment) -> list[bytes]:
        """The whole answer compressed, in parts."""
        file = Gzip()
        if self.columns:
            file.add_raw(self.head)
            file.add(_compressed(self.columns))
            file.add_raw(self.opening)
        else:
            file.add_raw(self.head + self.opening)
        file.add(items)
        file.close(self.tail)
        return file.parts


def envelope(gvr: GVR, meta: Meta, form: ItemForm, list_meta: ListMeta, *, empty: bool) -> Envelope:
    """What surrounds the items of a list in this form.

    Raises:
        ValueError: a Table of a resource whose columns are not known.
    """
    if form.kind == "object" and meta.custom:
        return _custom(gvr, meta, list_meta)
    metadata = _typed_metadata(list_meta)
    if form.kind == "object":
        head = b'{"kind":"%b","apiVersion":"%b","metadata":%b,' % (
            meta.list_kind.encode(),
            gvr.api_version.encode(),
            metadata,
        )
        return Envelope(head, b"", b'"items":[', b"]}\n")
    version = form.version.encode()
    if form.kind == "partial":
        head = b'{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/%b","metadata":%b,' % (version, metadata)
        return Envelope(head, b"", b'"items":null' if empty else b'"items":[', b"}\n" if empty else b"]}\n")
    if meta.table is None:
        raise ValueError(f"the columns of {gvr} are not known")
    head = b'{"kind":"Table","apiVersion":"meta.k8s.io/%b","metadata":%b,"columnDefinitions":' % (version, metadata)
    if empty and meta.table.null_rows:
        return Envelope(head, meta.table.columns, b',"rows":null', b"}\n")
    return Envelope(head, meta.table.columns, b',"rows":[', b"]}\n")


def single_table(meta: Meta, form: ItemForm, rv: int, row: bytes) -> bytes:
    """The Table of one object: a GET's answer. `row` is the finished row."""
    if meta.table is None:
        raise ValueError("the columns are not known")
    head = b'{"kind":"Table","apiVersion":"meta.k8s.io/%b","metadata":{"resourceVersion":"%d"}' % (
        form.version.encode(),
        rv,
    )
    return b"".join((head, b',"columnDefinitions":', meta.table.columns, b',"rows":[', row, b"]}\n"))


async def pretty(body: bytes, *, jsoniter: bool) -> bytes:
    """A JSON body indented; numbers and strings stay as they are."""
    compact = body.rstrip(b"\n")
    if len(compact) <= _OFF_LOOP_BYTES:
        return gojson.indent(compact, jsoniter=jsoniter)
    return await asyncio.to_thread(gojson.indent, compact, jsoniter=jsoniter)


async def yaml(body: bytes) -> bytes:
    """A JSON body as YAML. Always in a thread: it takes some 50 µs a line."""
    return await asyncio.to_thread(_yaml, body)


async def gzipped(body: bytes) -> bytes:
    """A whole body compressed at once, for answers that are not made of blocks."""
    file = Gzip()
    (segment,) = await compress_off_loop([Piece(body)])
    file.add(segment)
    file.close(b"")
    return b"".join(file.parts)


def _yaml(body: bytes) -> bytes:
    text = body.decode()
    if goyaml.has_control(text):
        raise status.not_yaml()
    return goyaml.dumps(json.loads(text))


def _typed_metadata(list_meta: ListMeta) -> bytes:
    parts = [b'{"resourceVersion":"%d"' % list_meta.rv]
    if list_meta.continue_token:
        parts.append(b',"continue":%b' % gojson.go_json_string(list_meta.continue_token))
    if list_meta.remaining is not None:
        parts.append(b',"remainingItemCount":%d' % list_meta.remaining)
    parts.append(b"}")
    return b"".join(parts)


def _custom(gvr: GVR, meta: Meta, list_meta: ListMeta) -> Envelope:
    """Lists of custom resources have all keys in alphabetical order, and always a `continue`."""
    remaining = b"" if list_meta.remaining is None else b'"remainingItemCount":%d,' % list_meta.remaining
    tail = b'],"kind":"%b","metadata":{"continue":%b,%b"resourceVersion":"%d"}}\n' % (
        meta.list_kind.encode(),
        gojson.go_json_string(list_meta.continue_token),
        remaining,
        list_meta.rv,
    )
    return Envelope(b'{"apiVersion":"%b",' % gvr.api_version.encode(), b"", b'"items":[', tail)


@lru_cache(maxsize=256)
def _compressed(columns: bytes) -> Segment:
    """Column definitions (some KB, always the same for a resource) compressed once."""
    return compress(columns)
