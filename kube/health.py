"""/metrics, /livez and /readyz on a port of their own: HTTP in its simplest form, beside the API and its load.

The API's port is upstream's namespace of paths, so nothing of ours can be there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

_log = logging.getLogger(__name__)

REQUEST_SECONDS = 5.0
"""For a request's head to come, and its answer to go. Probes and Prometheus are near."""

MAX_HEAD_BYTES = 16_384


class Check(NamedTuple):
    """One condition of readiness: why it fails, or "" if it holds."""

    name: str
    problem: Callable[[], str]


class HealthServer:
    """The port for kubelet and Prometheus."""

    def __init__(self, metrics: Callable[[], bytes], checks: list[Check]) -> None:
        self._metrics = metrics
        self._checks = checks
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises:
            OSError: the address is taken, or is not ours.
        """
        self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_HEAD_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                method, _, rest = head.partition(b" ")
                path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
                code, content_type, body = self._answer(path)
                writer.write(
                    f"HTTP/1.1 {code}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
                    "Cache-Control: no-store\r\nConnection: close\r\n\r\n".encode()
                )
                if method != b"HEAD":
                    writer.write(body)
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            _log.debug("a probe was not answered: %r", error)
        finally:
            writer.close()

    def _answer(self, path: str) -> tuple[str, str, bytes]:
        if path == "/metrics":
            return "200 OK", "text/plain; version=0.0.4; charset=utf-8", self._metrics()
        if path == "/livez":
            return "200 OK", "text/plain; charset=utf-8", b"ok\n"
        if path == "/readyz":
            return self._readiness()
        return "404 Not Found", "text/plain; charset=utf-8", b"/metrics, /livez or /readyz\n"

    def _readiness(self) -> tuple[str, str, bytes]:
        found = [(check.name, check.problem()) for check in self._checks]
        lines = [f"[-]{name}: {problem}" if problem else f"[+]{name} ok" for name, problem in found]
        ready = not any(problem for _, problem in found)
        text = "\n".join((*lines, "ready" if ready else "not ready")) + "\n"
        return "200 OK" if ready else "503 Service Unavailable", "text/plain; charset=utf-8", text.encode()
