"""How long a request takes: a client that asks one at a time, and notes the time of each answer.

wrk's percentiles are no such times: it adds requests that a client of a steady rate would have sent while it waited.
One stall of 0.5 s among 1,900 requests of 1.2 ms makes its p90 147 ms.
"""

from __future__ import annotations

import gc
import os
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from httptools import HttpResponseParser

from benchmarks.figures import percentile
from benchmarks.wrk import LoadFailed
from kube.http1 import request_head

_RECEIVE_BYTES = 1 << 20
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Times:
    """Those of one client, in milliseconds."""

    each: list[float]

    @property
    def p50(self) -> float:
        """Half of the requests took no longer."""
        return percentile(self.each, 0.5)

    @property
    def p99(self) -> float:
        """One in a hundred took longer."""
        return percentile(self.each, 0.99)


def measure(asked: Sequence[tuple[str, dict[str, str]]], *, seconds: float, cpu: int | None) -> list[Times]:
    """Ask each URL (with its headers) over one kept connection, in turn request by request, for so long.

    Whatever else happens on the machine meanwhile happens to all of them. `cpu`: on this core.

    Raises:
        LoadFailed: an answer was not 2xx, or did not come whole.
    """
    clients = [_Client(url, headers) for url, headers in asked]
    found: list[list[float]] = [[] for _ in clients]
    try:
        with _alone(cpu):
            until = time.perf_counter() + seconds
            while time.perf_counter() < until or not found[0]:
                for client, times in zip(clients, found, strict=True):
                    begun = time.perf_counter()
                    client.ask()
                    times.append((time.perf_counter() - begun) * 1e3)
    except OSError as error:
        raise LoadFailed(f"{[url for url, _ in asked]}: {error}") from error
    finally:
        for client in clients:
            client.close()
    return [Times(times) for times in found]


@contextmanager
def _alone(cpu: int | None) -> Iterator[None]:
    """On that core, and without pauses of this program's own."""
    before = os.sched_getaffinity(0)
    if cpu is not None and cpu in before:
        os.sched_setaffinity(0, {cpu})
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        os.sched_setaffinity(0, before)


class _Client:
    """One connection to a URL; whose certificate it is does not matter here."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        parts = urlsplit(url)
        target = f"{parts.path}{'?' if parts.query else ''}{parts.query}"
        self._url = url
        self._request = request_head("GET", target, parts.netloc, list(headers.items()))
        self._socket: socket.socket = socket.create_connection((parts.hostname, parts.port), _PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self._socket = context.wrap_socket(self._socket, server_hostname=parts.hostname)
        self._parser = HttpResponseParser(self)
        self._whole = False

    def ask(self) -> Self:
        """One request, and all of its answer."""
        self._whole = False
        self._socket.sendall(self._request)
        while not self._whole:
            data = self._socket.recv(_RECEIVE_BYTES)
            if not data:
                raise LoadFailed(f"{self._url}: the answer broke off")
            self._parser.feed_data(data)
        code = self._parser.get_status_code()
        if code // 100 != 2:
            raise LoadFailed(f"{self._url}: {code}")
        return self

    def on_message_complete(self) -> None:
        """The parser has seen the end."""
        self._whole = True

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
