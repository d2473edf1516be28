"""Builds a recent kube-apiserver and its etcd from their Go modules, for `make test-real`.

    make apiserver                  the version that goserver/go.mod names
    make apiserver VERSION=1.35.0   another one

They are left in `~/.cache/real-apiserver-<minor>/bin`, where the tests look for them.
The first build takes ten minutes or more, and some 3 GB in Go's caches.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.real.apiserver import CACHE, version_of

HERE = Path(__file__).parent / "goserver"
_KUBERNETES = re.compile(r"k8s\.io/kubernetes v(\d+)\.(\d+)\.(\d+)")
_STAGED = re.compile(r"(k8s\.io/[a-z-]+) v0\.\d+\.\d+$", re.MULTILINE)


def build(version: str = "") -> Path:
    """Build what is not there already; returns the folder with both programs.

    Raises:
        CalledProcessError: Go says why.
    """
    module = (HERE / "go.mod").read_text()
    known = ".".join(_of(module))
    version = version.removeprefix("v") or known
    home = CACHE / f"real-apiserver-{version.rpartition('.')[0]}"
    folder = home / "bin"
    if (folder / "etcd").exists() and version_of(folder) == f"v{version}":
        return folder
    source = home / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(HERE, source)
    if version != known:
        (source / "go.mod").write_text(_with_version(module, version))
        subprocess.run(["go", "mod", "tidy"], cwd=source, check=True)
    major, minor, _ = version.split(".")
    package = "k8s.io/component-base/version"
    facts = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    stamp = " ".join(f"-X {package}.{name}={value}" for name, value in facts.items())
    for program, flags in (("etcd", "-s -w"), ("kube-apiserver", f"-s -w {stamp}")):
        subprocess.run(
            ["go", "build", "-o", folder / program, "-ldflags", flags, f"./{program}"], cwd=source, check=True
        )
    return folder


def _of(module: str) -> tuple[str, ...]:
    found = _KUBERNETES.search(module)
    assert found is not None, "go.mod names no version of Kubernetes"
    return found.groups()


def _with_version(module: str, version: str) -> str:
    """The go.mod for another version: what Kubernetes publishes beside itself has the same numbers under v0."""
    _, minor, patch = version.split(".")
    module = _KUBERNETES.sub(f"k8s.io/kubernetes v{version}", module)
    direct, _, replaced = module.partition("\nreplace ")
    # What it requires beside that (etcd too) is that version's own: `go mod tidy` finds it.
    direct = "\nrequire (".join(direct.split("\nrequire (")[:2])
    direct = "\n".join(line for line in direct.split("\n") if "go.etcd.io" not in line)
    return _STAGED.sub(rf"\1 v0.{minor}.{patch}", f"{direct}\nreplace {replaced}")


if __name__ == "__main__":
    if shutil.which("go") is None:
        sys.exit("go is not installed: it is what builds the API server")
    print(build(sys.argv[1] if len(sys.argv) > 1 else ""))  # noqa: T201 - it is a command
