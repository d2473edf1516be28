"""A long list read in pages, each from the other replica, while upstream changes fast: one snapshot all the same."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

import httpx
import pytest

from tests.fixtures.running import Running, running
from tests.interop.history import MERGE

pytestmark = [pytest.mark.interop, pytest.mark.timeout(400)]  # 10,000 pods are made first, on a loaded machine

PODS = "/api/v1/pods"
COUNT, LIMIT = 10_000, 500
WRITES_PER_SECOND = 200
ROUND_SECONDS = 0.05
"""Writes are sent in rounds of this length."""

ROUND_WRITES = int(WRITES_PER_SECOND * ROUND_SECONDS)

METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"

Objects = dict[str, Any]
"""`NAMESPACE/NAME` → the object."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two replicas before 10,000 pods."""
    options = ("--pods", str(COUNT), "--pod-bytes", "2000", "--life-seconds", "0", "--history", "100000")
    with running(tmp_path_factory.mktemp("pages"), haproxy=False, sandbox_options=options) as system:
        yield system


_numbers = itertools.count()
"""For names that no test of this file has taken yet."""


class Churn:
    """Creates, changes and deletes pods at a steady rate in a thread of its own, as a context manager."""

    def __init__(self, system: Running) -> None:
        self._system = system
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._chance = random.Random(1)
        self.done = 0
        with system.upstream() as client:
            self._present = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in _list(client)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        stack = self._system.stack
        trusted = ssl.create_default_context(cafile=str(stack.directory / "sandbox" / "ca.crt"))
        headers = {"Authorization": "Bearer admin-token"}
        loop = asyncio.get_running_loop()
        async with httpx.AsyncClient(
            base_url=stack.upstream_url, verify=trusted, headers=headers, timeout=60
        ) as client:
            began = loop.time()
            while not self._stop.is_set():
                # A machine that is too slow for the rate gets what it can take, and no backlog.
                due = min(int((loop.time() - began) * WRITES_PER_SECOND) - self.done, 2 * ROUND_WRITES)
                # Each a different pod: writes of one round may overtake each other.
                chosen = self._chance.sample(self._present, due)
                answers = await asyncio.gather(*(self._write(client, *one) for one in chosen))
                assert all(answer.status_code in {200, 201} for answer in answers)
                self.done += len(answers)
                await asyncio.sleep(ROUND_SECONDS)

    async def _write(self, client: httpx.AsyncClient, namespace: str, name: str) -> httpx.Response:
        """Mostly kubelets' status, and pods that come and go anywhere in the order."""
        number = next(_numbers)
        path = f"/api/v1/namespaces/{namespace}/pods"
        match number % 4:
            case 0:
                new = f"{self._chance.choice('abz')}-new-{number:06d}"
                self._present.append((namespace, new))
                spec = {"containers": [{"name": "x", "image": "y"}]}
                return await client.post(path, json={"metadata": {"name": new}, "spec": spec})
            case 1:
                self._present.remove((namespace, name))
                return await client.delete(f"{path}/{name}", params={"gracePeriodSeconds": "0"})
            case _:
                change = {"metadata": {"labels": {"changed": str(number)}}}
                return await client.patch(f"{path}/{name}", json=change, headers=MERGE)


def _list(client: httpx.Client) -> list[Any]:
    items: list[Any] = client.get(PODS).json()["items"]
    return items


def _at(upstream: httpx.Client, start: Objects, start_rv: str, rv: int) -> Objects:
    """The state at a resourceVersion: the one at the start, and what upstream's watch says that happened since."""
    state = dict(start)
    params = {"watch": "1", "resourceVersion": start_rv, "timeoutSeconds": "5"}
    with upstream.stream("GET", PODS, params=params) as answer:
        for line in answer.iter_lines():
            event = json.loads(line)
            metadata = event["object"]["metadata"]
            if int(metadata["resourceVersion"]) > rv:
                return state
            key = f"{metadata['namespace']}/{metadata['name']}"
            if event["type"] == "DELETED":
                del state[key]
            else:
                state[key] = event["object"]
    raise AssertionError(f"upstream's watch does not go beyond {rv}")


@pytest.mark.parametrize("accept", ["application/json", METADATA, TABLE], ids=["objects", "metadata", "table"])
def test_pages_are_one_snapshot(large: Running, accept: str) -> None:
    """Twenty pages from alternating replicas, 200 writes/s meanwhile: exactly the list at the first page's RV."""
    with large.upstream() as upstream, large.client("admin", large.replicas[0]) as one:
        started = upstream.get(PODS).json()
        start = {f"{item['metadata']['namespace']}/{item['metadata']['name']}": item for item in started["items"]}
        with Churn(large) as churn, large.client("admin", large.replicas[1]) as other:
            found, rv, pages = _read(one, other, accept, lambda: churn.done)
        assert pages >= COUNT // LIMIT
        expected = _at(upstream, start, started["metadata"]["resourceVersion"], rv)
    keys = [f"{item['metadata']['namespace']}/{item['metadata']['name']}" for item in found]
    assert keys == sorted(expected)
    versions = {key: item["metadata"]["resourceVersion"] for key, item in expected.items()}
    assert [item["metadata"]["resourceVersion"] for item in found] == [versions[key] for key in keys]
    if accept == "application/json":
        kind = {"kind": "Pod", "apiVersion": "v1"}
        # What was there at the start is known from a list, which leaves the kind out.
        assert [kind | item for item in found] == [kind | expected[key] for key in keys]


def _read(
    one: httpx.Client, other: httpx.Client, accept: str, written: Callable[[], int]
) -> tuple[list[Any], int, int]:
    """The items of all pages, the first page's resourceVersion, and how many pages there were."""
    found: list[Any] = []
    params = {"limit": str(LIMIT), "continue": ""}
    versions, remaining, pages = [], None, 0
    while True:
        before = written()
        page = (one, other)[pages % 2].get(PODS, params=params, headers={"Accept": accept}).json()
        assert page["kind"] != "Status", page
        pages += 1
        items = page["items"] if "items" in page else [row["object"] for row in page["rows"]]
        found += items
        versions.append(int(page["metadata"]["resourceVersion"]))
        left = page["metadata"].get("remainingItemCount", 0)
        assert remaining is None or remaining == left + len(items)
        remaining = left
        params["continue"] = page["metadata"].get("continue", "")
        if not params["continue"]:
            break
        for _ in range(200):  # something happens between any two pages
            if written() > before:
                break
            threading.Event().wait(0.01)
    assert len(set(versions)) == 1
    return found, versions[0], pages
