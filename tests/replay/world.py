"""The recordings of a real API server, as the replay uses them.

`tests/golden/reads/` holds what Kubernetes 1.36.2 answered: a world (every list, discovery),
the cases asked of that world, and histories (writes seen live by many watchers).
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

READS = Path(__file__).parent.parent / "golden" / "reads"


@cache
def world() -> dict[str, Any]:
    """`{server, discovery, aggregated, lists}`, see the recordings' README."""
    found: dict[str, Any] = _load("world")
    return found


@cache
def cases() -> list[dict[str, Any]]:
    """Every recorded request with its answer."""
    found: list[dict[str, Any]] = _load("cases")
    return found


@cache
def histories() -> list[dict[str, Any]]:
    """Every recorded sequence of writes with what each watcher saw of it."""
    found: list[dict[str, Any]] = _load("histories")
    return found


@cache
def columns() -> dict[str, list[dict[str, Any]]]:
    """The Table columns of each list path (`/api/v1/pods`), taken from recorded Tables."""
    known: dict[str, list[dict[str, Any]]] = {}
    for case in cases():
        text = case.get("body", {}).get("text", "")
        if case.get("status") != 200 or not text.startswith('{"kind":"Table"'):
            continue
        table, _, _ = text.partition("\n")
        definitions = json.loads(table).get("columnDefinitions")
        if definitions:
            known.setdefault(collection_path(case["path"]), definitions)
    return known


def collection_path(path: str) -> str:
    """The cross-namespace list path that a recorded request's path belongs to.

    >>> collection_path("/apis/apps/v1/namespaces/a/deployments/web?limit=1")
    '/apis/apps/v1/deployments'
    """
    parts = path.partition("?")[0].strip("/").split("/")
    prefix = 2 if parts[0] == "api" else 3
    head, rest = parts[:prefix], parts[prefix:]
    if len(rest) >= 3 and rest[0] == "namespaces":
        rest = rest[2:]
    return "/" + "/".join([*head, rest[0]]) if rest else "/" + "/".join(head)


def _load(name: str) -> Any:
    with gzip.open(READS / f"{name}.json.gz") as file:
        return json.load(file)
