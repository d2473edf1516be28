"""JSONPath as client-go reads it: custom resources declare their columns in it.

A template is text with actions in braces; an action is a chain of steps. `range` is an error here:
upstream keeps its state from one object to the next.
Source: client-go util/jsonpath, the parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tables.gotext import MAX_INT64, MIN_INT64
from tables.jsonpath_steps import (
    EvaluationError,
    Field,
    Node,
    Values,
    Word,
    existing,
    filtered,
    identifier,
    literal,
    recursive,
    run,
    slice_of,
    text_node,
    union,
    wildcard,
)

__all__ = ["EvaluationError", "JSONPath", "ParseError"]


class ParseError(ValueError):
    """The text is no template."""


@dataclass(frozen=True, slots=True)
class JSONPath:
    """A parsed template: the actions and texts that it consists of."""

    actions: tuple[tuple[Node, ...], ...]
    keys: tuple[str, ...] | None
    """The keys to follow, where the template is nothing else."""

    @classmethod
    def parse(cls, template: str) -> JSONPath:
        """Read a template like `{.status.phase}`.

        Raises:
            ParseError: it is none.
        """
        actions: list[tuple[Node, ...]] = []
        _Parser(template).template(actions)
        keys = [node.key for node in actions[0] if isinstance(node, Field)] if len(actions) == 1 else []
        return cls(tuple(actions), tuple(keys) if keys and len(keys) == len(actions[0]) else None)

    def first(self, obj: Any) -> Values:
        """What the first action gives.

        The others are evaluated too, since an error in them is one of the whole.

        >>> JSONPath.parse("{.a[*].b}").first({"a": [{"b": 1}, {"b": 2}]})
        [1, 2]

        Raises:
            EvaluationError: a step does not fit the object.
        """
        if self.keys is not None:
            for key in self.keys:
                if not isinstance(obj, dict) or key not in obj:
                    return []
                obj = obj[key]
            return [obj]
        results = [run(action, [obj]) for action in self.actions]
        return results[0] if results else []


_DICT_KEY = re.compile(r"'([^']*)'")
_SLICE = re.compile(r"(-?[0-9]*)(:-?[0-9]*)?(:-?[0-9]*)?")
_COMPARISON = re.compile(r"([^!<>=]+)([!<>=]+)(.+)")
_TERMINATORS = frozenset(" \t\r\n.,[]$@{}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")


class _Parser:
    """One pass over a template."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def next(self) -> str:
        """The next character, empty at the end."""
        char = self.text[self.position : self.position + 1]
        self.position += len(char)
        return char

    def template(self, actions: list[tuple[Node, ...]]) -> None:
        while self.position < len(self.text):
            opening = self.text.find("{", self.position)
            if opening != self.position:
                end = len(self.text) if opening < 0 else opening
                actions.append((text_node(self.text[self.position : end]),))
                self.position = end
                continue
            self.position += 1
            actions.append(self.action())

    def action(self) -> tuple[Node, ...]:
        """The nodes up to the closing brace."""
        nodes: list[Node] = []
        while not self.text.startswith("}", self.position):
            if self.text.startswith("[?(", self.position):
                nodes.append(self.filter())
            elif self.text.startswith("..", self.position):
                if nodes and nodes[-1] is recursive:
                    raise ParseError("invalid multiple recursive descent")
                nodes.extend(self.recursive())
            else:
                nodes.extend(self.step())
        self.position += 1
        return tuple(nodes)

    def step(self) -> list[Node]:
        """What one character begins."""
        match char := self.next():
            case "" | "\r" | "\n":
                raise ParseError("unclosed action")
            case " " | "@" | "$":
                return []
            case "[":
                return self.array()
            case '"' | "'":
                return [text_node(self.quoted(char))]
            case ".":
                return [self.field()]
        if char in "+-" or char.isdecimal():
            return [self.number()]
        if _alphanumeric(char):
            return [self.identifier()]
        raise ParseError(f"unrecognized character in action: {char!r}")

    def recursive(self) -> list[Node]:
        """`..`, and the key that may follow it."""
        self.position += len("..")
        named = _alphanumeric(self.text[self.position : self.position + 1])
        return [recursive, self.field()] if named else [recursive]

    def field(self) -> Node:
        start = self.position
        while char := self.next():
            if char == "\\":
                self.next()
            elif char in _TERMINATORS:
                self.position -= 1
                break
        name = self.text[start : self.position]
        if name == "*":
            return wildcard
        return Field(name.replace("\\", ""))

    def identifier(self) -> Node:
        start = self.position - 1
        while (char := self.next()) and char not in _TERMINATORS:
            pass
        self.position -= len(char)
        name = self.text[start : self.position]
        return literal(name == "true") if name in ("true", "false") else identifier(name)

    def number(self) -> Node:
        start = self.position - 1
        while (char := self.next()) and (char == "." or char.isdecimal()):
            pass
        self.position -= len(char)
        text = self.text[start : self.position]
        if not _NUMBER.fullmatch(text):
            raise ParseError(f"cannot parse number {text}")
        value = float(text) if "." in text else int(text)
        # What no int64 can hold is read as a float.
        whole = isinstance(value, int) and MIN_INT64 <= value <= MAX_INT64
        return literal(Word(value) if whole else float(value))

    def quoted(self, quote: str) -> str:
        """The text up to the closing quote, unescaped."""
        start = self.position
        while (char := self.next()) != quote or self.text[self.position - 2] == "\\":
            if char in ("", "\n"):
                raise ParseError("unterminated quoted string")
        return _unquote(self.text[start : self.position - 1], quote)

    def array(self) -> list[Node]:
        """What stands in brackets: a union, a key or a slice."""
        end = self.text.find("]", self.position)
        text = self.text[self.position : end]
        if end < 0 or "\n" in text:
            raise ParseError("unterminated array")
        self.position = end + 1
        if "," in text:
            return [union([self.sub_action(f"[{part.strip(' ')}]") for part in text.split(",")])]
        if key := _DICT_KEY.fullmatch(text):
            return list(self.sub_action(f".{key[1]}"))
        parts = _SLICE.fullmatch(":" if text == "*" else text)
        if parts is None:
            raise ParseError(f"invalid array index {text}")
        start = self.index(parts[1])
        single = parts[2] is None
        end_index = (start or 0) + 1 if single else self.index(parts[2][1:])
        return [slice_of(start, end_index, self.index((parts[3] or ":")[1:]), single=single)]

    @staticmethod
    def index(text: str) -> int | None:
        if not text:
            return None
        if text == "-" or not MIN_INT64 <= int(text) <= MAX_INT64:
            raise ParseError(f"array index {text} is not a number")
        return int(text)

    def filter(self) -> Node:
        """`[?(left operator right)]`, or the test that something exists."""
        self.position += len("[?(")
        start = self.position
        quote = ""
        closed = False
        while True:
            char = self.next()
            if char in ("", "\n"):
                raise ParseError("unterminated filter")
            if char in "\"'":
                if not quote:
                    quote = char
                elif char == quote and self.text[self.position - 2] != "\\":
                    closed = True
            elif char == ")" and bool(quote) == closed:
                break
        text = self.text[start : self.position - 1]
        if self.next() != "]":
            raise ParseError("unclosed array expect ]")
        comparison = _COMPARISON.fullmatch(text)
        if comparison is None:
            return existing(self.sub_action(text))
        left, operator, right = comparison.groups()
        return filtered(self.sub_action(left), operator, self.sub_action(right))

    def sub_action(self, text: str) -> tuple[Node, ...]:
        """The nodes of a part that is a template of its own; only its first action counts."""
        actions: list[tuple[Node, ...]] = []
        _Parser(f"{{{text}}}").template(actions)
        return actions[0]


def _alphanumeric(char: str) -> bool:
    return char == "_" or char.isalpha() or char.isdecimal()


_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3}))|[^\\]", re.DOTALL
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}


def _unquote(text: str, quote: str) -> str:
    """The text between quotes, as strconv.UnquoteChar reads it."""
    if "\\" not in text:
        return text
    pieces: list[bytes] = []
    position = 0
    while position < len(text):
        match = _ESCAPE.match(text, position)
        if match is None or match[0] == quote or ((match[1] or quote) in "'\"" and match[1] not in (None, quote)):
            raise ParseError(f"unquote string {text} error invalid syntax")
        position = match.end()
        if match[1]:
            pieces.append(_SIMPLE.get(match[1], match[1]).encode())
        elif match[2] or match[5]:
            byte = int(match[2], 16) if match[2] else int(match[5], 8)
            if byte > 255:
                raise ParseError(f"unquote string {text} error invalid syntax")
            pieces.append(bytes((byte,)))
        elif match[3] or match[4]:
            pieces.append(_rune(int(match[3] or match[4], 16), text))
        else:
            pieces.append(match[0].encode())
    return b"".join(pieces).decode(errors="replace")


def _rune(number: int, text: str) -> bytes:
    if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
        raise ParseError(f"unquote string {text} error invalid syntax")
    return chr(number).encode()
