"""A resource as upstream prints it: lists and watches of Tables whose rows carry the whole object.

So an object and its row come together, of the same version. Byte by byte the objects are those of an ordinary list or
watch. `columnDefinitions` stands in each page of a list, and in the first event of a watch alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec

from kube.client import UpstreamClient
from kube.list_watch import PAGE_OBJECTS, ListPage, list_pages, watch
from kube.resources import GVR
from kube.status import StatusError
from kube.upstream_error import UpstreamBroken

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
QUERY = {"includeObject": "Object"}


class Printed(NamedTuple):
    """An object with the JSON arrays of its row, and those of the columns that it was printed for.

    `conditions` is empty where there are none.
    """

    object: bytes
    cells: bytes
    conditions: bytes
    columns: bytes

    def decoded(self) -> dict[str, Any]:
        """The object's content."""
        content: dict[str, Any] = msgspec.json.decode(self.object)
        return content


Sent = bytes | Printed
"""An object as upstream sent it, with its row or without."""


class _Row(msgspec.Struct):
    cells: msgspec.Raw
    object: msgspec.Raw
    conditions: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    """Empty where there are none. Not Optional: in a union with None msgspec takes nothing but null."""

    def printed(self, columns: bytes) -> Printed:
        """The row's object, with the row."""
        return Printed(bytes(self.object), bytes(self.cells), bytes(self.conditions), columns)


class _Table(msgspec.Struct):
    kind: str = ""
    columns: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"), name="columnDefinitions")
    rows: list[_Row] | None = None


_TABLE_HEAD = b'{"kind":"Table","apiVersion":"meta.k8s.io/'
_decode_row = msgspec.json.Decoder(_Row).decode
_decode_table = msgspec.json.Decoder(_Table).decode


class PrintedPage(NamedTuple):
    """A page of a list; `rv` is the list's."""

    items: list[Printed]
    rv: int
    columns: bytes


SentPage = ListPage | PrintedPage
"""Objects as upstream sent them, with their rows or without."""


async def printed_pages(
    client: UpstreamClient, gvr: GVR, *, limit: int = PAGE_OBJECTS, cause: str = "list"
) -> AsyncGenerator[PrintedPage, None]:
    """As `list_pages`, with rows.

    Raises:
        StatusError: also where upstream answers with something else than a Table of whole objects.
        Expired, UpstreamError
    """
    async with aclosing(list_pages(client, gvr, limit=limit, query=QUERY, accept=TABLE, cause=cause)) as pages:
        async for page in pages:
            yield PrintedPage(_printed(page), page.rv, page.columns)


def _printed(page: ListPage) -> list[Printed]:
    if page.kind != "Table":
        raise StatusError(406, "NotAcceptable", f"it sent a {page.kind or 'document'} instead")
    try:
        items = [_decode_row(row).printed(page.columns) for row in page.items]
    except msgspec.DecodeError as error:
        raise UpstreamBroken(f"upstream's Table has another form: {error}") from error
    if any(item.object == b"null" for item in items):
        raise StatusError(406, "NotAcceptable", "its rows carry no objects")
    return items


async def printed_watch(
    client: UpstreamClient, gvr: GVR, rv: int, *, seconds: int | None = None
) -> AsyncGenerator[list[tuple[str, Sent]], None]:
    """As `watch`, with rows; a bookmark is a Table as it came. What could not be printed comes as the bare object.

    Raises:
        Expired, StatusError, UpstreamError
    """
    columns = b""
    async with aclosing(watch(client, gvr, rv, query=QUERY, accept=TABLE, seconds=seconds)) as batches:
        async for batch in batches:
            events: list[tuple[str, Sent]] = []
            for kind, body in batch:
                # API servers before 1.21 send an object that they cannot print as it is.
                table = _table(body) if body.startswith(_TABLE_HEAD) else None
                if table is not None and bytes(table.columns) != b"null":
                    columns = bytes(table.columns)
                printed = table is not None and kind != "BOOKMARK"
                events.append((kind, _only_row(table).printed(columns) if table is not None and printed else body))
            yield events


def zero_cells(bookmark: bytes) -> bytes:
    """The cells that a bookmark shows, which are those of an object without content; b"" of what is no Table."""
    table = _table(bookmark) if bookmark.startswith(_TABLE_HEAD) else None
    return bytes(table.rows[0].cells) if table is not None and table.rows else b""


def _table(body: bytes) -> _Table:
    try:
        return _decode_table(body)
    except msgspec.DecodeError as error:
        raise UpstreamBroken(f"an event of a Table has another form: {error}") from error


def _only_row(table: _Table) -> _Row:
    if not table.rows or bytes(table.rows[0].object) == b"null":
        raise StatusError(406, "NotAcceptable", "an event's Table carries no object")
    return table.rows[0]
