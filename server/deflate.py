"""Gzip answers put together from pieces that were compressed once.

A piece ("segment") is a raw deflate stream ended by a full flush, so segments can follow each other in
any order; one with a dictionary only where that stands before it. The checksum of the whole is combined
from theirs, without looking at a byte again.
"""

from __future__ import annotations

import asyncio
import ctypes
import ctypes.util
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LEVEL = 6
"""Blocks of 32 pods at level 6 give 0.7 × the size of upstream's gzip, which is at level 1 or 4."""

INLINE_BYTES = 48 * 1024
"""What is compressed on the event loop: some 1.5 ms. More goes to a thread (zlib lets go of the GIL)."""

WINDOW_BYTES = 1 << zlib.MAX_WBITS
"""How far back a segment can refer."""

_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_POLYNOMIAL = 0xEDB88320
_STORED_MOST = 0xFFFF

_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="deflate")


@dataclass(frozen=True, slots=True)
class Segment:
    """`data` inflates to `length` bytes with the checksum `crc`, behind the dictionary that it was made with."""

    data: bytes
    crc: int
    length: int


class Piece(NamedTuple):
    """Bytes to compress. `dictionary`: bytes that will surely stand before them, to refer to."""

    raw: bytes
    dictionary: bytes = b""


def compress(raw: bytes, dictionary: bytes = b"") -> Segment:
    """One segment."""
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=dictionary)
    data = deflate.compress(raw) + deflate.flush(zlib.Z_FULL_FLUSH)
    return Segment(data, zlib.crc32(raw), len(raw))


async def compress_off_loop(pieces: Sequence[Piece]) -> list[Segment]:
    """A segment of each piece, without holding the event loop for more than some milliseconds."""
    if sum(len(piece.raw) for piece in pieces) <= INLINE_BYTES:
        return _compress_all(pieces)
    return await asyncio.get_running_loop().run_in_executor(_threads, _compress_all, pieces)


def _compress_all(pieces: Sequence[Piece]) -> list[Segment]:
    return [compress(*piece) for piece in pieces]


def joined(segments: Sequence[Segment]) -> Segment:
    """Segments that follow each other, as one."""
    if len(segments) == 1:
        return segments[0]
    crc, length = 0, 0
    for segment in segments:
        crc = combine(crc, segment.crc, segment.length)
        length += segment.length
    return Segment(b"".join(segment.data for segment in segments), crc, length)


class Gzip:
    """A gzip file growing at its end: `parts` in order, `close` ends it."""

    __slots__ = ("_crc", "_length", "parts", "size")

    def __init__(self) -> None:
        self.parts: list[bytes] = [_HEADER]
        self.size = len(_HEADER)
        self._crc = 0
        self._length = 0

    def add(self, segment: Segment) -> None:
        """Append what was compressed before."""
        self._put(segment.data)
        self._crc = combine(self._crc, segment.crc, segment.length)
        self._length += segment.length

    def add_raw(self, raw: bytes) -> None:
        """Append a few bytes as they are."""
        self.add(stored(raw))

    def close(self, raw: bytes) -> None:
        """The last bytes, the checksum and the length."""
        self._crc = zlib.crc32(raw, self._crc)
        self._length += len(raw)
        trailer = self._crc.to_bytes(4, "little") + (self._length & 0xFFFFFFFF).to_bytes(4, "little")
        self._put(_stored(raw, final=True) + trailer)

    def _put(self, data: bytes) -> None:
        self.parts.append(data)
        self.size += len(data)


def stored(raw: bytes) -> Segment:
    """A few bytes as they are."""
    return Segment(_stored(raw, final=False), zlib.crc32(raw), len(raw))


def _stored(raw: bytes, *, final: bool) -> bytes:
    """Deflate blocks of type 0: for what is too short, or used too rarely, to be worth compressing."""
    blocks = []
    for start in range(0, max(len(raw), 1), _STORED_MOST):
        piece = raw[start : start + _STORED_MOST]
        last = final and start + _STORED_MOST >= len(raw)
        blocks.append(
            bytes((last,)) + len(piece).to_bytes(2, "little") + (len(piece) ^ 0xFFFF).to_bytes(2, "little") + piece
        )
    return b"".join(blocks)


def _libz_combine() -> Callable[[int, int, int], int] | None:
    """`crc32_combine` of the zlib that Python itself uses, or of the system's; None where there is neither."""
    for library in (getattr(zlib, "__file__", None), ctypes.util.find_library("z")):
        if library is None:
            continue
        try:
            function = ctypes.CDLL(library).crc32_combine
        except (OSError, AttributeError):
            continue
        function.argtypes = (ctypes.c_ulong, ctypes.c_ulong, ctypes.c_long)
        function.restype = ctypes.c_ulong
        found: Callable[[int, int, int], int] = function
        return found
    return None


def combine_slowly(first: int, second: int, second_length: int) -> int:
    """`crc32_combine` in Python: first · x^(8 · length) + second, modulo the polynomial."""
    return _multiply(_power(second_length), first) ^ second


@lru_cache(maxsize=4096)
def _power(length: int) -> int:
    """x^(8 · length) modulo the polynomial, bits reflected as CRC-32 has them."""
    result, square, exponent = 1 << 31, 1 << 30, 8 * length
    while exponent:
        if exponent & 1:
            result = _multiply(square, result)
        square = _multiply(square, square)
        exponent >>= 1
    return result


def _multiply(a: int, b: int) -> int:
    """The product a · b modulo the polynomial."""
    product, bit = 0, 1 << 31
    while bit:
        if a & bit:
            product ^= b
            if not a & (bit - 1):
                break
        bit >>= 1
        b = (b >> 1) ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


combine = _libz_combine() or combine_slowly
"""The checksum of two pieces of which the second has `second_length` bytes, from theirs: 1.4 µs in libz."""
