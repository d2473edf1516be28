"""Informers of Go and JavaScript: none loses or doubles an event when the replica that serves it is killed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.running import Running, wait_until
from tests.interop import built, history
from tests.interop.followers import Follower

pytestmark = pytest.mark.interop

MAPS = "/api/v1/configmaps"
PODS = "/api/v1/pods"
WRITES = 40
"""Before, and again after a replica is killed."""

Start = Callable[..., Follower]


@pytest.fixture
def go(system: Running, tmp_path: Path) -> Start:
    """Starts the Go program as a user, through HAProxy."""
    program = built.go_client()
    if not program.exists():
        pytest.skip("the Go clients are not built (make clients): client-go and controller-runtime are not tested")
    return lambda what, user, *rest: Follower(
        [program, what, system.stack.kubeconfigs[user], *rest], tmp_path / f"{what}-{user}"
    )


@pytest.fixture
def node(system: Running, tmp_path: Path) -> Start:
    """Starts the Node program as a user, through HAProxy."""
    program, interpreter = built.node_client(), shutil.which("node")
    if not program.exists() or interpreter is None:
        pytest.skip("the Node client is not installed (make clients): @kubernetes/client-node is not tested")
    return lambda what, user, *rest: Follower(
        [interpreter, program, what, system.stack.kubeconfigs[user], *rest], tmp_path / f"{what}-{user}"
    )


def _follow_through_a_death(system: Running, followers: dict[str, Follower], *, watches: int) -> None:
    """Write, kill a replica under the followers, write on; each must tell upstream's history and end with its list."""
    with system.upstream() as upstream:
        wait_until(lambda: all(one.count("synced") for one in followers.values()))
        history.wait_for_watches(system, watches)
        rv = history.version(upstream, MAPS)
        writer = history.Writer(upstream, random.Random(4))
        writer.write(WRITES)
        history.kill_whoever_serves(system)
        writer.write(WRITES)
        system.wait_until_all_ready()
        writer.write(WRITES // 4)
        expected = history.since(upstream, MAPS, rv)
        assert len(expected) > 2 * WRITES * 0.7
        for name, one in followers.items():
            wait_until(lambda one=one: expected[-1] in one.events)  # type: ignore[misc]
            assert one.events == expected, name
        present = history.objects(upstream, MAPS)
    for name, one in followers.items():
        assert {key: rv for key, rv in one.finish().items() if key.startswith("storefront-")} == {
            key: rv for key, rv in present.items() if key.startswith("storefront-")
        }, name


def _asked_upstream(system: Running, resource: str) -> int:
    return sum(
        row["requests"]
        for row in system.requests_seen()
        if (row["cause"], row["resource"]) == ("client", resource) and row["verb"] in {"get", "list", "watch"}
    )


def test_client_go_informers(system: Running, go: Start) -> None:
    """Shared informers of an administrator, of a tenant across their namespaces, and of one namespace."""
    maps = ("", "v1", "configmaps")
    with go("informer", "admin", *maps) as admin, go("informer", "alice", *maps) as alice:
        _follow_through_a_death(system, {"admin": admin, "alice": alice}, watches=2)


def test_controller_runtime_cache(system: Running, go: Start) -> None:
    """A typed cache, which would rather have protobuf, is filled and kept from larder alone, across a death."""
    place = "/api/v1/namespaces/storefront-preview/pods"
    with system.upstream() as upstream, go("cache", "admin") as cache:
        wait_until(lambda: cache.count("synced"))
        assert cache.count("add") >= len(history.objects(upstream, PODS))
        rv, asked = history.version(upstream, PODS), _asked_upstream(system, "pods")
        for number in range(8):
            body = {"metadata": {"name": f"cached-{number}"}, "spec": {"containers": [{"name": "x", "image": "y"}]}}
            assert upstream.post(place, json=body).status_code == 201
            if number == 3:
                history.kill_whoever_serves(system)
        wait_until(lambda: _running(cache) == 8)
        for number in range(4):
            upstream.delete(f"{place}/cached-{number}", params={"gracePeriodSeconds": "0"})
        wait_until(lambda: cache.count("delete") == 4)
        assert cache.events == history.since(upstream, PODS, rv)
        assert _asked_upstream(system, "pods") == asked + 1, "the watch that it is compared with"
        assert cache.finish() == history.objects(upstream, PODS)
        for number in range(4, 8):
            upstream.delete(f"{place}/cached-{number}", params={"gracePeriodSeconds": "0"})
    system.wait_until_all_ready()


def _running(cache: Follower) -> int:
    """How many of the test's pods have had their third change: bound, creating, running."""
    changes = [key for word, key, _ in cache.events if word == "MODIFIED" and "/cached-" in key]
    return sum(changes.count(key) >= 3 for key in set(changes))


def test_javascript_informer(system: Running, node: Start) -> None:
    """The JavaScript client's informer, which begins again at its last resourceVersion."""
    with node("informer", "admin", MAPS) as admin:
        _follow_through_a_death(system, {"admin": admin}, watches=1)


def test_javascript_list_and_watch(system: Running, node: Start) -> None:
    """Its lists go page by page to the end; its watch, begun again after a death, tells all that happened."""
    with system.upstream() as upstream:
        with node("list", "admin") as listed:
            assert listed.finish() == history.objects(upstream, MAPS)
        rv = history.version(upstream, MAPS)
        with node("watch", "alice", MAPS, rv) as watch:
            wait_until(lambda: watch.count("connected"))
            writer = history.Writer(upstream, random.Random(7))
            writer.write(WRITES)
            history.kill_whoever_serves(system)
            writer.write(WRITES)
            expected = history.since(upstream, MAPS, rv)
            wait_until(lambda: expected[-1] in watch.events)
            assert watch.events == expected
            assert watch.count("connected") > 1
            assert not watch.count("failed")
            watch.finish()
    system.wait_until_all_ready()
