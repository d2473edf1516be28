"""The objects of one namespace of one resource, in the order of their names, as a list of blocks.

Everything here is synchronous and takes microseconds: no reader ever sees half a change.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from msgspec.structs import replace

from server.block import LEAST, MOST, Block, cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from store.record import Record


class Space:
    """`namespace` is "" for cluster-scoped kinds, whose objects are all in one space.

    `blocks` are never empty; `firsts` are the names they begin with. `generation` grows with every
    change, in step with the view's. `packed_bytes` is what the bodies take in memory.
    """

    __slots__ = ("blocks", "count", "firsts", "generation", "namespace", "packed_bytes", "prefix")

    def __init__(self, namespace: str, records: Sequence[Record] = (), generation: int = 0) -> None:
        """`records` in the order of their names."""
        self.namespace = namespace
        self.prefix = f"{namespace}/" if namespace else ""
        self.blocks = cut(records)
        self.firsts = [block.names[0] for block in self.blocks]
        self.count = len(records)
        self.generation = generation
        self.packed_bytes = sum(len(record.packed) for record in records)

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"Space({self.namespace!r}, {self.count} objects in {len(self.blocks)} blocks)"

    def __iter__(self) -> Iterator[Record]:
        for block in list(self.blocks):
            yield from block.records

    def get(self, name: str) -> Record | None:
        """The object of that name."""
        position = self._position(name)
        if position < 0:
            return None
        block = self.blocks[position]
        index = block.find(name)
        return block.records[index] if index >= 0 else None

    def put(self, record: Record) -> Record | None:
        """Insert or replace; returns what was there."""
        self.packed_bytes += len(record.packed)
        if not self.blocks:
            self.blocks, self.firsts, self.count = [Block((record,))], [record.name], 1
            return None
        position = max(self._position(record.name), 0)
        block = self.blocks[position]
        index = block.find(record.name)
        if index >= 0:
            old = block.records[index]
            self.packed_bytes -= len(old.packed)
            self._set(position, block.replaced(index, record))
            return old
        self.count += 1
        self._set(position, block.with_inserted(record))
        return None

    def remove(self, name: str) -> Record | None:
        """Take an object out; returns it, or None where there was none."""
        position = self._position(name)
        if position < 0:
            return None
        block = self.blocks[position]
        index = block.find(name)
        if index < 0:
            return None
        old = block.records[index]
        self.count -= 1
        self.packed_bytes -= len(old.packed)
        if len(block) == 1:
            del self.blocks[position], self.firsts[position]
        else:
            self._set(position, block.without(index))
            self._join_neighbour(position)
        return old

    def extend(self, records: Sequence[Record]) -> None:
        """Append objects that come behind all others, in the order of their names."""
        blocks = cut(records)
        self.blocks += blocks
        self.firsts += [block.names[0] for block in blocks]
        self.count += len(records)
        self.packed_bytes += sum(len(record.packed) for record in records)

    def evict(self, position: int) -> int:
        """Let go of the bodies of one block (heads and rows stay); returns the bytes that are free again."""
        block = self.blocks[position]
        freed = sum(len(record.packed) for record in block.records)
        if freed:
            self.blocks[position] = block.with_records([replace(record, packed=b"") for record in block.records])
            self.packed_bytes -= freed
        return freed

    def _position(self, name: str) -> int:
        """The block that has the name or would have it; -1: before the first block."""
        return bisect_right(self.firsts, name) - 1

    def _set(self, position: int, block: Block) -> None:
        if block.too_big:
            left, right = block.halves()
            self.blocks[position : position + 1] = (left, right)
            self.firsts[position : position + 1] = (left.names[0], right.names[0])
        else:
            self.blocks[position] = block
            self.firsts[position] = block.names[0]

    def _join_neighbour(self, position: int) -> None:
        """Keep blocks from becoming many and tiny as objects go."""
        if len(self.blocks[position]) >= LEAST or len(self.blocks) < 2:
            return
        left = position - 1 if position else position
        joined = Block(self.blocks[left].records + self.blocks[left + 1].records)
        if len(joined) <= MOST and not joined.too_big:
            self.blocks[left : left + 2] = (joined,)
            self.firsts[left : left + 2] = (joined.names[0],)
