"""A small upstream that does as it is told, and remembers every request that reached it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Seen(NamedTuple):
    """One request: `headers` have lower-case names, each with all its values."""

    method: str
    target: str
    headers: dict[str, list[str]]
    body: bytes


def status_body(code: int, reason: str, message: str) -> dict[str, Any]:
    """A failure as an API server puts it."""
    head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return {**head, "message": message, "reason": reason, "code": code}


class ScriptedUpstream:
    """Knows tokens, and answers what `on` says; everything else is 404."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.users: dict[str, dict[str, Any]] = {}
        self.seen: list[Seen] = []
        self.reviews = 0
        self.url = ""
        self.closed: list[str] = []
        """Paths of requests whose client went away."""
        self._tls = tls
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._runner: web.AppRunner | None = None
        self._port = 0

    def user(self, token: str, name: str, *groups: str) -> None:
        """Make a token known."""
        self.users[token] = {"username": name, "groups": ["system:authenticated", *groups]}

    def on(self, method: str, path: str, handler: Handler) -> None:
        """Answer a path with what the handler says."""
        self._handlers[method, path] = handler

    def json(self, method: str, path: str, body: Any, status: int = 200, **headers: str) -> None:
        """Answer a path with JSON."""

        async def answer(_: web.Request) -> web.StreamResponse:
            return web.json_response(body, status=status, headers=headers)

        self.on(method, path, answer)

    @property
    def forwarded(self) -> list[Seen]:
        """The requests that were no reviews of tokens."""
        return [seen for seen in self.seen if "tokenreviews" not in seen.target]

    async def start(self) -> str:
        """Listen, on the same port each time; returns the URL."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1, max_line_size=1 << 16
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"
        return self.url

    async def stop(self) -> None:
        """Be away."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        streamed = (request.method, request.path) in self._handlers
        body = b"" if streamed else await request.read()
        headers: dict[str, list[str]] = {}
        for name, value in request.headers.items():
            headers.setdefault(name.lower(), []).append(value)
        self.seen.append(Seen(request.method, request.raw_path, headers, body))
        if request.path.endswith("/tokenreviews"):
            return await self._review(request)
        handler = self._handlers.get((request.method, request.path))
        if handler is None:
            return web.json_response(status_body(404, "NotFound", "scripted: not here"), status=404)
        try:
            return await handler(request)
        except asyncio.CancelledError:
            self.closed.append(request.path)
            raise

    async def _review(self, request: web.Request) -> web.StreamResponse:
        self.reviews += 1
        user = self.users.get((await request.json())["spec"]["token"])
        found = {"authenticated": True, "user": user} if user else {"authenticated": False}
        kind = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1"}
        return web.json_response({**kind, "status": found}, status=201)
