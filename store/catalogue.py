"""The covered resources, as one list: what replicas find without asking upstream."""

from __future__ import annotations

import msgspec

from kube.resources import Resource


class CatalogueEntry(msgspec.Struct, frozen=True):
    """One covered resource. `typed` and `custom` are as in `store.meta.Description`."""

    resource: Resource
    list_kind: str
    typed: bool = True
    custom: bool = False


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(CatalogueEntry)


def encode(entry: CatalogueEntry) -> bytes:
    """The bytes that are stored."""
    return _encoder.encode(entry)


def decode(data: bytes) -> CatalogueEntry:
    """The inverse of `encode`.

    Raises:
        msgspec.DecodeError: written by an incompatible version.
    """
    return _decoder.decode(data)
