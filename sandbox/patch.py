"""The three patches that clients send: JSON merge patch (RFC 7386), JSON patch (RFC 6902), strategic merge.

The strategic merge knows the merge keys of the lists that kubectl edits; other lists are replaced whole.
Patches work on copies: the object given is not changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from kube import status

_MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "secrets": ("name",),
    "conditions": ("type",),
    "addresses": ("type",),
    "ownerReferences": ("uid",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey",),
    "ports": ("containerPort", "port"),
}
"""List field → the keys that tell its elements apart; the first that an element has is taken."""

_PRIMITIVE_SETS = ("finalizers",)


def merge(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch.

    >>> merge({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"d": 3}})
    {'b': {'c': 2, 'd': 3}}
    """
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def strategic(target: Any, patch: Any) -> Any:
    """Apply a strategic merge patch.

    >>> strategic({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "B", "value": "2"}]})["env"][1]
    {'name': 'B', 'value': '2'}

    Raises:
        BadRequest: a directive that is not known.
    """
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != "$patch"}
    if directive not in (None, "merge"):
        raise status.bad_request(f"unknown $patch directive {directive!r} for a map")
    result = dict(target) if isinstance(target, dict) else {}
    if "$retainKeys" in patch:
        kept = set(patch["$retainKeys"])
        result = {key: value for key, value in result.items() if key in kept}
    for key, value in patch.items():
        if key.startswith("$"):
            _directive(result, key, value)
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, list):
            result[key] = _merge_list(key, result.get(key), value)
        elif isinstance(value, dict) and value.get("$patch") == "delete":
            result.pop(key, None)
        else:
            result[key] = strategic(result.get(key), value)
    for key, value in patch.items():
        if key.startswith("$setElementOrder/"):
            _reorder(result, key.partition("/")[2], value)
    return result


def _directive(result: dict[str, Any], key: str, value: Any) -> None:
    name, _, field = key.partition("/")
    if name == "$deleteFromPrimitiveList" and isinstance(result.get(field), list):
        result[field] = [one for one in result[field] if one not in value]


def _merge_key(field: str, elements: list[Any]) -> str | None:
    for key in _MERGE_KEYS.get(field, ()):
        if all(isinstance(one, dict) and (key in one or "$patch" in one) for one in elements):
            return key
    return None


def _merge_list(field: str, present: Any, patch: list[Any]) -> list[Any]:
    present = present if isinstance(present, list) else []
    if field in _PRIMITIVE_SETS:
        return [*present, *(one for one in patch if one not in present)]
    key = _merge_key(field, patch)
    if key is None or any(isinstance(one, dict) and one.get("$patch") == "replace" for one in patch):
        return [copy.deepcopy(one) for one in patch if not (isinstance(one, dict) and "$patch" in one)]
    result = list(present)
    for one in patch:
        place = next((index for index, old in enumerate(result) if old.get(key) == one.get(key)), None)
        if one.get("$patch") == "delete":
            if place is not None:
                del result[place]
        elif place is None:
            result.append(strategic({}, one))
        else:
            result[place] = strategic(result[place], one)
    return result


def _reorder(result: dict[str, Any], field: str, order: list[Any]) -> None:
    elements = result.get(field)
    if not isinstance(elements, list):
        return
    key = _merge_key(field, order)

    def place(element: Any) -> int:
        wanted = element.get(key) if key and isinstance(element, dict) else element
        for index, one in enumerate(order):
            if (one.get(key) if key and isinstance(one, dict) else one) == wanted:
                return index
        return len(order)

    result[field] = sorted(elements, key=place)


def json_patch(target: Any, operations: Any) -> Any:
    """Apply a JSON patch.

    >>> json_patch({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}, {"op": "test", "path": "/a/1", "value": 2}])
    {'a': [1, 2]}

    Raises:
        BadRequest: the patch is malformed.
        StatusError: 422, a path is missing or a test fails.
    """
    if not isinstance(operations, list):
        raise status.bad_request("error decoding patch: a JSON patch is a list of operations")
    root = [copy.deepcopy(target)]
    for operation in operations:
        try:
            _OPERATIONS[operation["op"]](root, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise status.StatusError(
                422, "Invalid", f"the server rejected our request due to an error in our request: {error!r}"
            ) from None
    return root[0]


def _at(root: list[Any], pointer: str) -> tuple[Any, Any]:
    """The container that a JSON pointer leads into, and the key or index in it."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    container: Any = root
    step: Any = 0
    for part in parts:
        container = container[step]
        step = part if isinstance(container, dict) else _index(container, part)
    return container, step


def _index(container: list[Any], part: str) -> int:
    return len(container) if part == "-" else int(part)


def _add(root: list[Any], operation: dict[str, Any]) -> None:
    container, step = _at(root, operation["path"])
    if isinstance(container, list) and container is not root:
        if step > len(container):
            raise IndexError(operation["path"])
        container.insert(step, operation["value"])
    else:
        container[step] = operation["value"]


def _remove(root: list[Any], operation: dict[str, Any]) -> None:
    container, step = _at(root, operation["path"])
    del container[step]


def _replace(root: list[Any], operation: dict[str, Any]) -> None:
    container, step = _at(root, operation["path"])
    _ = container[step]
    container[step] = operation["value"]


def _move(root: list[Any], operation: dict[str, Any]) -> None:
    container, step = _at(root, operation["from"])
    value = container[step]
    del container[step]
    _add(root, {"path": operation["path"], "value": value})


def _copy(root: list[Any], operation: dict[str, Any]) -> None:
    container, step = _at(root, operation["from"])
    _add(root, {"path": operation["path"], "value": copy.deepcopy(container[step])})


def _test(root: list[Any], operation: dict[str, Any]) -> None:
    container, step = _at(root, operation["path"])
    if container[step] != operation["value"]:
        raise ValueError(f"testing value {operation['path']} failed")


_OPERATIONS: dict[str, Callable[[list[Any], dict[str, Any]], None]] = {
    "add": _add, "remove": _remove, "replace": _replace, "move": _move, "copy": _copy, "test": _test,
}  # fmt: skip
