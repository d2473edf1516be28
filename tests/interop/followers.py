"""Programs that follow a resource and tell of it in JSON lines, until their standard input is closed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.interop.history import Event

END_SECONDS = 20.0

_WORDS = {"add": "ADDED", "update": "MODIFIED", "delete": "DELETED"}


class Follower:
    """A running program. A context manager that kills it at the end, should it still run."""

    def __init__(self, command: Sequence[str | Path], directory: Path) -> None:
        """`directory` takes its output."""
        directory.mkdir(parents=True, exist_ok=True)
        self._out, self._err = directory / "out", directory / "err"
        with self._out.open("w") as out, self._err.open("w") as err:
            environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=err, cwd=directory, env=environment
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has told so far."""
        whole, _, _ = self._out.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    @property
    def complaints(self) -> str:
        """What it printed on standard error."""
        return self._err.read_text()

    @property
    def events(self) -> list[Event]:
        """Changes, in upstream's words; without those that made up the state it began with."""
        lines = self.lines
        start = next((at for at, line in enumerate(lines) if line["event"] == "synced"), 0)
        changes = (line for line in lines[start:] if "key" in line)
        return [(_WORDS.get(line["event"], line["event"]), line["key"], line["rv"]) for line in changes]

    def count(self, event: str) -> int:
        """How many lines there are of an event."""
        return sum(line["event"] == event for line in self.lines)

    def finish(self) -> dict[str, str]:
        """Have it end: the objects that it held, `NAMESPACE/NAME` → resourceVersion."""
        self._process.communicate(timeout=END_SECONDS)
        assert self._process.returncode == 0, self.complaints
        found: dict[str, str] = next((line["objects"] for line in self.lines if line["event"] == "objects"), {})
        return found
