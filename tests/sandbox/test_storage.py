"""The sandbox's memory: order, states of the past, and how it forgets."""

from __future__ import annotations

import pytest

from kube.resources import GVR
from sandbox.cluster import Cluster, DeleteOptions
from sandbox.storage import Collection, HistoryGone

CONFIG_MAPS = GVR("", "v1", "configmaps")


def _put(cluster: Cluster, namespace: str, name: str, value: str = "") -> int:
    served = cluster.served(CONFIG_MAPS)
    if cluster.collection(CONFIG_MAPS).get(namespace, name) is None:
        obj = {"metadata": {"name": name}, "data": {"value": value}}
        return cluster.create(served, namespace, obj).rv
    return cluster.change(served, namespace, name, lambda old: {**old, "data": {"value": value}}).rv


def _names(collection: Collection, rv: int, **options: str) -> list[str]:
    return [f"{item.key}={item.decoded().get('data', {}).get('value')}" for item in collection.snapshot(rv, **options)]


@pytest.fixture
def small() -> Cluster:
    """Two namespaces, one of whose names begins with the other's."""
    cluster = Cluster(history_limit=5)
    for name in ("a", "a-b"):
        cluster.load({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return cluster


def test_order_is_that_of_etcds_keys(small: Cluster) -> None:
    """`a-b/x` stands before `a/x`, as the minus sign is before the slash."""
    _put(small, "a", "x")
    _put(small, "a-b", "x")
    assert small.collection(CONFIG_MAPS).keys == ["a-b/x", "a/x"]
    assert [item.key for item in small.collection(CONFIG_MAPS).snapshot(small.storage.rv, "a")] == ["a/x"]


def test_a_past_state_can_be_read(small: Cluster) -> None:
    """A snapshot shows what was, although objects were since made, changed and removed."""
    _put(small, "a", "kept", "1")
    then = _put(small, "a", "gone", "1")
    _put(small, "a", "kept", "2")
    small.delete(small.served(CONFIG_MAPS), "a", "gone")
    _put(small, "a", "new", "1")
    collection = small.collection(CONFIG_MAPS)
    assert _names(collection, then) == ["a/gone=1", "a/kept=1"]
    assert _names(collection, then, after="a/gone") == ["a/kept=1"]
    assert _names(collection, small.storage.rv) == ["a/kept=2", "a/new=1"]


def test_the_history_is_bounded(small: Cluster) -> None:
    """What is older than the last changes is forgotten, and said to be."""
    first = _put(small, "a", "x", "0")
    for number in range(1, 8):
        _put(small, "a", "x", str(number))
    with pytest.raises(HistoryGone) as gone:
        small.collection(CONFIG_MAPS).since(first)
    assert len(small.collection(CONFIG_MAPS).since(gone.value.floor)) == 5


def test_what_changes_nothing_takes_no_revision(small: Cluster) -> None:
    """An update to the same state keeps the object's revision, as upstream does."""
    rv = _put(small, "a", "x", "1")
    assert _put(small, "a", "x", "1") == rv == small.storage.rv


def test_a_dry_run_changes_nothing(small: Cluster) -> None:
    """Neither a create nor a delete that is only tried leaves a trace."""
    _put(small, "a", "x")
    before = small.storage.rv
    served = small.served(CONFIG_MAPS)
    small.create(served, "a", {"metadata": {"name": "y"}}, dry_run=True)
    small.delete(served, "a", "x", DeleteOptions(dry_run=True))
    assert small.storage.rv == before
    assert small.collection(CONFIG_MAPS).keys == ["a/x"]
