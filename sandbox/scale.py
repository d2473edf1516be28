"""The scale subresource: how many replicas a workload has and should have."""

from __future__ import annotations

from typing import Any

from sanic import Request

from kube import gojson, status
from kube.paths import RequestInfo
from sandbox.catalogue import Served
from sandbox.cluster import Cluster
from sandbox.objects import Object
from sandbox.storage import Item
from sandbox.writing import body, patcher
from tables.selectors import selector_text


def answer(cluster: Cluster, served: Served, info: RequestInfo, request: Request) -> tuple[int, bytes]:
    """Status code and body of a get, update or patch of a Scale.

    Raises:
        StatusError: the workload does not exist, or the Scale that is sent is none.
    """
    item = cluster.get(served, info.namespace, info.name)
    if info.verb == "get":
        return 200, gojson.dumps(_scale(item)) + b"\n"
    if info.verb not in {"update", "patch"}:
        raise status.method_not_allowed_route()
    wanted = body(request) if info.verb == "update" else patcher(request, custom=False)(_scale(item))
    replicas = (wanted.get("spec") or {}).get("replicas", 0) if isinstance(wanted, dict) else None
    if not isinstance(replicas, int) or replicas < 0:
        raise status.bad_request(f"spec.replicas must be a number of replicas, not {replicas!r}")

    def change(obj: Object) -> Object:
        obj.setdefault("spec", {})["replicas"] = replicas
        return obj

    dry_run = info.query.text("dryRun") == "All"
    return 200, gojson.dumps(_scale(cluster.change(served, info.namespace, info.name, change, dry_run=dry_run))) + b"\n"


def _scale(item: Item) -> Object:
    obj = item.decoded()
    metadata, spec, state = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    scale: dict[str, Any] = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": {
            "replicas": state.get("replicas", 0),
            "selector": selector_text(spec.get("selector"), empty="", nothing="", invalid=""),
        },
    }
    return scale
