"""Clients that have to be built: the Go program and the packages of the Node one, kept in `.cache` by their contents.

`make clients` builds them, which takes minutes the first time; tests build nothing.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "interop"


def go_client() -> Path:
    """Where the Go program is, or would be."""
    return CACHE / f"goclient-{_digest('goclient', '*.go', 'go.mod', 'go.sum')}" / "goclient"


def node_client() -> Path:
    """Where the Node program is, or would be, beside its packages."""
    return CACHE / f"nodeclient-{_digest('nodeclient', '*.mjs', 'package*.json')}" / "follow.mjs"


def build() -> None:
    """Build what is not there and can be built; the rest stays untested, and the tests say so."""
    for program, path, make in (("go", go_client(), _build_go), ("npm", node_client(), _install_node)):
        if path.exists():
            continue
        if shutil.which(program) is None:
            _say(f"{program} is not installed: its clients stay untested")
            continue
        _say(f"building the clients of {program} (two minutes the first time)")
        try:
            make()
        except subprocess.CalledProcessError as error:
            _say(f"{program}'s clients cannot be built, and stay untested: {error}")


def _build_go() -> None:
    subprocess.run(["go", "build", "-o", go_client(), "."], cwd=HERE / "goclient", check=True)


def _install_node() -> None:
    folder = node_client().parent
    new = folder.with_suffix(".new")
    shutil.copytree(HERE / "nodeclient", new, dirs_exist_ok=True)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=new, check=True)
    new.rename(folder)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - it is a command


def _digest(folder: str, *patterns: str) -> str:
    paths = sorted(path for pattern in patterns for path in (HERE / folder).glob(pattern))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:12]


if __name__ == "__main__":
    build()
