"""Lets the fixtures of pytest-sanic serve today's Sanic.

pytest-sanic 1.9.1 starts applications by functions that Sanic has long since changed, and sets attributes that it
refuses; nobody has mended that. Its fixtures are good all the same: so this replaces the two methods that start and
stop the server, and nothing else. Tests use `sanic_client` and `test_server` as pytest-sanic documents them.

A test of this kind is a bare coroutine function (no asyncio mark): pytest-sanic runs it on its own loop.
What Sanic does not do when it is started inside a running loop: run `app.add_task` that is called later.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from pytest_sanic import utils
from sanic import Sanic

CLOSE_SECONDS = 3.0


async def _start_server(self: Any) -> None:
    """Listen on a free port of loopback and go through the application's start."""
    self.socket = socket.create_server((self.host, 0))
    self.port = self.socket.getsockname()[1]
    self.server = await self.app.create_server(sock=self.socket, ssl=self.ssl, return_asyncio_server=True)
    await self.server.startup()
    await self.server.before_start()
    await self.server.after_start()
    self.connections = self.server.connections
    self.is_running = True


async def _close(self: Any) -> None:
    """Go through the application's end; connections that are still open are cut."""
    if not self.is_running:
        return
    self.is_running = False
    self.closed = True
    await self.server.before_stop()
    closed = self.server.close()
    for connection in list(self.connections):
        connection.abort()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await closed
    await self.server.after_stop()
    Sanic.unregister_app(self.app)


def install() -> None:
    """Replace the two methods. Called once, by tests/conftest.py."""
    Sanic.test_mode = True
    utils.TestServer.start_server = _start_server
    utils.TestServer.close = _close
