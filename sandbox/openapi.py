"""As much OpenAPI as kubectl needs to send an object without a complaint: what exists, and that writes are checked.

The schemas say that every kind is an object and nothing else, so `kubectl explain` names a kind and no fields.
"""

from __future__ import annotations

import hashlib
from typing import Any

from kube import gojson
from sandbox.catalogue import VERSION, Catalogue, Served

V2_PROTOBUF_ASKED = ("proto-openapi.spec.v2@v1.0+protobuf", "proto-openapi.spec.v2.v1.0+protobuf")
V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""What is asked for may have an @; what is answered has none, as Go's parser of media types refuses it."""

_INFO = {"title": "larder sandbox", "version": VERSION}
_QUERY = ("dryRun", "fieldManager", "fieldValidation", "force")


def v2() -> bytes:
    """The whole of version 2: no definitions, so clients that look for one find none and check nothing."""
    return gojson.dumps({"swagger": "2.0", "info": _INFO, "paths": {}, "definitions": {}}) + b"\n"


def v2_protobuf() -> bytes:
    """The same in protobuf: Document{swagger = 1, info = 2 {title = 1, version = 2}, paths = 8}."""
    info = _field(1, _INFO["title"].encode()) + _field(2, _INFO["version"].encode())
    return _field(1, b"2.0") + _field(2, info) + _field(8, b"")


def digest(document: bytes) -> str:
    """What the index calls a document by, and its ETag."""
    return hashlib.sha512(document).hexdigest().upper()


def v3_index(catalogue: Catalogue) -> bytes:
    """Where the document of each group version is."""
    paths = {}
    for group, versions in catalogue.groups().items():
        for version in versions:
            path = f"apis/{group}/{version}" if group else f"api/{version}"
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest(v3(catalogue, path) or b'')}"}
    return gojson.dumps({"paths": paths}) + b"\n"


def v3(catalogue: Catalogue, path: str) -> bytes | None:
    """The document of `api/v1` or `apis/GROUP/VERSION`, None if that is not served."""
    for group, versions in catalogue.groups().items():
        for version, served in versions.items():
            if path == (f"apis/{group}/{version}" if group else f"api/{version}"):
                document = {
                    "openapi": "3.0.0",
                    "info": _INFO,
                    "paths": {_template(one): _operations(one) for one in served if "patch" in one.resource.verbs},
                    "components": {"schemas": {_schema_name(one): _schema(one) for one in served}},
                }
                return gojson.dumps(document) + b"\n"
    return None


def _template(one: Served) -> str:
    namespace = "{namespace}" if one.resource.namespaced else ""
    return one.gvr.path(namespace, "{name}")


def _kind(one: Served) -> dict[str, str]:
    return {"group": one.gvr.group, "version": one.gvr.version, "kind": one.resource.kind}


def _operations(one: Served) -> dict[str, Any]:
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in _QUERY]
    patch = {
        "operationId": f"patch{one.resource.kind}",
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": _kind(one),
    }
    return {"patch": patch}


def _schema_name(one: Served) -> str:
    group = one.gvr.group.split(".")[0] or "core"
    return f"sandbox.{group}.{one.gvr.version}.{one.resource.kind}"


def _schema(one: Served) -> dict[str, Any]:
    return {
        "description": f"{one.resource.kind}: any object; the sandbox has no schemas.",
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "x-kubernetes-group-version-kind": [_kind(one)],
    }


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited protobuf field; all of these are shorter than 128 bytes."""
    return bytes(((number << 3) | 2, len(value))) + value
