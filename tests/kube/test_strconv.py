from __future__ import annotations

import pytest

from kube.durations import DurationError, parse_duration
from kube.strconv import NumError, parse_bool, parse_int, parse_quality, parse_uint, quote


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc", 'strconv.ParseUint: parsing "abc": invalid syntax'),
        ("", 'strconv.ParseUint: parsing "": invalid syntax'),
        ("-1", 'strconv.ParseUint: parsing "-1": invalid syntax'),
        ("+1", 'strconv.ParseUint: parsing "+1": invalid syntax'),
        ("1_0", 'strconv.ParseUint: parsing "1_0": invalid syntax'),
        ("١", 'strconv.ParseUint: parsing "١": invalid syntax'),
        ("18446744073709551616", 'strconv.ParseUint: parsing "18446744073709551616": value out of range'),
        ("9" * 5000, f'strconv.ParseUint: parsing "{"9" * 5000}": value out of range'),
    ],
)
def test_unsigned_numbers_fail_with_gos_words(text: str, message: str) -> None:
    """What is no uint64 is refused with strconv's message."""
    with pytest.raises(NumError) as caught:
        parse_uint(text)
    assert str(caught.value) == message


def test_numbers_are_read_to_their_bounds() -> None:
    """The largest and smallest values, signs and leading zeros are numbers; one beyond is out of range."""
    assert parse_uint("18446744073709551615") == 2**64 - 1
    assert parse_uint("0" * 30 + "7") == 7
    assert parse_int("9223372036854775807") == 2**63 - 1
    assert parse_int("-9223372036854775808") == -(2**63)
    assert parse_int("+007") == 7
    for text in ("9223372036854775808", "-9223372036854775809"):
        with pytest.raises(NumError, match="value out of range"):
            parse_int(text)
    with pytest.raises(NumError, match="invalid syntax"):
        parse_int("1.5")


def test_booleans_and_qualities_follow_go() -> None:
    """ParseBool knows twelve words; a quality that is no number is 0."""
    assert [parse_bool(text) for text in ("1", "T", "true", "0", "f", "False", "yes", "")] == [
        True, True, True, False, False, False, None, None,
    ]  # fmt: skip
    assert [parse_quality(text) for text in ("0.5", "1", ".5", "5.", "x", "", " 1", "1e-1")] == [
        0.5, 1.0, 0.5, 5.0, 0.0, 0.0, 0.0, 0.1,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("plain", '"plain"'),
        ('a"b\\', r'"a\"b\\"'),
        ("tab\tbell\a", r'"tab\tbell\a"'),
        ("\x00\x7f", r'"\x00\x7f"'),
        ("é日😀", '"é日😀"'),
        ("\u00a0\u2028\ue000", r'"\u00a0\u2028\ue000"'),
        ("\U000e0001", r'"\U000e0001"'),
        (b"\xff".decode("utf-8", "surrogateescape"), r'"\xff"'),
    ],
)
def test_texts_are_quoted_as_go_literals(text: str, literal: str) -> None:
    """%q: printable runes stay, all else becomes an escape."""
    assert quote(text) == literal


def test_durations_are_read_as_go_reads_them() -> None:
    """Units add up, fractions and signs count, "0" needs no unit."""
    assert parse_duration("1h15m30.5s") == 4530.5
    assert parse_duration("-1.5h") == -5400
    assert parse_duration("0") == 0
    assert parse_duration("1µs") == parse_duration("1us") == 1e-6
    assert parse_duration(".5s") == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", 'time: invalid duration "x"'),
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        ("5", 'time: missing unit in duration "5"'),
        ("5x", 'time: unknown unit "x" in duration "5x"'),
        (".s", 'time: invalid duration ".s"'),
        ("9223372036854775808ns", 'time: invalid duration "9223372036854775808ns"'),
        ("99999999999999999999h", 'time: invalid duration "99999999999999999999h"'),
    ],
)
def test_what_is_no_duration_is_refused_with_gos_words(text: str, message: str) -> None:
    """The messages are those of time.ParseDuration."""
    with pytest.raises(DurationError) as caught:
        parse_duration(text)
    assert str(caught.value) == message
