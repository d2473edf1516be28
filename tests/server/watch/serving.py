"""The watch handler behind a real HTTP server, without the rest of a replica: what is decided before it is given.

A request is parsed as the pipeline does; who asks, and for what scope, a test says through `Served`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Self, cast

from sanic import Request, Sanic
from sanic.response import HTTPResponse

from kube.paths import parse as parse_path
from kube.query import Query
from kube.resources import Resource
from kube.status import ApiError
from server import list_options
from server.control import Subscription
from server.errors import form_for, response_for
from server.handlers.watch import watch
from server.identity import Credential, CredentialKind, User
from server.metrics import Metrics
from server.negotiation import negotiate
from server.request_context import RequestContext
from server.scope import ALL, Scope
from tests.server.watch.harness import KEPT, LATEST, World

PODS_RESOURCE_VERBS = frozenset({"get", "list", "watch"})
_numbers = itertools.count()


class FakeControl:
    """Scopes that a test can change."""

    def __init__(self) -> None:
        self.now: Scope | None = ALL
        self.changed: bool | None = False
        self.subscribers: list[Callable[[Scope | None], None]] = []

    def scope(self, *_: object) -> Scope | None:
        return self.now

    def changed_since(self, *_: object) -> bool | None:
        return self.changed

    def subscribe(
        self, _user: object, _resource: object, changed: Callable[[Scope | None], None], **_: object
    ) -> Subscription:
        self.subscribers.append(changed)
        return Subscription(lambda: None, lambda: self.subscribers.remove(changed))

    def become(self, scope: Scope | None) -> None:
        """The user's scope is another from now on."""
        self.now = scope
        for changed in list(self.subscribers):
            changed(scope)


class Served:
    """A world served over HTTP on a free loopback port. `user` is who every request comes from."""

    def __init__(self, world: World, *, user: str = "alice", ssl: Any = None) -> None:
        self.world = world
        self.control = FakeControl()
        self.metrics = Metrics()
        self.user = User(user)
        self.ssl = ssl
        self.rv_time: int | None = 0
        self.handlers = 0
        self.replica: Any = SimpleNamespace(
            views=SimpleNamespace(open=self._open, kept=KEPT),
            reader=SimpleNamespace(rv_time=self._rv_time),
            reached=self._reached,
            control=self.control,
            watches=world.watches,
            metrics=self.metrics,
            version=LATEST,
            clock=world.view.clock,
        )

    async def _open(self, _gvr: object) -> object:
        return self.world.view

    async def _reached(self, _rv: int) -> bool:
        return False

    async def _rv_time(self, _gvr: object, _rv: int) -> int | None:
        return self.rv_time

    async def __aenter__(self) -> Self:
        Sanic.test_mode = True
        self.app = Sanic(f"watch-test-{next(_numbers)}", configure_logging=False)
        self.app.config.RESPONSE_TIMEOUT = 1
        self.app.config.KEEP_ALIVE_TIMEOUT = 5
        self.app.config.GRACEFUL_TCP_CLOSE_TIMEOUT = 0.5
        self.app.add_route(self._handle, "/<path:path>", methods=["GET"])
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        server = await self.app.create_server(sock=listener, return_asyncio_server=True, ssl=self.ssl)
        self.server = cast("Any", server)
        await self.server.startup()
        await self.server.start_serving()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.world.watches.drain(2.0)
        self.server.close()
        await self.server.wait_closed()
        for connection in list(self.server.connections):
            connection.abort()
        await asyncio.sleep(0.01)

    async def _handle(self, request: Request, path: str) -> HTTPResponse | None:
        self.handlers += 1
        try:
            answer = await watch(self._context(request))
        except ApiError as error:
            return response_for(error, form=form_for(request, LATEST))
        finally:
            self.handlers -= 1
        if answer is None:
            return None
        return HTTPResponse(b"".join(answer.parts), answer.status, answer.headers)

    def _context(self, request: Request) -> RequestContext:
        """The context of a request for the world's resource."""
        meta = self.world.meta
        resource = Resource(meta.gvr, meta.kind, meta.namespaced, PODS_RESOURCE_VERBS)
        return self._context_of(request, resource, custom=False)

    def _context_of(self, request: Request, resource: Resource, *, custom: bool) -> RequestContext:
        """The request, parsed and negotiated as by the pipeline."""
        path, _, raw_query = request.raw_url.decode().partition("?")
        query = Query.parse(raw_query, LATEST)
        info = parse_path("GET", path, query, LATEST)
        ctx = RequestContext(
            replica=self.replica,
            request=request,
            user=self.user,
            credential=Credential(CredentialKind.NONE),
            info=info,
            audit_id="audit",
            resource=resource,
            scope=self.control.now,
            warnings=("old",),
        )
        list_options.check_route(info, resource, custom=custom)
        accept = request.headers.get("accept")
        ctx.representation = negotiate(accept, verb="watch", custom=custom, query=query, version=LATEST)
        ctx.options = list_options.parse(
            info, query, LATEST, resource, custom=custom, selectable=self.world.meta.selectable
        )
        list_options.check_watchable(info, resource)
        return ctx


class Connection:
    """A client that sees every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, served: Served, **options: Any) -> Connection:
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", served.port, **options))

    async def get(self, path: str, *headers: str, version: str = "1.1") -> str:
        """Send a GET; returns the head of the answer."""
        lines = [f"GET {path} HTTP/{version}", "Host: larder", *headers, "", ""]
        self.writer.write("\r\n".join(lines).encode())
        return await self.head()

    async def head(self) -> str:
        """The head of an answer, without the empty line."""
        async with asyncio.timeout(5):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode().removesuffix("\r\n\r\n")

    async def chunk(self) -> bytes:
        """One chunk of the body, b"" for the last."""
        async with asyncio.timeout(5):
            size = int(await self.reader.readline(), 16)
            data = await self.reader.readexactly(size + 2)
            assert data.endswith(b"\r\n")
            return data[:-2]

    async def rest(self) -> bytes:
        """All chunks up to the last."""
        parts = []
        while part := await self.chunk():
            parts.append(part)
        return b"".join(parts)

    async def body(self, head: str) -> bytes:
        """A body with a Content-Length."""
        size = next(int(line.split(":")[1]) for line in head.lower().splitlines() if line.startswith("content-length"))
        return await self.reader.readexactly(size)

    async def close(self) -> None:
        """Hang up."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):  # the server was faster
            await self.writer.wait_closed()
