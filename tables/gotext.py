"""Texts as Go writes them where Python's own forms differ: numbers, JSON, white space, letter case."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from kube.gojson import escape

_encode = msgspec.json.Encoder().encode

MAX_INT64 = 2**63 - 1
MIN_INT64 = -(2**63)


_ESCAPES = re.compile(rb"\\.")
_LONG_ESCAPES = {b"\\b": b"\\u0008", b"\\f": b"\\u000c"}


def lengthen_escapes(text: bytes) -> bytes:
    r"""JSON text with `\b` and `\f` spelled as \u0008 and \u000c, as Go did before 1.22.

    >>> lengthen_escapes(rb'"a\b\\b"')
    b'"a\\u0008\\\\b"'
    """
    if b"\\b" not in text and b"\\f" not in text:
        return text
    return _ESCAPES.sub(lambda match: _LONG_ESCAPES.get(match[0], match[0]), text)


def json_float(value: float) -> str:
    """A float64 as encoding/json writes it.

    >>> [json_float(v) for v in (1.5, 100000.0, 1e20, 1e21, 1e-7, -0.0)]
    ['1.5', '100000', '100000000000000000000', '1e+21', '1e-7', '-0']
    """
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        return _plain(value)
    digits, _, exponent = repr(value).partition("e")
    if not exponent:  # 1e-6 > value ≥ 1e-4 does not exist, so repr has used an exponent
        return digits
    return f"{digits}e{exponent[0]}{exponent[1:].lstrip('0')}"


def sprint_float(value: float) -> str:
    """A float64 as fmt.Sprint writes it: with an exponent below 1e-4 and from 1e6 on.

    >>> [sprint_float(v) for v in (0.5, 500000.5, 24000000.25, 1e6, 0.00001, -1e21)]
    ['0.5', '500000.5', '2.400000025e+07', '1e+06', '1e-05', '-1e+21']
    """
    sign, digits, exponent = _decimal(value)
    if value == 0 or -4 <= exponent < 6:
        return _plain(value)
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _decimal(value: float) -> tuple[str, str, int]:
    """Sign, shortest decimal digits and the exponent of the first of them."""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + ("" if fraction == "0" else fraction)
    point = len(whole) + int(exponent or 0)
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    return ("-" if str(value).startswith("-") else "", stripped.rstrip("0") or "0", point - 1)


def _plain(value: float) -> str:
    """A float without exponent, with no more digits than tell it apart."""
    sign, digits, exponent = _decimal(value)
    if value == 0:
        return f"{sign}0"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    if len(digits) <= exponent + 1:
        return f"{sign}{digits}{'0' * (exponent + 1 - len(digits))}"
    return f"{sign}{digits[: exponent + 1]}.{digits[exponent + 1 :]}"


def marshal(value: Any) -> str:
    r"""A JSON value as json.Marshal writes it: keys sorted, no spaces, HTML escapes.

    >>> print(marshal({"b": 1.0, "a": ["<t>"]}))
    {"a":["\u003ct\u003e"],"b":1}
    """
    return escape(_encode(_canonical(value))).decode()


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, float):
        return msgspec.Raw(json_float(value).encode())
    return value


_SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"


def trim_space(text: str) -> str:
    r"""Without Unicode's White_Space at both ends; `str.strip` takes \x1c–\x1f too.

    >>> trim_space("\xa0a\x1c ")
    'a\x1c'
    """
    return text.strip(_SPACE)


def lower(text: str) -> str:
    """Lower case rune by rune: no final sigma, and İ becomes a plain i.

    >>> lower("PoD"), lower("ΣΑΣ")
    ('pod', 'σασ')
    """
    return text.lower() if text.isascii() else "".join(char.lower()[:1] for char in text)
