"""Run `larder` as a person would, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LIMIT_SECONDS = 30


@dataclass(frozen=True)
class Outcome:
    """How it ended, and what it said."""

    code: int
    out: str
    err: str


def larder(*arguments: str, environment: Mapping[str, str] | None = None, seconds: float = LIMIT_SECONDS) -> Outcome:
    """Run it to its end, without any `LARDER_*` variable but those given."""
    ended = subprocess.run(
        [sys.executable, "-m", "larder", *arguments],
        capture_output=True, text=True, check=False, timeout=seconds, stdin=subprocess.DEVNULL,
        env=clean_environment(environment),
    )  # fmt: skip
    return Outcome(ended.returncode, ended.stdout, ended.stderr)


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without our variables, and with these."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LARDER_")}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "120", **(more or {})}


def alive(pid: int) -> bool:
    """Whether a process runs: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
