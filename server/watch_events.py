"""What watchers see of a change: which event it is for a selector, and its line in each form.

A line is rendered once per form and framing, however many watchers get it.
"""

from __future__ import annotations

import re
from dataclasses import replace as replace_value
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec.structs import replace

from kube.version import ServerVersion
from kube.watch_event import encode_event
from server.bookmarks import bookmark_form
from server.history import Change
from server.objects import ItemForm, Shape
from server.watch_stream import Framing, frame
from store.record import pack
from tables.row import finish

if TYPE_CHECKING:
    from collections.abc import Callable

    from kube.resources import GVR
    from kube.status import StatusError
    from server.bookmarks import BookmarkForm
    from store.meta import Meta
    from store.record import Record

ObjectEvent = Literal["ADDED", "MODIFIED", "DELETED"]

_AGGREGATOR_GROUP = "apiregistration.k8s.io"
"""The aggregator makes its Tables itself, and repeats the columns in every event."""

_LATEST_MINOR = 36
"""What an upstream is taken for that has not said its version."""

_RV_KEY = b'"resourceVersion":"'
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]')


class BodyGone(Exception):
    """The bytes of an old version are not in memory: whoever needs them must read them from the store."""

    def __init__(self, record: Record) -> None:
        super().__init__(f"{record.namespace}/{record.name} at {record.rv} has no bytes here")
        self.record = record


def transition(was_selected: bool, is_selected: bool) -> ObjectEvent | None:
    """What a change is for a selector that matched the object before, and matches it after.

    >>> transition(False, True), transition(True, True), transition(True, False), transition(False, False)
    ('ADDED', 'MODIFIED', 'DELETED', None)
    """
    if is_selected:
        return "MODIFIED" if was_selected else "ADDED"
    return "DELETED" if was_selected else None


def event_of(change: Change, matches: Callable[[Record], bool]) -> ObjectEvent | None:
    """What a change is for a selector."""
    old, new = change.old, change.new
    return transition(old is not None and matches(old), new is not None and matches(new))


def departure(record: Record, rv: int) -> Change:
    """An object's leaving of a scope as of `rv`: to whoever may not see it any more it is shown as it was by then."""
    return Change(rv, 0, "M", "", record, record)


def at_resource_version(record: Record, rv: int) -> Record:
    """The object with another resourceVersion in its bytes: how upstream shows what has left a selector.

    Raises:
        BodyGone: the record's bytes are not in memory.
    """
    if not record.packed:
        raise BodyGone(record)
    body = record.body()
    start, end = record.meta
    value_start, value_end = _rv_span(body[start:end])
    text = b"%d" % rv
    changed = body[: start + value_start] + text + body[start + value_end :]
    grown = len(changed) - len(body)
    return replace(record, rv=rv, meta=(start, end + grown), size=len(changed), packed=pack(changed))


def _rv_span(metadata: bytes) -> tuple[int, int]:
    """Where the digits of the object's own resourceVersion stand in its metadata."""
    at = metadata.index(_RV_KEY)
    if metadata.find(_RV_KEY, at + 1) >= 0:
        # A label or an annotation has this name too: the right one is not inside another object.
        depth = 0
        for token in _TOKENS.finditer(metadata):
            if token[0] in b"{[":
                depth += 1
            elif token[0] in b"}]":
                depth -= 1
            elif depth == 1 and metadata.startswith(_RV_KEY, token.start()):
                at = token.start()
                break
    start = at + len(_RV_KEY)
    return start, metadata.index(b'"', start)


class _Known(NamedTuple):
    """What follows from one meta of the resource."""

    meta: Meta
    shape: Shape
    bookmark: BookmarkForm
    repeats_columns: bool


class EventWriter:
    """Writes the lines of one resource's events. `meta` gives the resource's present meta."""

    def __init__(self, gvr: GVR, meta: Callable[[], Meta], clock: Callable[[], float]) -> None:
        self._gvr = gvr
        self._meta = meta
        self._clock = clock
        self._known = self._learn(meta())

    def line(self, event: ObjectEvent, record: Record, form: ItemForm, *, first: bool) -> bytes:
        """One event. `first`: nothing was sent on the stream yet, so a Table shows its columns.

        Raises:
            Unusable: the record has no row for a Table.
        """
        item = self._now().shape.item(record, form, self._clock())
        return self.item_line(event, record.rv, item, form, first=first)

    def item_line(self, event: ObjectEvent, rv: int, item: bytes, form: ItemForm, *, first: bool) -> bytes:
        """One event about an object whose text, as in a list of this form, is there already."""
        known = self._now()
        if form.kind == "table":
            return encode_event(event, _table(known, rv, item, form, first))
        if form.kind == "object" and known.shape.type_prefix:
            return encode_event(event, b"{" + known.shape.type_prefix + item[1:])
        return encode_event(event, item)

    @property
    def shape(self) -> Shape:
        """What all objects of the resource have in common."""
        return self._now().shape

    def bookmark(self, rv: int, form: ItemForm, *, first: bool, initial_end: bool = False) -> bytes:
        """A BOOKMARK at `rv`; `initial_end`: the one that ends the initial events."""
        known = self._now()
        if form.kind == "object":
            return encode_event("BOOKMARK", known.bookmark.object(rv, initial_end))
        partial = b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/%b","metadata":%b}' % (
            form.version.encode(),
            known.bookmark.metadata(rv, initial_end),
        )
        if form.kind == "partial":
            return encode_event("BOOKMARK", partial)
        if form.include == "Object":
            shown = known.bookmark.object(rv, initial_end)
        elif form.include == "None" and not initial_end:
            shown = b"null"
        else:
            shown = partial  # at the end of the initial events also for None: else nobody could tell it
        row = self._zero_cells(known) + b',"object":' + shown + b"}"
        return encode_event("BOOKMARK", _table(known, rv, row, form, first))

    def _zero_cells(self, known: _Known) -> bytes:
        table = known.meta.table
        if table is None or table.zero_row is None:
            return b'{"cells":[""]'
        return finish(table.zero_row, self._clock())

    def _now(self) -> _Known:
        """What is known of the resource, in step with its meta."""
        meta = self._meta()
        if meta is not self._known.meta:
            self._known = self._learn(meta)
        return self._known

    def _learn(self, meta: Meta) -> _Known:
        gvr, minor = self._gvr, ServerVersion.parse(meta.version).minor if meta.version else _LATEST_MINOR
        return _Known(
            meta,
            Shape.of(gvr, meta),
            bookmark_form(gvr, meta.kind, custom=meta.custom, minor=minor),
            gvr.group == _AGGREGATOR_GROUP,
        )


def _table(known: _Known, rv: int, row: bytes, form: ItemForm, first: bool) -> bytes:
    table = known.meta.table
    columns = table.columns if table is not None and (first or known.repeats_columns) else b"null"
    return (
        b'{"kind":"Table","apiVersion":"meta.k8s.io/%b","metadata":{"resourceVersion":"%d"},'
        b'"columnDefinitions":%b,"rows":[%b]}' % (form.version.encode(), rv, columns, row)
    )


def error_line(error: StatusError) -> bytes:
    """The last line of a stream that fails: a plain Status in every form."""
    return encode_event("ERROR", error.body().rstrip(b"\n"))


class Look:
    """How events look on a connection: watchers of one look are written the same bytes. There is one of each kind."""

    __slots__ = ("form", "framing")

    def __init__(self, form: ItemForm, framing: Framing) -> None:
        """Use `look_of`: a look is looked up by its identity, thousands of times for an event."""
        self.form = form
        self.framing = framing


@cache
def look_of(form: ItemForm, framing: Framing) -> Look:
    """The look of a form in a framing; there are some dozen."""
    return Look(form, framing)


class SharedChange:
    """A change with the lines that were made of it, for all the watchers that get the same."""

    __slots__ = ("_left", "_written", "change")

    def __init__(self, change: Change) -> None:
        self.change = change
        self._left: Record | None = None
        self._written: dict[tuple[ObjectEvent, Look, bool], bytes] = {}

    def framed(self, writer: EventWriter, event: ObjectEvent, look: Look, *, columns: bool) -> bytes:
        """The event as it goes to the connection; `columns`: a Table's first.

        Raises:
            BodyGone: the object has left a selector, and its old bytes are not in memory.
            Unusable: the record has no row for a Table.
        """
        key = (event, look, columns)
        data = self._written.get(key)
        if data is None:
            line = writer.line(event, self.shown(event), look.form, first=columns)
            data = self._written[key] = frame(look.framing, line)
        return data

    def shown(self, event: ObjectEvent) -> Record:
        """The object that the event shows; at a DELETED that is no deletion, as it was before the change.

        Raises:
            BodyGone: see `framed`.
        """
        change = self.change
        if event != "DELETED" or change.new is None:
            return change.record
        # It still exists, but not for this selector: the state before, at the RV of the change.
        if self._left is None:
            assert change.old is not None, "only what was selected can leave"
            self._left = at_resource_version(change.old, change.rv)
        return self._left

    def with_old(self, old: Record) -> SharedChange:
        """The same change, where the bytes of the old version were read back."""
        return SharedChange(replace_value(self.change, old=old))
