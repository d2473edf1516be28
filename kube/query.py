"""Query strings as Go reads them: pairs that cannot be decoded are dropped, the first value of a name wins."""

from __future__ import annotations

import re
from functools import lru_cache

from kube.strconv import parse_bool, utf8
from kube.version import ServerVersion

SEMICOLONS_REFUSED_SINCE = ServerVersion(1, 23)
"""Built with Go 1.17: a pair with `;` is dropped. Before, `;` parted pairs as `&` does."""

MAX_CACHED_QUERY = 2048

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


class Query:
    """The decoded parameters of one URL.

    >>> Query.parse("a=1&a=2&b&c=%zz&d=x+y").get("a"), Query.parse("b").get("b"), Query.parse("c=%zz").get("c")
    ('1', '', None)
    """

    __slots__ = ("_values", "raw")

    def __init__(self, raw: str, values: dict[str, str]) -> None:
        self.raw = raw
        self._values = values

    @staticmethod
    def parse(raw: str, version: ServerVersion = SEMICOLONS_REFUSED_SINCE) -> Query:
        """Decode a raw query string (what follows `?`). Never fails: what Go cannot decode is not there."""
        if len(raw) > MAX_CACHED_QUERY:
            return _parse(raw, version >= SEMICOLONS_REFUSED_SINCE)
        return _parse_cached(raw, version >= SEMICOLONS_REFUSED_SINCE)

    def get(self, name: str) -> str | None:
        """The first value, "" for a name without one; None if the name is absent."""
        return self._values.get(name)

    def text(self, name: str) -> str:
        """The first value, "" if the name is absent."""
        return self._values.get(name, "")

    def flag(self, name: str) -> bool:
        """A boolean parameter: present means true, also without a value; only `0` and `false` mean false."""
        return _truth(self._values.get(name))

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __repr__(self) -> str:
        return f"Query({self.raw!r})"


def pretty_wanted(query: Query) -> bool | None:
    """What `?pretty=` decides, None if it decides nothing (absent or empty)."""
    if "pretty" not in query.raw or not (value := query.text("pretty")):
        return None
    return bool(parse_bool(value))


def _truth(value: str | None) -> bool:
    return value is not None and value != "0" and value.lower() != "false"


@lru_cache(maxsize=4096)
def _parse_cached(raw: str, semicolons_refused: bool) -> Query:
    return _parse(raw, semicolons_refused)


def _parse(raw: str, semicolons_refused: bool) -> Query:
    values: dict[str, str] = {}
    for pair in raw.split("&") if semicolons_refused else re.split("[&;]", raw):
        if not pair or ";" in pair:
            continue
        name, _, value = pair.partition("=")
        if "%" in pair or "+" in pair:
            if _BROKEN_ESCAPE.search(pair):
                continue
            name, value = percent_decode(name.replace("+", " ")), percent_decode(value.replace("+", " "))
        values.setdefault(name, value)
    return Query(raw, values)


def percent_decode(text: str) -> str:
    """Decode escapes that are known to be whole. Bytes that are not UTF-8 become lone surrogates."""
    if "%" not in text:
        return text
    decoded = _ESCAPES.sub(_latin, utf8(text).decode("latin-1"))
    return decoded.encode("latin-1").decode("utf-8", "surrogateescape")


def has_broken_escape(text: str) -> bool:
    """Whether a `%` is not followed by two hexadecimal digits."""
    return "%" in text and _BROKEN_ESCAPE.search(text) is not None


def _latin(match: re.Match[str]) -> str:
    return bytes.fromhex(match[0].replace("%", "")).decode("latin-1")
