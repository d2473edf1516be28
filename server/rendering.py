"""What a block looks like in one form: made once, compressed once, kept while memory lasts.

When the clock has moved on, the rendering of a Table makes another `Text`, in which only the rows that
read otherwise are new; who still holds the old one is not disturbed.
"""

from __future__ import annotations

import math
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING

from server.objects import row_cells, row_of
from server.text import Text
from tables.row import finish, row_changes_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from server.block import Block
    from server.objects import ItemForm, Shape
    from store.record import Record

    Fetch = Callable[[Sequence[Record]], Awaitable[Sequence[Record]]]
    """Gives the records with their bodies, wherever those are."""

CLOCK_SLACK_SECONDS = 5.0
"""A text made a moment later than `now` is as good: upstream, too, looks at the clock row by row."""


class Rendering:
    """The present text of one block in one form."""

    __slots__ = ("__weakref__", "_changes", "text", "used")

    def __init__(self) -> None:
        self.text: Text | None = None
        self.used = False
        self._changes: list[float] = []

    async def at(self, now: float, block: Block, form: ItemForm, shape: Shape, fetch: Fetch) -> Text:
        """The block's text as of `now`."""
        self.used = True
        text = self.text
        if text is not None and _valid(text, now):
            return text
        if text is not None and text.tails is not None:
            self.text = self._tick(text, block.records, now)
            return self.text
        records: Sequence[Record] = block.records
        if form.needs_body and not all(record.packed for record in records):
            records = await fetch(records)
        if form.kind == "table":
            self._changes = [row_changes_at(record.row, now) if record.row else math.inf for record in records]
        self.text = render(records, form, shape, now, min(self._changes, default=math.inf))
        return self.text

    def _tick(self, text: Text, records: Sequence[Record], now: float) -> Text:
        """The text after time has passed: the rows that read otherwise anew, all others as they are."""
        if now < text.since:
            self._changes = [-math.inf] * len(records)
        heads: dict[int, bytes] = {}
        changes = list(self._changes)
        for index, (record, change) in enumerate(zip(records, changes, strict=True)):
            if change <= now and record.row is not None:
                heads[index] = row_cells(record, now)
                changes[index] = row_changes_at(record.row, now)
        self._changes = changes
        return text.ticked(heads, now, min(changes))


def _valid(text: Text, now: float) -> bool:
    """Whether it may be answered at `now`."""
    return text.since - CLOCK_SLACK_SECONDS <= now < text.until


def render(records: Sequence[Record], form: ItemForm, shape: Shape, now: float, until: float = math.nan) -> Text:
    """The text of some records that have their bodies, if the form needs them."""
    if form.kind != "table":
        return Text([shape.item(record, form, now) for record in records])
    rows = [row_of(record) for record in records]
    if math.isnan(until):
        until = min((row_changes_at(row, now) for row in rows), default=math.inf)
    heads = [finish(row, now) for row in rows]
    return Text(heads, [shape.row_object(record, form) for record in records], rows, now, until)


class Kept:
    """Bounds what all renderings of a replica take together: the least recently used are let go.

    A rendering whose block is gone leaves by itself. "Recently used" is a bit that the sweep takes away:
    a rendering found without it is dropped.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.bytes = 0
        self._sizes: OrderedDict[weakref.ref[Rendering], int] = OrderedDict()

    def met(self, block: Block, form: ItemForm) -> bool:
        """Whether the block was asked for in this form before; now it has been."""
        before = form in block.renderings
        self.rendering(block, form)
        return before

    def rendering(self, block: Block, form: ItemForm) -> Rendering:
        """The block's rendering in this form."""
        rendering = block.renderings.get(form)
        if rendering is None:
            rendering = block.renderings[form] = Rendering()
        return rendering

    def weigh(self, rendering: Rendering) -> None:
        """Note what a rendering takes now, and make room if that is too much."""
        reference = weakref.ref(rendering, self._left)
        size = rendering.text.kept_bytes if rendering.text is not None else 0
        before = self._sizes.get(reference, 0)
        if size == before:
            return
        self._sizes[reference] = size
        self.bytes += size - before
        if self.bytes > self.budget_bytes:
            self._sweep()

    def _left(self, reference: weakref.ref[Rendering]) -> None:
        self.bytes -= self._sizes.pop(reference, 0)

    def _sweep(self) -> None:
        for _ in range(2 * len(self._sizes)):
            if self.bytes <= self.budget_bytes:
                return
            reference, size = self._sizes.popitem(last=False)
            rendering = reference()
            if rendering is not None and rendering.used:
                rendering.used = False
                self._sizes[reference] = size
                continue
            self.bytes -= size
            if rendering is not None:
                rendering.text = None
