"""Make the virtual environment and install the project into it: `python3 .ci/bootstrap.py EXTRA`.

Needs nothing but a Python: where Debian and Ubuntu have split off what `python3 -m venv` needs, it finds another
way, and says what it does. EXTRA is "" for running larder, "dev" for the tests, "dev,bench" for the benchmarks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(os.environ.get("VENV", str(ROOT / ".venv")))
PYTHON = VENV / "bin" / "python"
OLDEST = (3, 11)
PARTS_THERE = """
import re
from importlib.metadata import requires, version
for need in requires("larder"):
    "extra ==" in need or version(re.match(r"[\\w.-]+", need)[0])
"""
"""Fails where larder, or a package that it needs, has gone from the environment."""
NAMES = ("python3", "python3.14", "python3.13", "python3.12", "python3.11")


def main() -> int:
    extra = sys.argv[1] if len(sys.argv) > 1 else ""
    done = VENV / f".installed-{extra or 'run'}"
    current = done.exists() and done.stat().st_mtime >= (ROOT / "pyproject.toml").stat().st_mtime
    if current and runs([str(PYTHON), "-c", PARTS_THERE]):
        return 0
    if not works(PYTHON):
        say(f"[1/2] a virtual environment in {VENV.name}/ ...")
        make_venv(find_python())
    say("[2/2] packages from the Python package index (some 60 MB the first time; minutes on a slow line) ...")
    install(f"{ROOT}[{extra}]" if extra else str(ROOT))
    done.touch()
    return 0


def find_python() -> str:
    """A Python that is new enough."""
    for name in NAMES:
        path = shutil.which(name)
        question = f"import sys; sys.exit(sys.version_info < {OLDEST!r})"
        if path and subprocess.run([path, "-c", question], check=False).returncode == 0:
            return path
    raise SystemExit(
        f"larder needs Python {OLDEST[0]}.{OLDEST[1]} or newer; python3 here is {sys.version.split()[0]}."
        " On Debian 12, Ubuntu 24.04 and later: apt-get install python3; else a python3.11 (or newer) on PATH."
    )


def make_venv(python: str) -> None:
    """Try the ways in turn, from the ordinary to the last resort."""
    pip_installs_itself = [python, "-m", "pip", "--python", str(PYTHON), "install", "-q", "pip"]
    ways = [
        [[python, "-m", "venv", str(VENV)]],
        # Debian without python3-venv, but with python3-pip: pip can put itself into an empty environment.
        [[python, "-m", "venv", "--without-pip", str(VENV)], pip_installs_itself],
        [["virtualenv", "-q", "-p", python, str(VENV)]],
    ]
    if apt := apt_get():
        package = [*apt, "install", "-y", "-qq", "python3-venv"]
        ways.append([[*apt, "update", "-qq"], package, [python, "-m", "venv", str(VENV)]])
    for way in ways:
        shutil.rmtree(VENV, ignore_errors=True)
        if all(runs(command) for command in way) and works(PYTHON):
            return
    shutil.rmtree(VENV, ignore_errors=True)
    raise SystemExit(
        "No virtual environment could be made: this Python comes without the venv module.\n"
        "Debian and Ubuntu: apt-get install python3-venv, then run the same command again."
    )


def apt_get() -> list[str]:
    """The command that installs a Debian package without asking, [] if there is none."""
    if not shutil.which("apt-get"):
        return []
    if os.geteuid() == 0:
        return ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    if shutil.which("sudo") and runs(["sudo", "-n", "true"]):
        return ["sudo", "-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    return []


def install(what: str) -> None:
    """Install with the locked versions; where those are not to be had, with the newest that fit."""
    for locked in (["-c", str(ROOT / "requirements.lock")], []):
        command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", *locked, "-e", what]
        if follow(command):
            return
        say("The locked versions could not be installed: trying the newest that fit." if locked else "")
    raise SystemExit(
        "pip could not install the packages, see above. Is the Python package index (or your mirror of it) reachable?"
    )


def follow(command: list[str]) -> bool:
    """Run pip and show how far it is: one moving line in a terminal, a few lines elsewhere."""
    terminal = sys.stdout.isatty()
    width = min(100, shutil.get_terminal_size().columns - 1)
    started = time.monotonic()
    shown, seen, errors = 0.0, 0, []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            words = line.split()
            if words[:1] and words[0] in {"Collecting", "Installing", "Building"}:
                seen += 1
                now = time.monotonic()
                text = f"      {int(now - started):3d} s  {seen:3d} packages looked at, now {' '.join(words[:2])}"
                if terminal:
                    sys.stdout.write(f"\r{text[:width]:{width}}")
                    sys.stdout.flush()
                elif now - shown > 10:
                    shown = now
                    say(text)
            elif "ERROR" in line or "error:" in line:
                errors.append(line.rstrip())
    if terminal:
        sys.stdout.write("\r" + " " * width + "\r")
    if process.returncode:
        say("\n".join(errors[:20]) or "pip failed without a word")
    else:
        say(f"      done in {int(time.monotonic() - started)} s")
    return process.returncode == 0


def works(python: Path) -> bool:
    return python.exists() and runs([str(python), "-m", "pip", "--version"])


def runs(command: list[str]) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def say(text: str) -> None:
    if text:
        print(text, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        # What is there by now stays, and the next run goes on from it.
        say("\nstopped; the same command goes on where this one ended")
        sys.exit(130)
