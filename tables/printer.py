"""Printers: what a kind's columns print, declared side by side, and compiled for the columns upstream has.

A `Column` is its name, its form and its cell, so they cannot drift apart. A `KindTable` declares the
columns of one kind for the API versions that it is served in. A `Printer` is what a server of a given
version needs of them: the cells of the learned columns in upstream's order.

Cells are pure: they see one object (or what `summarize` made of it) and never the clock.
Source: kubernetes pkg/printers/internalversion/printers.go, 1.20 to 1.36.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kube.version import ServerVersion
from tables.cell import Cell, Object, render
from tables.columns import ColumnDefinition
from tables.gotext import lengthen_escapes
from tables.identity import CODE_DIGEST
from tables.row import Row

CellFunction = Callable[[Any], Cell]

_SHORT_ESCAPES_SINCE = ServerVersion(1, 30)
"""From here on API servers are built with Go 1.22 or later, which writes \\b and \\f short."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column, and what stands in it.

    `cell` gets the object, or the summary where the kind makes one. `since` and `until` are the first
    and the last server version ("1.30") that prints the column so; of one name, one fits a version.
    """

    name: str
    cell: CellFunction
    type: str = "string"
    format: str = ""
    priority: int = 0
    since: str = "1.0"
    until: str = "99.0"

    def printed_by(self, version: ServerVersion) -> bool:
        """Whether a server of this version has the column in this form."""
        return ServerVersion.parse(self.since) <= version <= ServerVersion.parse(self.until)

    def definition(self) -> ColumnDefinition:
        """The column as a Table declares it; descriptions are upstream's own and not kept here."""
        return ColumnDefinition(self.name, self.type, self.format, "", self.priority)


@dataclass(frozen=True, slots=True, kw_only=True)
class KindTable:
    """The columns of one kind, in the API versions whose JSON the cells understand.

    `resources` are served plurals as "resource.version[.group]".
    `summarize(obj, version)` runs once per object where cells share a computation.
    `conditions(subject)` gives the row's conditions as wire text.
    `beyond` are cells that upstream sends without a column for them.
    `sort_rows`: Tables are in the order of `row_order`, not of keys.
    `until` is the last server version of which the objects can be printed from this version's JSON.
    """

    kind: str
    resources: tuple[str, ...]
    columns: tuple[Column, ...]
    summarize: Callable[[Object, ServerVersion], Any] | None = None
    conditions: Callable[[Any], bytes] | None = None
    beyond: tuple[CellFunction, ...] = ()
    null_rows: bool = False
    sort_rows: bool = False
    until: str = "99.0"

    def columns_of(self, version: ServerVersion) -> tuple[Column, ...]:
        """The columns that a server of this version has, in its order by our declaration."""
        return tuple(column for column in self.columns if column.printed_by(version))

    def compile(self, learned: Sequence[ColumnDefinition], version: ServerVersion) -> Printer | None:
        """The printer for upstream's columns; None where one of them has no cell here.

        A column of the same name but another type is another column.
        """
        if version > ServerVersion.parse(self.until):
            return None
        known = {(column.name, column.type): column.cell for column in self.columns_of(version)}
        if any((column.name, column.type) not in known for column in learned):
            return None
        summarize = self.summarize
        return Printer(
            cells=(*(known[column.name, column.type] for column in learned), *self.beyond),
            summarize=None if summarize is None else lambda obj: summarize(obj, version),
            conditions=self.conditions,
            null_rows=self.null_rows,
            sort_rows=self.sort_rows,
            long_escapes=version < _SHORT_ESCAPES_SINCE,
            identity=(self.kind, *self.resources, str(version), *(f"{c.name}:{c.type}" for c in learned)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Printer:
    """Prints the rows of one resource. Never raises on an object that an API server accepts.

    `null_rows`: upstream answers an empty list with `"rows":null` instead of `[]`.
    `sort_rows`: the rows of a list are to be sorted by `tables.row.row_order`.
    `digest` names code and columns: rows made under another digest may differ.
    """

    cells: tuple[CellFunction, ...]
    summarize: Callable[[Object], Any] | None = None
    conditions: Callable[[Any], bytes] | None = None
    null_rows: bool = False
    sort_rows: bool = False
    long_escapes: bool = False
    identity: tuple[str, ...]
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        text = "\0".join((CODE_DIGEST, str(self.long_escapes), *self.identity))
        object.__setattr__(self, "digest", hashlib.sha256(text.encode()).hexdigest()[:16])

    def row(self, obj: Object) -> Row:
        """The row of a decoded object, in the JSON of the version that the printer was made for."""
        subject = obj if self.summarize is None else self.summarize(obj)
        row = render(
            [cell(subject) for cell in self.cells], b"" if self.conditions is None else self.conditions(subject)
        )
        if self.long_escapes:
            return Row(tuple(lengthen_escapes(part) for part in row.parts), row.times)
        return row

    def zero_row(self, **identity: str) -> Row:
        """The row of an object without content, as bookmarks of a Table watch carry it.

        `identity` is what there is of a custom resource all the same, and a column may show: kind and apiVersion.
        """
        return self.row(identity)
