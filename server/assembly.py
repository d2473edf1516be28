"""From picked objects to the bytes of an answer's items, block by block, without holding the loop.

For clients that take gzip, long answers are made of the blocks' own segments and never joined. For others items are
joined and kept up to `LARGEST_JOINED_BYTES`, and streamed above, so that a list of a whole cluster never stands in
memory at once.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.answers import Items
from server.deflate import joined, stored
from server.objects import ItemForm, Shape, row_of
from server.pause import Pause
from server.render import GZIP_ABOVE_BYTES
from server.rendering import render
from tables.row import row_order

if TYPE_CHECKING:
    from server.block import Block
    from server.deflate import Segment
    from server.rendering import Fetch, Kept
    from server.snapshot import Page
    from server.text import Text
    from store.record import Record

LARGEST_JOINED_BYTES = 4 << 20

_COMMA = stored(b",")


@dataclass(slots=True)
class Assembly:
    """The objects of one page in one form, as of `now`."""

    page: Page
    form: ItemForm
    shape: Shape
    now: float
    kept: Kept
    fetch: Fetch
    sorted_rows: bool = False

    @property
    def large(self) -> bool:
        """Whether the items are surely too long to be joined: known without rendering any."""
        return self.form.include != "None" and self._exceeds(LARGEST_JOINED_BYTES)

    @property
    def long(self) -> bool:
        """Whether the answer will probably be compressed, if its client takes that."""
        return self._exceeds(GZIP_ABOVE_BYTES)

    def _exceeds(self, limit: int) -> bool:
        size = 0
        for piece in self.page.pieces:
            weight = self._weight(piece.block)
            size += weight if piece.whole else weight * piece.mask.bit_count() // len(piece.block)
            if size > limit:
                return True
        return False

    def _weight(self, block: Block) -> int:
        """Bytes that a block takes in this form, give or take what stands around the objects."""
        if self.form.include == "None":
            return block.rows_size
        whole = self.form.kind == "object" or self.form.include == "Object"
        return block.size if whole else block.metadata_size

    async def joined(self, stamp: object) -> Items:
        """The items in one."""
        bodies: list[bytes] = []
        until = math.inf
        async for text in self.texts():
            bodies.append(text.body())
            until = min(until, text.until)
        plain = b",".join(bodies)
        return self._items(stamp, until, len(plain), plain, None)

    async def packed(self, stamp: object) -> Items:
        """The items as one segment, made of those of the blocks."""
        segments: list[Segment] = []
        until = math.inf
        async for text in self.texts():
            if segments:
                segments.append(_COMMA)
            segments.append(await text.segment())
            until = min(until, text.until)
        segment = joined(segments)
        return self._items(stamp, until, segment.length, None, segment)

    def _items(self, stamp: object, until: float, length: int, plain: bytes | None, packed: Segment | None) -> Items:
        page = self.page
        return Items(stamp, self.now, until, length, plain, packed, page.count, page.last, page.following)

    async def stream(self) -> AsyncIterator[bytes]:
        """The items bit by bit."""
        first = True
        async for text in self.texts(once=True):
            yield text.body() if first else b"," + text.body()
            first = False

    async def texts(self, *, once: bool = False) -> AsyncIterator[Text]:
        """The text of each piece in turn. `once`: to be kept only if it is asked for again.

        A list of a whole cluster would fill the memory, and push out what others ask for, for one who never comes back.
        """
        pause = Pause()
        if self.sorted_rows and self.form.kind == "table":
            records = [record for piece in self.page.pieces for record in piece.block.selected(piece.mask)]
            records.sort(key=lambda record: row_order(row_of(record)))
            if records:
                yield await self._some(records)
            return
        for piece in self.page.pieces:
            if piece.whole and (self.kept.met(piece.block, self.form) or not once):
                rendering = self.kept.rendering(piece.block, self.form)
                text = await rendering.at(self.now, piece.block, self.form, self.shape, self.fetch)
                yield text
                self.kept.weigh(rendering)
            else:
                yield await self._some(piece.block.selected(piece.mask))
            if pause.due:
                await pause()

    async def _some(self, records: Sequence[Record]) -> Text:
        """The text of objects that are no whole block."""
        if self.form.needs_body and not all(record.packed for record in records):
            records = await self.fetch(records)
        return render(records, self.form, self.shape, self.now)
