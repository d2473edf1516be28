"""Many watchers that cost a client next to nothing, so that when events arrive is the server's doing.

They are spread over processes. Each reads its connections as the kernel says that something has come, notes the
instant before it decrypts, counts events, and keeps no bytes. A reader takes some 20 µs an event; by asyncio's streams
it were 100 µs, and the slowest of 500 readers in one process then shows how fast that process is.
"""

from __future__ import annotations

import multiprocessing
import select
import socket
import ssl
import time
import urllib.parse
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Self

from benchmarks.watchers import watch_request

PROCESSES = 2
ANSWER_SECONDS, PAUSE_SECONDS = 60.0, 0.3
_EVENT = b'"type":"MODIFIED"'
_READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class Watch:
    """What all readers ask for."""

    url: str
    path: str
    token: str
    ca: str


class Readers:
    """`count` open watches in processes of their own; use as a context manager."""

    def __init__(self, watch: Watch, count: int) -> None:
        self._watch = watch
        self._count = count
        self._processes: list[tuple[multiprocessing.process.BaseProcess, Connection]] = []

    def __enter__(self) -> Self:
        spawn = multiprocessing.get_context("spawn")
        shares = [len(range(number, self._count, PROCESSES)) for number in range(PROCESSES)]
        for share in shares:
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_read_for_ever, args=(theirs, self._watch, share), daemon=True)
            process.start()
            self._processes.append((process, ours))
        for _, connection in self._processes:
            self._answer(connection)
        return self

    def __exit__(self, *_: object) -> None:
        for process, connection in self._processes:
            connection.close()
            process.terminate()
            process.join()

    def take(self, events: int) -> list[list[float]]:
        """When each of the next `events` events came, for each reader, once all have them.

        Raises:
            RuntimeError: some do not get them.
        """
        arrivals: list[list[float]] = [[] for _ in range(self._count)]
        until = time.monotonic() + ANSWER_SECONDS
        while min(map(len, arrivals)) < events:
            if time.monotonic() > until:
                raise RuntimeError(f"of {events} events readers saw {min(map(len, arrivals))} at least")
            time.sleep(PAUSE_SECONDS)
            for _, connection in self._processes:
                connection.send("take")
            found = [moments for _, connection in self._processes for moments in self._answer(connection)]
            for moments, more in zip(arrivals, found, strict=True):
                moments.extend(more)
        if max(map(len, arrivals)) > events:
            raise RuntimeError(f"of {events} events a reader saw {max(map(len, arrivals))}")
        return arrivals

    def _answer(self, connection: Connection) -> list[list[float]]:
        if not connection.poll(ANSWER_SECONDS):
            raise RuntimeError("a process of readers does not answer")
        answer = connection.recv()
        if isinstance(answer, Exception):
            raise answer
        found: list[list[float]] = answer
        return found


class _Reader:
    """One open watch."""

    def __init__(self, watch: Watch, tls: ssl.SSLContext) -> None:
        parts = urllib.parse.urlsplit(watch.url)
        assert parts.hostname is not None
        plain = socket.create_connection((parts.hostname, parts.port or 443), timeout=ANSWER_SECONDS)
        self.socket = tls.wrap_socket(plain, server_hostname=parts.hostname)
        self.socket.sendall(watch_request(parts.netloc, watch.path, watch.token))
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.socket.recv(1)
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError(f"{watch.path}: {head[:200]!r}")
        self.socket.setblocking(False)
        self.arrivals: list[float] = []
        self._tail = b""

    def read(self) -> None:
        """Take what has come."""
        now = time.monotonic()
        while True:
            try:
                data = self._tail + self.socket.recv(_READ_BYTES)
            except ssl.SSLWantReadError:
                return
            found = data.count(_EVENT)
            if found:
                self.arrivals.extend([now] * found)
            # A pattern that is cut in two is found with the next bytes, one that is whole is not found again.
            self._tail = data[1 - len(_EVENT) :]


def _read_for_ever(parent: Connection, watch: Watch, count: int) -> None:
    tls = ssl.create_default_context(cafile=watch.ca)
    try:
        readers = [_Reader(watch, tls) for _ in range(count)]
    except (OSError, RuntimeError) as error:
        parent.send(error)
        return
    by_number = {reader.socket.fileno(): reader for reader in readers}
    poll = select.epoll()
    poll.register(parent.fileno(), select.EPOLLIN)
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    parent.send([])
    while True:
        for number, _ in poll.poll():
            if number in by_number:
                by_number[number].read()
                continue
            try:
                parent.recv()
            except EOFError:
                return
            parent.send([reader.arrivals for reader in readers])
            for reader in readers:
                reader.arrivals = []
