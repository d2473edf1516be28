"""From picked objects to the bytes of an answer's items, block by block, without holding the loop.

Up to `LARGEST_JOINED_BYTES` the items are joined and kept; longer ones are compressed from the blocks'
own segments, or streamed, so that a list of a whole cluster never stands in memory at once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.answers import Items
from server.deflate import Segment, combine, compress_off_loop
from server.objects import ItemForm, Shape, row_of
from server.pause import Pause
from server.rendering import Kept, Text, render
from tables.registry import row_order

if TYPE_CHECKING:
    from server.rendering import Fetch
    from server.snapshot import Page
    from store.record import Record

LARGEST_JOINED_BYTES = 4 << 20


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
        if self.form.include == "None":
            return False
        whole = self.form.kind == "object" or self.form.include == "Object"
        size = 0
        for piece in self.page.pieces:
            block = piece.block
            weight = block.size if whole else block.metadata_size
            size += weight if piece.whole else weight * piece.mask.bit_count() // len(block)
            if size > LARGEST_JOINED_BYTES:
                return True
        return False

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
        parts: list[bytes] = []
        crc, length, until = 0, 0, math.inf
        async for text in self.texts():
            segment = await text.segment(led=bool(parts))
            parts.append(segment.data)
            crc = combine(crc, segment.crc, segment.length)
            length += segment.length
            until = min(until, text.until)
        return self._items(stamp, until, length, None, Segment(b"".join(parts), crc, length))

    def _items(self, stamp: object, until: float, length: int, plain: bytes | None, packed: Segment | None) -> Items:
        page = self.page
        return Items(stamp, self.now, until, length, plain, packed, page.count, page.last, page.following)

    async def stream(self) -> AsyncIterator[bytes]:
        """The items bit by bit."""
        first = True
        async for text in self.texts():
            yield text.body() if first else b"," + text.body()
            first = False

    async def texts(self) -> AsyncIterator[Text]:
        """The text of each piece in turn."""
        pause = Pause()
        if self.sorted_rows and self.form.kind == "table":
            records = [record for piece in self.page.pieces for record in piece.block.selected(piece.mask)]
            records.sort(key=lambda record: row_order(row_of(record)))
            if records:
                yield await self._some(records)
            return
        for piece in self.page.pieces:
            if piece.whole:
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


async def compress_once(items: Items, assembly: Assembly) -> None:
    """Have the items as one segment, too. All who want that of the same items at the same time wait for one making.

    Raises:
        Gone: the bytes of an object are nowhere any more.
    """
    if items.packed is None:
        if items.packing is None:
            items.packing = asyncio.ensure_future(_compress(items, assembly))
        # Shielded: who gives up must not take it away from the others.
        await asyncio.shield(items.packing)


async def _compress(items: Items, assembly: Assembly) -> None:
    """From the blocks' own segments where the answer is made of whole blocks."""
    try:
        if len(assembly.page.pieces) > 1:
            packed = await assembly.packed(items.stamp)
            items.packed, items.until = packed.packed, min(items.until, packed.until)
        else:
            items.packed = await compress_off_loop(items.plain or b"")
    finally:
        items.packing = None
