"""Bodies in protobuf, as typed clients send them (`kubectl create namespace`, `kubectl auth can-i`).

The sandbox stores JSON, so it reads the fields of the few kinds that people create by hand; whatever else comes
in protobuf is refused as an unknown format. Field numbers: k8s.io/api and apimachinery, generated.proto, v0.36.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"

Field = tuple[str, Any]
"""JSON name, and what its value is: `str`, `int`, `bool`, `bytes`, a message (a mapping of numbers to fields),
[one of them] for repeated ones, or {str: one of them} for maps."""

_META: Mapping[int, Field] = {
    1: ("name", str),
    2: ("generateName", str),
    3: ("namespace", str),
    11: ("labels", {str: str}),
    12: ("annotations", {str: str}),
    14: ("finalizers", [str]),
}
_SELECTOR = {1: ("matchLabels", {str: str})}
_PORT = {1: ("name", str), 3: ("containerPort", int), 4: ("protocol", str)}
_CONTAINER = {1: ("name", str), 2: ("image", str), 3: ("command", [str]), 4: ("args", [str]), 6: ("ports", [_PORT])}
_POD_SPEC = {2: ("containers", [_CONTAINER]), 3: ("restartPolicy", str), 8: ("serviceAccountName", str)}
_TEMPLATE = {1: ("metadata", _META), 2: ("spec", _POD_SPEC)}
_SERVICE_PORT = {1: ("name", str), 2: ("protocol", str), 3: ("port", int), 5: ("nodePort", int)}
_ROLE_REF = {1: ("apiGroup", str), 2: ("kind", str), 3: ("name", str)}
_SUBJECT = {1: ("kind", str), 2: ("apiGroup", str), 3: ("name", str), 4: ("namespace", str)}
_RULE = {
    1: ("verbs", [str]),
    2: ("apiGroups", [str]),
    3: ("resources", [str]),
    4: ("resourceNames", [str]),
    5: ("nonResourceURLs", [str]),
}
_QUESTION = {
    1: ("namespace", str),
    2: ("verb", str),
    3: ("group", str),
    4: ("version", str),
    5: ("resource", str),
    6: ("subresource", str),
    7: ("name", str),
}
_ASKED = {1: ("resourceAttributes", _QUESTION), 2: ("nonResourceAttributes", {1: ("path", str), 2: ("verb", str)})}
_BINDING = {1: ("metadata", _META), 2: ("subjects", [_SUBJECT]), 3: ("roleRef", _ROLE_REF)}
_ROLE = {1: ("metadata", _META), 2: ("rules", [_RULE])}

_KINDS: Mapping[str, Mapping[int, Field]] = {
    "Namespace": {1: ("metadata", _META)},
    "ConfigMap": {1: ("metadata", _META), 2: ("data", {str: str}), 3: ("binaryData", {str: bytes})},
    "Secret": {1: ("metadata", _META), 2: ("data", {str: bytes}), 3: ("type", str), 4: ("stringData", {str: str})},
    "ServiceAccount": {1: ("metadata", _META)},
    "Service": {
        1: ("metadata", _META),
        2: (
            "spec",
            {1: ("ports", [_SERVICE_PORT]), 2: ("selector", {str: str}), 3: ("clusterIP", str), 4: ("type", str)},
        ),
    },
    "Pod": {1: ("metadata", _META), 2: ("spec", _POD_SPEC)},
    "Deployment": {
        1: ("metadata", _META),
        2: ("spec", {1: ("replicas", int), 2: ("selector", _SELECTOR), 3: ("template", _TEMPLATE)}),
    },
    "Role": _ROLE,
    "ClusterRole": _ROLE,
    "RoleBinding": _BINDING,
    "ClusterRoleBinding": _BINDING,
    "SelfSubjectAccessReview": {1: ("metadata", _META), 2: ("spec", _ASKED)},
    "SelfSubjectRulesReview": {1: ("metadata", _META), 2: ("spec", {1: ("namespace", str)})},
    "SelfSubjectReview": {1: ("metadata", _META)},
    "DeleteOptions": {
        1: ("gracePeriodSeconds", int),
        2: ("preconditions", {1: ("uid", str), 2: ("resourceVersion", str)}),
        3: ("orphanDependents", bool),
        4: ("propagationPolicy", str),
        5: ("dryRun", [str]),
    },
}


class Unreadable(ValueError):
    """The body is no such message, or of a kind that is not read here."""


def decode(body: bytes) -> dict[str, Any]:
    """The object as JSON would hold it.

    Raises:
        Unreadable: see there.
    """
    if not body.startswith(_MAGIC):
        raise Unreadable("the body does not begin as Kubernetes' protobuf does")
    try:
        unknown = _message(
            body[len(_MAGIC) :], {1: ("type", {1: ("apiVersion", str), 2: ("kind", str)}), 2: ("raw", memoryview)}
        )
        kind = unknown["type"]["kind"]
        fields = _KINDS.get(kind)
        if fields is None:
            raise Unreadable(f"the sandbox reads {kind} in JSON or YAML only")
        return {"kind": kind, "apiVersion": unknown["type"]["apiVersion"], **_message(unknown.get("raw", b""), fields)}
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise Unreadable(f"the body is cut off or no protobuf: {error!r}") from error


def _message(data: bytes, fields: Mapping[int, Field]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _raw_fields(data):
        if number not in fields:
            continue  # a field that nobody sets by hand
        name, kind = fields[number]
        if isinstance(kind, list):
            found.setdefault(name, []).append(_value(value, kind[0]))
        elif isinstance(kind, dict) and str in kind:
            entry = _message(_bytes(value), {1: ("key", str), 2: ("value", kind[str])})
            found.setdefault(name, {})[entry.get("key", "")] = entry.get("value", "")
        else:
            found[name] = _value(value, kind)
    return found


def _value(value: int | bytes, kind: Any) -> Any:
    if kind is int:
        number = int(value) if isinstance(value, int) else 0
        return number - (1 << 64) if number >> 63 else number
    if kind is bool:
        return bool(value)
    data = _bytes(value)
    if kind is str:
        return data.decode()
    if kind is bytes:
        return base64.b64encode(data).decode()
    return data if kind is memoryview else _message(data, kind)


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise Unreadable("a number stands where a text should")
    return value


def _raw_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire == 2:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise Unreadable("the body is cut off")
            yield number, data[at : at + length]
            at += length
        else:
            at += {1: 8, 5: 4}.get(wire, len(data))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise Unreadable("a number is too long")
