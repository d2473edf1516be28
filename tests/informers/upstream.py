"""A scripted upstream: a few resources with one RV counter, lists by pages, watches, Tables, discovery.

It behaves like an API server, and misbehaves on request: refuses, stalls, resets, cuts events in half,
forgets its history, goes back in time. Every request is noted in `requests`.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from kube.resources import GVR
from kube.version import ServerVersion
from tables.registry import declared_columns

CONFIG_MAPS = GVR("", "v1", "configmaps")
NAMESPACES = GVR("", "v1", "namespaces")
SECRETS = GVR("", "v1", "secrets")
EVENTS = GVR("", "v1", "events")
CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
WIDGETS = GVR("shop.example.com", "v1", "widgets")

KUBE_SYSTEM_UID = "11111111-0000-0000-0000-000000000000"


@dataclass
class Served:
    """A resource that is served. `typed`: as built-in kinds are written; else alphabetically, as custom ones."""

    gvr: GVR
    kind: str
    namespaced: bool
    typed: bool = True
    columns: list[dict[str, Any]] = field(default_factory=lambda: columns(("Name", "string"), ("Age", "string")))
    cells: Any = None
    """Makes the cells of an object; None: its name and `<unknown>`."""


@dataclass
class Fault:
    """What is done to the next `times` requests of this verb and resource instead of answering."""

    kind: str
    times: int = 1
    status: int = 500
    body: str = ""


def columns(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    """Column definitions of these names and types."""
    return [
        {"name": name, "type": kind, "format": "name" if name == "Name" else "", "description": "", "priority": 0}
        for name, kind in pairs
    ]


class Upstream:
    """The server. Changes (`put`, `delete` …) are synchronous; watchers get them at once."""

    def __init__(self) -> None:
        self.rv = 100
        self.floor = 0
        self.served: dict[GVR, Served] = {}
        self.objects: dict[GVR, dict[tuple[str, str], dict[str, Any]]] = {}
        self.history: dict[GVR, list[tuple[int, str, dict[str, Any]]]] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.headers_seen: list[dict[str, str]] = []
        self.broken_groups: set[str] = set()
        self.extra_groups: dict[str, str] = {}
        self.version = "v1.20.2"
        self.faults: dict[tuple[str, str], list[Fault]] = {}
        self.bookmarks_on_connect = False
        self.cluster_uid = KUBE_SYSTEM_UID
        self.watch_queues: dict[GVR, list[asyncio.Queue[Any]]] = {}
        self.token = ""
        self.url = ""
        self.unprintable: set[str] = set()
        """Names of objects that are sent to watches of Tables as they are, as 1.20 does."""
        self.table_objects: Any = lambda obj: obj
        """What is made of an object that stands in a Table."""
        self._snapshots: dict[str, tuple[int, list[bytes]]] = {}
        self._runner: web.AppRunner | None = None
        self._port = 0
        for served in (
            Served(NAMESPACES, "Namespace", False, columns=declared(NAMESPACES)),
            Served(CONFIG_MAPS, "ConfigMap", True, columns=declared(CONFIG_MAPS)),
            Served(CRDS, "CustomResourceDefinition", False, columns=declared(CRDS)),
        ):
            self.serve(served)
        self.served[CONFIG_MAPS].cells = lambda obj: [obj["metadata"]["name"], len(obj.get("data") or {}), "<unknown>"]
        self.served[NAMESPACES].cells = lambda obj: [obj["metadata"]["name"], "", "<unknown>"]
        self.served[CRDS].cells = lambda obj: [obj["metadata"]["name"], "0001-01-01T00:00:00Z"]

    # -- running --------------------------------------------------------------------------------------------

    async def start(self) -> str:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"
        return self.url

    async def stop(self) -> None:
        self.drop_watches()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # -- the world ------------------------------------------------------------------------------------------

    def serve(self, served: Served) -> None:
        self.served[served.gvr] = served
        self.objects.setdefault(served.gvr, {})
        self.history.setdefault(served.gvr, [])

    def unserve(self, gvr: GVR) -> None:
        self.served.pop(gvr, None)
        for queue in self.watch_queues.pop(gvr, []):
            queue.put_nowait(None)

    def namespace(self, name: str, labels: dict[str, str] | None = None) -> int:
        return self.put(NAMESPACES, "", name, labels=labels)

    def put(
        self,
        gvr: GVR,
        namespace: str,
        name: str,
        *,
        labels: dict[str, str] | None = None,
        uid: str = "",
        **content: Any,
    ) -> int:
        """Create or replace an object; returns its RV."""
        self.rv += 1
        known = self.objects[gvr].get((namespace, name))
        metadata: dict[str, Any] = {"name": name}
        if namespace:
            metadata["namespace"] = namespace
        metadata["uid"] = uid or (known["metadata"]["uid"] if known else f"uid-{self.rv}")
        metadata["resourceVersion"] = str(self.rv)
        if labels:
            metadata["labels"] = labels
        self.objects[gvr][namespace, name] = obj = {"metadata": metadata, **content}
        self._record(gvr, self.rv, "MODIFIED" if known else "ADDED", obj)
        return self.rv

    def delete(self, gvr: GVR, namespace: str, name: str, *, rv: int | None = None, quiet: bool = False) -> int:
        """Delete an object; `rv`: at this one, `quiet`: nothing is noted, as if compacted at once."""
        self.rv = self.rv + 1 if rv is None else rv
        obj = self.objects[gvr].pop((namespace, name))
        gone = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.rv)}}
        if not quiet:
            self._record(gvr, self.rv, "DELETED", gone)
        return self.rv

    def compact(self) -> None:
        """Forget all history: watches from before now get 410."""
        self.floor = self.rv
        for history in self.history.values():
            history.clear()

    def restore(self, rv: int, objects: dict[GVR, dict[tuple[str, str], dict[str, Any]]]) -> None:
        """Come back from a backup."""
        self.rv, self.floor = rv, rv
        for gvr in self.objects:
            self.objects[gvr] = dict(objects.get(gvr, {}))
            self.history[gvr] = []

    def bookmark(self, gvr: GVR) -> int:
        """Send a bookmark to everybody who watches the resource."""
        served = self.served[gvr]
        obj = {"kind": served.kind, "apiVersion": gvr.api_version, "metadata": {"resourceVersion": str(self.rv)}}
        self._send(gvr, ("BOOKMARK", obj))
        return self.rv

    # -- misbehaviour ---------------------------------------------------------------------------------------

    def misbehave(self, verb: str, resource: str, fault: Fault) -> None:
        """Do this to the next requests: `reset`, `stall`, `status`, or `half` (of an event, then cut off)."""
        self.faults.setdefault((verb, resource), []).append(fault)

    def drop_watches(self, gvr: GVR | None = None) -> None:
        """End watches as if the server shut down."""
        for one in [gvr] if gvr else list(self.watch_queues):
            for queue in self.watch_queues.get(one, []):
                queue.put_nowait(None)

    def cut_event(self, gvr: GVR) -> None:
        """Send half an event on every watch of the resource, then break the connection."""
        for queue in self.watch_queues.get(gvr, []):
            queue.put_nowait("cut")

    def raw(self, gvr: GVR, line: bytes) -> None:
        """Send these bytes to every watch."""
        self._send(gvr, line)

    def count(self, verb: str, gvr: GVR) -> int:
        """How often this was asked; lists of one object (probes) and Tables do not count as lists."""
        return Counter((v, r) for v, r, q in self.requests if q.get("limit") != "1")[verb, str(gvr)]

    def watching(self, gvr: GVR) -> int:
        return len(self.watch_queues.get(gvr, []))

    # -- answers --------------------------------------------------------------------------------------------

    def item(self, gvr: GVR, obj: dict[str, Any]) -> bytes:
        """An object's bytes as an item of a list."""
        served = self.served[gvr]
        if served.typed:
            return _dump(obj)
        return _dump(dict(sorted({"apiVersion": gvr.api_version, "kind": served.kind, **obj}.items())))

    def whole(self, gvr: GVR, obj: dict[str, Any]) -> bytes:
        """An object's bytes on its own or in an event."""
        served = self.served[gvr]
        if served.typed:
            return _dump({"kind": served.kind, "apiVersion": gvr.api_version, **obj})
        return self.item(gvr, obj)

    def _record(self, gvr: GVR, rv: int, kind: str, obj: dict[str, Any]) -> None:
        self.history[gvr].append((rv, kind, obj))
        self._send(gvr, (kind, obj))

    def _send(self, gvr: GVR, event: bytes | tuple[str, dict[str, Any]]) -> None:
        for queue in self.watch_queues.get(gvr, []):
            queue.put_nowait(event)

    def _event(self, gvr: GVR, kind: str, obj: dict[str, Any], *, table: bool, first: bool) -> bytes:
        """An event's line, with the object as it is or as the row of a Table."""
        whole = _dump(obj) if kind == "BOOKMARK" else self.whole(gvr, obj)
        if not table or obj["metadata"].get("name") in self.unprintable:
            return _line(kind, whole)
        row = b'{"cells":[""],"object":' + whole + b"}" if kind == "BOOKMARK" else self._row(gvr, obj)
        columns_ = self.served[gvr].columns if first else None
        return _line(kind, self._table(columns_, {"resourceVersion": obj["metadata"]["resourceVersion"]}, [row]))

    def _row(self, gvr: GVR, obj: dict[str, Any]) -> bytes:
        served = self.served[gvr]
        cells = served.cells(obj) if served.cells else [obj["metadata"]["name"], "<unknown>"]
        return b'{"cells":' + _dump(cells) + b',"object":' + self.whole(gvr, self.table_objects(obj)) + b"}"

    def _table(self, columns_: list[dict[str, Any]] | None, metadata: dict[str, Any], rows: list[bytes]) -> bytes:
        head = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns_}
        return _dump(head)[:-1] + b',"rows":[' + b",".join(rows) + b"]}"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.headers_seen.append({name.lower(): value for name, value in request.headers.items()})
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        gvr, namespace, name = self._locate(request.path)
        if gvr is None:
            self.requests.append(("get", request.path, dict(request.query)))
            fault = self._fault("get", request.path)
            return await self._misbehave(request, fault) if fault else self._document(request)
        watch = request.query.get("watch") in ("1", "true")
        table = "as=Table" in request.headers.get("Accept", "")
        verb = ("watch-table" if table else "watch") if watch else "get" if name else "table" if table else "list"
        self.requests.append((verb, str(gvr), dict(request.query)))
        fault = self._fault(verb, str(gvr))
        if fault:
            return await self._misbehave(request, fault)
        if watch:
            return await self._watch(request, gvr, table=table)
        if name:
            return self._get(gvr, namespace, name)
        return self._list(request, gvr, table=table)

    def _locate(self, path: str) -> tuple[GVR | None, str, str]:
        parts = path.strip("/").split("/")
        if parts[0] == "api":
            group, rest, base = "", parts[1:], 2
        elif parts[0] == "apis" and len(parts) > 2:
            group, rest, base = parts[1], parts[2:], 3
        else:
            return None, "", ""
        if len(parts) <= base:
            return None, "", ""
        version, *tail = rest
        namespace = ""
        if len(tail) >= 3 and tail[0] == "namespaces":
            namespace, tail = tail[1], tail[2:]
        gvr = GVR(group, version, tail[0])
        return (gvr, namespace, tail[1] if len(tail) > 1 else "") if gvr in self.served else (None, "", "")

    def _fault(self, verb: str, resource: str) -> Fault | None:
        faults = self.faults.get((verb, resource), [])
        if not faults:
            return None
        fault = faults[0]
        fault.times -= 1
        if fault.times <= 0:
            faults.pop(0)
        return fault

    async def _misbehave(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        if fault.kind == "status":
            return _status(fault.status, "", fault.body)
        if fault.kind == "error-event":
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            body = json.loads(_status(fault.status, "Expired" if fault.status == 410 else "", fault.body).text or "")
            await response.write(_line("ERROR", _dump(body)))
            return response
        assert request.transport is not None
        if fault.kind == "stall":
            await asyncio.sleep(3600)
        request.transport.abort()
        return web.Response()

    def _list(self, request: web.Request, gvr: GVR, *, table: bool) -> web.Response:
        token, limit = request.query.get("continue"), int(request.query.get("limit", "0"))
        if token:
            if token not in self._snapshots:
                return _status(410, "Expired", "The provided continue parameter is too old")
            rv, items = self._snapshots[token]
        else:
            objects = sorted(self.objects[gvr].items())
            rv, items = self.rv, [self._row(gvr, obj) if table else self.item(gvr, obj) for _, obj in objects]
        page, rest = (items[:limit], items[limit:]) if limit else (items, [])
        metadata: dict[str, Any] = {"resourceVersion": str(rv)}
        if rest:
            metadata["continue"] = f"token-{rv}-{len(rest)}"
            metadata["remainingItemCount"] = len(rest)
            self._snapshots[metadata["continue"]] = (rv, rest)
        head = _dump({"kind": f"{self.served[gvr].kind}List", "apiVersion": gvr.api_version, "metadata": metadata})
        body = head[:-1] + b',"items":[' + b",".join(page) + b"]}\n"
        if table:
            body = self._table(self.served[gvr].columns, metadata, page) + b"\n"
        response = web.Response(body=body, content_type="application/json")
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            response.enable_compression(web.ContentCoding.gzip)
        return response

    def forget_pages(self) -> None:
        """Make every continue token too old."""
        self._snapshots.clear()

    def _get(self, gvr: GVR, namespace: str, name: str) -> web.Response:
        if gvr == NAMESPACES and name == "kube-system" and (namespace, name) not in self.objects[gvr]:
            obj = {"metadata": {"name": name, "uid": self.cluster_uid, "resourceVersion": "1"}}
        elif (namespace, name) in self.objects[gvr]:
            obj = self.objects[gvr][namespace, name]
        else:
            return _status(404, "NotFound", f'{gvr.group_resource} "{name}" not found')
        return web.Response(body=self.whole(gvr, obj) + b"\n", content_type="application/json")

    async def _watch(self, request: web.Request, gvr: GVR, *, table: bool) -> web.StreamResponse:
        after = int(request.query.get("resourceVersion", "0"))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if after < self.floor:
            message = f"too old resource version: {after} ({self.floor})"
            await response.write(_line("ERROR", _dump(_status_object(410, "Expired", message))))
            return response
        queue: asyncio.Queue[Any] = asyncio.Queue()
        for rv, kind, obj in self.history[gvr]:
            if rv > after:
                queue.put_nowait((kind, obj))
        self.watch_queues.setdefault(gvr, []).append(queue)
        try:
            first = True
            while (event := await queue.get()) is not None:
                if event == "cut":
                    await response.write(b'{"type":"MODIFIED","object":{"metadata":{"na')
                    assert request.transport is not None
                    await asyncio.sleep(0.01)
                    request.transport.abort()
                    return response
                line = event if isinstance(event, bytes) else self._event(gvr, *event, table=table, first=first)
                first = False
                await response.write(line)
        finally:
            if queue in self.watch_queues.get(gvr, []):
                self.watch_queues[gvr].remove(queue)
        return response

    def _document(self, request: web.Request) -> web.Response:
        path, accept = request.path, request.headers.get("Accept", "")
        if path == "/version":
            return _json({"major": "1", "minor": "20", "gitVersion": self.version})
        if "APIGroupDiscoveryList" in accept:
            return _status(406, "NotAcceptable", "only the following media types are accepted: application/json")
        if path == "/api":
            return _json({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
        groups: dict[str, set[str]] = {}
        for gvr in self.served:
            if gvr.group:
                groups.setdefault(gvr.group, set()).add(gvr.version)
        for group, version in self.extra_groups.items():
            groups.setdefault(group, set()).add(version)
        if path == "/apis":
            return _json(
                {
                    "kind": "APIGroupList",
                    "apiVersion": "v1",
                    "groups": [_group(name, sorted(versions)) for name, versions in sorted(groups.items())],
                }
            )
        return self._group_document(path)

    def _group_document(self, path: str) -> web.Response:
        parts = path.strip("/").split("/")
        if path == "/api/v1":
            group, version = "", "v1"
        elif parts[0] == "apis" and len(parts) == 3:
            group, version = parts[1], parts[2]
        else:
            return web.Response(status=404, text="404 page not found\n")
        if group in self.broken_groups:
            return web.Response(status=503, text="service unavailable\n")
        resources = [
            {
                "name": s.gvr.resource,
                "singularName": "",
                "namespaced": s.namespaced,
                "kind": s.kind,
                "verbs": ["create", "delete", "get", "list", "watch"],
            }
            for s in self.served.values()
            if (s.gvr.group, s.gvr.version) == (group, version)
        ]
        if not resources:
            return web.Response(status=404, text="404 page not found\n")
        group_version = GVR(group, version, "").api_version
        return _json({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources})


def declared(gvr: GVR) -> list[dict[str, Any]]:
    """The columns of a built-in kind."""
    found = declared_columns(gvr, ServerVersion(1, 20))
    assert found is not None
    return [dict(msgspec.to_builtins(one)) for one in found]


def widget_definition(columns_: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The spec and status of the CRD of WIDGETS, for `put(CRDS, "", "widgets.shop.example.com", **…)`."""
    version: dict[str, Any] = {"name": "v1", "served": True, "storage": True}
    if columns_ is not None:
        version["additionalPrinterColumns"] = columns_
    return {
        "spec": {
            "group": "shop.example.com",
            "scope": "Namespaced",
            "versions": [version],
            "names": {"plural": "widgets", "kind": "Widget", "listKind": "WidgetList"},
        },
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    }


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    entries = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def _dump(value: Any) -> bytes:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()


def _line(kind: str, body: bytes) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + body + b"}\n"


def _json(value: Any) -> web.Response:
    return web.Response(body=_dump(value) + b"\n", content_type="application/json")


def _status_object(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def _status(code: int, reason: str, message: str) -> web.Response:
    return web.Response(
        status=code, text=_dump(_status_object(code, reason, message)).decode() + "\n", content_type="application/json"
    )
