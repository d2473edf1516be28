"""Upstream's documents that are kept whole: discovery, /version, OpenAPI."""

from __future__ import annotations

import msgspec


class StoredDocument(msgspec.Struct, frozen=True, array_like=True):
    """One answer of upstream: `headers` are those worth repeating (Content-Type, ETag …)."""

    status: int
    headers: dict[str, str]
    body: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StoredDocument)


def encode(document: StoredDocument) -> bytes:
    """The bytes that are stored."""
    return _encoder.encode(document)


def decode(data: bytes) -> StoredDocument:
    """The inverse of `encode`.

    Raises:
        msgspec.DecodeError: written by an incompatible version.
    """
    return _decoder.decode(data)


def field(path: str, variant: str = "") -> str:
    """The field of a document in the hash. `variant` names one of several forms of a path (by Accept).

    >>> field("/version"), field("/apis", "aggregated")
    ('/version', '/apis|aggregated')
    """
    return f"{path}|{variant}" if variant else path


def split_field(text: str) -> tuple[str, str]:
    """The inverse of `field`: path and variant."""
    path, _, variant = text.partition("|")
    return path, variant
