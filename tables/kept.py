"""Upstream's own rows, as rows of the store: for resources that our printers do not know, or print otherwise.

A cell is upstream's text as it came. Only one that is known to follow the clock (Age, and what else is declared here)
is left open as in our own rows, and only where upstream printed what we would have printed then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from kube.gojson import escape
from tables.cell import Moving, Object, Written, render
from tables.columns import ColumnDefinition
from tables.duration import human_duration
from tables.identity import CODE_DIGEST
from tables.printer import CellFunction
from tables.row import Row

LATE_SECONDS = 60.0
"""A row may have been printed so long before it is looked at: it waits in buffers, and behind others."""
EARLY_SECONDS = 3.0
"""Upstream's clock may be so far ahead of what is known of it."""
_STEP_SECONDS = 0.5
"""Half of the finest that a duration shows."""
_STEPS = int((LATE_SECONDS + EARLY_SECONDS) / _STEP_SECONDS) + 1

_cells = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode

KnownCells = Mapping[tuple[str, str], CellFunction]
"""What is declared of a kind, by name and type of the column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRows:
    """Makes stored rows of upstream's.

    `clocks` are cells that may follow the clock, by the index of their column; None: it is not known here.
    `digest` is of code and columns: rows that were kept under another one may differ.
    """

    names: tuple[str, ...]
    clocks: tuple[CellFunction | None, ...]
    summarize: Callable[[Object], Any] | None = None
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256("\0".join((CODE_DIGEST, "kept", *self.names)).encode()).hexdigest()[:16]
        object.__setattr__(self, "digest", digest)

    @classmethod
    def of(
        cls,
        columns: Sequence[ColumnDefinition],
        known: KnownCells,
        summarize: Callable[[Object], Any] | None = None,
        beyond: Sequence[CellFunction] = (),
    ) -> KeptRows:
        """For upstream's columns. `known` cells get what `summarize` makes of the object, where there is one.

        `beyond` are cells behind the last column.
        """
        return cls(
            names=(*(f"{column.name}:{column.type}" for column in columns), *("" for _ in beyond)),
            clocks=(*(known.get((column.name, column.type)) for column in columns), *beyond),
            summarize=summarize,
        )

    def tried(self, samples: Iterable[tuple[Object, bytes]], now: float) -> KeptRows:
        """Without the cells that are not upstream's in one of these objects, whose cells it printed about `now`."""
        wrong = set()
        for obj, cells in samples:
            texts = _cells(cells)
            for index, moving in self._movings(obj).items():
                if index >= len(texts) or not _shows(bytes(texts[index]), moving, now):
                    wrong.add(index)
        clocks = tuple(None if index in wrong else clock for index, clock in enumerate(self.clocks))
        return replace(self, clocks=clocks) if wrong else self

    def row(self, obj: Object, cells: bytes, conditions: bytes, now: float) -> Row:
        """The stored row of an object that upstream printed not long before `now`; both are the texts of JSON arrays.

        Raises:
            msgspec.DecodeError: `cells` is no array.
        """
        texts = _cells(cells)
        opened: list[Written] = [*texts]
        for index, moving in self._movings(obj).items():
            if index < len(texts) and _shows(bytes(texts[index]), moving, now):
                opened[index] = moving
        return render(opened, b',"conditions":' + conditions if conditions else b"")

    def _movings(self, obj: Object) -> dict[int, Moving]:
        """What is to follow the clock in the row of this object, by column."""
        try:
            subject = obj if self.summarize is None else self.summarize(obj)
            found = {index: clock(subject) for index, clock in enumerate(self.clocks) if clock is not None}
        except Exception:  # noqa: BLE001 (a kind that has changed may have objects that our cells cannot read)
            return {}
        return {index: cell for index, cell in found.items() if isinstance(cell, Moving)}


def _shows(text: bytes, moving: Moving, now: float) -> bool:
    """Whether upstream may have printed this text for it, shortly before `now`."""
    latest = now + EARLY_SECONDS - moving.since
    head, tail = escape(_encode(moving.prefix))[:-1], escape(_encode(moving.suffix))[1:]
    return any(
        text == head + escape(human_duration(latest - step * _STEP_SECONDS).encode()) + tail for step in range(_STEPS)
    )
