"""A cluster with what the clients watch, and writers that change it all the time."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import aiohttp

from tests.chaos.clients import Place
from tests.chaos.wishes import NAMESPACES, RESOURCES, UNION

SERVED_SECONDS = 60.0
PAUSE_SECONDS = 0.02
"""Between two writes."""

_RBAC = "rbac.authorization.k8s.io"
_DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{
            "name": "v1", "served": True, "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
        }],
    },
}  # fmt: skip
_READER = {
    "apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": "chaos-reader"},
    "rules": [{"apiGroups": ["", "example.com"], "resources": ["configmaps", "widgets"],
               "verbs": ["get", "list", "watch"]}],
}  # fmt: skip
_BINDING = {
    "apiVersion": f"{_RBAC}/v1", "kind": "RoleBinding", "metadata": {"name": "chaos-reader"},
    "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "chaos-reader"},
    "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": "mallory"}],
}  # fmt: skip


async def prepare(place: Place) -> None:
    """Namespaces, a custom resource, and rights in two of the namespaces for mallory."""
    async with place.session("admin") as session:

        async def create(path: str, body: dict[str, Any]) -> None:
            async with session.post(place.url() + path, json=body) as answer:
                assert answer.status == 201, await answer.text()

        await create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", _DEFINITION)
        await create(f"/apis/{_RBAC}/v1/clusterroles", _READER)
        for name in NAMESPACES:
            await create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            if name in UNION:
                await create(f"/apis/{_RBAC}/v1/namespaces/{name}/rolebindings", _BINDING)
        async with asyncio.timeout(SERVED_SECONDS):
            for resource in RESOURCES:
                while True:
                    async with session.get(place.url() + resource.format("")) as answer:
                        if answer.status == 200:
                            break
                    await asyncio.sleep(0.1)


class Writers:
    """Creates, changes and deletes at random, straight at upstream. `latest` has each resource's newest versions."""

    def __init__(self, place: Place, chance: random.Random) -> None:
        self._place, self._chance = place, chance
        self._known: dict[str, str] = {}
        self.latest: dict[str, list[int]] = {resource: [] for resource in RESOURCES}
        self.writes = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        async with self._place.session("admin") as session:
            while True:
                await self._write(session)
                await asyncio.sleep(PAUSE_SECONDS)

    async def _write(self, session: aiohttp.ClientSession) -> None:
        resource = self._chance.choice(RESOURCES)
        collection = resource.format(f"namespaces/{self._chance.choice(NAMESPACES)}/")
        path = f"{collection}/x{self._chance.randint(1, 4)}"
        url = self._place.url()
        if path in self._known and self._chance.random() < 0.2:
            async with session.delete(url + path) as answer:
                assert answer.status == 200, await answer.text()
            del self._known[path]
        else:
            send, body = (session.put, self._body(path)) if path in self._known else (session.post, self._body(path))
            async with send(url + (path if path in self._known else collection), json=body) as answer:
                assert answer.status in {200, 201}, await answer.text()
                self._known[path] = (await answer.json())["metadata"]["resourceVersion"]
            self.latest[resource].append(int(self._known[path]))
        self.writes += 1

    def _body(self, path: str) -> dict[str, Any]:
        values = {"app": ("web", "api", "db"), "tier": ("x", "y")}
        labels = {key: self._chance.choice(values[key]) for key in values if self._chance.random() < 0.7}
        metadata: dict[str, Any] = {"name": path.rpartition("/")[2], "labels": labels}
        if path in self._known:
            metadata["resourceVersion"] = self._known[path]
        if "widgets" in path:
            size = self._chance.randint(1, 10**6)
            return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata, "spec": {"size": size}}
        data = {"value": "<&>" * self._chance.randint(0, 200) + str(self._chance.random())}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
