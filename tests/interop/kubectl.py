"""kubectl as it is installed: which versions there are, and what one prints for larder and for upstream."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

SECONDS = 30.0
"""For one command; kubectl's own time-outs are shorter."""

_AGE = re.compile(r"(?<![\w.-])(?:\d+y)?(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+s)?(?![\w.-])")
_VERSIONED = re.compile(r"kubectl\.1\.(\d+)")


def plain() -> Path | None:
    """The kubectl on PATH."""
    found = shutil.which("kubectl")
    return Path(found) if found else None


def installed() -> dict[str, Path]:
    """The oldest and the newest that are installed, by name; the plain one where there are no others."""
    path = plain()
    if path is None:
        return {}
    folders = {path.parent, path.resolve().parent}
    found = {}
    for one in (one for folder in folders for one in folder.glob("kubectl.1.*")):
        if match := _VERSIONED.fullmatch(one.name):
            found[int(match[1])] = one
    return (
        {found[minor].name: found[minor] for minor in sorted({min(found), max(found)})} if found else {path.name: path}
    )


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def ageless(self) -> tuple[int, str, str]:
        """All of it, with ages left out, and the widths that follow from them."""
        return self.code, without_ages(self.out), without_ages(self.err)


def without_ages(text: str) -> str:
    """Every duration as `<age>`, every run of spaces as one.

    >>> without_ages("web-1   1/1  Running  2 (3m5s ago)   4d1h")
    'web-1 1/1 Running 2 (<age> ago) <age>'
    """
    return re.sub(r" +", " ", _AGE.sub(lambda match: "<age>" if match[0] else "", text))


class Following:
    """A command that goes on until it is ended; its output so far is in `lines`."""

    def __init__(self, process: subprocess.Popen[str], out: Path, err: Path) -> None:
        self.process = process
        self._out, self._err = out, err

    @property
    def text(self) -> str:
        """What it printed."""
        return self._out.read_text()

    @property
    def lines(self) -> list[str]:
        """What it printed, a line each."""
        return self.text.splitlines()

    @property
    def complaints(self) -> str:
        """What it printed on standard error."""
        return self._err.read_text()

    def ended(self) -> int:
        """Wait for its end: its exit code."""
        return self.process.wait(SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Kubectl:
    """One program, as one user of one server. `home` is a folder of its own: its cache starts empty."""

    program: Path
    kubeconfig: Path
    home: Path

    def run(self, *arguments: str, stdin: str | None = None) -> Ran:
        """Run a command to its end."""
        return finished(self._open(arguments, subprocess.PIPE, subprocess.PIPE, stdin=stdin is not None), stdin)

    def follow(self, *arguments: str) -> Following:
        """Start a command that does not end by itself."""
        self.home.mkdir(parents=True, exist_ok=True)
        stem = self.home / f"follow-{time.monotonic_ns()}"
        out, err = stem.with_suffix(".out"), stem.with_suffix(".err")
        with out.open("w") as to, err.open("w") as to_err:
            return Following(self._open(arguments, to, to_err, stdin=False), out, err)

    def _open(
        self, arguments: tuple[str, ...], out: IO[str] | int, err: IO[str] | int, *, stdin: bool
    ) -> subprocess.Popen[str]:
        self.home.mkdir(parents=True, exist_ok=True)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig)}
        return subprocess.Popen(
            [self.program, "--cache-dir", str(self.home / "cache"), *arguments],
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            text=True,
            env=environment,
            cwd=self.home,
        )


def finished(process: subprocess.Popen[str], stdin: str | None = None) -> Ran:
    """The end of a command."""
    try:
        out, err = process.communicate(stdin, SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        err += f"\n(killed after {SECONDS:.0f} s)"
    return Ran(process.returncode, out, err)


@dataclass(frozen=True)
class Sides:
    """The same kubectl and user, towards larder and towards upstream."""

    larder: Kubectl
    upstream: Kubectl

    def both(self, *arguments: str, stdin: str | None = None) -> tuple[Ran, Ran]:
        """What larder and what upstream made it print, asked at the same time."""
        opened = [
            side._open(arguments, subprocess.PIPE, subprocess.PIPE, stdin=stdin is not None)
            for side in (self.larder, self.upstream)
        ]
        larder, upstream = (finished(process, stdin) for process in opened)
        return larder, upstream

    def same(self, *arguments: str, stdin: str | None = None) -> Ran:
        """Assert that both print the same, but for ages; a cluster that changes in between gets other chances."""
        for _ in range(3):
            larder, upstream = self.both(*arguments, stdin=stdin)
            if larder.ageless == upstream.ageless:
                break
            time.sleep(0.5)
        assert larder.ageless == upstream.ageless, f"kubectl {' '.join(arguments)}"
        return larder
