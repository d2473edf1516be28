"""The server program: Sanic as the HTTP server, one pipeline behind it, and an orderly end.

One process per replica, and no router: every path of an API server belongs to upstream, so all requests take one way.

At a stop: /readyz fails, and after `unready_seconds` (a load balancer has noticed) no more connections are accepted;
watches end with a last bookmark, other requests finish within `drain_seconds`, then what is left is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.metadata
import itertools
import logging
import math
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import uvloop
from sanic import Sanic
from sanic.application.state import ApplicationServerInfo
from sanic.handlers import ErrorHandler
from sanic.http import Http
from sanic.http.constants import HTTP

from kube import logs
from kube.version import ServerVersion
from server.connection import PolledRequest, connection
from server.errors import form_for, response_for
from server.malloc import fix_thresholds
from server.pipeline import Pipeline
from server.replica import Replica
from server.tls import ServerTls

if TYPE_CHECKING:
    from sanic.request import Request
    from sanic.response import HTTPResponse
    from sanic.server.async_server import AsyncioServer

    from server.settings import ServerSettings

_log = logging.getLogger(__name__)

HEADER_BYTES = 16_384
"""Sanic's own ceiling for a request's line and headers: tokens of users with hundreds of groups have 10 KB."""

KEEP_ALIVE_SECONDS = 300.0
"""Longer than clients keep idle connections (client-go: 90 s), so that they are the ones who close them."""

_BACKLOG = 4096
_numbers = itertools.count(1)


class _Errors(ErrorHandler):
    """Faults that Sanic finds before a request reaches the pipeline."""

    def __init__(self, version: ServerVersion) -> None:
        super().__init__()
        self._version = version

    def response(self, request: Request, exception: Exception) -> HTTPResponse:
        """The Status that says it."""
        return response_for(exception, form=form_for(request, self._version))

    @staticmethod
    def log(request: Request, exception: Exception) -> None:
        """`response_for` has logged what is worth it."""


class _App(Sanic[Any, Any]):
    """Sanic without its router, middleware and signals: they cost more than a cached list does."""

    async def handle_request(self, request: Request) -> None:
        """Hand every request to the pipeline."""
        await cast("Pipeline", self.ctx.pipeline).handle(request)


def create_app(pipeline: Pipeline, *, touchup: bool = False) -> Sanic[Any, Any]:
    """The Sanic application. `touchup`: let Sanic rewrite its own methods for speed, once per process."""
    app = _App(
        f"larder-{next(_numbers)}",
        configure_logging=False,
        error_handler=_Errors(ServerVersion(1, 36)),
        request_class=PolledRequest,
    )
    app.ctx.pipeline = pipeline
    app.config.update(
        {
            "ACCESS_LOG": False,
            "FALLBACK_ERROR_FORMAT": "json",
            "GRACEFUL_SHUTDOWN_TIMEOUT": 0.1,
            "KEEP_ALIVE_TIMEOUT": KEEP_ALIVE_SECONDS,
            "REQUEST_MAX_HEADER_SIZE": HEADER_BYTES,
            "REQUEST_TIMEOUT": 60.0,
            # An idle watch is no stalled answer; who does not read is bounded elsewhere.
            "RESPONSE_TIMEOUT": math.inf,
            "TOUCHUP": touchup,
        }
    )
    # Where Sanic knows of HTTP/1.1 alone, its rewriting leaves out an empty Alt-Svc header.
    app.state.server_info.append(ApplicationServerInfo({"version": HTTP.VERSION_1}))
    # Sanic does not start without a route; no request ever takes it.
    app.add_route(_no_route, "/", methods=["GET"])
    return app


async def _no_route(_: Request) -> None:
    raise AssertionError("requests go to the pipeline")


class Server:
    """A replica that listens. `port` and `metrics_port` are what was bound, also where 0 was asked for."""

    def __init__(self, replica: Replica, listening: AsyncioServer, port: int, metrics_port: int) -> None:
        self.replica = replica
        self.port = port
        self.metrics_port = metrics_port
        self._listening = listening

    async def drain(self) -> None:
        """The orderly end, as the module says; returns when no request is left, or the time is over."""
        replica, settings = self.replica, self.replica.settings
        replica.draining = True
        replica.metrics.draining.set(1)
        _log.info("stopping: not ready any more")
        await asyncio.sleep(settings.unready_seconds)
        deadline = asyncio.get_running_loop().time() + settings.drain_seconds
        self._listening.close()  # type: ignore[no-untyped-call]
        await replica.watches.drain(settings.drain_seconds)
        pipeline = cast("Pipeline", self._listening.app.ctx.pipeline)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await pipeline.idle.wait()
        if pipeline.open_requests:
            _log.warning("cutting %d requests that did not end", pipeline.open_requests)
        for client in list(self._listening.connections):
            client.abort() if not client.close_if_idle() else None
        await asyncio.sleep(0)


@asynccontextmanager
async def running(settings: ServerSettings, *, touchup: bool = False) -> AsyncIterator[Server]:
    """A server that accepts requests; leaving the context drains it.

    Raises:
        OSError: an address is taken, or a TLS file is not there.
        StoreUnsuitable, CredentialsError: what they say must be changed.
    """
    tls = _tls(settings)
    async with Replica(settings, importlib.metadata.version("larder")) as replica:
        app = create_app(Pipeline(replica), touchup=touchup)
        listener = _bind(settings.listen)
        try:
            listening = await app.create_server(
                sock=listener,
                ssl=tls.context if tls is not None else None,
                protocol=connection,  # type: ignore[arg-type]  # it is called, and never looked at
                backlog=_BACKLOG,
                return_asyncio_server=True,
            )
            assert listening is not None
            Http.set_header_max_size(HEADER_BYTES)
            await listening.startup()  # type: ignore[no-untyped-call]
            await listening.before_start()  # type: ignore[no-untyped-call]
            await listening.after_start()  # type: ignore[no-untyped-call]
        except BaseException:
            listener.close()
            raise
        metrics_port = 0
        if settings.metrics_listen:
            metrics_port = await replica.health.start(*_address(settings.metrics_listen))
        keeping = asyncio.create_task(tls.keep_up(), name="tls files") if tls is not None else None
        server = Server(replica, listening, listener.getsockname()[1], metrics_port)
        _log.info(
            "listening on %s:%d%s, upstream is %s",
            settings.listen.rpartition(":")[0], server.port, "" if tls else " without TLS", replica.upstream.server,
        )  # fmt: skip
        try:
            yield server
        finally:
            await server.drain()
            if keeping is not None:
                keeping.cancel()
            await replica.health.close()
            Sanic.unregister_app(app)


def _tls(settings: ServerSettings) -> ServerTls | None:
    if not settings.tls_cert or not settings.tls_key:
        return None
    return ServerTls(settings.tls_cert, settings.tls_key, settings.client_ca)


def _address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `:PORT` (all interfaces) or `[IPV6]:PORT`.

    Raises:
        ValueError: it is none.
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal():
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - as the user wrote it


def _bind(text: str) -> socket.socket:
    host, port = _address(text)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by every connection: a client that vanished without a word is noticed within two minutes.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4)):
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {text}: {error.strerror}") from error
    return listener


async def _serve(settings: ServerSettings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with running(settings, touchup=True):
        # What stands now stays: looking through it again and again would hold the loop for some 30 ms each time.
        gc.collect()
        gc.freeze()
        await stopped.wait()
        # A second signal ends at once what the first one asks to end.
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ValueError):
                loop.remove_signal_handler(number)


def serve(settings: ServerSettings) -> None:
    """Run a replica until SIGTERM or SIGINT; the whole process is its.

    Raises:
        OSError, StoreUnsuitable, CredentialsError: it cannot start, the message says what to change.
    """
    logs.configure()
    fix_thresholds()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))
