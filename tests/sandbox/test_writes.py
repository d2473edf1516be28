"""What writes do: conflicts, graceful ends, custom resources, and what follows by itself."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from sandbox.cluster import PODS, Cluster
from sandbox.life import Life
from sandbox.load import Shape, fill
from sandbox.server import SandboxServer
from sandbox.workloads import DEPLOYMENTS, deployment

MAPS = "/api/v1/namespaces/default/configmaps"


async def _first_pod(admin: httpx.AsyncClient, namespace: str) -> tuple[str, str]:
    item = (await admin.get(f"/api/v1/namespaces/{namespace}/pods")).json()["items"][0]
    return f"/api/v1/namespaces/{namespace}/pods/{item['metadata']['name']}", item["metadata"]["uid"]


@pytest.mark.asyncio
async def test_a_stale_update_conflicts(admin: httpx.AsyncClient) -> None:
    """409 for another resourceVersion or uid, and for a second create."""
    made = (await admin.post(MAPS, json={"metadata": {"name": "one"}})).json()
    assert (await admin.post(MAPS, json={"metadata": {"name": "one"}})).json()["reason"] == "AlreadyExists"
    await admin.put(f"{MAPS}/one", json={**made, "data": {"a": "1"}})
    assert (await admin.put(f"{MAPS}/one", json={**made, "data": {"a": "2"}})).json()["reason"] == "Conflict"
    options = {"preconditions": {"uid": "another"}}
    assert (await admin.request("DELETE", f"{MAPS}/one", json=options)).status_code == 409


@pytest.mark.asyncio
async def test_a_pod_ends_in_two_steps(admin: httpx.AsyncClient, server: SandboxServer) -> None:
    """First it is marked, and a while later it is gone; without grace it goes at once."""
    path, uid = await _first_pod(admin, "people-apps")
    marked = (await admin.delete(path)).json()
    assert marked["metadata"]["uid"] == uid
    assert "deletionTimestamp" in marked["metadata"]
    async with asyncio.timeout(5):
        while (await admin.get(path)).status_code != 404:
            await asyncio.sleep(0.02)
    path, _ = await _first_pod(admin, "payments-prod")
    assert (await admin.delete(path, params={"gracePeriodSeconds": 0})).status_code == 200
    assert (await admin.get(path)).status_code == 404


@pytest.mark.asyncio
async def test_a_finalizer_holds_an_object(admin: httpx.AsyncClient) -> None:
    """A deleted object with a finalizer stays until that is taken away."""
    await admin.post(MAPS, json={"metadata": {"name": "held", "finalizers": ["example.com/hold"]}})
    assert "deletionTimestamp" in (await admin.delete(f"{MAPS}/held")).json()["metadata"]
    headers = {"Content-Type": "application/merge-patch+json"}
    await admin.patch(f"{MAPS}/held", content=b'{"metadata":{"finalizers":null}}', headers=headers)
    assert (await admin.get(f"{MAPS}/held")).status_code == 404


@pytest.mark.asyncio
async def test_a_namespace_takes_its_contents_along(admin: httpx.AsyncClient) -> None:
    """It is Terminating first, and then everything is gone."""
    assert (await admin.delete("/api/v1/namespaces/people-apps")).json()["status"]["phase"] == "Terminating"
    refused = await admin.post("/api/v1/namespaces/people-apps/configmaps", json={"metadata": {"name": "late"}})
    assert refused.status_code == 403
    async with asyncio.timeout(5):
        while (await admin.get("/api/v1/namespaces/people-apps")).status_code != 404:
            await asyncio.sleep(0.02)
    assert (await admin.get("/api/v1/namespaces/people-apps/pods")).json()["items"] == []


@pytest.mark.asyncio
async def test_custom_resources_come_and_go(admin: httpx.AsyncClient) -> None:
    """A definition is served at once, with the columns it declares, and forgotten with its objects."""
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"kind": "Boat", "plural": "boats"},
            "versions": [{"name": "v1", "served": True, "storage": True, "additionalPrinterColumns": [
                {"name": "Sails", "type": "integer", "jsonPath": ".spec.sails"}]}],
        },
    }  # fmt: skip
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert (await admin.post(path, json=definition)).status_code == 201
    boats = "/apis/example.com/v1/namespaces/default/boats"
    boat = {"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": "one"}, "spec": {"sails": 3}}
    assert (await admin.post(boats, json=boat)).status_code == 201
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    assert (await admin.get(boats, headers=accept)).json()["rows"][0]["cells"] == ["one", 3]
    assert "boats" in {one["name"] for one in (await admin.get("/apis/example.com/v1")).json()["resources"]}
    await admin.delete(f"{path}/boats.example.com")
    assert (await admin.get(boats)).status_code == 404


@pytest.mark.asyncio
async def test_scale_and_status_are_apart(admin: httpx.AsyncClient) -> None:
    """The scale changes replicas alone; a status is written by its own path and by no other."""
    path = "/apis/apps/v1/namespaces/payments-prod/deployments/gateway"
    scale = (await admin.get(f"{path}/scale")).json()
    scale["spec"]["replicas"] = 5
    assert (await admin.put(f"{path}/scale", json=scale)).json()["spec"]["replicas"] == 5
    present = (await admin.get(path)).json()
    generation = present["metadata"]["generation"]
    new = {**present, "metadata": {"name": "new"}, "status": {"replicas": 99}}
    assert (await admin.post(path.rpartition("/")[0], json=new)).json()["status"] == {}
    await admin.put(path, json={**present, "status": {"replicas": 99}})
    assert (await admin.get(path)).json()["status"]["replicas"] != 99
    headers = {"Content-Type": "application/merge-patch+json"}
    await admin.patch(f"{path}/status", content=b'{"status":{"replicas":7}}', headers=headers)
    changed = (await admin.get(path)).json()
    assert (changed["status"]["replicas"], changed["metadata"]["generation"]) == (7, generation)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"{", {}, 400),
        (b"k8s\0", {"Content-Type": "application/vnd.kubernetes.protobuf"}, 400),
        (b"\xd9\xd9\xf7", {"Content-Type": "application/cbor"}, 415),
        (b'{"kind":"Pod"}', {}, 400),
        (b'{"metadata":{}}', {}, 422),
        (b'{"metadata":{"name":"x","namespace":"other"}}', {}, 400),
        (b'{"metadata":{"name":"x"},"data":{"v":"%s"}}' % (b"y" * (3 << 20)), {}, 413),
        (b"metadata: {name: from-yaml}", {"Content-Type": "application/yaml"}, 201),
    ],
)
async def test_bodies_are_checked(admin: httpx.AsyncClient, body: bytes, headers: dict[str, str], code: int) -> None:
    """Each bad body has its own answer, and the sandbox goes on."""
    assert (await admin.post(MAPS, content=body, headers=headers)).status_code == code
    assert (await admin.get(MAPS)).status_code == 200


def test_a_deployment_gets_its_pods_and_they_run(cluster: Cluster) -> None:
    """Life makes the pods of a new deployment, starts them, and takes away what is too many."""
    labels = {"app.kubernetes.io/name": "new"}
    cluster.load(deployment("people-apps", "new", "registry.example/new:1", 3, 0, labels))
    life = Life(cluster, 1e9)

    def pods() -> list[str]:
        chosen = [item for item in cluster.collection(PODS).items.values() if item.name.startswith("new-")]
        return [json.loads(item.body)["status"]["phase"] for item in chosen]

    life.step()
    assert pods() == ["Pending"] * 3
    for _ in range(3):
        life.step()
    assert pods() == ["Running"] * 3
    item = cluster.get(cluster.served(DEPLOYMENTS), "people-apps", "new")
    assert item.decoded()["status"]["readyReplicas"] == 3
    cluster.change(
        item_served := cluster.served(DEPLOYMENTS), "people-apps", "new",
        lambda old: {**old, "spec": {**old["spec"], "replicas": 1}},
    )  # fmt: skip
    life.step()
    assert len(pods()) == 1
    cluster.delete(item_served, "people-apps", "new")
    assert pods() == []


def test_a_load_has_the_shape_that_was_asked_for() -> None:
    """So many pods of that size in so many namespaces and tenants, and the same ones again."""
    made = Cluster()
    people = fill(made, Shape(pods=200, namespaces=10, tenants=5, pod_bytes=10_000))
    items = list(made.collection(PODS).items.values())
    assert len(items) == 200
    assert {item.namespace for item in items} == {f"load-{number:04d}" for number in range(10)}
    assert 9_000 < sum(len(item.body) for item in items) / 200 < 11_000
    assert len(people) == 5
    again = Cluster()
    fill(again, Shape(pods=200, namespaces=10, tenants=5, pod_bytes=10_000))
    assert again.collection(PODS).keys == made.collection(PODS).keys
