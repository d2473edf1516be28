"""A few consecutive objects of one namespace: the unit in which answers are rendered, compressed and kept.

A block never changes: a write makes a new one in its place, so whoever holds a sequence of blocks
holds a snapshot, however long the answer takes. What is derived from the objects (selector masks,
renderings) is made when first asked for and dies with the block.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from server.objects import ItemForm
    from server.rendering import Rendering
    from store.record import Record

TARGET = 32
"""Objects in a fresh block: level-6 deflate of 32 pods gives 0.7 × the size of upstream's gzip."""
MOST = 64
"""Objects above which a block is cut in two."""
LEAST = 8
"""Objects below which a block joins its neighbour, if both fit in one."""
MOST_BYTES = 512 * 1024
"""JSON bytes above which a block is cut: bounds the work of one step where objects are large."""

Masks = dict[str, dict[str, int]]
"""Key → value → which of the block's objects have it, as bits."""


class Block:
    """`records` in the order of their names; `size` is their JSON's length in bytes."""

    __slots__ = ("_fields", "_labels", "_metadata_size", "_rows_size", "names", "records", "renderings", "size")

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = tuple(records)
        self.names = [record.name for record in self.records]
        self.size = sum(record.size for record in self.records)
        self.renderings: dict[ItemForm, Rendering] = {}
        self._metadata_size = -1
        self._rows_size = -1
        self._labels: Masks | None = None
        self._fields: Masks | None = None

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return f"Block({len(self.records)} from {self.names[0] if self.names else '-'!r})"

    @property
    def full(self) -> int:
        """The mask of all objects."""
        return (1 << len(self.records)) - 1

    @property
    def metadata_size(self) -> int:
        """Bytes of the objects' metadata."""
        if self._metadata_size < 0:
            self._metadata_size = sum(record.meta[1] - record.meta[0] for record in self.records)
        return self._metadata_size

    @property
    def rows_size(self) -> int:
        """Bytes of the objects' rows, without what moves in them."""
        if self._rows_size < 0:
            self._rows_size = sum(sum(map(len, record.row.parts)) for record in self.records if record.row is not None)
        return self._rows_size

    def find(self, name: str) -> int:
        """The index of the object, or -1."""
        index = bisect_left(self.names, name)
        return index if index < len(self.names) and self.names[index] == name else -1

    def selected(self, mask: int) -> list[Record]:
        """The objects whose bits are set."""
        if mask == self.full:
            return list(self.records)
        return [record for index, record in enumerate(self.records) if mask >> index & 1]

    def labels(self) -> Masks:
        """Which objects have which labels."""
        if self._labels is None:
            self._labels = _masks(self.records, lambda record: record.labels)
        return self._labels

    def fields(self) -> Masks:
        """Which objects have which selectable fields (without metadata.name and metadata.namespace)."""
        if self._fields is None:
            self._fields = _masks(self.records, lambda record: record.fields)
        return self._fields

    def where(self, matches: Callable[[Record], bool]) -> int:
        """The mask of the objects that `matches` says yes to."""
        mask = 0
        for index, record in enumerate(self.records):
            if matches(record):
                mask |= 1 << index
        return mask

    def replaced(self, index: int, record: Record) -> Block:
        """The block with another record at `index`."""
        return Block((*self.records[:index], record, *self.records[index + 1 :]))

    def with_inserted(self, record: Record) -> Block:
        """The block with one more object."""
        index = bisect_left(self.names, record.name)
        return Block((*self.records[:index], record, *self.records[index:]))

    def without(self, index: int) -> Block:
        """The block with one object less."""
        return Block(self.records[:index] + self.records[index + 1 :])

    def with_records(self, records: Sequence[Record]) -> Block:
        """A block of the same objects in another form (bodies evicted), keeping what was derived from them."""
        block = Block(records)
        block.renderings = self.renderings
        block._labels, block._fields = self._labels, self._fields
        return block

    def halves(self) -> tuple[Block, Block]:
        """The block cut in two of some equal size in bytes, each with at least one object."""
        wanted, so_far, cut = self.size / 2, 0, 1
        for index, record in enumerate(self.records[:-1], 1):
            so_far += record.size
            cut = index
            if so_far >= wanted:
                break
        return Block(self.records[:cut]), Block(self.records[cut:])

    @property
    def too_big(self) -> bool:
        """Whether it must be cut."""
        return len(self.records) > MOST or (self.size > MOST_BYTES and len(self.records) > 1)


def cut(records: Sequence[Record]) -> list[Block]:
    """Blocks of some 32 objects each, of records in the order of their names."""
    blocks: list[Block] = []
    start, size = 0, 0
    for index, record in enumerate(records):
        if index > start and (index - start == TARGET or size + record.size > MOST_BYTES):
            blocks.append(Block(records[start:index]))
            start, size = index, 0
        size += record.size
    if start < len(records):
        blocks.append(Block(records[start:]))
    return blocks


def _masks(records: Sequence[Record], of: Callable[[Record], dict[str, str]]) -> Masks:
    masks: Masks = {}
    for index, record in enumerate(records):
        bit = 1 << index
        for key, value in of(record).items():
            values = masks.get(key)
            if values is None:
                masks[key] = {value: bit}
            else:
                values[value] = values.get(value, 0) | bit
    return masks
