from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube import goyaml

CASES = Path(__file__).parents[1] / "golden" / "reads" / "cases.json.gz"


class _TextLoader(yaml.CSafeLoader):
    """Reads timestamps as the strings that they are in JSON."""


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def test_every_recorded_document_is_written_again_byte_for_byte() -> None:
    """Objects and lists of every kind: read as YAML, written again, nothing differs."""
    compared = 0
    for case in json.loads(gzip.decompress(CASES.read_bytes())):
        if case["accept"] == "application/yaml" and case["status"] == 200 and "watch" not in case["path"]:
            text = case["body"]["text"]
            if len(text) < 30_000:  # a few kinds fill hundreds of KB with the same lines
                assert goyaml.dumps(yaml.load(text, _TextLoader)).decode() == text, case["path"]
                compared += 1
    assert compared > 80


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("true", '"true"'),
        ("y", '"y"'),
        ("null", '"null"'),
        ("~", '"~"'),
        ("518", '"518"'),
        ("0x1F", '"0x1F"'),
        ("1_000", '"1_000"'),
        ("10e9", '"10e9"'),
        ("1.5", '"1.5"'),
        ("12:30", '"12:30"'),
        ("2026-07-01", '"2026-07-01"'),
        ("2026-07-01T10:00:00Z", '"2026-07-01T10:00:00Z"'),
        ("2026-13-01", "2026-13-01"),
        ("100m", "100m"),
        ("1.2.3", "1.2.3"),
        ("*", "'*'"),
        ("a: b", "'a: b'"),
        ("it's: x", "'it''s: x'"),
        (" x", "' x'"),
        ("#x", "'#x'"),
        ("-", "'-'"),
        ("a\nb\n", "|\n  a\n  b"),
        ("a\nb", "|-\n  a\n  b"),
        ("\a", '"\\a"'),
        (7, "7"),
        (True, "true"),
        (None, "null"),
        (1.5, "1.5"),
        (24000000.25, "2.400000025e+07"),
        (10**20, "1e+20"),
        (2**64 - 1, "18446744073709551615"),
        ("🔥", '"\\U0001F525"'),
        (" a  \x85b", "' a b'"),
        ("a\x85 \x85 b", "|-\n  a\n  b"),
        ("1e400", "1e400"),
        ("\ufeffa b", '"\\uFEFF\\x61\\x20\\x62"'),
        ("a\ufeffb", '"a\\uFEFFb"'),
        ("a\u2028", "'a\u2028'"),
        ("x" * 80 + " \a y", '"' + "x" * 80 + '\n  \\a y"'),
        ("\a" + "x" * 80 + "  y z", '"\\a' + "x" * 80 + '\n  \\ y z"'),
        ("\n\n", "|2+\n\n"),
        ({}, "{}"),
        ([], "[]"),
        ([1, [2]], "\n- 1\n- - 2"),
    ],
)
def test_scalars_are_quoted_where_go_quotes_them(value: Any, text: str) -> None:
    """Strings that would read as something else take double quotes, awkward ones single quotes or a block."""
    separator = "" if text.startswith("\n") else " "
    assert goyaml.dumps({"k": value}).decode() == f"k:{separator}{text}\n"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("", '"": 1\n'),
        ("x" * 128, "x" * 128 + ": 1\n"),
        ("x" * 129, "? " + "x" * 129 + "\n: 1\n"),
        ("é" * 65, "? " + "é" * 65 + "\n: 1\n"),
        ("a\rb", '? "a\\rb"\n: 1\n'),
    ],
)
def test_long_and_broken_keys_stand_behind_a_question_mark(key: str, text: str) -> None:
    """More than 128 bytes, or a line break of any kind, are too much for a key before a colon."""
    assert goyaml.dumps({key: 1}).decode() == text


def test_what_upstream_cannot_make_yaml_of() -> None:
    """It reads its JSON as YAML, where some characters that JSON leaves alone are not allowed."""
    assert not goyaml.has_control('"a\\u0001\x85\xa0\u2028\ufffd🔥"')
    for character in "\x7f\x80\x9f\ufffe\uffff":
        assert goyaml.has_control(f'"{character}"')


def test_keys_with_long_and_foreign_numbers() -> None:
    """A number that is too long wraps, and a digit of another script counts by its distance from zero."""
    keys = ["f:123456789012345678901234567890", "f: a", "f:-a", "f:\u1c49", "f:0X1f"]
    written = list(json.loads(json.dumps(yaml.safe_load(goyaml.dumps(dict.fromkeys(keys, 1))))))
    assert written == ["f:123456789012345678901234567890", "f: a", "f:-a", "f:0X1f", "f:\u1c49"]


def test_keys_are_in_gos_natural_order() -> None:
    """Numbers within keys count by value, and signs come before letters."""
    keys = ["ab", "a10", "a2", "a-b", "a.b", "A", "_x", "100", "20", "a01", "a1", "é", "x100", "x1010"]
    written = [line.partition(":")[0].strip('"') for line in goyaml.dumps(dict.fromkeys(keys, 1)).decode().splitlines()]
    assert written == ["_x", "20", "100", "A", "a-b", "a.b", "a1", "a01", "a2", "a10", "ab", "x100", "x1010", "é"]
