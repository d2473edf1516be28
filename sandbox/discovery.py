"""The documents by which clients learn what is served: discovery in both forms, and /version."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from kube import gojson
from kube.resources import Resource
from sandbox.catalogue import VERSION, Catalogue, Served

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

_SCALE = {"group": "autoscaling", "version": "v1", "kind": "Scale"}


def version_document() -> bytes:
    """The body of /version."""
    major, minor = VERSION.removeprefix("v").split(".")[:2]
    document = {
        "major": major, "minor": minor, "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.24", "compiler": "gc", "platform": "linux/amd64",
    }  # fmt: skip
    return gojson.indent(gojson.dumps(document)) + b"\n"


def wants_aggregated(accept: str) -> bool:
    """Whether a client asks for the aggregated form in the version that is served."""
    clauses = [clause.replace(" ", "") for clause in accept.split(",")]
    for clause in clauses:
        parts = set(clause.split(";"))
        if {"g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"} <= parts:
            return True
        if parts & {"application/json", "*/*"} and not any(part.startswith("as=") for part in parts):
            return False
    return False


class Discovery:
    """Documents made from the catalogue, kept until it changes."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._generation = -1
        self._documents: dict[str, bytes] = {}

    def document(self, path: str) -> bytes | None:
        """The plain document of `/api`, `/apis`, or of a group or a version below them; None: not served."""
        self._refresh()
        return self._documents.get(path)

    def aggregated(self, path: str) -> tuple[bytes, str] | None:
        """The aggregated document of `/api` or `/apis`, and its ETag."""
        self._refresh()
        body = self._documents.get(f"{path} aggregated")
        if body is None:
            return None
        return body, f'"{hashlib.sha512(body).hexdigest().upper()}"'

    def _refresh(self) -> None:
        if self._generation == self._catalogue.generation:
            return
        groups = self._catalogue.groups()
        core = groups.pop("")
        documents: dict[str, Any] = {
            "/api": {
                "kind": "APIVersions",
                "versions": list(core),
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
            },
            "/api aggregated": _group_list([("", core)]),
            "/apis": {
                "kind": "APIGroupList",
                "apiVersion": "v1",
                "groups": [_group(name, list(versions)) for name, versions in groups.items()],
            },
            "/apis aggregated": _group_list(list(groups.items())),
        }
        for name, versions in [("", core), *groups.items()]:
            base = f"/apis/{name}" if name else "/api"
            if name:
                documents[base] = {"kind": "APIGroup", "apiVersion": "v1", **_group(name, list(versions))}
            for version, served in versions.items():
                documents[f"{base}/{version}"] = {
                    "kind": "APIResourceList",
                    **({"apiVersion": "v1"} if name else {}),
                    "groupVersion": f"{name}/{version}" if name else version,
                    "resources": [entry for one in served for entry in _plain(one)],
                }
        self._documents = {path: gojson.dumps(document) + b"\n" for path, document in documents.items()}
        self._generation = self._catalogue.generation


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _verbs(resource: Resource) -> list[str]:
    return sorted(resource.verbs)


def _plain(one: Served) -> list[dict[str, Any]]:
    resource = one.resource
    entries: list[dict[str, Any]] = [
        {
            "name": resource.gvr.resource,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": _verbs(resource),
            **({"shortNames": list(resource.short_names)} if resource.short_names else {}),
            **({"categories": list(resource.categories)} if resource.categories else {}),
            "storageVersionHash": re.sub(r"\W", "", str(resource.gvr))[:12],
        }
    ]
    for sub in one.subresources:
        scale = {"group": "autoscaling", "version": "v1"} if sub == "scale" else {}
        entries.append(
            {
                "name": f"{resource.gvr.resource}/{sub}",
                "singularName": "",
                "namespaced": resource.namespaced,
                **scale,
                "kind": "Scale" if sub == "scale" else resource.kind,
                "verbs": ["get"] if sub == "log" else ["get", "patch", "update"],
            }
        )
    return entries


def _group_list(groups: list[tuple[str, dict[str, list[Served]]]]) -> dict[str, Any]:
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": name} if name else {},
                "versions": [
                    {"version": version, "resources": [_aggregated(one) for one in served], "freshness": "Current"}
                    for version, served in versions.items()
                ],
            }
            for name, versions in groups
        ],
    }


def _aggregated(one: Served) -> dict[str, Any]:
    resource = one.resource
    entry: dict[str, Any] = {
        "resource": resource.gvr.resource,
        "responseKind": _kind(one, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": _verbs(resource),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if one.subresources:
        entry["subresources"] = [
            {
                "subresource": sub,
                "responseKind": _SCALE if sub == "scale" else _kind(one, resource.kind),
                "verbs": ["get"] if sub == "log" else ["get", "patch", "update"],
            }
            for sub in one.subresources
        ]
    return entry


def _kind(one: Served, kind: str) -> dict[str, str]:
    """A built-in's own kind has empty group and version, as upstream sends it."""
    gvr = one.gvr
    return {"group": gvr.group if one.custom else "", "version": gvr.version if one.custom else "", "kind": kind}
