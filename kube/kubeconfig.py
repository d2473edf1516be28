"""Reading kubeconfig files: which cluster and which user a context names.

Only that: what a login is made of is in `kube.credentials`. Files are read directly, since the client
library that could do it takes seconds to import.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kube.upstream_error import CredentialsError

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


@dataclass(frozen=True, slots=True)
class Context:
    """One context of a kubeconfig. File names in `cluster` and `user` are absolute.

    `merged` is the whole kubeconfig, for plugins that read it themselves. `source` names the file in messages.
    """

    name: str
    cluster: dict[str, Any]
    user: dict[str, Any]
    merged: dict[str, Any]
    source: str


def default_paths() -> tuple[list[Path], str]:
    """The files that `$KUBECONFIG` names, else `~/.kube/config`; and how to call them in a message."""
    variable = os.environ.get("KUBECONFIG", "")
    if variable:
        return [Path(part).expanduser() for part in variable.split(os.pathsep) if part], f"KUBECONFIG={variable}"
    home = Path("~/.kube/config").expanduser()
    return [home], str(home)


def read(paths: list[Path], source: str, context: str | None = None) -> Context:
    """The named context, or the current one, of these files: of equal names the first counts.

    Raises:
        CredentialsError: no file exists, one cannot be read, or what the context names is not there.
    """
    existing = [path for path in paths if path.exists()]
    if not existing:
        raise CredentialsError(f"there is no kubeconfig at {source}: name one with --kubeconfig or $KUBECONFIG")
    merged = _merge([_read_file(path) for path in existing])
    name = context or merged.get("current-context") or ""
    if not name:
        known = _names(merged, "contexts")
        raise CredentialsError(f"{source} has no current-context: choose one with --context: {known}")
    chosen = _entry(merged, "contexts", name, "context", source)
    cluster = _entry(merged, "clusters", str(chosen.get("cluster") or ""), "cluster", source)
    user_name = str(chosen.get("user") or "")
    user = _entry(merged, "users", user_name, "user", source) if user_name else {}
    return Context(name, cluster, user, merged, source)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506 (a safe loader, the one in C where there is one)
    except OSError as error:
        raise CredentialsError(f"cannot read the kubeconfig {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise CredentialsError(f"the kubeconfig {path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise CredentialsError(f"the kubeconfig {path} is empty or no mapping")
    for section, member in (("clusters", "cluster"), ("users", "user")):
        for entry in content.get(section) or ():
            _make_absolute(entry.get(member) or {}, path.resolve().parent)
    return content


def _make_absolute(settings: dict[str, Any], folder: Path) -> None:
    for key in _PATHS:
        if settings.get(key):
            settings[key] = str(folder / Path(settings[key]).expanduser())


def _merge(files: list[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {"clusters": [], "users": [], "contexts": []}
    for content in files:
        if content.get("current-context"):
            merged.setdefault("current-context", content["current-context"])
        for section in ("clusters", "users", "contexts"):
            known = {entry.get("name") for entry in merged[section]}
            merged[section] += [entry for entry in content.get(section) or () if entry.get("name") not in known]
    return merged


def _names(merged: dict[str, Any], section: str) -> str:
    return ", ".join(sorted(str(entry.get("name")) for entry in merged[section])) or "(none)"


def _entry(merged: dict[str, Any], section: str, name: str, member: str, source: str) -> dict[str, Any]:
    for entry in merged[section]:
        if entry.get("name") == name:
            content: dict[str, Any] = entry.get(member) or {}
            return content
    raise CredentialsError(f"{source} has no {member} named {name!r}: it has {_names(merged, section)}")
