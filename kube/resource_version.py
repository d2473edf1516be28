"""Resource versions: the one place where their text is parsed.

Inside they are ints, and compare as such; on the wire they are decimal strings. "" and "0" have
meanings of their own in a request, so options keep the text beside the number.
"""

from __future__ import annotations

from enum import Enum

from kube.strconv import NumError, parse_uint, quote


class Match(Enum):
    """The `resourceVersionMatch` of a list."""

    UNSET = ""
    EXACT = "Exact"
    NOT_OLDER_THAN = "NotOlderThan"


class InvalidResourceVersion(ValueError):
    """Not a uint64: the message is strconv's. `field_error` is the text that storage errors show."""

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(problem)
        self.text = text

    @property
    def field_error(self) -> str:
        """`resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax`."""
        return f"resourceVersion: Invalid value: {quote(self.text)}: {self}"


def parse(text: str) -> int:
    """The number of a resource version; "" is 0, as upstream's versioner has it.

    >>> parse("1814"), parse("")
    (1814, 0)

    Raises:
        InvalidResourceVersion: the text is no uint64.
    """
    if not text:
        return 0
    try:
        return parse_uint(text)
    except NumError as error:
        raise InvalidResourceVersion(text, str(error)) from None
