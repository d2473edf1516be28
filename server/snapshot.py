"""What a read sees: the blocks of its namespaces at one instant, now or at an earlier RV.

Blocks never change, so a snapshot costs a copied list, and everything after it may take its time.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.block import Block, cut
from server.scope import Scope, ScopeKind

if TYPE_CHECKING:
    from collections.abc import Collection

    from server.history import Key
    from server.matching import Selectors
    from server.pause import Pause
    from server.space import Space
    from server.view import ResourceView
    from store.record import Record


@dataclass(slots=True)
class Run:
    """The blocks of one namespace ("" for cluster-scoped kinds) and the names that they begin with."""

    namespace: str
    blocks: list[Block]
    firsts: list[str]

    @property
    def prefix(self) -> str:
        """What precedes the names in the order of keys: the `/` takes part in it."""
        return f"{self.namespace}/" if self.namespace else ""

    def blocks_after(self, name: str) -> int:
        """The first block that can hold a name greater than `name`."""
        return max(bisect_right(self.firsts, name) - 1, 0)


@dataclass(slots=True)
class Snapshot:
    """`runs` in key order. `position` is the view's when it was taken."""

    runs: list[Run]
    position: int

    @property
    def count(self) -> int:
        """Objects in it."""
        return sum(len(block) for run in self.runs for block in run.blocks)


@dataclass(frozen=True, slots=True)
class Piece:
    """The objects of one block that were picked: all (`mask` full) or some."""

    block: Block
    mask: int

    @property
    def whole(self) -> bool:
        """Whether every object of the block was picked."""
        return self.mask == self.block.full


@dataclass(slots=True)
class Page:
    """What was picked of a snapshot: `last` is the key of the last object, `following` counts those after it."""

    pieces: list[Piece]
    count: int
    last: Key | None
    following: int


def narrowed(scope: Scope, namespace: str, namespaced: bool) -> Collection[str] | None:
    """The namespaces that a read looks into; None: all (or: no namespaces at all)."""
    if namespace:
        return (namespace,) if scope.all or scope.covers(namespace, "") else ()
    if not namespaced or scope.all:
        return None
    return scope.members if scope.kind is ScopeKind.NAMESPACES else ()


def stamp_of(view: ResourceView, namespaces: Collection[str] | None) -> object:
    """Equal only for equal content of these namespaces (None: of everything)."""
    if namespaces is None:
        return view.generation
    if len(namespaces) == 1:
        (namespace,) = namespaces
        space = view.spaces.get(namespace)
        return (namespace, space.generation) if space is not None else ()
    return tuple((space.namespace, space.generation) for space in view.ordered_spaces(namespaces))


def take(view: ResourceView, scope: Scope, namespaces: Collection[str] | None) -> Snapshot:
    """What the scope has at this instant."""
    by_names = scope.kind is ScopeKind.NAMES
    fits = scope.all or (scope.kind is ScopeKind.NAMESPACES if view.meta.namespaced else by_names)
    if not fits:
        return Snapshot([], view.position)
    spaces = view.ordered_spaces(namespaces)
    if by_names:
        return Snapshot([_only(space, scope.members) for space in spaces], view.position)
    runs = [Run(space.namespace, list(space.blocks), list(space.firsts)) for space in spaces]
    return Snapshot(runs, view.position)


async def rewind(snapshot: Snapshot, before: dict[Key, Record | None], scope: Scope, pause: Pause) -> None:
    """Turn the snapshot into what it was before some changes (see `history.undo`)."""
    by_namespace: dict[str, dict[str, Record | None]] = {}
    for (namespace, name), record in before.items():
        if scope.covers(namespace, name):
            by_namespace.setdefault(namespace, {})[name] = record
    runs = {run.namespace: run for run in snapshot.runs}
    for namespace, records in by_namespace.items():
        run = runs.get(namespace)
        if run is None:
            run = runs[namespace] = Run(namespace, [], [])
        _patch(run, records)
        await pause()
    snapshot.runs = sorted((run for run in runs.values() if run.blocks), key=lambda run: run.prefix)


async def pick(snapshot: Snapshot, selectors: Selectors, after: Key | None, limit: int, pause: Pause) -> Page:
    """The selected objects behind a key, at most `limit` (0: all)."""
    pieces: list[Piece] = []
    count, following = 0, 0
    last: Key | None = None
    full = False
    for run in snapshot.runs:
        start, skipped = _start(run, after)
        for block in run.blocks[start:] if start else run.blocks:
            size = len(block)
            if full:
                following += size
                continue
            mask = block.full if selectors.empty else selectors.mask(block, run.namespace)
            if skipped is not None:
                behind = bisect_right(block.names, skipped)
                mask &= block.full << behind
                size -= behind
                skipped = None
            if limit and count + mask.bit_count() >= limit:
                mask = _lowest(mask, limit - count)
                full = True
                following += len(block) - mask.bit_length()
            if mask:
                pieces.append(Piece(block, mask))
                count += mask.bit_count()
                last = run.namespace, block.names[mask.bit_length() - 1]
            if pause.due:
                await pause()
    return Page(pieces, count, last, following)


def _start(run: Run, after: Key | None) -> tuple[int, str | None]:
    """The first block of a run to look at, and the name behind which its objects begin."""
    if after is None:
        return 0, None
    namespace, name = after
    prefix = f"{namespace}/" if namespace else ""
    if run.prefix > prefix:
        return 0, None
    if run.prefix < prefix:
        return len(run.blocks), None
    return run.blocks_after(name), name


def _lowest(mask: int, bits: int) -> int:
    """The lowest so many set bits of a mask."""
    rest = mask
    for _ in range(bits):
        rest &= rest - 1
    return mask & ~rest


def _only(space: Space, names: Collection[str]) -> Run:
    """Of a cluster-scoped resource, the objects with these names."""
    records = [record for name in sorted(names) if (record := space.get(name)) is not None]
    blocks = cut(records)
    return Run(space.namespace, blocks, [block.names[0] for block in blocks])


def _patch(run: Run, records: dict[str, Record | None]) -> None:
    """Lay earlier versions over the blocks of a run; None takes an object out."""
    by_block: dict[int, dict[str, Record | None]] = {}
    for name, record in records.items():
        by_block.setdefault(run.blocks_after(name), {})[name] = record
    for index in sorted(by_block, reverse=True):
        present = {record.name: record for record in run.blocks[index].records} if run.blocks else {}
        for name, record in by_block[index].items():
            if record is None:
                present.pop(name, None)
            else:
                present[name] = record
        blocks = cut([present[name] for name in sorted(present)])
        run.blocks[index : index + 1] = blocks
    run.firsts = [block.names[0] for block in run.blocks]
