"""Random requests against a real API server: what we refuse it refuses with the same bytes, and the reverse."""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from kube.resources import GVR, Resource
from kube.version import ServerVersion
from tests.real.apiserver import RealApiServer
from tests.real.every import every_server
from tests.server.understanding import Served, Server, Undecided

pytestmark = pytest.mark.real

REQUESTS = 1500
SEED = 20
GROUP = "example.com"

PATHS = (
    "/api/v1/pods", "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default", "/api/v1/namespaces",
    "/api/v1/nodes", "/api/v1/services", "/api/v1/events", "/api/v1/secrets", "/api/v1/replicationcontrollers",
    "/api/v1/namespaces/default/nodes", "/api/v1/pods/x", "/api/v1/pods/", "/api/v1//pods", "/api/v1/namespaces//pods",
    "/api/v1/namespaces/%64efault/pods", "/api/v1/namespaces/default/pods/%zz",
    "/api/v1/watch", "/api/v1/watch/pods", "/api/v1/watch/namespaces/default/pods/x", "/api/v1/watch/nodes/n",
    "/apis/apps/v1/deployments", "/apis/apps/v1/replicasets", "/apis/batch/v1/jobs", "/apis/batch/v1beta1/cronjobs",
    "/apis/events.k8s.io/v1/events", "/apis/certificates.k8s.io/v1/certificatesigningrequests",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles", "/apis/authentication.k8s.io/v1/tokenreviews",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "/apis/apiregistration.k8s.io/v1/apiservices",
    "/apis/example.com/v1/widgets", "/apis/example.com/v1/namespaces/default/widgets", "/apis/example.com/v1/widgets/x",
    "/apis/example.com/v1/gadgets", "/apis/example.com/v1/namespaces/default/gadgets",
    "/apis/example.com/v1/watch/widgets",
)  # fmt: skip
LABEL_SELECTORS = (
    "a=b", "a=b=c", "app=a/b", "_x=1", "app>x", "app>5", "a in (b,c)", "x in (a", "=a", "a=b,", ",a=b", "!", "a!b",
    "a in b", "A_b.c/d=e", "a/b/c=d", "é=1", "a=é", "a=" + "x" * 64, "-a=b", "a in ()", "a in (,)", "a in (a,,b)",
    "!a=b", "a notin", "a b", "a==", "a=in", "in in (in)", "notin", "a in (é,ü)", "a>é", "a=b c", "(((", "a=(",
    "a in (b c)", "a in (=)", "/a=b", "a/=b", "x" * 300 + "/a", "a\tin\n(b)", "a in ((b)", "a<1,b>2,!c", "a><b",
    "a=b;c",
)  # fmt: skip
FIELD_SELECTORS = (
    "metadata.name=x", "metadata.name=default", "a", "a=b=c", "=b", "metadata.name in (a)", "metadata.name=a\\xb",
    "metadata.name=a\\", "spec.foo=bar", "metadata.namespace=x", "status.phase=Running", "spec.nodeName=",
    "spec.host=x", "status.podIPs=", "status.replicas=1", "status.successful=1", "spec.signerName=x", "type=x",
    "metadata.name!=x", "metadata.name=a,metadata.name=b", ",,", "spec.hostNetwork=true", "spec.clusterIP=x",
    "involvedObject.name=x", "regarding.name=x", "reason=x", "a!=b,metadata.name=x", "metadata.name==a\\,b",
    "spec.unschedulable=true", "metadata.name=..", "metadata.name=a/b", "source=x", "reportingController=x", "é=1",
)  # fmt: skip
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
ACCEPTS = (
    None, "", "application/json", TABLE, f"{TABLE},application/json", "application/yaml", "text/html", "application/*",
    "*/*", "*", "application/json;pretty=1", "application/json;q=0.5,application/yaml", f"{TABLE};stream=watch",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/json;stream=watch",
    "application/json;as=PartialObjectMetadataList;v=v1beta1;g=meta.k8s.io", "application/json;stream=x",
    "application/json;sv=v1", "application/json;sv=v2", "application/vnd.kubernetes.protobuf", "garbage", ",",
    "application/yaml;as=Table;v=v1;g=meta.k8s.io", "application/json,", "a/b/c", "*/*;q=0.1,application/yaml;q=0.05",
    "application/json;as=Table=;v=v1;g=meta.k8s.io", "application/json ; as=Table ; v = v1 ; g=meta.k8s.io", "*/json",
    "application/json;q=x,application/yaml;q=0.1", "application/yaml;stream=watch", "application/cbor,*/*",
    "application/vnd.kubernetes.protobuf;stream=watch",
)  # fmt: skip
PARAMETERS: tuple[tuple[str, float, tuple[str, ...]], ...] = (
    ("labelSelector", 0.3, LABEL_SELECTORS),
    ("fieldSelector", 0.3, FIELD_SELECTORS),
    ("resourceVersion", 0.3, ("", "0", "1", "abc", "-1", "+1", "1.5", "18446744073709551616", "00")),
    ("resourceVersionMatch", 0.2, ("", "Exact", "NotOlderThan", "Foo", "exact")),
    ("limit", 0.15, ("", "abc", "1", "-1", "0", "1.5", "9223372036854775808", "+2")),
    ("watch", 0.3, ("1", "true", "0", "false", "", "FALSE", "x")),
    ("includeObject", 0.1, ("Foo", "None", "Object", "", "metadata")),
    ("continue", 0.05, ("x", "eyJ")),
    ("sendInitialEvents", 0.1, ("true", "")),
    ("pretty", 0.15, ("1", "true", "false", "", "x")),
)
"""Name, how often it is given, and its values."""


class Upstream:
    """A connection to the real server, as a cluster admin."""

    def __init__(self, server: RealApiServer) -> None:
        self._context = server.ssl_context()
        self._host = server.url.removeprefix("https://")
        self._connection = self._connect()

    def _connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._host, context=self._context, timeout=30)

    def ask(
        self, method: str, target: str, accept: str | None = None, user_agent: str = "test", body: bytes | None = None
    ) -> tuple[int, str, bytes]:
        """Status, Content-Type and body; of a watch that was accepted no body."""
        self._connection.putrequest(method, target, skip_accept_encoding=True)
        self._connection.putheader("Authorization", "Bearer admin-token")
        self._connection.putheader("User-Agent", user_agent)
        if accept is not None:
            self._connection.putheader("Accept", accept)
        if body is not None:
            self._connection.putheader("Content-Type", "application/json")
            self._connection.putheader("Content-Length", str(len(body)))
        self._connection.endheaders(body)
        response = self._connection.getresponse()
        content_type = response.getheader("Content-Type", "")
        if response.status == 200 and "watch" in target:
            answer = b""
            self.close()
        else:
            answer = response.read()
        if response.getheader("Connection") == "close":
            self.close()
        return response.status, content_type, answer

    def json(self, target: str) -> Any:
        """The decoded answer of a GET."""
        return json.loads(self.ask("GET", target)[2])

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()
        self._connection = self._connect()


@pytest.fixture(scope="module", params=every_server())
def upstream(request: pytest.FixtureRequest) -> Iterator[tuple[Upstream, Server]]:
    """The server with two custom resources, and what it serves."""
    with RealApiServer(request.param) as real:
        asked = Upstream(real)
        for kind, scope in (("Widget", "Namespaced"), ("Gadget", "Cluster")):
            definition = _definition(kind, scope)
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            assert asked.ask("POST", path, body=json.dumps(definition).encode())[0] == 201
        while "gadgets" not in str(asked.ask("GET", f"/apis/{GROUP}/v1")[2]):
            time.sleep(0.1)
        yield asked, Server(ServerVersion.parse(real.version), _discover(asked))
        asked.close()


def _definition(kind: str, scope: str) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"plural": plural, "singular": kind.lower(), "kind": kind}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": scope, "names": names, "versions": [version]},
    }


def _discover(asked: Upstream) -> dict[GVR, Served]:
    groups = [("", "v1", "/api/v1")]
    for group in asked.json("/apis")["groups"]:
        groups += [
            (group["name"], version["version"], f"/apis/{version['groupVersion']}") for version in group["versions"]
        ]
    catalogue = {}
    for name, version, path in groups:
        for entry in asked.json(path)["resources"]:
            gvr = GVR(name, version, entry["name"])
            resource = Resource(gvr, entry["kind"], entry["namespaced"], frozenset(entry["verbs"]))
            catalogue[gvr] = Served(resource, name == GROUP)
    return catalogue


def _target(chance: random.Random) -> str:
    parameters = [
        f"{name}={urllib.parse.quote(chance.choice(values))}"
        for name, share, values in PARAMETERS
        if chance.random() < share
    ]
    parameters.append("timeoutSeconds=1")
    chance.shuffle(parameters)
    return f"{chance.choice(PATHS)}?{'&'.join(parameters)}"


def test_random_requests_are_refused_alike(upstream: tuple[Upstream, Server]) -> None:
    """Status, Content-Type and body of every refusal are the real server's, and nothing else is refused."""
    asked, server = upstream
    chance = random.Random(SEED)
    refused = 0
    for _ in range(REQUESTS):
        target = _target(chance)
        accept = chance.choice(ACCEPTS) if chance.random() < 0.6 else "application/json"
        agent = chance.choice(("recorder/1", "recorder/1", "curl/7"))
        method = "GET" if chance.random() < 0.93 else chance.choice(("HEAD", "OPTIONS", "FOO"))
        try:
            ours = server.refusal(method, target, accept, agent)
        except Undecided:
            continue
        status, content_type, body = asked.ask(method, target, accept, agent)
        described = f"{method} {target} Accept: {accept} User-Agent: {agent}"
        if ours is None:
            # 404, 410 and 504 are the store's to say; the real one has no object of these names.
            assert status == 200 or status in (404, 410, 504), f"{described}\n{status} {body.decode()}"
            continue
        refused += 1
        assert (ours.status, ours.body) == (status, body), described
        if method != "HEAD":
            assert ours.headers["Content-Type"] == content_type, described
    assert refused > REQUESTS / 2
