"""The connections that forwarded requests take, kept while they are idle.

Invariant: a connection with our client certificate never carries a request in its caller's own name.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

import aiohappyeyeballs

from kube import tasks
from kube.answer import UpstreamAnswer
from kube.credentials import Credentials
from kube.http1 import HOP_BY_HOP, Connection, Headers, request_head
from kube.upstream_error import CONNECT_SECONDS, UpstreamBroken, unreachable

KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
"""Seconds and tries of TCP's own keepalive: a peer that vanished without a word is noticed within half a minute."""
IDLE_SECONDS = 15.0
"""What was idle so long is closed within as long again: before servers and load balancers do (an API server: 90 s)."""
IDLE_LIMIT = 64
"""Idle connections kept, with and without our certificate each; 45 KB."""
NEXT_ADDRESS_SECONDS = 0.25
"""After which the next address of a host name is tried beside the one before."""

_REPEATABLE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
"""Methods that may be sent again: what they do twice is what they do once."""
_FRAMING = HOP_BY_HOP | {"content-length"}
_BODILESS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
"""Methods that need not say that they have no body."""


class Forwarding:
    """Sends requests to the API server that `credentials` name."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        url = urlsplit(credentials.server)
        self._host = url.hostname or ""
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._authority = url.netloc.rpartition("@")[2]
        self._prefix = url.path
        self._idle: dict[bool, list[Connection]] = {False: [], True: []}
        self._all: WeakSet[Connection] = WeakSet()
        self._connecting: set[asyncio.Task[Connection]] = set()
        self._sweep: asyncio.TimerHandle | None = None

    async def ask(
        self, method: str, path: str, headers: Headers, body: AsyncIterator[bytes] | None = None, *, own: bool = False
    ) -> UpstreamAnswer:
        """Send a request, and wait for the head of its answer, which the caller must close.

        `path` is with its query, percent-encoded; `headers` have names in lower case.

        Raises:
            UpstreamUnreachable: it was not sent. UpstreamBroken: it may have taken effect. PlainError: it is malformed.
        """
        head, length = self._head(method, path, headers, has_body=body is not None)
        repeatable = body is None and method in _REPEATABLE
        context = self._credentials.ssl_context(own=own)
        for last in (False, True):
            # The second time over a new one: when a server stops, its idle connections all break.
            connection = None if last else self._take(own, context)
            if connection is None:
                connection = await self._connected(own, context)
            try:
                return await connection.ask(head, body, length=length, bodiless=method == "HEAD")
            except UpstreamBroken:
                if last or not repeatable or connection.answered:
                    raise
        raise AssertionError("the second attempt returns or raises")

    async def close(self) -> None:
        """End all connections."""
        await tasks.end(*self._connecting)
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for kept in self._idle.values():
            kept.clear()
        for connection in list(self._all):
            connection.abort()
        await asyncio.sleep(0)  # the transports say then that they are gone

    def _head(self, method: str, path: str, headers: Headers, *, has_body: bool) -> tuple[bytes, int | None]:
        """The request's head, and its body's length; None for a body in chunks."""
        sent = [header for header in headers if header[0] not in _FRAMING]
        length = None
        if has_body:
            said = next((value for name, value in headers if name == "content-length"), "")
            if said.isascii() and said.isdecimal():
                length = int(said)
            sent.append(("transfer-encoding", "chunked") if length is None else ("content-length", str(length)))
        elif method not in _BODILESS:
            sent.append(("content-length", "0"))
        return request_head(method, self._prefix + path, self._authority, sent), length

    def _take(self, own: bool, context: ssl.SSLContext | None) -> Connection | None:
        """The connection that was idle last, if it is still good."""
        kept = self._idle[own]
        while kept:
            connection = kept.pop()
            if not connection.open:
                continue
            if connection.context is context:
                return connection
            connection.close()  # certificates or their authority have changed since
        return None

    async def _connected(self, own: bool, context: ssl.SSLContext | None) -> Connection:
        """A new connection. One whose request is cancelled meanwhile is the next request's.

        A handshake that is cancelled leaves uvloop's TLS layer in memory, and an error in the log.
        """
        connecting = asyncio.create_task(self._connect(own, context), name="connect upstream")
        self._connecting.add(connecting)
        connecting.add_done_callback(self._connecting.discard)
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            connecting.add_done_callback(self._keep)
            raise

    def _keep(self, connecting: asyncio.Task[Connection]) -> None:
        if not connecting.cancelled() and connecting.exception() is None:
            self._free(connecting.result())

    async def _connect(self, own: bool, context: ssl.SSLContext | None) -> Connection:
        loop = asyncio.get_running_loop()
        credentials = self._credentials
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                connected = await aiohappyeyeballs.start_connection(
                    addresses, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS, socket_factory=kept_alive
                )
                _, connection = await loop.create_connection(
                    lambda: Connection(own, context, self._free),
                    sock=connected,
                    ssl=context,
                    server_hostname=(credentials.server_name or self._host) if context else None,
                )
        except (OSError, TimeoutError) as error:
            raise unreachable(credentials.server, credentials.source, error) from error
        self._all.add(connection)
        return connection

    def _free(self, connection: Connection) -> None:
        kept = self._idle[connection.own]
        if len(kept) >= IDLE_LIMIT:
            connection.close()
            return
        connection.rests = False
        kept.append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._close_old)

    def _close_old(self) -> None:
        """Close what was not used for long: a server may be about to, just as the next request is written."""
        self._sweep = None
        for own, kept in self._idle.items():
            for connection in kept:
                if connection.rests:
                    connection.close()
                connection.rests = True
            self._idle[own] = [connection for connection in kept if connection.open]
        if any(self._idle.values()):
            self._sweep = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._close_old)


def kept_alive(address: Any) -> socket.socket:
    """A socket for an address (as `getaddrinfo` gives it) whose peer may vanish without a word."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
