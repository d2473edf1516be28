"""Label and field selectors: parse, match, print.

Both are parsed once per text (bounded caches), are hashable by their canonical text, and give a closure
for matching many objects. Errors are `SelectorError`s with upstream's text, which a request answers as 400.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from typing import Literal

from kube.label_selector_parser import (
    Operator,
    Requirement,
    SelectorError,
    parse_requirements,
)
from kube.strconv import NumError, parse_int, utf8
from kube.version import ServerVersion

__all__ = [
    "EVERYTHING",
    "EVERY_FIELD",
    "FieldSelector",
    "FieldTerm",
    "LabelSelector",
    "Matcher",
    "SelectorError",
]

Matcher = Callable[[Mapping[str, str]], bool]

MAX_CACHED_SELECTOR = 1024
"""Longest selector text in characters that is kept in a cache: longer ones are rare, and parsed each time."""


class LabelSelector:
    """Requirements on labels, ANDed and sorted by key."""

    def __init__(self, requirements: tuple[Requirement, ...] = ()) -> None:
        self.requirements = tuple(sorted(requirements, key=_key_bytes))

    @staticmethod
    def parse(text: str, version: ServerVersion) -> LabelSelector:
        """Parse a `labelSelector`; the version decides the words of an error.

        >>> str(LabelSelector.parse("tier in (b, a),app = web", ServerVersion(1, 36)))
        'app=web,tier in (a,b)'

        Raises:
            SelectorError: with upstream's text.
        """
        if not text:
            return EVERYTHING
        if len(text) > MAX_CACHED_SELECTOR:
            return LabelSelector(parse_requirements(text, version))
        return _parse_labels(text, version)

    @property
    def empty(self) -> bool:
        """Whether it selects everything."""
        return not self.requirements

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return self._matcher(labels)

    def matcher(self) -> Matcher:
        """The fastest way to match many objects."""
        return self._matcher

    def required_value(self, key: str) -> str | None:
        """The one value that every selected object has for `key`, or None: what an index can look up."""
        for requirement in self.requirements:
            if requirement.key == key and requirement.operator in _EQUALITIES and len(requirement.values) == 1:
                return requirement.values[0]
        return None

    def equalities(self) -> dict[str, str]:
        """Every key that has a `required_value`, with it."""
        keys = {requirement.key for requirement in self.requirements}
        return {key: value for key in sorted(keys) if (value := self.required_value(key)) is not None}

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"LabelSelector({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelSelector) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    @cached_property
    def _text(self) -> str:
        return ",".join(map(str, self.requirements))

    @cached_property
    def _matcher(self) -> Matcher:
        return _conjunction([_test(requirement) for requirement in self.requirements])


def _key_bytes(requirement: Requirement) -> bytes:
    return utf8(requirement.key)


EVERYTHING = LabelSelector()

_EQUALITIES = (Operator.EQUALS, Operator.DOUBLE_EQUALS, Operator.IN)


@lru_cache(maxsize=2048)
def _parse_labels(text: str, version: ServerVersion) -> LabelSelector:
    return LabelSelector(parse_requirements(text, version))


def _always(_values: Mapping[str, str]) -> bool:
    return True


def _conjunction(tests: list[Matcher]) -> Matcher:
    """All of the tests as one closure: nested pairs, which cost less than a loop for the few there are."""
    if not tests:
        return _always
    return reduce(_both, tests)


def _both(first: Matcher, second: Matcher) -> Matcher:
    return lambda values: first(values) and second(values)


def _test(requirement: Requirement) -> Matcher:
    """The closure that tests one requirement."""
    key, values = requirement.key, frozenset(requirement.values)
    match requirement.operator:
        case Operator.EQUALS | Operator.DOUBLE_EQUALS | Operator.IN if len(values) == 1:
            (only,) = values
            return lambda labels: labels.get(key) == only
        case Operator.EQUALS | Operator.DOUBLE_EQUALS | Operator.IN:
            return lambda labels: labels.get(key) in values
        case Operator.NOT_EQUALS | Operator.NOT_IN:
            return lambda labels: labels.get(key) not in values
        case Operator.EXISTS:
            return lambda labels: key in labels
        case Operator.DOES_NOT_EXIST:
            return lambda labels: key not in labels
        case _:
            return _integer_test(requirement)


def _integer_test(requirement: Requirement) -> Matcher:
    key, bound = requirement.key, parse_int(requirement.values[0])
    greater = requirement.operator is Operator.GREATER_THAN

    def matches(labels: Mapping[str, str]) -> bool:
        text = labels.get(key)
        if text is None:
            return False
        try:
            value = parse_int(text)
        except NumError:
            return False
        return value > bound if greater else value < bound

    return matches


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """`field=value` or `field!=value`; `==` is written as `=`."""

    field: str
    operator: Literal["=", "!="]
    value: str

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
        return f"{self.field}{self.operator}{escaped}"


class FieldSelector:
    """Terms on fields, ANDed, in the order of their texts."""

    def __init__(self, terms: tuple[FieldTerm, ...] = ()) -> None:
        self.terms = terms

    @staticmethod
    def parse(text: str) -> FieldSelector:
        r"""Parse a `fieldSelector`.

        >>> str(FieldSelector.parse(r"status.phase!=Running,metadata.name==a\,b"))
        'metadata.name=a\\,b,status.phase!=Running'

        Raises:
            SelectorError: with upstream's text.
        """
        if not text:
            return EVERY_FIELD
        if len(text) > MAX_CACHED_SELECTOR:
            return FieldSelector(_parse_terms(text))
        return _parse_fields(text)

    @property
    def empty(self) -> bool:
        """Whether it selects everything."""
        return not self.terms

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether an object with these fields is selected; a missing field reads as ""."""
        return self._matcher(fields)

    def matcher(self) -> Matcher:
        """The fastest way to match many objects."""
        return self._matcher

    def required(self, field: str) -> str | None:
        """The value that every selected object has for `field`, or None."""
        for term in self.terms:
            if term.field == field and term.operator == "=":
                return term.value
        return None

    def fields(self) -> tuple[str, ...]:
        """The fields it looks at, in order, each once."""
        return tuple(dict.fromkeys(term.field for term in self.terms))

    def renamed(self, names: Mapping[str, str]) -> FieldSelector:
        """With fields replaced by their canonical names."""
        if not any(term.field in names for term in self.terms):
            return self
        renamed = (FieldTerm(names.get(term.field, term.field), term.operator, term.value) for term in self.terms)
        return FieldSelector(tuple(renamed))

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"FieldSelector({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldSelector) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    @cached_property
    def _text(self) -> str:
        return ",".join(map(str, self.terms))

    @cached_property
    def _matcher(self) -> Matcher:
        return _conjunction([_field_test(term) for term in self.terms])


EVERY_FIELD = FieldSelector()


def _field_test(term: FieldTerm) -> Matcher:
    field, value = term.field, term.value
    if term.operator == "=":
        return lambda fields: fields.get(field, "") == value
    return lambda fields: fields.get(field, "") != value


@lru_cache(maxsize=2048)
def _parse_fields(text: str) -> FieldSelector:
    return FieldSelector(_parse_terms(text))


def _parse_terms(text: str) -> tuple[FieldTerm, ...]:
    terms = []
    for part in sorted(_split_terms(text), key=utf8):
        if not part:
            continue
        field, operator, value = _split_term(part)
        if not operator:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{part}'")
        value = _unescape(value)
        if field or value:  # a term of nothing is none
            terms.append(FieldTerm(field, "!=" if operator == "!=" else "=", value))
    return tuple(terms)


def _split_terms(text: str) -> list[str]:
    """Split on commas that no backslash precedes."""
    if "\\" not in text:
        return text.split(",")
    terms = []
    start = 0
    escaped = False
    for index, rune in enumerate(text):
        if escaped:
            escaped = False
        elif rune == "\\":
            escaped = True
        elif rune == ",":
            terms.append(text[start:index])
            start = index + 1
    terms.append(text[start:])
    return terms


def _split_term(term: str) -> tuple[str, str, str]:
    """Field, operator ("" if there is none) and value, split at the first operator."""
    for index, rune in enumerate(term):
        if rune in "!=":
            for operator in ("!=", "==", "="):
                if term.startswith(operator, index):
                    return term[:index], operator, term[index + len(operator) :]
    return term, "", ""


def _unescape(value: str) -> str:
    if "\\" not in value and "=" not in value:  # a term holds no unescaped comma
        return value
    runes = []
    escaped = False
    for rune in value:
        if escaped:
            if rune not in "\\,=":
                raise SelectorError(f"invalid field selector: invalid escape sequence: \\{rune}")
            runes.append(rune)
            escaped = False
        elif rune == "\\":
            escaped = True
        elif rune in ",=":
            raise SelectorError(f"invalid field selector: unescaped character in value: {ord(rune)}")
        else:
            runes.append(rune)
    if escaped:
        raise SelectorError("invalid field selector: invalid escape sequence: \\")
    return "".join(runes)
