"""Thousands of open watches that cost their holder nothing: a program of its own, as it has files of its own to open.

    python -m tests.soak.idle URL CA TOKEN COUNT STALLED

opens COUNT watches of ConfigMaps in namespaces that stay quiet, and STALLED ones of those that do not, of which it
never reads. It prints a line of JSON each second: how many are open, and how many bookmarks and events were read.
It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

AT_ONCE = 32
"""Handshakes at the same time."""

NAMESPACES = ("storefront-prod", "payments-prod", "logistics-prod", "people-apps", "monitoring")
NOISY = "storefront-staging"


@dataclass
class Tally:
    """What was seen."""

    opened: int = 0
    ended: int = 0
    bookmarks: int = 0
    events: int = 0


class Idle:
    """The watches."""

    def __init__(self, url: str, ca: str, token: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._tls = ssl.create_default_context(cafile=ca)
        self._token = token
        self._gate = asyncio.Semaphore(AT_ONCE)
        self.tally = Tally()

    def _socket(self) -> socket.socket:
        """With a small buffer, so that it shows soon when nobody reads."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        connection.connect((self._host, self._port))
        connection.setblocking(False)
        return connection

    async def follow(self, namespace: str, *, reads: bool) -> None:
        """One watch until it ends; where it does not read, the kernel's buffers fill up and nothing else happens."""
        path = f"/api/v1/namespaces/{namespace}/configmaps?watch=1&resourceVersion=0&allowWatchBookmarks=true"
        async with self._gate:
            # A small limit: a reader's buffer is what would grow here, and it is the server that is measured.
            reader, writer = await asyncio.open_connection(
                sock=self._socket(), ssl=self._tls, server_hostname=self._host, limit=1 << 14
            )
            head = f"GET {path}&timeoutSeconds=86400 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._token}\r\n\r\n"
            writer.write(head.encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in answer.split(b"\r\n")[0], answer
        self.tally.opened += 1
        if not reads:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.Event().wait()
        while data := await reader.read(1 << 14):
            self.tally.bookmarks += data.count(b'"type":"BOOKMARK"')
            self.tally.events += data.count(b'"type":"MODIFIED"')
        self.tally.ended += 1


async def main(url: str, ca: str, token: str, count: int, stalled: int) -> None:
    """Open them all, and tell of them."""
    idle = Idle(url, ca, token)
    tasks = [asyncio.create_task(idle.follow(NAMESPACES[at % len(NAMESPACES)], reads=True)) for at in range(count)]
    tasks += [asyncio.create_task(idle.follow(NOISY, reads=False)) for _ in range(stalled)]
    end = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    while not end.done():
        await asyncio.wait({end}, timeout=1.0)
        failed = next((task.exception() for task in tasks if task.done() and not task.cancelled()), None)
        told = {**vars(idle.tally), "failed": repr(failed) if failed else ""}
        print(json.dumps(told), flush=True)  # noqa: T201 - it is what the program is for
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
