"""A client that sends exactly what it is told: no path is cleaned, no header added, nothing decoded behind the back.

One connection a request. Answers may be read as they come, since a watch has no end that one would wait for.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

PATIENCE_SECONDS = 60.0
"""Far above what any answer takes; a stalled one fails the test that waits for it."""


@dataclass(slots=True)
class Answer:
    """An answer, growing while it comes. Header names are lower-case."""

    status: int = 0
    headers: dict[str, list[str]] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False

    def header(self, name: str) -> str:
        """The first value of a header, "" without one."""
        return self.headers.get(name, [""])[0]

    @property
    def content(self) -> bytes:
        """The body with gzip undone."""
        return gzip.decompress(self.body) if self.header("content-encoding") == "gzip" else self.body

    @property
    def lines(self) -> list[bytes]:
        """The whole lines that have come so far."""
        return self.body.split(b"\n")[:-1]


class Exchange:
    """One request and its answer. `async with Exchange(...) as exchange:` sends it and reads the head of the answer."""

    def __init__(
        self,
        url: str,
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes = b"",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`target` is the request line's path and query, as it is sent; `tls` is for an `https` URL."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._address = parts.hostname, parts.port or 80
        self._tls = tls
        lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method in {"POST", "PUT", "PATCH"}:
            lines.append(f"Content-Length: {len(body)}")
        self._request = ("\r\n".join(lines) + "\r\n\r\n").encode() + body
        self._bodiless = method == "HEAD"
        self.answer = Answer()
        self._more = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        async with asyncio.timeout(PATIENCE_SECONDS):
            reader, self._writer = await asyncio.open_connection(*self._address, limit=1 << 26, ssl=self._tls)
            self._writer.write(self._request)
            await self._read_head(reader)
        self._reading = asyncio.create_task(self._read_body(reader))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        if self._writer is not None:
            self._writer.close()

    async def lines(self, count: int, seconds: float = PATIENCE_SECONDS) -> list[bytes]:
        """Wait until so many lines have come, the answer has ended, or `seconds` are over; returns what is there."""
        try:
            async with asyncio.timeout(seconds):
                while len(self.answer.lines) < count and not self.answer.ended:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            pass
        return self.answer.lines

    async def whole(self) -> Answer:
        """Wait for the end of the answer."""
        assert self._reading is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.shield(self._reading)
        return self.answer

    async def _read_head(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.answer.status = int(head[0].split(" ")[1])
        for line in head[1:]:
            if line:
                name, _, value = line.partition(":")
                self.answer.headers.setdefault(name.lower(), []).append(value.strip())

    async def _read_body(self, reader: asyncio.StreamReader) -> None:
        try:
            if self._bodiless or self.answer.status in {204, 304}:
                return
            if self.answer.header("transfer-encoding") == "chunked":
                while size := int((await reader.readline()).split(b";")[0], 16):
                    self._came(await reader.readexactly(size))
                    await reader.readexactly(2)
            elif length := self.answer.header("content-length"):
                self._came(await reader.readexactly(int(length)))
            else:
                while data := await reader.read(1 << 16):
                    self._came(data)
        finally:
            self.answer.ended = True
            self._more.set()

    def _came(self, data: bytes) -> None:
        self.answer.body += data
        self._more.set()


async def ask(
    url: str,
    method: str,
    target: str,
    headers: dict[str, str],
    body: bytes = b"",
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Send one request and read its whole answer."""
    async with Exchange(url, method, target, headers, body, tls) as exchange:
        return await exchange.whole()
