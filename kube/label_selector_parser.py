"""The grammar of label selectors: text → requirements.

    selector    = [ requirement { "," requirement } ]
    requirement = ["!"] key | key op value | key ("in" | "notin") "(" [ident] { "," [ident] } ")"
    op          = "=" | "==" | "!=" | ">" | "<"

`in` and `notin` are keywords only where an operator stands. Errors say what upstream's parser says,
which shows the state it was in: the functions here follow its states.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from kube.label_syntax import STRUCTURED_ERRORS_SINCE, key_errors, value_errors
from kube.strconv import NumError, parse_int, quote, utf8
from kube.version import ServerVersion


class SelectorError(ValueError):
    """A selector that cannot be parsed; the message is upstream's and goes into a 400."""


class Operator(Enum):
    """What a requirement asks; the value is how upstream prints it."""

    EQUALS = "="
    DOUBLE_EQUALS = "=="
    NOT_EQUALS = "!="
    IN = "in"
    NOT_IN = "notin"
    GREATER_THAN = ">"
    LESS_THAN = "<"
    EXISTS = "exists"
    DOES_NOT_EXIST = "!"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a label; `values` are sorted and unique, empty for (non-)existence."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        match self.operator:
            case Operator.EXISTS:
                return self.key
            case Operator.DOES_NOT_EXIST:
                return f"!{self.key}"
            case Operator.IN | Operator.NOT_IN:
                return f"{self.key} {self.operator.value} ({','.join(self.values)})"
            case _:
                return f"{self.key}{self.operator.value}{self.values[0]}"


_BINARY = {
    operator.value: operator for operator in Operator if operator not in (Operator.EXISTS, Operator.DOES_NOT_EXIST)
}
_SETS = (Operator.IN, Operator.NOT_IN)
_COMPARISONS = (Operator.GREATER_THAN, Operator.LESS_THAN)
_EXPECTED_OPERATOR = "in, notin, =, ==, !=, gt, lt"
_EXPECTED_OPERATOR_BEFORE = "'=', '!=', '==', 'in', notin'"  # the quotes are upstream's
_OPERATORS_LISTED_SINCE = ServerVersion(1, 22)

_END = ""
_LEXEME = re.compile(r"[ \t\r\n]*(==|!=|[=!(),><]|[^ \t\r\n=!(),><\x00]+|\x00)?")
_SYMBOLS = frozenset(("==", "!=", "=", "!", "(", ")", ",", ">", "<", _END))


def parse_requirements(text: str, version: ServerVersion) -> tuple[Requirement, ...]:
    """The requirements in the order of the text.

    Raises:
        SelectorError: with upstream's text.
    """
    return _Parser(text, version).parse()


def _scan(text: str) -> list[str]:
    """The lexemes, "" at the end. A NUL ends an identifier, and where one begins the text (as in Go's lexer)."""
    lexemes = []
    position = 0
    while True:
        match = _LEXEME.match(text, position)
        assert match is not None  # every part of the pattern is optional
        lexeme = match[1]
        position = match.end()
        if lexeme is None or lexeme == "\x00":
            lexemes.append(_END)
            return lexemes
        if lexeme not in _SYMBOLS and text.startswith("\x00", position):
            position += 1
        lexemes.append(lexeme)


class _Parser:
    def __init__(self, text: str, version: ServerVersion) -> None:
        self._lexemes = _scan(text)
        self._position = 0
        self._version = version

    def _peek(self) -> str:
        return self._lexemes[self._position]

    def _next(self) -> str:
        lexeme = self._lexemes[self._position]
        self._position += 1
        return lexeme

    def parse(self) -> tuple[Requirement, ...]:
        requirements: list[Requirement] = []
        while True:
            lexeme = self._peek()
            if lexeme == _END:
                return tuple(requirements)
            if lexeme in _SYMBOLS and lexeme != "!":
                raise SelectorError(f"found '{lexeme}', expected: !, identifier, or 'end of string'")
            try:
                requirements.append(self._requirement())
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from None
            separator = self._next()
            if separator == _END:
                return tuple(requirements)
            if separator != ",":
                raise SelectorError(f"found '{separator}', expected: ',' or 'end of string'")
            following = self._peek()
            if following in _SYMBOLS and following != "!":
                raise SelectorError(f"found '{following}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        lexeme = self._next()
        negated = lexeme == "!"
        if negated:
            lexeme = self._next()
        if lexeme in _SYMBOLS:
            raise SelectorError(f"found '{lexeme}', expected: identifier")
        self._check_key(lexeme)
        if negated:
            return Requirement(lexeme, Operator.DOES_NOT_EXIST)
        if self._peek() in (_END, ","):
            return Requirement(lexeme, Operator.EXISTS)
        operator = self._operator()
        values = self._set() if operator in _SETS else {self._exact_value()}
        return self._checked(Requirement(lexeme, operator, tuple(sorted(values, key=utf8))))

    def _operator(self) -> Operator:
        lexeme = self._next()
        operator = _BINARY.get(lexeme)
        if operator is None:
            listed = self._version >= _OPERATORS_LISTED_SINCE
            expected = _EXPECTED_OPERATOR if listed else _EXPECTED_OPERATOR_BEFORE
            raise SelectorError(f"found '{lexeme}', expected: {expected}")
        return operator

    def _exact_value(self) -> str:
        if self._peek() in (_END, ","):
            return ""
        lexeme = self._next()
        if lexeme in _SYMBOLS:
            raise SelectorError(f"found '{lexeme}', expected: identifier")
        return lexeme

    def _set(self) -> set[str]:
        """The values in parentheses, the closing one included."""
        lexeme = self._next()
        if lexeme != "(":
            raise SelectorError(f"found '{lexeme}' expected: '('")
        lexeme = self._peek()
        if lexeme == ")":
            self._next()
            return {""}
        if lexeme in _SYMBOLS and lexeme != ",":
            raise SelectorError(f"found '{lexeme}', expected: ',', ')' or identifier")
        values = self._identifiers()
        self._next()  # the ")" that _identifiers stopped before
        return values

    def _identifiers(self) -> set[str]:
        values: set[str] = set()
        while True:
            lexeme = self._next()
            if lexeme == ",":
                if not values:
                    values.add("")
                if self._peek() == ")":
                    values.add("")
                    return values
                if self._peek() == ",":
                    self._next()
                    values.add("")
            elif lexeme in _SYMBOLS:
                raise SelectorError(f"found '{lexeme}', expected: ',', or identifier")
            else:
                values.add(lexeme)
                following = self._peek()
                if following == ")":
                    return values
                if following != ",":
                    raise SelectorError(f"found '{following}', expected: ',' or ')'")

    def _check_key(self, key: str) -> None:
        if errors := key_errors(key, self._version):
            if self._version >= STRUCTURED_ERRORS_SINCE:
                # The parser has no field path here, and Go prints a missing one like this.
                raise SelectorError(f"<nil>: Invalid value: {quote(key)}: {'; '.join(errors)}")
            raise SelectorError(f"invalid label key {quote(key)}: {'; '.join(errors)}")

    def _checked(self, requirement: Requirement) -> Requirement:
        if self._version >= STRUCTURED_ERRORS_SINCE:
            faults = list(dict.fromkeys(self._faults(requirement)))
            if len(faults) == 1:
                raise SelectorError(faults[0])
            if faults:
                raise SelectorError(f"[{', '.join(faults)}]")
        else:
            self._check_before_1_21(requirement)
        return requirement

    def _faults(self, requirement: Requirement) -> list[str]:
        faults = []
        if requirement.operator in _COMPARISONS and not _is_integer(requirement.values[0]):
            bound = quote(requirement.values[0])
            faults.append(f"values[0]: Invalid value: {bound}: for 'Gt', 'Lt' operators, the value must be an integer")
        for index, value in enumerate(requirement.values):
            if errors := value_errors(value, self._version):
                path = f"values[{index}][{requirement.key}]"
                faults.append(f"{path}: Invalid value: {quote(value)}: {'; '.join(errors)}")
        return faults

    def _check_before_1_21(self, requirement: Requirement) -> None:
        if requirement.operator in _COMPARISONS and not _is_integer(requirement.values[0]):
            raise SelectorError("for 'Gt', 'Lt' operators, the value must be an integer")
        for value in requirement.values:
            if errors := value_errors(value, self._version):
                where = f"{quote(value)}: at key: {quote(requirement.key)}"
                raise SelectorError(f"invalid label value: {where}: {'; '.join(errors)}")


def _is_integer(text: str) -> bool:
    try:
        parse_int(text)
    except NumError:
        return False
    return True
