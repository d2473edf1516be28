"""What upstream serves: its resources, and the documents by which clients find them.

Groups of aggregated API servers may be broken for days. One that does not answer keeps what was known of
it, and is named in `errors`; all others are as of now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from kube.client import JSON, Response, UpstreamClient
from kube.resources import GVR, Resource
from kube.status import StatusError
from kube.upstream_error import UpstreamBroken, UpstreamError

GROUP_SECONDS = 10.0
"""For one group's document: aggregated API servers that hang must not hold up the others."""
CONCURRENT = 8
"""Requests at once: a refresh is not urgent, and API servers limit each client."""

AGGREGATED = ("v2", "v2beta1")
"""Variants of the documents /api and /apis, besides the plain one: versions of apidiscovery.k8s.io."""
PROTOBUF = "protobuf"
"""Variant of /openapi/v2."""

KEPT_HEADERS = ("content-type", "etag", "vary", "cache-control", "last-modified", "expires")

T = TypeVar("T")
Key = tuple[str, str]
"""Path and variant of a document; the plain variant is ""."""


def aggregated_type(version: str) -> str:
    """The media type of an aggregated discovery document."""
    return f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True)
class Document:
    """One answer to be repeated; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, response: Response) -> Document:
        """The part of an answer that is kept."""
        headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        return cls(response.status, headers, response.body)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One state of discovery.

    `version` is the gitVersion. `preferred` holds, of each group's resource, the version that clients
    take if they name none. `errors`: group version → what is wrong with it.
    """

    version: str
    resources: dict[GVR, Resource]
    preferred: frozenset[GVR]
    documents: dict[Key, Document] = field(repr=False)
    errors: dict[str, str]


class _Version(msgspec.Struct):
    group_version: str = msgspec.field(name="groupVersion")


class _Group(msgspec.Struct):
    name: str
    versions: list[_Version]
    preferred: _Version | None = msgspec.field(default=None, name="preferredVersion")


class _Groups(msgspec.Struct):
    groups: list[_Group] | None = None


class _Versions(msgspec.Struct):
    versions: list[str] | None = None


class _Resource(msgspec.Struct):
    name: str
    kind: str = ""
    namespaced: bool = False
    verbs: list[str] | None = None
    singular: str = msgspec.field(default="", name="singularName")
    short_names: list[str] | None = msgspec.field(default=None, name="shortNames")
    categories: list[str] | None = None


class _Resources(msgspec.Struct):
    resources: list[_Resource] | None = None


class _GitVersion(msgspec.Struct):
    git_version: str = msgspec.field(default="", name="gitVersion")


class _OpenApiPath(msgspec.Struct):
    url: str = msgspec.field(name="serverRelativeURL")


class _OpenApiIndex(msgspec.Struct):
    paths: dict[str, _OpenApiPath]


async def discover(client: UpstreamClient, previous: Catalogue | None = None) -> Catalogue:
    """Ask upstream what it serves.

    Raises:
        StatusError, UpstreamError: not even its list of groups can be had.
    """
    known = previous.documents if previous else {}
    documents: dict[Key, Document] = {}
    for path in ("/version", "/api", "/apis"):
        documents[path, ""] = Document.of((await _get(client, path)).checked())
    await _aggregated(client, known, documents)
    if previous is not None and not previous.errors and _is_unchanged(known, documents):
        return previous
    group_versions = _group_versions(documents)
    errors = await _resource_documents(client, group_versions, known, documents)
    resources: dict[GVR, Resource] = {}
    preferred: dict[tuple[str, str], GVR] = {}
    for group, version in group_versions:
        document = documents.get((_base_path(group, version), ""))
        for resource in _resources(group, version, document) if document else ():
            resources[resource.gvr] = resource
            preferred.setdefault((group, resource.gvr.resource), resource.gvr)
    git_version = _decode(documents["/version", ""], _GitVersion).git_version
    return Catalogue(git_version, resources, frozenset(preferred.values()), documents, errors)


async def openapi(client: UpstreamClient, known: Mapping[Key, Document]) -> dict[Key, Document]:
    """The OpenAPI documents, /openapi/v3 by group; those that did not change since `known` are not asked for.

    The keys of the groups' documents are without `?hash=`; their ETag says it.

    Raises:
        StatusError, UpstreamError
    """
    documents: dict[Key, Document] = {}
    for variant, accept in (("", JSON), (PROTOBUF, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")):
        found = await _conditional(client, ("/openapi/v2", variant), accept, known)
        if found is not None:
            documents["/openapi/v2", variant] = found
    index = await _get(client, "/openapi/v3")
    if index.status != 200:
        return documents
    documents["/openapi/v3", ""] = Document.of(index)
    for name, entry in sorted(_decode(documents["/openapi/v3", ""], _OpenApiIndex).paths.items()):
        key = (f"/openapi/v3/{name}", "")
        old, fingerprint = known.get(key), entry.url.partition("hash=")[2]
        if old is not None and fingerprint and old.headers.get("etag", "").strip('"') == fingerprint:
            documents[key] = old
            continue
        try:
            response = await _get(client, entry.url)
        except UpstreamError:
            continue  # an aggregated API server's; it is asked again at the next refresh
        if response.status == 200:
            documents[key] = Document.of(response)
    return documents


async def _get(client: UpstreamClient, path: str, accept: str = JSON, etag: str = "") -> Response:
    headers = {"Accept": accept}
    if etag:
        headers["If-None-Match"] = etag
    return await client.request(
        "GET", path, headers=headers, verb="get", cause="discovery", timeout_seconds=3 * GROUP_SECONDS
    )


async def _conditional(client: UpstreamClient, key: Key, accept: str, known: Mapping[Key, Document]) -> Document | None:
    """The document, the known one if upstream says that it is unchanged, None where this form is not served."""
    old = known.get(key)
    response = await _get(client, key[0], accept, old.headers.get("etag", "") if old else "")
    if response.status == 304 and old is not None:
        return old
    return Document.of(response) if response.status == 200 else None


async def _aggregated(client: UpstreamClient, known: Mapping[Key, Document], documents: dict[Key, Document]) -> None:
    for path in ("/api", "/apis"):
        for version in AGGREGATED:
            found = await _conditional(client, (path, version), aggregated_type(version), known)
            # Servers that do not know the form answer plainly or with 406.
            if found is not None and found.headers.get("content-type", "") == aggregated_type(version):
                documents[path, version] = found


def _is_unchanged(known: Mapping[Key, Document], documents: Mapping[Key, Document]) -> bool:
    """Whether an aggregated document, which has everything, says that nothing changed."""
    return any(("/apis", version) in documents for version in AGGREGATED) and all(
        key in known and known[key].body == document.body for key, document in documents.items()
    )


def _group_versions(documents: Mapping[Key, Document]) -> list[tuple[str, str]]:
    """Groups and versions in upstream's order, a group's preferred version first."""
    found = [("", version) for version in _decode(documents["/api", ""], _Versions).versions or ()]
    for group in _decode(documents["/apis", ""], _Groups).groups or ():
        versions = [entry.group_version.rpartition("/")[2] for entry in group.versions]
        if group.preferred is not None:
            versions.insert(0, group.preferred.group_version.rpartition("/")[2])
        found += [(group.name, version) for version in dict.fromkeys(versions)]
    return found


def _base_path(group: str, version: str) -> str:
    return GVR(group, version, "").base_path


async def _resource_documents(
    client: UpstreamClient,
    group_versions: Iterable[tuple[str, str]],
    known: Mapping[Key, Document],
    documents: dict[Key, Document],
) -> dict[str, str]:
    """Add each group version's document to `documents`; what is wrong with those that did not come."""
    limit = asyncio.Semaphore(CONCURRENT)
    errors: dict[str, str] = {}

    async def fetch(group: str, version: str) -> None:
        path = _base_path(group, version)
        try:
            async with limit:
                response = await client.request(
                    "GET", path, verb="get", cause="discovery", timeout_seconds=GROUP_SECONDS
                )
            documents[path, ""] = document = Document.of(response.checked())
            _decode(document, _Resources)
        except (StatusError, UpstreamError) as error:
            errors[GVR(group, version, "").api_version] = str(error) or type(error).__name__
            documents.pop((path, ""), None)
            if (path, "") in known:
                documents[path, ""] = known[path, ""]

    async with asyncio.TaskGroup() as tasks:
        for group, version in group_versions:
            tasks.create_task(fetch(group, version), name=f"discover {group}/{version}")
    return dict(sorted(errors.items()))


def _resources(group: str, version: str, document: Document) -> list[Resource]:
    return [
        Resource(
            gvr=GVR(group, version, entry.name),
            kind=entry.kind,
            namespaced=entry.namespaced,
            verbs=frozenset(entry.verbs or ()),
            singular=entry.singular,
            short_names=tuple(entry.short_names or ()),
            categories=tuple(entry.categories or ()),
        )
        for entry in _decode(document, _Resources).resources or ()
        if "/" not in entry.name
    ]


def _decode(document: Document, shape: type[T]) -> T:
    """The document's JSON.

    Raises:
        UpstreamBroken: it has another shape.
    """
    try:
        return msgspec.json.decode(document.body, type=shape)
    except msgspec.DecodeError as error:
        raise UpstreamBroken(f"a discovery document has another form: {error}: {document.body[:200]!r}") from error
