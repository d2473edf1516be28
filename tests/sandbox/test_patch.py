"""Patches as kubectl sends them."""

from __future__ import annotations

from typing import Any

import pytest

from kube.status import StatusError
from sandbox.patch import json_patch, merge, strategic

CONTAINERS = {"spec": {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}}


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"spec": {"containers": [{"name": "a", "image": "a:2"}]}}, [("a", "a:2"), ("b", "b:1")]),
        ({"spec": {"containers": [{"name": "c", "image": "c:1"}]}}, [("a", "a:1"), ("b", "b:1"), ("c", "c:1")]),
        ({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}, [("b", "b:1")]),
        (
            {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a"}]}},
            [("b", "b:1"), ("a", "a:1")],
        ),
        ({"spec": {"containers": [{"$patch": "replace"}, {"name": "z", "image": "z:1"}]}}, [("z", "z:1")]),
    ],
)
def test_a_strategic_merge_knows_lists_by_their_keys(patch: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """Elements of known lists are merged, added, removed and ordered by their merge key."""
    result = strategic(CONTAINERS, patch)
    assert [(one["name"], one["image"]) for one in result["spec"]["containers"]] == expected
    assert CONTAINERS["spec"]["containers"][0] == {"name": "a", "image": "a:1"}


def test_a_strategic_merge_has_directives_for_maps_and_sets() -> None:
    """`$retainKeys`, `$patch: replace` and deletion from a list of plain values."""
    old = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {}}, "finalizers": ["a", "b"], "labels": {"x": "1"}}
    patch = {
        "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
        "$deleteFromPrimitiveList/finalizers": ["a"],
        "labels": {"$patch": "replace", "y": "2"},
    }
    assert strategic(old, patch) == {"strategy": {"type": "Recreate"}, "finalizers": ["b"], "labels": {"y": "2"}}


def test_a_merge_patch_replaces_lists_and_removes_by_null() -> None:
    """RFC 7386: lists are values, null removes."""
    assert merge({"a": [1, 2], "b": {"c": 1, "d": 2}}, {"a": [3], "b": {"c": None}}) == {"a": [3], "b": {"d": 2}}


def test_a_json_patch_has_all_operations() -> None:
    """RFC 6902, with escaped pointers."""
    operations = [
        {"op": "add", "path": "/labels/a~1b", "value": "1"},
        {"op": "copy", "from": "/labels/a~1b", "path": "/labels/c"},
        {"op": "move", "from": "/labels/c", "path": "/labels/d"},
        {"op": "replace", "path": "/list/0", "value": 9},
        {"op": "remove", "path": "/list/1"},
        {"op": "test", "path": "/labels/d", "value": "1"},
    ]
    assert json_patch({"labels": {}, "list": [1, 2]}, operations) == {"labels": {"a/b": "1", "d": "1"}, "list": [9]}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/missing"},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "replace", "path": "/list/7", "value": 1},
        {"op": "twist", "path": "/a"},
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused(operation: dict[str, Any]) -> None:
    """422, and nothing is changed."""
    with pytest.raises(StatusError) as refused:
        json_patch({"a": 1, "list": []}, [operation])
    assert refused.value.code == 422
