"""The version of the API server that is read from: printers and a few answers differ with it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBERS = re.compile(r"v?(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, order=True)
class ServerVersion:
    """Major and minor number: patch releases do not change what is printed.

    >>> ServerVersion(1, 20) < ServerVersion(1, 36)
    True
    """

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    @classmethod
    def parse(cls, text: str) -> ServerVersion:
        """Read a `gitVersion`, or `major.minor` as managed clusters write them.

        >>> ServerVersion.parse("v1.20.2"), str(ServerVersion.parse("1.36+"))
        (ServerVersion(major=1, minor=20), '1.36')

        Raises:
            ValueError: `text` does not begin with two numbers.
        """
        match = _NUMBERS.match(text)
        if match is None:
            raise ValueError(f"{text!r} is not a version like v1.36.2")
        return cls(int(match[1]), int(match[2]))
