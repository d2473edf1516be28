"""The columns of a resource's Tables, as learned from upstream: their names, order and texts are its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from kube.gojson import escape


class ColumnDefinition(msgspec.Struct, frozen=True):
    """One entry of a Table's `columnDefinitions`, all five keys always present on the wire."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


_decode = msgspec.json.Decoder(tuple[ColumnDefinition, ...]).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Columns(Sequence[ColumnDefinition]):
    """The learned columns of one resource, in upstream's order."""

    definitions: tuple[ColumnDefinition, ...]

    @classmethod
    def decode(cls, text: bytes) -> Columns:
        """Read the JSON array of a Table's `columnDefinitions`.

        Raises:
            msgspec.DecodeError: `text` is no such array.
        """
        return cls(_decode(text))

    @classmethod
    def of(cls, table: dict[str, Any]) -> Columns:
        """The columns of a decoded Table (none where a watch event leaves them out).

        Raises:
            msgspec.ValidationError: the Table's columns are malformed.
        """
        return cls(msgspec.convert(table.get("columnDefinitions") or (), tuple[ColumnDefinition, ...]))

    def encode(self) -> bytes:
        """The JSON array as an API server writes it: the value of `columnDefinitions`."""
        return escape(_encode(self.definitions))

    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column.name for column in self.definitions)

    def __len__(self) -> int:
        return len(self.definitions)

    def __getitem__(self, index: Any) -> Any:
        return self.definitions[index]
