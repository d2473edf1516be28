"""Go's strconv, as far as its results and error texts show in the answers of an API server."""

from __future__ import annotations

import re

MAX_UINT64 = 2**64 - 1
MAX_INT64 = 2**63 - 1
MIN_INT64 = -(2**63)

_UNSIGNED = re.compile(r"[0-9]+")
_SIGNED = re.compile(r"[+-]?[0-9]+")
_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
_SHORT_ESCAPES = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
    "\\": "\\\\", '"': '\\"',
}  # fmt: skip


class NumError(ValueError):
    """A text that is no number; its message is strconv's, such as `strconv.ParseInt: parsing "x": invalid syntax`."""

    def __init__(self, function: str, text: str, problem: str) -> None:
        super().__init__(f"strconv.{function}: parsing {quote(text)}: {problem}")


def parse_uint(text: str) -> int:
    """A decimal uint64, as `ParseUint(text, 10, 64)`.

    >>> parse_uint("007")
    7

    Raises:
        NumError: with Go's message.
    """
    if not _UNSIGNED.fullmatch(text):
        raise NumError("ParseUint", text, "invalid syntax")
    if _digits(text) > 20 or (value := int(text)) > MAX_UINT64:
        raise NumError("ParseUint", text, "value out of range")
    return value


def parse_int(text: str) -> int:
    """A decimal int64, as `ParseInt(text, 10, 64)`.

    >>> parse_int("+5")
    5

    Raises:
        NumError: with Go's message.
    """
    if not _SIGNED.fullmatch(text):
        raise NumError("ParseInt", text, "invalid syntax")
    if _digits(text) > 19 or not MIN_INT64 <= (value := int(text)) <= MAX_INT64:
        raise NumError("ParseInt", text, "value out of range")
    return value


def parse_bool(text: str) -> bool | None:
    """As `ParseBool`; None where Go reports an error."""
    return _BOOLS.get(text)


def parse_quality(text: str) -> float:
    """The q of an Accept clause, as `q, _ = ParseFloat(text, 32)`: 0 where the text is no number."""
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", text, re.ASCII):
        return 0.0
    return float(text)


def utf8(text: str) -> bytes:
    """The bytes that Go sees: surrogates that stand for undecodable bytes become those bytes again."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte: nothing that was decoded has one
        return text.encode("utf-8", "replace")


def quote(text: str) -> str:
    r"""A Go string literal, as `%q` prints it. Lone surrogates stand for bytes that are not UTF-8.

    >>> print(quote('a"b\n\x00é'))
    "a\"b\n\x00é"
    """
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(map(_quote_rune, text)) + '"'


def _quote_rune(rune: str) -> str:
    if rune in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[rune]
    if rune.isprintable():
        return rune
    number = ord(rune)
    if 0xDC80 <= number <= 0xDCFF:  # a byte kept by surrogateescape
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x20 or number == 0x7F:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _digits(text: str) -> int:
    """How many digits count: bounds the work of `int` on a hostile text."""
    return len(text.lstrip("+-").lstrip("0"))
