"""The table in docs/compatibility.md: which recorded requests are not answered as recorded, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[2] / "docs" / "compatibility.md"
_HEADING = "## Recorded requests that are not answered as recorded"
_DEFAULTS = {"method": "GET", "token": "admin-token"}


@dataclass(frozen=True, slots=True)
class Deviation:
    """A row: the request matches one of the patterns, each of which says what some of its fields are."""

    patterns: tuple[dict[str, str], ...]
    count: int
    larder: str
    reason: str

    @property
    def forwards(self) -> bool:
        """Whether such requests go upstream; else they are answered, otherwise than recorded."""
        return self.larder == "forwards"

    def matches(self, case: dict[str, Any]) -> bool:
        """Whether the row is about this recorded request."""
        fields = {**_DEFAULTS, **case}
        return any(
            all(fnmatchcase(str(fields.get(name) or ""), glob) for name, glob in {**_DEFAULTS, **pattern}.items())
            for pattern in self.patterns
        )

    def __str__(self) -> str:
        return f"{self.count} × {self.larder}: {self.reason}"


def deviations() -> list[Deviation]:
    """The rows of the table."""
    _, _, section = DOCUMENT.read_text().partition(_HEADING)
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    found = []
    for requests, count, larder, reason in rows:
        patterns = tuple(
            dict(field.split("=", 1) for field in span.split(" ")) for span in re.findall("`([^`]+)`", requests)
        )
        found.append(Deviation(patterns, int(count), larder.strip(), reason.strip()))
    return found
