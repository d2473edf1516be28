"""Discovery, lists, Tables and who may ask, over HTTP."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from sandbox.server import SandboxServer
from tests.sandbox.conftest import ClientFor

TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
FRONTENDS = ("payments-prod", "payments-staging", "insights-notebooks")
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

pytestmark = pytest.mark.asyncio


async def test_discovery_has_both_forms(admin: httpx.AsyncClient) -> None:
    """Plain and aggregated discovery name the same resources; the aggregated one can be kept by its ETag."""
    plain = {one["name"] for one in (await admin.get("/apis/apps/v1")).json()["resources"] if "/" not in one["name"]}
    answer = await admin.get("/apis", headers={"Accept": f"{AGGREGATED},application/json"})
    assert answer.headers["content-type"] == AGGREGATED
    apps = next(one for one in answer.json()["items"] if one["metadata"]["name"] == "apps")
    assert {one["resource"] for one in apps["versions"][0]["resources"]} == plain
    headers = {"Accept": AGGREGATED, "If-None-Match": answer.headers["etag"]}
    assert (await admin.get("/apis", headers=headers)).status_code == 304
    assert (await admin.get("/apis")).json()["kind"] == "APIGroupList"


async def test_pages_are_one_snapshot(admin: httpx.AsyncClient) -> None:
    """The pages of a list add up to what there was at the first, whatever is deleted meanwhile."""
    whole = (await admin.get("/api/v1/pods")).json()
    first = (await admin.get("/api/v1/pods", params={"limit": 5})).json()
    names = [one["metadata"]["name"] for one in first["items"]]
    assert first["metadata"]["remainingItemCount"] == len(whole["items"]) - 5
    for victim in whole["items"][6:9]:
        path = f"/api/v1/namespaces/{victim['metadata']['namespace']}/pods/{victim['metadata']['name']}"
        assert (await admin.delete(path, params={"gracePeriodSeconds": 0})).status_code == 200
    token = first["metadata"]["continue"]
    while token:
        page = (await admin.get("/api/v1/pods", params={"limit": 5, "continue": token})).json()
        assert page["metadata"]["resourceVersion"] == whole["metadata"]["resourceVersion"]
        names += [one["metadata"]["name"] for one in page["items"]]
        token = page["metadata"].get("continue")
    assert names == [one["metadata"]["name"] for one in whole["items"]]


async def test_a_page_of_a_forgotten_state_is_gone(admin: httpx.AsyncClient, server: SandboxServer) -> None:
    """410 with a token by which the rest of the latest state can be read."""
    first = (await admin.get("/api/v1/pods", params={"limit": 3})).json()
    server.sandbox.cluster.load({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "later"}})
    server.sandbox.faults.compact()
    answer = await admin.get("/api/v1/pods", params={"limit": 3, "continue": first["metadata"]["continue"]})
    assert (answer.status_code, answer.json()["reason"]) == (410, "Expired")
    rest = await admin.get("/api/v1/pods", params={"limit": 3, "continue": answer.json()["metadata"]["continue"]})
    assert rest.status_code == 200
    assert rest.json()["items"][0]["metadata"]["name"] != first["items"][-1]["metadata"]["name"]


@pytest.mark.parametrize(
    ("selector", "value", "namespaces"),
    [
        ("labelSelector", "app.kubernetes.io/name in (ledger)", {"payments-prod"}),
        ("labelSelector", "tier=frontend,app.kubernetes.io/name!=web,!x", {*FRONTENDS}),
        ("fieldSelector", "metadata.namespace=people-apps", {"people-apps"}),
        ("fieldSelector", "status.phase!=Running", set()),
    ],
)  # fmt: skip
async def test_selectors_choose(admin: httpx.AsyncClient, selector: str, value: str, namespaces: set[str]) -> None:
    """Label and field selectors of the full grammar."""
    items = (await admin.get("/api/v1/pods", params={selector: value})).json()["items"]
    assert {one["metadata"]["namespace"] for one in items} == namespaces


async def test_objects_are_repeated_byte_for_byte(admin: httpx.AsyncClient) -> None:
    """A built-in's bytes in a list are those of a get, less kind and apiVersion."""
    listed = (await admin.get("/api/v1/namespaces/people-apps/pods")).content
    name = (await admin.get("/api/v1/namespaces/people-apps/pods")).json()["items"][0]["metadata"]["name"]
    alone = (await admin.get(f"/api/v1/namespaces/people-apps/pods/{name}")).content
    assert alone.startswith(b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":')
    assert b"{" + alone.strip().removeprefix(b'{"kind":"Pod","apiVersion":"v1",') in listed
    tenant = (await admin.get("/apis/capsule.clastix.io/v1beta2/tenants/people")).content
    assert tenant.startswith(b'{"apiVersion":"capsule.clastix.io/v1beta2","kind":"Tenant","metadata":')
    assert tenant.strip() in (await admin.get("/apis/capsule.clastix.io/v1beta2/tenants")).content


async def test_tables_come_with_columns_and_metadata(admin: httpx.AsyncClient) -> None:
    """Rows have a cell for each column; includeObject decides what comes along."""
    table = (await admin.get("/api/v1/pods", headers=TABLE)).json()
    assert table["kind"] == "Table"
    assert [one["name"] for one in table["columnDefinitions"]][:5] == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert {len(row["cells"]) for row in table["rows"]} == {len(table["columnDefinitions"])}
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    whole = (await admin.get("/api/v1/pods", headers=TABLE, params={"includeObject": "Object"})).json()
    assert whole["rows"][0]["object"]["kind"] == "Pod"
    tenants = (await admin.get("/apis/capsule.clastix.io/v1beta2/tenants", headers=TABLE)).json()
    assert tenants["rows"][0]["cells"][:3] == ["insights", "Active", 2]


@pytest.mark.parametrize(
    ("user", "path", "code"),
    [
        ("alice", "/api/v1/namespaces/storefront-prod/pods", 200),
        ("alice", "/api/v1/pods", 403),
        ("alice", "/apis", 200),
        ("mallory", "/api/v1/namespaces/default/pods", 403),
        ("", "/api/v1/pods", 403),
        ("", "/version", 200),
        ("admin", "/apis/nobody.example/v1/things", 404),
        ("admin", "/api/v1/things", 404),
    ],
)
async def test_requests_are_authorized(client_for: ClientFor, user: str, path: str, code: int) -> None:
    """Everybody gets what RBAC gives them, and what is not served is not found."""
    assert (await client_for(user).get(path)).status_code == code


async def test_a_wrong_token_is_nobody(admin: httpx.AsyncClient) -> None:
    """401 in upstream's words."""
    answer = await admin.get("/api/v1/pods", headers={"Authorization": "Bearer wrong"})
    assert (answer.status_code, answer.json()["message"]) == (401, "Unauthorized")


async def test_impersonation_needs_the_right_to_it(client_for: ClientFor) -> None:
    """An administrator can speak for somebody; a tenant's owner cannot."""
    headers = {"Impersonate-User": "bob", "Impersonate-Group": "nobodies"}
    path = "/api/v1/namespaces/payments-prod/pods"
    assert (await client_for("admin").get(path, headers=headers)).status_code == 200
    assert (await client_for("admin").get("/api/v1/pods", headers=headers)).status_code == 403
    assert (await client_for("alice").get(path, headers=headers)).status_code == 403


async def test_reviews_are_answered(client_for: ClientFor, server: SandboxServer) -> None:
    """Tokens are reviewed, and people can ask what they may do."""
    admin, alice = client_for("admin"), client_for("alice")
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    review = (await admin.post(path, json={"spec": {"token": server.token("alice")}})).json()
    assert review["status"]["authenticated"] is True
    assert review["status"]["user"]["username"] == "alice"
    unknown = (await admin.post(path, json={"spec": {"token": "x"}})).json()["status"]
    assert not unknown.get("authenticated")
    assert (await alice.post(path, json={"spec": {"token": "x"}})).status_code == 403

    async def may(namespace: str) -> Any:
        about = {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": namespace}}
        answer = await alice.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json={"spec": about})
        return answer.json()["status"]["allowed"]

    assert (await may("storefront-prod"), await may("payments-prod")) == (True, False)
    me = await alice.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", json={})
    assert me.json()["status"]["userInfo"]["username"] == "alice"
    rules = await alice.post(
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", json={"spec": {"namespace": "storefront-prod"}}
    )
    assert rules.json()["status"]["incomplete"] is False


async def test_requests_are_counted_by_cause(admin: httpx.AsyncClient, server: SandboxServer) -> None:
    """The ledger tells our own parts from clients by their User-Agent, and starts anew when told to."""
    await admin.delete("/sandbox/requests")
    await admin.get("/api/v1/pods", headers={"User-Agent": "larder-informer/1"})
    await admin.get("/api/v1/pods", headers={"User-Agent": "kubectl/v1.32"})
    await admin.get("/apis/apps/v1", headers={"User-Agent": "larder-server/1"})
    rows = (await admin.get("/sandbox/requests")).json()["requests"]
    assert {(row["cause"], row["verb"], row["resource"], row["requests"]) for row in rows} == {
        ("larder-informer", "list", "pods", 1), ("client", "list", "pods", 1), ("larder-server", "get", "/apis/…", 1),
    }  # fmt: skip
    assert server.sandbox.ledger.reads_by("client", "pods") == 1


async def test_the_admin_paths_are_for_masters(client_for: ClientFor) -> None:
    """A tenant can neither read the ledger nor break the sandbox."""
    alice = client_for("alice")
    assert (await alice.get("/sandbox/requests")).status_code == 403
    assert (await alice.post("/sandbox/faults/down")).status_code == 403


async def test_openapi_is_enough_for_kubectl(admin: httpx.AsyncClient) -> None:
    """Every group version has a document, and its patches take fieldValidation."""
    index = (await admin.get("/openapi/v3")).json()["paths"]
    document = (await admin.get(index["apis/apps/v1"]["serverRelativeURL"])).json()
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert "fieldValidation" in {one["name"] for one in patch["parameters"]}
    accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    assert (await admin.get("/openapi/v2", headers={"Accept": accept})).content.startswith(b"\n\x032.0")


async def test_big_answers_are_compressed_where_that_is_wanted(admin: httpx.AsyncClient) -> None:
    """Compressed above 128 KiB, for those who accept it."""
    data = base64.b64encode(bytes(200_000)).decode()
    body = {"metadata": {"name": "big"}, "data": {"value": data}}
    assert (await admin.post("/api/v1/namespaces/default/configmaps", json=body)).status_code == 201
    path = "/api/v1/namespaces/default/configmaps/big"
    assert (await admin.get(path)).headers.get("content-encoding") == "gzip"
    assert "content-encoding" not in (await admin.get(path, headers={"Accept-Encoding": "identity"})).headers
