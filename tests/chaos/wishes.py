"""What a client wants to watch, drawn at random, and how the lines that it gets are read and compared."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kube.selectors import FieldSelector, LabelSelector
from kube.version import ServerVersion
from tests.server.watch.validators import Key, Told

RESOURCES = ("/api/v1/{}configmaps", "/apis/example.com/v1/{}widgets")
NAMESPACES = ("west", "east", "north")
UNION = frozenset({"west", "east"})
"""What mallory may read."""

PLAIN = "application/json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
LABELS = ("", "", "app=web", "app!=web", "!app", "app in (web,api),tier")
FIELDS = ("", "", "", "metadata.name=x1", "metadata.name!=x1", "metadata.namespace=west")

_LATEST = ServerVersion(1, 36)
_AGE = re.compile(rb'"(?:\d+[smhd])+"')
_COLUMNS = re.compile(rb'"columnDefinitions":(?:null|\[.*?\]),"rows":')


@dataclass(frozen=True)
class Wish:
    """A path with selectors, in some form, of some user."""

    resource: str
    namespace: str
    labels: str
    fields: str
    accept: str
    user: str

    @classmethod
    def random(cls, chance: random.Random) -> Wish:
        """Any of them; mallory's are unions across namespaces."""
        user = chance.choice(("admin", "admin", "admin", "mallory"))
        return cls(
            resource=chance.choice(RESOURCES),
            namespace=chance.choice(("", "", "west")) if user == "admin" else "",
            labels=chance.choice(LABELS),
            fields=chance.choice(FIELDS),
            accept=chance.choice((PLAIN, PLAIN, TABLE, METADATA)),
            user=user,
        )

    @property
    def path(self) -> str:
        """Where it is asked for."""
        return self.resource.format(f"namespaces/{self.namespace}/" if self.namespace else "")

    @property
    def params(self) -> dict[str, str]:
        """Its selectors."""
        given = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: text for name, text in given.items() if text}

    def selects(self) -> Callable[[Key, object], bool]:
        """Whether an object belongs to it; a model of its own, apart from the server's indexes."""
        labels, fields = LabelSelector.parse(self.labels, _LATEST), FieldSelector.parse(self.fields)
        namespaces = {self.namespace} if self.namespace else UNION if self.user == "mallory" else None

        def selected(key: Key, data: object) -> bool:
            assert isinstance(data, dict)
            return (
                (namespaces is None or key[0] in namespaces)
                and labels.matches(data["metadata"].get("labels") or {})
                and fields.matches({"metadata.namespace": key[0], "metadata.name": key[1]})
            )

        return selected


@dataclass(frozen=True)
class Line:
    """One event of a watch. `form` is the kind of what it holds, `comparable` its bytes without what moves."""

    told: Told
    form: str
    comparable: bytes
    error: dict[str, Any] = field(default_factory=dict)


def read(line: bytes) -> Line:
    """Read a line: an object, a Table of one row, metadata, a bookmark of either, or an ERROR."""
    event = json.loads(line)
    kind, held = event["type"], event["object"]
    if kind == "ERROR":
        return Line(("ERROR", ("", ""), 0), "Status", line, held)
    form = held["kind"]
    rv = int(held["metadata"]["resourceVersion"])
    if kind == "BOOKMARK":
        return Line(("BOOKMARK", ("", ""), rv), form, b"")
    shown = held["rows"][0]["object"] if form == "Table" else held
    key = shown["metadata"]["namespace"], shown["metadata"]["name"]
    if form == "Table":
        line = _COLUMNS.sub(b'"rows":', _AGE.sub(b'"<age>"', line))
    return Line((kind, key, rv), form, line)
