"""YAML as API servers write it: keys sorted, two spaces, long plain and quoted strings folded at 80 columns.

PyYAML's emitter is a sibling of Go's (both follow libyaml) and lays text out alike; what differs is
which strings are quoted, and how quoted ones are folded, and so that is decided here. Slow (some 50 µs for each
line): for a Status or one object, not for thousands.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import cmp_to_key, lru_cache
from itertools import takewhile
from math import isfinite
from typing import Any

import yaml

from kube.strconv import MAX_UINT64, MIN_INT64

_WORDS = frozenset({
    *("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"),
    *("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"),
    *("", "~", "null", "Null", "NULL", ".nan", ".NaN", ".NAN"),
    *(sign + word for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")),
})  # fmt: skip
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?").fullmatch
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|[1-9][0-9]*|0)").fullmatch
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?").fullmatch
_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:(?:[Tt]([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:\.[0-9]+)?(?:Z|[-+][0-9]{2}:[0-9]{2}))"
    r"|(?: ([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:\.[0-9]+)?))?"
).fullmatch


_NEXT_LINE = re.compile(" *\x85[ \x85]*")
_FIRST_ASTRAL = "\U00010000"
_CONTROL = re.compile("[\x7f-\x84\x86-\x9f\ufffe\uffff]")
_BREAKS = "\n\x85\u2028\u2029"
_MARK = "\ufeff"
_PRINTABLE = re.compile("[\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]").match
_ESCAPED = {
    **{
        character: "\\" + letter
        for character, letter in zip('\0\a\b\t\n\v\f\r\x1b"\\\x85\xa0', '0abtnvfre"\\N_', strict=True)
    },
    "\u2028": "\\L",
    "\u2029": "\\P",
}
_SIMPLE_KEY_BYTES = 128
"""A longer key takes a line of its own, behind a question mark."""

_STRING = "tag:yaml.org,2002:str"
_PLAIN = "tag:yaml.org,2002:value"
"""Numbers, booleans and null: all that is not a string and has no type of its own here."""


class _Dumper(yaml.SafeDumper):
    """SafeDumper with Go's choice of string styles."""

    def ignore_aliases(self, data: Any) -> bool:
        """Equal objects are written out each time."""
        return True

    def analyze_scalar(self, scalar: str) -> Any:
        """What may be written how: Go's emitter takes nothing beyond the first plane for printable."""
        analysis = super().analyze_scalar(scalar)
        if scalar and max(scalar) >= _FIRST_ASTRAL:
            analysis.allow_flow_plain = analysis.allow_block_plain = False
            analysis.allow_single_quoted = analysis.allow_block = False
        return analysis

    def check_simple_key(self) -> bool:
        """Whether a key stands before a colon. Go counts bytes, takes an empty one, and CR for a break."""
        if not isinstance(self.event, yaml.ScalarEvent):
            return bool(super().check_simple_key())
        if self.analysis is None:
            self.analysis = self.analyze_scalar(self.event.value)
        text: str = self.event.value
        one_line = not self.analysis.multiline and "\r" not in text
        return one_line and len(text.encode("utf-8", "replace")) <= _SIMPLE_KEY_BYTES

    def write_literal(self, text: str) -> None:
        """No `...` follows where the last of a document is kept with all its line breaks."""
        super().write_literal(text)
        self.open_ended = False

    def write_double_quoted(self, text: str, split: bool = True) -> None:
        """A line is broken at a space, with nothing to mark the break unless another space follows."""
        self.write_indicator('"', True)
        # Upstream asks whether the text begins with a byte order mark where it means the character.
        all_escaped = text.startswith(_MARK)
        spaces, last = False, len(text) - 1
        for at, character in enumerate(text):
            if all_escaped or not _PRINTABLE(character) or character in '"\\\u2028\u2029':
                self._put(_escape(character))
                spaces = False
            elif character != " ":
                self._put(character)
                spaces = False
            else:
                if split and not spaces and self.column > self.best_width and 0 < at < last:
                    self.write_indent()
                    self._put("\\" if text[at + 1] == " " else "")
                else:
                    self._put(" ")
                spaces = True
        self.write_indicator('"', False)

    def write_single_quoted(self, text: str, split: bool = True) -> None:
        """A line is broken at a space that stands alone; what follows a line break is indented, if anything does."""
        self.write_indicator("'", True)
        spaces, breaks, last = False, False, len(text) - 1
        for at, character in enumerate(text):
            if character == " ":
                fold = split and not spaces and self.column > self.best_width and 0 < at < last
                if fold and text[at + 1] != " ":
                    self.write_indent()
                else:
                    self._put(" ")
                spaces = True
            elif character in _BREAKS:
                if character == "\n" and not breaks:
                    self.write_line_break()
                self.write_line_break(character)
                breaks = True
            else:
                if breaks:
                    self.write_indent()
                self._put("''" if character == "'" else character)
                spaces = breaks = False
        self.write_indicator("'", False)

    def _put(self, text: str) -> None:
        self.column += len(text)
        self.stream.write(text)

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        """The type that a scalar would be read as, so that the emitter knows which to mark or quote."""
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] and means_something_else(value) else _STRING
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


def dumps(value: Any) -> bytes:
    r"""The YAML document of a JSON-like value, without `---`.

    >>> dumps({"kind": "Status", "code": 404, "rv": "518", "message": "a: b"})
    b'code: 404\nkind: Status\nmessage: \'a: b\'\nrv: "518"\n'
    """
    text = yaml.dump(
        _sorted(value), Dumper=_Dumper, default_flow_style=False, allow_unicode=True, width=80, sort_keys=False
    )
    return text.encode("utf-8", "replace")


def has_control(json_text: str) -> bool:
    r"""Whether JSON cannot be made YAML of, since it has characters that upstream does not read in YAML.

    >>> has_control('{"a":"b"}'), has_control('{"a":"\x7f"}')
    (False, True)
    """
    return _CONTROL.search(json_text) is not None


def _escape(character: str) -> str:
    if short := _ESCAPED.get(character):
        return short
    code = ord(character)
    return f"\\x{code:02X}" if code <= 0xFF else f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


@lru_cache(maxsize=4096)
def means_something_else(text: str) -> bool:
    """Whether a plain scalar of this text would be read as something other than a string."""
    if text in _WORDS:
        return True
    if text[0] == ".":
        return _FLOAT(text) is not None
    if text[0] not in "+-0123456789":
        return False
    plain = text.replace("_", "")
    if (
        _SEXAGESIMAL(text)
        or (_FLOAT(plain) and isfinite(float(plain)))
        or (_INTEGER(plain) and MIN_INT64 <= _integer(plain) <= MAX_UINT64)
    ):
        return True
    return _is_timestamp(text)


def _integer(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-").lower()
    for prefix, base in (("0x", 16), ("0o", 8), ("0b", 2), ("0", 8)):
        if digits.startswith(prefix) and digits != "0":
            return sign * int(digits.removeprefix(prefix), base)
    return sign * int(digits)


def _is_timestamp(text: str) -> bool:
    match = _TIMESTAMP(text)
    if match is None:
        return False
    year, month, day, *clock = (int(part) if part else 0 for part in match.groups())
    hour, minute, second = (first or other for first, other in zip(clock[:3], clock[3:], strict=True))
    try:
        datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return False
    return True


def _sorted(value: Any) -> Any:
    """The value with the keys of every object in Go's order."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=_key_order)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value


def _compare_keys(first: str, second: str) -> int:
    """Below 0 if `first` comes first: numbers within keys by value, and any other sign before letters."""
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one == other:
            continue
        if one.isalpha() or other.isalpha():
            if one.isalpha() and other.isalpha():
                return -1 if one < other else 1
            return -1 if other.isalpha() else 1
        return _compare_numbers(first, second, index)
    return len(first) - len(second)


def _compare_numbers(first: str, second: str, index: int) -> int:
    """Compare at the first difference, which no letter takes part in."""
    # After a nonzero digit a zero counts as one of a longer number, not as a leading zero.
    lead = 0
    if "0" in (first[index], second[index]):
        before = "".join(takewhile(str.isdecimal, reversed(first[:index])))
        lead = 1 if before.strip("0") else 0
    (one, length), (other, other_length) = (_number(lead, key[index:]) for key in (first, second))
    if one != other:
        return -1 if one < other else 1
    if length != other_length:
        return length - other_length
    return -1 if first[index] < second[index] else 1


def _number(value: int, text: str) -> tuple[int, int]:
    """The number that digits at the beginning of a text continue, and how many there are.

    It is an int64, so a long one wraps; and upstream takes a digit of any script, at its distance from ASCII's zero.
    """
    length = 0
    for character in takewhile(str.isdecimal, text):
        value = (value * 10 + ord(character) - ord("0") - MIN_INT64) % (1 << 64) + MIN_INT64
        length += 1
    return value, length


_key_order = cmp_to_key(_compare_keys)


def _represent_string(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    if "\x85" in text:
        text = _NEXT_LINE.sub(_folded, text)
    style = "|" if "\n" in text else '"' if means_something_else(text) else None
    return dumper.represent_scalar(_STRING, text, style=style)


def _folded(found: re.Match[str]) -> str:
    """What is left of line breaks inside a string: API servers make YAML by reading their JSON as YAML."""
    return "\n" * (found[0].count("\x85") - 1) or " "


def _represent_plain(dumper: _Dumper, value: Any) -> yaml.ScalarNode:
    if isinstance(value, float) or (value is not None and not MIN_INT64 <= value <= MAX_UINT64):
        return dumper.represent_scalar(_PLAIN, _float(float(value)))
    return dumper.represent_scalar(_PLAIN, json.dumps(value))


def _float(value: float) -> str:
    """A number as Go's FormatFloat writes it with 'g' and the fewest digits.

    >>> _float(24000000.25), _float(500000.5), _float(1e20), _float(-0.00001)
    ('2.400000025e+07', '500000.5', '1e+20', '-1e-05')
    """
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)  # JSON has no infinities
    power = len(digits) + exponent - 1 if value else 0
    if -4 <= power < 6:
        return f"{Decimal(repr(value)).normalize():f}"
    text = "".join(map(str, digits))
    fraction = f".{text[1:]}" if len(text) > 1 else ""
    return f"{'-' if sign else ''}{text[0]}{fraction}e{'-' if power < 0 else '+'}{abs(power):02}"


_Dumper.add_representer(str, _represent_string)
for _type in (bool, int, float, type(None)):
    _Dumper.add_representer(_type, _represent_plain)
