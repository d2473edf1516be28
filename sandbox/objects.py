"""What an object becomes when it is stored: checked, defaulted, in the order of keys that an API server writes."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from kube import gojson, status
from kube.resources import GVR
from kube.status import StatusError
from sandbox.catalogue import Served
from sandbox.storage import Item, key_of

Object = dict[str, Any]

_METADATA_ORDER = (
    "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
    "managedFields",
)  # fmt: skip
_SORTED_MAPS = ("data", "binaryData", "stringData")
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SERVER_SET = ("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "selfLink")


def timestamp(now: float) -> str:
    """An instant as metav1.Time is written."""
    return dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def name_suffix(source: random.Random) -> str:
    """The five letters that follow a generateName."""
    return "".join(source.choice(_SUFFIX_LETTERS) for _ in range(5))


def new_uid(source: random.Random) -> str:
    """A version 4 UUID from this source: the same seed gives the same company."""
    return str(uuid.UUID(int=source.getrandbits(128), version=4))


def already_exists(gvr: GVR, name: str) -> StatusError:
    """409 of a create."""
    message = f'{gvr.group_resource} "{name}" already exists'
    details = {"name": name, "group": gvr.group, "kind": gvr.resource}
    return StatusError(409, "AlreadyExists", message, details=details)


def conflict(gvr: GVR, name: str) -> StatusError:
    """409 of an update whose resourceVersion is not the stored one."""
    message = (
        f'Operation cannot be fulfilled on {gvr.group_resource} "{name}": the object has been modified;'
        " please apply your changes to the latest version and try again"
    )
    return StatusError(409, "Conflict", message, details={"name": name, "group": gvr.group, "kind": gvr.resource})


def invalid(served: Served, name: str, field: str, reason: str, problem: str) -> StatusError:
    """422 with one cause."""
    kind, group = served.resource.kind, served.gvr.group
    subject = f"{kind}.{group}" if group else kind
    details = {
        "name": name, "group": group, "kind": kind,
        "causes": [{"reason": reason, "message": problem, "field": field}],
    }  # fmt: skip
    return StatusError(422, "Invalid", f'{subject} "{name}" is invalid: {field}: {problem}', details=details)


def check_posted(served: Served, namespace: str, obj: Any) -> Object:
    """The object of a create or update, if it belongs where it was sent.

    Raises:
        StatusError: 400 or 422 in upstream's words.
    """
    if not isinstance(obj, dict):
        raise status.bad_request("couldn't get version/kind; json parse error: the body is no JSON object")
    gvr, kind = served.gvr, served.resource.kind
    found = (obj.get("apiVersion") or gvr.api_version, obj.get("kind") or kind)
    if found != (gvr.api_version, kind):
        sent, wanted = (f"{version}, Kind={one}" for version, one in (found, (gvr.api_version, kind)))
        raise status.bad_request(
            f"the API version or kind in the data ({sent}) does not match the expected one ({wanted})"
        )
    metadata = obj.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise status.bad_request("json: cannot unmarshal metadata into an object")
    if served.resource.namespaced:
        if metadata.setdefault("namespace", namespace) != namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
    else:
        metadata.pop("namespace", None)
    return obj


def prepare(served: Served, obj: Object, now: float, source: random.Random) -> Object:
    """A new object with what the server sets: name, uid, time, and its kind's defaults.

    Raises:
        StatusError: 422 without a name.
    """
    metadata = obj["metadata"]
    for key in _SERVER_SET:
        metadata.pop(key, None)
    if not metadata.get("name"):
        if not metadata.get("generateName"):
            raise invalid(
                served, "", "metadata.name", "FieldValueRequired", "Required value: name or generateName is required"
            )
        metadata["name"] = metadata["generateName"] + name_suffix(source)
    metadata["uid"] = new_uid(source)
    metadata["creationTimestamp"] = timestamp(now)
    default(served, obj)
    return obj


def default(served: Served, obj: Object) -> None:
    """Fill in what the kind's API defaults, as far as clients and printers look at it."""
    fill = _DEFAULTS.get(served.gvr.group_resource)
    if fill is not None:
        fill(obj)
    if isinstance(obj.get("spec"), dict) and served.gvr.group_resource not in {"namespaces", "nodes", "services"}:
        obj["metadata"].setdefault("generation", 1)


def to_item(served: Served, obj: Object, rv: int) -> Item:
    """The stored state of an object at a revision; `obj` is not kept."""
    metadata = obj["metadata"]
    metadata["resourceVersion"] = str(rv)
    namespace = metadata.get("namespace") or ""
    name = metadata["name"]
    labels = metadata.get("labels")
    return Item(
        key=key_of(namespace, name),
        namespace=namespace,
        name=name,
        uid=metadata["uid"],
        rv=rv,
        labels=dict(labels) if labels else {},
        body=_custom_body(served, obj) if served.custom else _typed_body(obj),
    )


def whole(served: Served, item: Item) -> bytes:
    """The object's JSON as it stands alone, with kind and apiVersion."""
    if served.custom:
        return item.body
    return kind_prefix(served) + item.body[1:]


def kind_prefix(served: Served) -> bytes:
    """What stands before the metadata of a built-in object that stands alone."""
    return b'{"kind":"%s","apiVersion":"%s",' % (served.resource.kind.encode(), served.gvr.api_version.encode())


def _typed_body(obj: Mapping[str, Any]) -> bytes:
    body: Object = {"metadata": _ordered_metadata(obj["metadata"])}
    for key in ("spec", "status"):
        if key in obj:
            body[key] = obj[key]
    for key, value in obj.items():
        if key not in ("kind", "apiVersion", "metadata", "spec", "status"):
            body[key] = dict(sorted(value.items())) if key in _SORTED_MAPS and isinstance(value, dict) else value
    return gojson.dumps(body)


def _custom_body(served: Served, obj: Mapping[str, Any]) -> bytes:
    body = {**obj, "apiVersion": served.gvr.api_version, "kind": served.resource.kind}
    return gojson.dumps(_sorted(body))


def _ordered_metadata(metadata: Mapping[str, Any]) -> Object:
    ordered: Object = {}
    for key in _METADATA_ORDER:
        value = metadata.get(key)
        if value is None or value in ("", {}, []):
            continue
        ordered[key] = dict(sorted(value.items())) if key in {"labels", "annotations"} else value
    return ordered


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(one) for one in value]
    return value


def _default_pod_spec(spec: Object) -> None:
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        container.setdefault("resources", {})
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("imagePullPolicy", "IfNotPresent")
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")


def _pod(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _default_pod_spec(spec)
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("enableServiceLinks", True)
    obj.setdefault("status", {"phase": "Pending", "qosClass": "BestEffort"})


def _workload(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    _default_pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))
    obj.setdefault("status", {})


def _deployment(obj: Object) -> None:
    _workload(obj)
    obj["spec"].setdefault(
        "strategy", {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    )
    obj["spec"].setdefault("revisionHistoryLimit", 10)
    obj["spec"].setdefault("progressDeadlineSeconds", 600)


def _namespace(obj: Object) -> None:
    obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    obj.setdefault("status", {"phase": "Active"})
    labels = obj["metadata"].get("labels") or {}
    labels["kubernetes.io/metadata.name"] = obj["metadata"]["name"]
    obj["metadata"]["labels"] = labels


def _service(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    if spec["type"] != "ExternalName" and "clusterIP" not in spec:
        number = int(obj["metadata"]["uid"][:4], 16) if obj["metadata"].get("uid") else 1
        spec["clusterIP"] = f"10.96.{number >> 8}.{number & 255 or 1}"
        spec["clusterIPs"] = [spec["clusterIP"]]
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
    spec.setdefault("sessionAffinity", "None")
    obj.setdefault("status", {"loadBalancer": {}})


def _job(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    for key, value in (("parallelism", 1), ("completions", 1), ("backoffLimit", 6)):
        spec.setdefault(key, value)
    _default_pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))
    obj.setdefault("status", {})


def _secret(obj: Object) -> None:
    obj.setdefault("type", "Opaque")


_DEFAULTS: dict[str, Callable[[Object], None]] = {
    "pods": _pod,
    "namespaces": _namespace,
    "services": _service,
    "secrets": _secret,
    "deployments.apps": _deployment,
    "replicasets.apps": _workload,
    "statefulsets.apps": _workload,
    "jobs.batch": _job,
}
