"""Serving a sandbox: on the running loop (tests, which then tell it how to misbehave), or as a program."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from sanic import Sanic

from sandbox import company, kubeconfig, load, workloads
from sandbox.access import MASTERS, Person
from sandbox.app import Sandbox
from sandbox.certificates import Authority, server_context
from sandbox.cluster import Cluster
from sandbox.life import Life
from sandbox.settings import SandboxSettings

LARDER = "larder"
"""The user that larder's own parts are: may read everything, review tokens and impersonate.
Its kubeconfig is the last that is written: where it is, requests are answered."""

ADMIN = "admin"


@dataclass
class SandboxServer:
    """A sandbox that listens. `directory` gets ca.crt, server.crt, server.key and USER.kubeconfig for every user.

    Use it as an asynchronous context manager, or call `start` and `stop`.
    """

    directory: Path
    settings: SandboxSettings = field(default_factory=SandboxSettings)
    sandbox: Sandbox = field(init=False)
    authority: Authority = field(default_factory=Authority)
    url: str = ""
    _server: Any = None
    _life: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        settings = self.settings
        cluster = Cluster(settings.history, settings.pod_end_seconds, settings.seed)
        self.sandbox = Sandbox(cluster, settings.bookmark_seconds)
        cluster.access.tokens.update(people())
        if settings.pods:
            shape = load.Shape(settings.pods, settings.namespaces, settings.tenants, settings.pod_bytes)
            cluster.access.tokens.update(load.fill(cluster, shape))
        else:
            cluster.access.tokens.update(company.found(cluster))
            told = {"client-ca-file": self.authority.pem.decode()}
            cluster.load(workloads.config_map("kube-system", "extension-apiserver-authentication", told))
        cluster.access.tokens["larder-token"] = Person(LARDER, (MASTERS,), "larder-uid")

    @property
    def ca(self) -> Path:
        """The certificate that clients trust."""
        return self.directory / "ca.crt"

    def kubeconfig(self, user: str) -> Path:
        """Where that user's kubeconfig is."""
        return self.directory / f"{user}.kubeconfig"

    def token(self, user: str) -> str:
        """The bearer token of a user."""
        return next(token for token, person in self.sandbox.cluster.access.tokens.items() if person.name == user)

    async def start(self) -> None:
        """Listen, and write the files.

        Raises:
            OSError: the address is taken.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        certificate, key = self.authority.server().write(self.directory, "server")
        self.ca.write_bytes(self.authority.pem)
        host, _, port = self.settings.listen.rpartition(":")
        listener = socket.create_server((host or "127.0.0.1", int(port)), backlog=512)
        tls = server_context(certificate, key, self.ca)
        self._server = server = await _listen(self.sandbox.app, listener, tls)
        await server.startup()
        await server.before_start()
        await server.after_start()
        await server.start_serving()
        self.url = f"https://{host or '127.0.0.1'}:{listener.getsockname()[1]}"
        if self.settings.life_seconds and not self.settings.pods:
            life = Life(self.sandbox.cluster, self.settings.life_seconds)
            self._life = asyncio.create_task(life.run(), name="the company's life")
        for token, person in self.sandbox.cluster.access.tokens.items():
            name = person.name.rpartition(":")[2]
            text = kubeconfig.text(self.url, self.authority.pem, person.name, token=token)
            kubeconfig.write(self.kubeconfig(name), text)

    async def stop(self) -> None:
        """End every connection, and listen no more."""
        if self._life is not None:
            self._life.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._life
        self.sandbox.cluster.stop()
        self.sandbox.faults.resume()
        self.sandbox.faults.drop_watches()
        if self._server is not None:
            await self._server.before_stop()
            closed = self._server.close()
            await asyncio.sleep(0)  # watches see that they are dropped, and end their bodies
            for connection in list(self._server.connections):
                connection.abort()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await closed
            await self._server.after_stop()
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def people() -> dict[str, Person]:
    """The tokens that every sandbox knows, whatever is in it."""
    return {"admin-token": Person(ADMIN, (MASTERS,), "admin-uid")}


async def _listen(app: Sanic[Any, Any], listener: socket.socket, tls: ssl.SSLContext) -> Any:
    """Sanic's own server on this loop; its wrapper has no types."""
    Sanic.test_mode = True  # lets one process hold several applications; it changes nothing else that is used
    return await app.create_server(sock=listener, ssl=tls, return_asyncio_server=True)


def serve(settings: SandboxSettings) -> None:
    """Run until SIGINT or SIGTERM.

    Raises:
        OSError: the address is taken.
    """
    asyncio.run(_serve(settings))


async def _serve(settings: SandboxSettings) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    with contextlib.ExitStack() as stack:
        if settings.directory:
            directory = Path(settings.directory)
        else:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="larder-sandbox-")))
        server = SandboxServer(directory, settings)
        await server.start()
        _tell(server)
        await ended.wait()
        await server.stop()


def _tell(server: SandboxServer) -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"An API server in memory, at [bold]{server.url}[/]; Ctrl-C ends it, and nothing of it is kept.")
    for person in list(server.sandbox.cluster.access.tokens.values())[:12]:
        path = server.kubeconfig(person.name.rpartition(":")[2])
        groups = f" [dim]({', '.join(person.groups)})[/]" if person.groups else ""
        console.print(f"  [bold]{person.name}[/]{groups}\n    export KUBECONFIG={path}")
