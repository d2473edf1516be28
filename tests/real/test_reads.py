"""Reads beside a real API server: whatever can be asked is asked of both, and comes back with the same bytes.

A new case is one line: in EVERYWHERE for a question to every resource, in CASES for one of its own.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from kube import paths
from kube.resources import GVR
from kube.version import ServerVersion
from tests.real.beside import Beside, beside
from tests.real.every import every_server
from tests.replay.comparison import between

pytestmark = pytest.mark.real

JSON = "application/json"
YAML = "application/yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
OLD_TABLE = "application/json;as=Table;v=v1beta1;g=meta.k8s.io"
KUBECTL = f"{TABLE},{OLD_TABLE},application/json"
METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"

EVERYWHERE = (
    # {all}: the list across namespaces; {one}: an object; {near}: the list of that object's namespace
    ("{all}", JSON),
    ("{all}", KUBECTL),
    ("{all}", OLD_TABLE),
    ("{all}", METADATA_LIST),
    ("{all}", YAML),
    ("{all}?includeObject=Object", TABLE),
    ("{all}?includeObject=None", TABLE),
    ("{all}?limit=2", JSON),
    ("{all}?limit=2", TABLE),
    ("{all}?limit=2", METADATA_LIST),
    ("{all}?pretty=true", JSON),
    ("{all}?pretty=true", TABLE),
    ("{all}?pretty=true", METADATA_LIST),
    ("{all}?pretty=true&labelSelector=no%3Dsuch", KUBECTL),
    ("{all}?labelSelector=app", TABLE),
    ("{all}?labelSelector=no%3Dsuch", METADATA_LIST),
    ("{all}?fieldSelector=metadata.name%3D{name}", JSON),
    ("{all}?fieldSelector=no.such%3Dfield", JSON),
    ("{near}", JSON),
    ("{near}", TABLE),
    ("{near}?fieldSelector=metadata.name%3D{name}", TABLE),
    ("{one}", JSON),
    ("{one}", TABLE),
    ("{one}", METADATA),
    ("{one}", YAML),
    ("{one}?pretty=true", JSON),
    ("{one}-not", JSON),
    ("{one}-not", YAML),
)

CASES: tuple[tuple[str, str] | tuple[str, str, dict[str, str]], ...] = (
    ("/api/v1/pods?fieldSelector=status.phase%3DRunning", TABLE),
    ("/api/v1/pods?fieldSelector=spec.nodeName%3D", JSON),
    ("/api/v1/pods?labelSelector=app+in+(web,api),tier", JSON),
    ("/api/v1/pods?limit=500", KUBECTL),
    ("/api/v1/pods", TABLE, {"Accept-Encoding": "gzip"}),
    ("/api/v1/pods", JSON, {"Accept-Encoding": "gzip"}),
    ("/api/v1/pods", JSON, {"User-Agent": "curl/8"}),
    ("/api/v1/namespaces/no-such-namespace/pods", TABLE),
    ("/api/v1/namespaces/no-such-namespace/pods", METADATA_LIST),
    ("/api/v1/pods?limit=x", JSON),
    ("/api/v1/pods?resourceVersion=x", JSON),
    ("/api/v1/pods?resourceVersionMatch=Exact", JSON),
    ("/api/v1/pods?resourceVersion=99999999", JSON),
    ("/api/v1/pods?continue=x", JSON),
    ("/api/v1/pods?labelSelector=a%3Db%3Dc", YAML),
    ("/api/v1/pods", "text/html"),
    ("/api/v1/pods", METADATA),
    ("/api/v1/pods", "application/json;as=Table;v=v2;g=meta.k8s.io"),
    ("/api/v1/pods?includeObject=Foo", TABLE),
    ("/api/v1/events?fieldSelector=involvedObject.kind%3DPod,type%3DWarning", KUBECTL),
    ("/api/v1/nodes?fieldSelector=spec.unschedulable%3Dtrue", TABLE),
    ("/api/v1/secrets?fieldSelector=type%3DOpaque", JSON),
    ("/apis/batch/v1/jobs?fieldSelector=status.successful%3D1", TABLE),
    ("/api/v1/watch/pods?timeoutSeconds=1&resourceVersion=abc", JSON),
    ("/api", JSON),
    ("/apis", JSON),
    ("/api/v1", JSON),
    ("/apis/apps/v1", JSON),
    ("/version", JSON),
)

AT_ONCE = 8

TRIES = 8
"""A second may pass between two answers with ages, and upstream's own controllers write now and then."""

INDENTED_OTHERWISE = ("/customresourcedefinitions", "/storageversions")
"""Indented by 1.20, they tell a Go struct without fields from an empty map; both are `{}` in what larder holds."""


@pytest.mark.parametrize("assets", every_server())
@pytest.mark.asyncio
@pytest.mark.timeout(600)
async def test_reads_have_the_same_bytes(assets: Path, tmp_path: Path) -> None:
    """Lists, gets, Tables, metadata, YAML, pages and refusals of every kind, for an administrator."""
    async with beside(assets, tmp_path) as both:
        questions = [question for gvr in both.served for question in await _about(both, gvr)]
        questions += [(case[0], case[1], case[2] if len(case) == 3 else {}) for case in CASES]
        room = asyncio.Semaphore(AT_ONCE)
        compared = [_compared(both, room, *question) for question in questions]
        problems = [problem for problem in await asyncio.gather(*compared) if problem]
    assert len(questions) > 1500
    assert not problems, f"{len(problems)} of {len(questions)} differ:\n" + "\n".join(problems[:30])


async def _about(both: Beside, gvr: GVR) -> list[tuple[str, str, dict[str, str]]]:
    """The questions of EVERYWHERE about one resource."""
    items = json.loads((await both.ask_real(gvr.path(), {})).body)["items"]
    metadata = items[len(items) // 2]["metadata"] if items else {"name": "nothing", "namespace": "default"}
    namespace = metadata.get("namespace", "")
    places = {
        "all": gvr.path(),
        "near": gvr.path(namespace),
        "one": gvr.path(namespace, metadata["name"]),
        "name": metadata["name"],
    }
    asked = [(template.format(**places), accept) for template, accept in EVERYWHERE]
    odd = places["all"].endswith(INDENTED_OTHERWISE)
    return [(path, accept, {}) for path, accept in asked if not (odd and "pretty" in path and accept == JSON)]


async def _compared(both: Beside, room: asyncio.Semaphore, target: str, accept: str, more: dict[str, str]) -> str:
    async with room:
        headers = {"Accept": accept, **more}
        problem = await _problem(both, target, headers)
        return f"GET {target} {headers}: {problem}" if problem else ""


def _upstreams_own(both: Beside, target: str, headers: dict[str, str]) -> bool:
    """Tables of `autoscaling/v1` show what servers that store v2 leave out of its objects: they are forwarded."""
    tables = "/autoscaling/v1/" in target and "as=Table" in headers.get("Accept", "")
    return tables and both.replica.version >= ServerVersion(1, 26)


async def _problem(both: Beside, target: str, headers: dict[str, str]) -> str:
    """How the two answers differ, "" if they do not or soon stop doing so."""
    problem = ""
    for _ in range(TRIES):
        real, larder = await asyncio.gather(both.ask_real(target, headers), both.ask_larder(target, headers))
        path, _, query = target.partition("?")
        listed = paths.parse("GET", path, query, both.replica.version).verb == "list"
        problem = between(real.status, real.headers, real.content, larder, listed=listed)
        if not problem and larder.header("x-larder-source") != "cache" and not _upstreams_own(both, target, headers):
            problem = "it was forwarded"
        if not problem or problem == "it was forwarded":
            break
        await asyncio.sleep(0.3)
    return problem
