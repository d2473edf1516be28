"""The objects behind the recorded Tables, put into the storage of a real API server of that age as they were.

Through the API they would lose their creation times, their status, and whatever validation refuses today.
"""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

from kube.resources import GVR
from kube.version import ServerVersion
from tests.tables.goldens import gvr_of, recordings

_PREFIXES = {
    "services": "services/specs",
    "endpoints": "services/endpoints",
    "nodes": "minions",
    "replicationcontrollers": "controllers",
    "ingresses.networking.k8s.io": "ingress",
    "podsecuritypolicies.policy": "podsecuritypolicy",
    "customresourcedefinitions.apiextensions.k8s.io": "apiextensions.k8s.io/customresourcedefinitions",
    "apiservices.apiregistration.k8s.io": "apiregistration.k8s.io/apiservices",
}
"""Where API servers keep what is not under the resource's own name."""

_FULLEST = (
    "horizontalpodautoscalers.v2beta2.autoscaling",
    "horizontalpodautoscalers.v2.autoscaling",
    "cronjobs.v1beta1.batch",
    "ingresses.v1.networking.k8s.io",
)
"""Of resources with several versions the one that loses nothing; of all others the first that was recorded."""

_ELSEWHERE = ("events.events.k8s.io", "ingresses.extensions")
"""The same objects as those of another group."""


_RECORDED = ("v1.20.2", "v1.36.2")


def load(etcd: str, version: ServerVersion, *, definitions: bool) -> int:
    """Put the definitions of custom resources, or all other objects, into etcd (its URL); returns how many.

    `version`: of the API server that is to read them.
    """
    count = 0
    for gvr, obj in objects(version):
        if (gvr.resource == "customresourcedefinitions") is definitions:
            _put(etcd, _key(gvr, obj["metadata"]), obj)
            count += 1
    return count


def objects(version: ServerVersion) -> Iterator[tuple[GVR, dict[str, Any]]]:
    """Every object that was recorded of the nearest version, once, without what storage does not hold."""
    chosen: dict[str, GVR] = {}
    nearest = min(_RECORDED, key=lambda recorded: abs(ServerVersion.parse(recorded).minor - version.minor))
    tables = {gvr_of(name): entry["table"] for name, entry in recordings(nearest).items()}
    for gvr in tables:
        if str(gvr) in _FULLEST or gvr.group_resource not in chosen:
            chosen[gvr.group_resource] = gvr
    for name, gvr in chosen.items():
        if name in _ELSEWHERE or name == "componentstatuses":
            continue
        for row in tables[gvr]["rows"] or ():
            obj = json.loads(json.dumps(row["object"]))
            obj["metadata"].pop("resourceVersion", None)
            yield gvr, obj


def _key(gvr: GVR, metadata: dict[str, Any]) -> str:
    prefix = _PREFIXES.get(gvr.group_resource)
    if prefix is None:
        custom = "." in gvr.group and not gvr.group.endswith(".k8s.io")
        prefix = f"{gvr.group}/{gvr.resource}" if custom else gvr.resource
    namespace = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"/registry/{prefix}/{namespace}{metadata['name']}"


def _put(etcd: str, key: str, obj: dict[str, Any]) -> None:
    body = {"key": _encoded(key.encode()), "value": _encoded(json.dumps(obj, separators=(",", ":")).encode())}
    request = urllib.request.Request(f"{etcd}/v3/kv/put", json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
