"""What happened at upstream, to hold a client's account of it against: random writes, and upstream's own watch."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

import httpx

from tests.fixtures.running import Running, wait_until

NAMESPACES = ("storefront-prod", "storefront-staging")
MERGE = {"Content-Type": "application/merge-patch+json"}

Event = tuple[str, str, str]
"""`ADDED`, `MODIFIED` or `DELETED`; `NAMESPACE/NAME`; resourceVersion."""


def version(client: httpx.Client, path: str) -> str:
    """The resourceVersion of a list now."""
    rv: str = client.get(path, params={"limit": "1"}).json()["metadata"]["resourceVersion"]
    return rv


def since(client: httpx.Client, path: str, rv: str) -> list[Event]:
    """What upstream's watch tells from this resourceVersion on."""
    params = {"watch": "1", "resourceVersion": rv, "timeoutSeconds": "1"}
    events = []
    with client.stream("GET", path, params=params) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            event = json.loads(line)
            metadata = event["object"]["metadata"]
            events.append((event["type"], f"{metadata['namespace']}/{metadata['name']}", metadata["resourceVersion"]))
    return events


def objects(client: httpx.Client, path: str) -> dict[str, str]:
    """`NAMESPACE/NAME` → resourceVersion of everything that is there."""
    items = [item["metadata"] for item in client.get(path).json()["items"]]
    return {f"{one['namespace']}/{one['name']}": one["resourceVersion"] for one in items}


@dataclass
class Writer:
    """Creates, changes and deletes ConfigMaps in two namespaces of one tenant, straight at upstream."""

    client: httpx.Client
    chance: random.Random
    count: int = 0

    def write(self, times: int) -> None:
        """So many random writes."""
        for _ in range(times):
            self.count += 1
            collection = f"/api/v1/namespaces/{self.chance.choice(NAMESPACES)}/configmaps"
            path = f"{collection}/random-{self.chance.randint(1, 8)}"
            if self.chance.random() < 0.2:
                assert self.client.delete(path).status_code in {200, 404}
                continue
            body = {"metadata": {"name": path.rpartition("/")[2]}, "data": {"count": str(self.count)}}
            answer = self.client.patch(path, json=body, headers=MERGE)
            if answer.status_code == 404:
                answer = self.client.post(collection, json=body)
            assert answer.status_code in {200, 201}, answer.text


def kill_whoever_serves(system: Running) -> None:
    """Kill, as a failing machine would, the replica with the most watches; returns when it is up again."""
    serving = max((0, 1), key=lambda at: system.metric(at, "larder_watches"))
    assert system.metric(serving, "larder_watches") > 0, "nobody watches"
    system.kill(f"replica-{serving + 1}")


def wait_for_watches(system: Running, at_least: int) -> None:
    """Until so many watches are open on the replicas."""
    wait_until(lambda: sum(system.metric(at, "larder_watches") for at in range(2)) >= at_least)
