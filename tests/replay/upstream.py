"""An upstream that only repeats recorded bytes: the informer's source in the replay tests.

It computes nothing: lists, discovery and watch lines are recordings; a Table request gets the
recorded columns and no rows. Whatever it has no recording for is noted in `forwarded` and answered
with 418, so a test sees at once that a replica asked upstream instead of answering.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from aiohttp import web

from tests.replay.world import columns, world

PROGRESS = 1814
"""The RV that the recorded server had reached when the cases were asked: many of them name it."""

SINGLE = ("/api/v1/namespaces", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
"""Collections of which an informer asks for single objects: the cluster's identity, and printer columns."""

USERS = {
    "admin-token": ("admin", ["system:masters", "system:authenticated"]),
    "larder-token": ("larder", ["system:masters", "system:authenticated"]),
    "carol-token": ("carol", ["system:authenticated"]),
    "alice-token": ("alice", ["capsule.clastix.io", "system:authenticated"]),
}


class RepeatingUpstream:
    """Serves `world()`, optionally with one list replaced and its watch lines held until `release`.

    Every watch begins with a bookmark at `progress`: what other resources had moved on to meanwhile.
    """

    def __init__(self, history: dict[str, Any] | None = None, progress: int = PROGRESS) -> None:
        self.progress = progress
        self.lists: dict[str, str] = {path: entry["body"] for path, entry in world()["lists"].items()}
        self._lines: dict[str, list[str]] = {}
        if history is not None:
            self.lists[history["resource"]] = history["list"]
            self._lines[history["resource"]] = [line.rstrip("\n") for line in history["raw"]]
        self._released = asyncio.Event()
        self._ended = asyncio.Event()
        self.forwarded: list[tuple[str, str]] = []
        self.seen: Counter[str] = Counter()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> str:
        """Listen on a free loopback port; returns the URL."""
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        return self.url

    async def stop(self) -> None:
        """End every open watch and stop listening."""
        self._ended.set()
        if self._runner is not None:
            await self._runner.cleanup()

    def release(self) -> None:
        """Let the recorded writes happen: every open watch gets its lines."""
        self._released.set()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path.endswith("/tokenreviews") and request.method == "POST":
            return self._token_review(await request.json())
        if path.endswith(("/selfsubjectrulesreviews", "/selfsubjectaccessreviews")):
            self.seen["review"] += 1
            return web.json_response(
                {
                    "kind": "SelfSubjectRulesReview",
                    "apiVersion": "authorization.k8s.io/v1",
                    "metadata": {},
                    "status": {"resourceRules": [], "nonResourceRules": [], "incomplete": False, "allowed": True},
                },
                status=201,
            )
        if request.method == "GET" and "larder-informer" in request.headers.get("User-Agent", ""):
            found = await self._informer_read(request)
            if found is not None:
                return found
        if request.method == "GET" and path in world()["discovery"] and self._own(request):
            return self._recorded(world()["discovery"][path])
        self.forwarded.append((request.method, request.path_qs))
        return web.Response(status=418, text="the repeating upstream has no recording of this")

    @staticmethod
    def _own(request: web.Request) -> bool:
        return "larder-" in request.headers.get("User-Agent", "")

    async def _informer_read(self, request: web.Request) -> web.StreamResponse | None:
        path, accept = request.path, request.headers.get("Accept", "")
        if path in self.lists:
            if request.query.get("watch") in ("1", "true", "True"):
                self.seen["watch"] += 1
                return await self._watch(request)
            if "as=Table" in accept.split(",")[0]:
                self.seen["table"] += 1
                return self._table(path)
            self.seen["list"] += 1
            entry = world()["lists"][path]
            return web.Response(status=entry["status"], text=self.lists[path], content_type="application/json")
        collection, _, name = path.rpartition("/")
        if collection in SINGLE and collection in self.lists:
            return self._object(collection, name)
        if "APIGroupDiscoveryList" in accept.split(",")[0] and path in world()["aggregated"]:
            return self._recorded(world()["aggregated"][path])
        if path in world()["discovery"]:
            return self._recorded(world()["discovery"][path])
        if path.startswith("/openapi"):
            return web.Response(status=404, text="404 page not found\n")
        return None

    def _table(self, path: str) -> web.Response:
        table = {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": "1"},
            "columnDefinitions": columns().get(path, []),
            "rows": [],
        }
        return web.Response(text=json.dumps(table, separators=(",", ":")), content_type="application/json")

    def _object(self, collection: str, name: str) -> web.Response:
        for item in json.loads(self.lists[collection])["items"]:
            if item["metadata"]["name"] == name:
                return web.json_response(item)
        return web.json_response({"kind": "Status", "code": 404, "reason": "NotFound"}, status=404)

    @staticmethod
    def _recorded(entry: dict[str, Any]) -> web.Response:
        headers = {name: values[0] for name, values in entry["headers"].items() if name != "content-encoding"}
        return web.Response(status=entry["status"], body=entry["body"]["text"].encode(), headers=headers)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        kind = world()["lists"][request.path]["kind"]
        bookmark = {"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": str(self.progress)}}
        await response.write(json.dumps({"type": "BOOKMARK", "object": bookmark}).encode() + b"\n")
        lines = self._lines.get(request.path, [])
        released = asyncio.ensure_future(self._released.wait())
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({released, ended}, return_when=asyncio.FIRST_COMPLETED)
            if self._released.is_set():
                after = int(request.query.get("resourceVersion", "0"))
                for line in lines:
                    if int(json.loads(line)["object"]["metadata"]["resourceVersion"]) > after:
                        await response.write(line.encode() + b"\n")
                await ended
        finally:
            released.cancel()
            ended.cancel()
        return response

    def _token_review(self, body: dict[str, Any]) -> web.Response:
        self.seen["tokenreview"] += 1
        user = USERS.get(body["spec"]["token"])
        status: dict[str, Any] = {"authenticated": False, "error": "invalid bearer token"}
        if user:
            status = {"authenticated": True, "user": {"username": user[0], "groups": user[1]}}
        return web.json_response(
            {
                "kind": "TokenReview",
                "apiVersion": "authentication.k8s.io/v1",
                "metadata": {},
                "spec": {},
                "status": status,
            },
            status=201,
        )
