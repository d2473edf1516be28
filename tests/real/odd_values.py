"""Values that encoders disagree about: strings that look like something else, numbers at their limits, odd keys."""

from __future__ import annotations

import random
from typing import Any

_WORDS = (
    "", " ", "  ", "a", "true", "True", "TRUE", "false", "yes", "Yes", "no", "on", "off", "y", "n", "Y", "N", "null",
    "Null", "~", "nil", "none", "0", "-0", "00", "01", "1", "-1", "+1", "1.0", "1.", ".5", "-.5", "1e3", "1E3",
    "1e+3", "1.5e-7", "0x1F", "0X1f", "0o17", "0b101", "1_000", "0x_1", ".inf", "-.inf", ".Inf", ".nan", ".NaN",
    "NaN", "inf", "2001-01-01", "2001-01-01T00:00:00Z", "2001-1-1", "12:30:45", "1:2", "190:20:30", "=", "<<", "<",
    ">", "&a", "*a", "!a", "!!str a", "%a", "@a", "`a", "#a", "a#b", "a #b", "a: b", "a:b", "a:", ":a", ": a", "- a",
    "-a", "-", "--", "---", "--- a", "...", "? a", "?a", "?", "[a]", "{a}", "[", "]", "{", "}", ",", "a,b", "a, b",
    "'a'", '"a"', "a'b", 'a"b', "a\\b", "\\", "\\n", "|", "| a", ">-", "a ", " a", "\ta", "a\t", "a\tb", "\n", "a\n",
    "a\n\n", "\na", "\n\na", "a\nb", "a\nb\n", "a\n\nb", "a\n b", " a\nb", "a \nb", "a\t\nb", "a\r\nb", "a\rb", "\r",
    "a\n\tb", "# a\nb", "- a\n- b\n", "key: value\nother: |\n  text\n", "\u0085", "a\u0085b", "\u00a0", "a\u00a0b",
    "\u2028", "a\u2028b", "\u2029", "\ufeff", "a\ufeffb", "\u200b", "\u0000", "\u0001", "\u0007", "\b", "\f", "\v",
    "\u001b", "\u007f", "\u0080", "\u009f", "é", "ÀÉ", "日本語", "кот", "🙂", "a🙂b", "\ufffd", "\ud7ff", "\ue000",
    "\uffff", "\U0010ffff", "<script>&amp;</script>", "a<b>c&d", "e\u0301", "1.2.3.4", "10.0.0.0/8", "::1", "1Gi",
    "100m", "5 %", "1h30m", "/etc/passwd", "C:\\dir\\file", "a=b", "$(VAR)", "{{ .x }}", "%20", "a/b", "user@host",
    "9223372036854775807", "9223372036854775808", "123456789012345678901234567890", "0.1", "1e400", "1e-400",
    "Infinity",
)  # fmt: skip
_PIECES = (
    "word",
    "words",
    "a",
    "longer-than-most",
    "x" * 30,
    "é",
    "日本",
    "🙂",
    "-",
    "#",
    ":",
    "'",
    '"',
    "\\",
    "key:",
    ",",
    "  ",
)


def text(chance: random.Random) -> str:
    """A string."""
    dice = chance.random()
    if dice < 0.5:
        return chance.choice(_WORDS)
    if dice < 0.6:
        return chance.choice(_WORDS) + chance.choice((" ", "", "\n", ": ", " #")) + chance.choice(_WORDS)
    if dice < 0.8:  # long enough to be folded
        spaces = chance.choice((" ", " ", " ", "  ", ""))
        return spaces.join(chance.choice(_PIECES) for _ in range(chance.randint(1, 40)))
    if dice < 0.9:  # lines
        lines = [" ".join(chance.choices(_PIECES, k=chance.randint(0, 20))) for _ in range(chance.randint(1, 6))]
        return "\n".join(lines) + chance.choice(("", "\n", "\n\n", " "))
    return "".join(chr(chance.choice((chance.randint(0, 0x7F), chance.randint(0x80, 0xD7FF)))) for _ in range(8))


def number(chance: random.Random) -> float:
    """A number that JSON has."""
    return chance.choice((
        0, 1, -1, 7, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 0.5, -0.0, 1.0, 1e6, 1e20, 1e21, 1e22, 1.5e300,
        5e-324,
        1e-6, 1e-7, 0.1, 1 / 3, 123456789.125, 100000000000000000000.5, 1.7976931348623157e308, chance.random(),
        chance.random() * 10 ** chance.randint(-20, 20), chance.randint(-(10**12), 10**12),
    ))  # fmt: skip


def value(chance: random.Random, depth: int = 0) -> Any:
    """Anything that JSON has."""
    dice = chance.random()
    if dice < 0.45 or depth > 3:
        return text(chance)
    if dice < 0.6:
        return number(chance)
    if dice < 0.7:
        return chance.choice((True, False, None, [], {}, "", [None], [[]], [{}], {"a": None}, {"a": {}}, {"a": []}))
    if dice < 0.85:
        return [value(chance, depth + 1) for _ in range(chance.randint(1, 4))]
    return {key(chance): value(chance, depth + 1) for _ in range(chance.randint(1, 4))}


def key(chance: random.Random) -> str:
    """A key of a free-form object. One with U+0085 is more than upstream's own YAML can take."""
    return text(chance)[:100].replace("\u0085", "") or "empty"
