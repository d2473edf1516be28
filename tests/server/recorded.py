"""The recorded world as views that need no store: what the render tests read from."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import cache
from typing import Any

import msgspec

from informers.extract import Extractor
from kube import fields, paths
from kube.resources import CUSTOM_RESOURCE_DEFINITIONS, GVR
from kube.version import ServerVersion
from server.history import Change, Key
from server.space import Space
from server.view import Gone, ResourceView
from store.meta import Meta, TableInfo
from store.record import Record
from tables.columns import Columns
from tables.custom import crd_printer
from tables.printer import Printer
from tables.registry import printer_for
from tests.replay.world import columns, world

VERSION = ServerVersion(1, 36)


class _List(msgspec.Struct):
    metadata: dict[str, Any]
    items: list[msgspec.Raw] | None = None


@cache
def definitions() -> dict[GVR, dict[str, Any]]:
    """Every served version of a CRD, by resource."""
    crds = json.loads(world()["lists"][CUSTOM_RESOURCE_DEFINITIONS.path()]["body"])["items"]
    return {
        GVR(crd["spec"]["group"], version["name"], crd["spec"]["names"]["plural"]): version
        for crd in crds
        for version in crd["spec"]["versions"]
    }


@cache
def resources() -> dict[GVR, dict[str, Any]]:
    """The recorded lists, by resource."""
    found = {}
    for path, entry in world()["lists"].items():
        gvr = paths.parse("GET", path).gvr
        assert gvr is not None
        found[gvr] = entry
    return found


def _printer(gvr: GVR, kind: str, learned: Columns) -> Printer | None:
    version = definitions().get(gvr)
    if version is not None:
        return crd_printer(version.get("additionalPrinterColumns"))
    return printer_for(gvr, kind, learned, VERSION)


def _selectable(gvr: GVR) -> tuple[str, ...]:
    return tuple(field["jsonPath"] for field in definitions().get(gvr, {}).get("selectableFields", ()))


@cache
def extractor(gvr: GVR) -> Extractor:
    """Makes records of the resource's objects."""
    kind = resources()[gvr]["kind"]
    printer = _printer(gvr, kind, Columns.decode(_columns(gvr)))
    return Extractor(
        gvr,
        kind,
        typed=gvr not in definitions(),
        fields=lambda obj: fields.extract(gvr, obj, VERSION, _selectable(gvr)),
        row=printer.row if printer is not None else None,
        failed=_failed,
    )


def _columns(gvr: GVR) -> bytes:
    return msgspec.json.encode(columns().get(gvr.path(), []))


@cache
def load(gvr: GVR, body: str = "") -> tuple[Meta, list[Record]]:
    """The meta and the records of a recorded list; `body`: of another list of the resource."""
    entry = resources()[gvr]
    listed = msgspec.json.decode(body or entry["body"], type=_List)
    text = _columns(gvr)
    printer = _printer(gvr, entry["kind"], Columns.decode(text))
    custom = gvr in definitions()
    selectable = _selectable(gvr)
    table = None
    if printer is not None:
        table = TableInfo(
            columns=text,
            served=True,
            null_rows=printer.null_rows,
            sort_rows=printer.sort_rows,
            zero_row=printer.zero_row(),
        )
    meta = Meta(
        gvr=gvr,
        kind=entry["kind"],
        list_kind=json.loads(entry["body"])["kind"],
        namespaced=entry["namespaced"],
        typed=not custom,
        custom=custom,
        table=table,
        version="v1.36.2",
        selectable=selectable,
        state="synced",
        position=int(listed.metadata.get("resourceVersion") or 0),
        incarnation="recorded",
    )
    return meta, [extractor(gvr).record(bytes(item)) for item in listed.items or []]


def _failed(name: str, error: Exception) -> None:
    raise AssertionError(f"the row of {name} cannot be printed") from error


class Still:
    """A source of a view for which nothing ever happens."""

    def __init__(self, view: ResourceView) -> None:
        self.view = view

    async def hydrate(self, shard: str | None) -> None:
        """Everything is there already."""
        raise AssertionError(f"{shard} is to be hydrated")

    async def store_position(self) -> int:
        """The view's."""
        return self.view.position

    async def changes(self, shards: Collection[str], after: int, upto: int) -> list[Change]:
        """Nothing is known of the past."""
        raise Gone(after, upto)

    async def bodies(self, records: Collection[Record]) -> dict[Key, bytes]:
        """All bodies are in memory."""
        raise AssertionError("bodies are missing")

    async def look_up(self, namespace: str, name: str) -> tuple[Record | None, int]:
        """From the view itself."""
        return self.view.get(namespace, name), self.view.position


def recorded_view(gvr: GVR, now: float, body: str = "") -> ResourceView:
    """A view of a recorded list, with the clock at `now`."""
    meta, records = load(gvr, body)
    view = ResourceView(gvr, meta, clock=lambda: now)
    by_namespace: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.name):
        by_namespace.setdefault(record.namespace, []).append(record)
    view.places = {namespace: (0, "-") for namespace in by_namespace if namespace}
    view.adopt(("-",), {namespace: Space(namespace, found) for namespace, found in by_namespace.items()})
    view.holds_all = True
    view.source = Still(view)
    return view
