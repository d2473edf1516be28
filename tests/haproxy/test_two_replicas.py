"""What holds whichever replica a request meets: pages, watches, reads that only go forward, own writes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.running import Running, wait_until

pytestmark = pytest.mark.haproxy

MAPS = "/api/v1/namespaces/storefront-staging/configmaps"
MERGE = {"Content-Type": "application/merge-patch+json"}


def _served(system: Running) -> list[float]:
    return [system.metric(replica, "larder_requests_total") for replica in range(len(system.replicas))]


def _set(client: httpx.Client, name: str, value: int) -> int:
    """Write a number into a ConfigMap; returns its resourceVersion."""
    body = {"metadata": {"name": name}, "data": {"value": str(value)}}
    answer = client.patch(f"{MAPS}/{name}", json=body, headers=MERGE)
    if answer.status_code == 404:
        answer = client.post(MAPS, json=body)
    assert answer.status_code in {200, 201}, answer.text
    return int(answer.json()["metadata"]["resourceVersion"])


@pytest.fixture
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A name that no other test has."""
    return f"x{abs(hash((request.node.name, str(tmp_path)))) % 10**12}"


@pytest.mark.parametrize("user", ["alice", "admin"])
def test_pages_of_one_list_come_from_both(system: Running, url: str, user: str, name: str) -> None:
    """A list that began on one replica is paged on the other: one snapshot, whatever changes meanwhile."""
    before = _served(system)
    with system.client(user, url) as client, system.upstream() as upstream:
        whole = client.get("/api/v1/configmaps").json()
        expected = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in whole["items"]]
        found: list[tuple[str, str]] = []
        token, versions = "", set()
        for number in range(len(expected)):
            page = client.get("/api/v1/configmaps", params={"limit": 2, "continue": token}).json()
            found += [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in page["items"]]
            versions.add(page["metadata"]["resourceVersion"])
            if number == 0:
                _set(upstream, f"zzz-{name}", 1)
            token = page["metadata"].get("continue", "")
            if not token:
                break
    assert found == expected
    assert len(versions) == 1
    assert all(after > earlier for after, earlier in zip(_served(system), before, strict=True))


def test_a_write_through_one_is_read_through_the_other(system: Running, url: str, name: str) -> None:
    """Each request has its own connection, so the read meets another replica than the write did."""
    before = _served(system)
    with system.client("alice", url) as client:
        for value in range(20):
            rv = _set(client, name, value)
            read = client.get(f"{MAPS}/{name}").json()
            assert read["data"]["value"] == str(value)
            listed = client.get(MAPS, params={"fieldSelector": f"metadata.name={name}"}).json()
            assert listed["items"][0]["data"]["value"] == str(value)
            assert int(listed["metadata"]["resourceVersion"]) >= rv
        assert client.delete(f"{MAPS}/{name}").status_code == 200
        assert client.get(f"{MAPS}/{name}").status_code == 404
    assert all(after > earlier for after, earlier in zip(_served(system), before, strict=True))


def test_reads_never_go_backwards(system: Running, url: str, name: str) -> None:
    """While upstream counts up, a reader who meets the replicas in turn never sees a smaller number again."""
    stop = threading.Event()

    def count_up() -> None:
        with system.upstream() as upstream:
            value = 0
            while not stop.is_set():
                value += 1
                _set(upstream, name, value)

    writer = threading.Thread(target=count_up)
    writer.start()
    try:
        with system.client("alice", url) as client:
            wait_until(lambda: client.get(f"{MAPS}/{name}").status_code == 200)
            seen = (0, 0)
            for number in range(120):
                if number % 2:
                    item = client.get(f"{MAPS}/{name}").json()
                    now = (int(item["metadata"]["resourceVersion"]), int(item["data"]["value"]))
                else:
                    listed = client.get("/api/v1/configmaps", params={"fieldSelector": f"metadata.name={name}"}).json()
                    item = listed["items"][0]
                    assert int(listed["metadata"]["resourceVersion"]) >= seen[0]
                    now = (int(item["metadata"]["resourceVersion"]), int(item["data"]["value"]))
                assert now >= seen
                seen = now
    finally:
        stop.set()
        writer.join(30)
    assert seen[1] > 1, "the number did not move while it was read"


class Resuming:
    """A client that watches, and goes on at its last resourceVersion when the stream ends or breaks."""

    def __init__(self, system: Running, user: str, url: str, path: str, selector: str) -> None:
        self._client = system.client(user, url)
        self._path, self._selector = path, selector
        self.events: list[tuple[str, str, str]] = []
        self.connections = 0
        self._stop = threading.Event()
        self.rv = self._client.get(path).json()["metadata"]["resourceVersion"]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """End it; returns when it has ended."""
        self._stop.set()
        self._thread.join(30)
        self._client.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                for event in self._stream():
                    metadata = event["object"]["metadata"]
                    self.rv = metadata["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        self.events.append((event["type"], metadata["name"], self.rv))
                    if self._stop.is_set():
                        return
            except httpx.HTTPError:
                self._stop.wait(0.1)  # the replica is gone: the balancer has another

    def _stream(self) -> Iterator[dict[str, Any]]:
        params = {
            "watch": "1", "resourceVersion": self.rv, "allowWatchBookmarks": "true", "timeoutSeconds": "3",
            "labelSelector": self._selector,
        }  # fmt: skip
        with self._client.stream("GET", self._path, params=params) as answer:
            if answer.status_code in {502, 503, 504}:
                self._stop.wait(0.1)
                return
            assert answer.status_code == 200, answer.read()
            self.connections += 1
            for line in answer.iter_lines():
                event = json.loads(line)
                assert event["type"] != "ERROR", event
                yield event


def test_a_watch_resumes_on_the_other_replica(system: Running, url: str, name: str) -> None:
    """The replica that serves a watch is killed: it resumes elsewhere, and no event is lost or comes twice."""
    expected: list[tuple[str, str, str]] = []
    deleted: list[str] = []
    watch = Resuming(system, "alice", url, "/api/v1/configmaps", f"test={name}")
    try:
        with system.upstream() as upstream:
            for number in range(60):
                one = f"{name}-{number % 5}"
                if number % 12 == 11:
                    assert upstream.delete(f"{MAPS}/{one}").status_code == 200
                    deleted.append(one)
                    continue
                body = {"metadata": {"name": one, "labels": {"test": name}}, "data": {"value": str(number)}}
                answer = upstream.patch(f"{MAPS}/{one}", json=body, headers=MERGE)
                kind = "MODIFIED"
                if answer.status_code == 404:
                    answer, kind = upstream.post(MAPS, json=body), "ADDED"
                expected.append((kind, one, answer.json()["metadata"]["resourceVersion"]))
                if number == 20:
                    wait_until(lambda: len(watch.events) > 5)
                    serving = next(at for at in range(2) if system.metric(at, "larder_watches") > 0)
                    system.kill(f"replica-{serving + 1}")
        wait_until(lambda: expected[-1] in watch.events)
    finally:
        watch.close()
    assert [event for event in watch.events if event[0] != "DELETED"] == expected
    assert [event[1] for event in watch.events if event[0] == "DELETED"] == deleted
    versions = [int(event[2]) for event in watch.events]
    assert versions == sorted(set(versions)), "events are in order, each once"
    assert watch.connections > 1
