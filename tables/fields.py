"""Reading an object's fields as printers do, and the columns that many kinds share.

An absent field, a null and an empty value are one: Go's JSON leaves out what is zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tables.cell import Cell, Moving, Object
from tables.duration import ZERO_INSTANT, instant
from tables.printer import Column

NONE = "<none>"
UNKNOWN = "<unknown>"
UNSET = "<unset>"


def mapping(obj: Object, key: str) -> Object:
    """The object under `key`, empty where there is none."""
    return obj.get(key) or {}


def items(obj: Object, key: str) -> list[Any]:
    """The list under `key`, empty where there is none."""
    return obj.get(key) or []


def metadata(obj: Object) -> Object:
    """The object's metadata, empty where there is none."""
    return obj.get("metadata") or {}


def spec(obj: Object) -> Object:
    """The object's spec, empty where there is none."""
    return obj.get("spec") or {}


def status(obj: Object) -> Object:
    """The object's status, empty where there is none."""
    return obj.get("status") or {}


def path(dotted: str, default: Cell = "") -> Callable[[Object], Cell]:
    """A cell that shows one scalar field.

    >>> path("status.replicas", 0)({"status": {"replicas": 3}}), path("spec.handler")({})
    (3, '')
    """
    *parents, last = dotted.split(".")

    def read(obj: Object) -> Cell:
        for parent in parents:
            obj = obj.get(parent) or {}
        value: Cell = obj.get(last)
        return default if value is None else value

    return read


def path_or(dotted: str, placeholder: str) -> Callable[[Object], Cell]:
    """As `path`, where an empty text shows the placeholder too."""
    read = path(dotted)
    return lambda obj: read(obj) or placeholder


def count(*dotted: str) -> Callable[[Object], Cell]:
    """A cell that shows how many entries these lists or maps have together.

    >>> count("data", "binaryData")({"data": {"a": "1", "b": "2"}})
    2
    """
    paths = [one.split(".") for one in dotted]

    def total(obj: Object) -> Cell:
        number = 0
        for keys in paths:
            value: Any = obj
            for key in keys:
                value = value.get(key) or {}
            number += len(value)
        return number

    return total


def name(obj: Object) -> str:
    """A cell that shows the object's name."""
    return metadata(obj).get("name") or ""


def since(text: str | None, absent: str = UNKNOWN, invalid: str = UNKNOWN) -> Moving | str:
    """The time passed since an RFC 3339 timestamp.

    `absent` stands for none or Go's zero time, `invalid` for a text that is no timestamp.
    """
    if not text:
        return absent
    t = instant(text)
    if t is None:
        return invalid
    return absent if t == ZERO_INSTANT else Moving(t)


def age(obj: Object) -> Cell:
    """A cell that shows the time since the object was created."""
    return since(metadata(obj).get("creationTimestamp"))


def terminating(obj: Object) -> bool:
    """Whether the object is being deleted."""
    return bool(metadata(obj).get("deletionTimestamp"))


def pod_spec(obj: Object) -> Object:
    """The spec of a workload's pod template."""
    return mapping(mapping(spec(obj), "template"), "spec")


def containers(pod: Object) -> str:
    """The names of a pod spec's containers, without its init containers."""
    return ",".join(container.get("name") or "" for container in items(pod, "containers"))


def images(pod: Object) -> str:
    """The images of a pod spec's containers, without its init containers."""
    return ",".join(container.get("image") or "" for container in items(pod, "containers"))


def labels_text(labels: dict[str, str] | None) -> str:
    """A map as `k=v,…`: the joined texts are sorted, not the keys.

    >>> labels_text({"app": "x", "app.io/y": "z"}), labels_text(None)
    ('app.io/y=z,app=x', '<none>')
    """
    return ",".join(sorted(f"{key}={value}" for key, value in labels.items())) if labels else NONE


def annotation(obj: Object, key: str) -> str | None:
    """The value of an annotation, which may be empty; None where there is none."""
    value: str | None = mapping(metadata(obj), "annotations").get(key)
    return value


def condition(obj: Object, kind: str) -> Object | None:
    """The first of the object's conditions with this type."""
    return next((one for one in items(status(obj), "conditions") if one.get("type") == kind), None)


def first_and_more(texts: list[str], most: int, total: int) -> str:
    """The first `most` texts, and how many of `total` were left out.

    >>> first_and_more(["a", "b", "c", "d"], 3, 4), first_and_more(["a"], 3, 1)
    ('a,b,c + 1 more...', 'a')
    """
    shown = ",".join(texts[:most])
    return f"{shown} + {total - most} more..." if total > most else shown


NAME = Column("Name", name, format="name")
AGE = Column("Age", age)
CONTAINERS = Column("Containers", lambda obj: containers(pod_spec(obj)), priority=1)
IMAGES = Column("Images", lambda obj: images(pod_spec(obj)), priority=1)
