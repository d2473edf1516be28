"""Watch clients that do as little as possible, so that what is measured is the server.

A watcher is one TLS connection of its own; it reads, notes when each object's version arrived, and keeps nothing.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
import urllib.parse
from dataclasses import dataclass, field

from kube.http1 import request_head

_EVENT = re.compile(rb'"type":"(?:ADDED|MODIFIED|DELETED)"')
_VERSION = re.compile(rb'"resourceVersion":"(\d+)"')
_CARRY = 64
"""Bytes kept of the last read, so that a pattern that is cut in two is still seen: longer than any pattern."""
_LEAST_BUFFER = 4096


@dataclass
class Watcher:
    """One open watch. `deliveries` counts events; with `timed`, `arrivals` maps an RV to its first arrival."""

    url: str
    path: str
    token: str
    tls: ssl.SSLContext
    timed: bool = False
    paused: bool = False
    """A stalled reader: it opens the watch and then reads nothing. Its kernel holds as little as it can be told to."""

    deliveries: int = 0
    arrivals: dict[int, float] = field(default_factory=dict)

    async def open(self) -> None:
        """Connect, send the request and read the head of the answer.

        Raises:
            RuntimeError: the answer is not 200.
        """
        parts = urllib.parse.urlsplit(self.url)
        plain = socket.socket()
        plain.setblocking(False)
        if self.paused:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _LEAST_BUFFER)
        await asyncio.get_running_loop().sock_connect(plain, (parts.hostname, parts.port))
        self._reader, self._writer = await asyncio.open_connection(
            sock=plain, server_hostname=parts.hostname, ssl=self.tls, limit=1 << 20
        )
        self._writer.write(watch_request(parts.netloc, self.path, self.token))
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 30)
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError(f"{self.path}: {head[:200]!r}")
        if self.paused:
            self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def follow(self) -> None:
        """Read until the stream ends or the task is cancelled."""
        carry = b""
        while not self.paused and (data := await self._reader.read(1 << 18)):
            now = time.monotonic()
            data = carry + data
            self.deliveries += len(_EVENT.findall(data)) - len(_EVENT.findall(carry))
            if self.timed:
                for version in _VERSION.findall(data):
                    self.arrivals.setdefault(int(version), now)
            carry = data[-_CARRY:]

    def close(self) -> None:
        """Drop the connection."""
        self._writer.transport.abort()


def watch_request(host: str, path: str, token: str) -> bytes:
    """The head of a request for a watch."""
    headers = [("authorization", f"Bearer {token}"), ("accept", "application/json"), ("user-agent", "larder-bench")]
    return request_head("GET", path, host, headers)


async def open_all(watchers: list[Watcher], at_once: int = 50) -> None:
    """Open them, some at a time: TLS handshakes are the load here."""
    gate = asyncio.Semaphore(at_once)

    async def one(watcher: Watcher) -> None:
        async with gate:
            await watcher.open()

    async with asyncio.TaskGroup() as group:
        for watcher in watchers:
            group.create_task(one(watcher))
