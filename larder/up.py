"""`larder up`: Redis, an informer, replicas and, where it is installed, HAProxy, as children of one process.

`Stack` brings them up in order and takes them down in reverse; the command, the demonstration and the tests use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import yaml
from rich.console import Console
from rich.table import Table

from larder import haproxy
from larder.supervise import Part
from larder.up_settings import UpSettings
from sandbox import kubeconfig
from sandbox.certificates import Authority
from store.embedded import EmbeddedRedis

READY_SECONDS = 180.0
"""For one part. An informer that lists a big cluster for the first time takes its time; it says where it is."""

POLL_SECONDS = 0.05
COMPONENT = "larder"
"""The sandbox's user for our own parts."""


class NotReady(Exception):
    """A part did not come up; the message ends with its last words."""


@dataclass
class Stack:
    """Everything on one machine. `async with Stack(settings, say) as stack:` returns when all parts are ready.

    `url` is where larder is reached, `ca` the PEM that its certificate is checked with (None: the system's),
    `kubeconfigs` maps users to files that lead there, `parts` are the running processes by name.
    """

    settings: UpSettings
    say: Callable[[str], None] = print
    sandbox_options: tuple[str, ...] = ()
    url: str = ""
    upstream_url: str = ""
    redis_url: str = ""
    ca: bytes | None = None
    kubeconfigs: dict[str, Path] = field(default_factory=dict)
    upstream_kubeconfig: str = ""
    replicas: list[str] = field(default_factory=list)
    parts: dict[str, Part] = field(default_factory=dict)
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _keepers: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        """Start everything.

        Raises:
            NotReady, StoreUnavailable: a part does not come up.
        """
        async with contextlib.AsyncExitStack() as stack:
            self._stack = stack
            self.directory = self._directory(stack)
            if self.settings.redis_url:
                self.redis_url = self.settings.redis_url
            else:
                redis = EmbeddedRedis()
                stack.callback(redis.stop)
                self.say("starting Redis")
                self.redis_url = redis.start()
            await self._start_upstream()
            await self._start_informer()
            await self._start_servers()
            await self._start_proxy()
            self._write_kubeconfigs()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def stop_part(self, name: str, *, kill: bool = False) -> None:
        """End one part for good; `kill`: without a warning, as a machine that fails would."""
        part = self.parts[name]
        part.stopping = True
        if kill and part.process is not None and part.pid is not None:
            part.process.kill()
        await part.stop()

    def _directory(self, stack: contextlib.AsyncExitStack) -> Path:
        if self.settings.directory:
            path = Path(self.settings.directory)
            path.mkdir(parents=True, exist_ok=True)
            return path
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="larder-", ignore_cleanup_errors=True)))

    async def _start_upstream(self) -> None:
        if self.settings.kubeconfig:
            self.upstream_kubeconfig = self.settings.kubeconfig
            return
        folder = self.directory / "sandbox"
        folder.mkdir(exist_ok=True)
        listen = f"127.0.0.1:{free_port()}"
        self.upstream_url = f"https://{listen}"
        options = ["--listen", listen, "--directory", str(folder), *self.sandbox_options]
        part = self._start("sandbox", ["sandbox", *options])
        wanted = folder / f"{COMPONENT}.kubeconfig"
        await self._until(part, "a sandbox with a small company in it", lambda: "" if wanted.exists() else "starting")
        self.upstream_kubeconfig = str(wanted)

    async def _start_informer(self) -> None:
        health = f"127.0.0.1:{free_port()}"
        options = ["--kubeconfig", self.upstream_kubeconfig, "--redis-url", self.redis_url, "--metrics-listen", health]
        options += ["--tenant-label", ",".join(self.settings.tenant_label)]
        if self.settings.resources is not None:
            options += ["--resources", ",".join(self.settings.resources)]
        part = self._start("informer", ["informer", *options])
        await self._until(part, "an informer: lists everything once, then watches", lambda: probe(health))

    async def _start_servers(self) -> None:
        certificate, key = self._certificate()
        waiting = []
        for number in range(1, self.settings.replicas + 1):
            direct = number == 1 and not self._proxied()
            api = _with_port(self.settings.listen) if direct else f"127.0.0.1:{free_port()}"
            health = f"127.0.0.1:{free_port()}"
            options = ["--kubeconfig", self.upstream_kubeconfig, "--redis-url", self.redis_url]
            options += ["--listen", api, "--metrics-listen", health, "--tls-cert", certificate, "--tls-key", key]
            options += ["--tenant-label", ",".join(self.settings.tenant_label)]
            options += ["--max-staleness", str(self.settings.max_staleness)]
            part = self._start(f"replica-{number}", ["server", *options])
            self.replicas.append(f"https://{api}")
            waiting.append((part, health, api))
        for part, health, _ in waiting:
            await self._until(part, part.name, lambda health=health: probe(health))  # type: ignore[misc]
        self._targets = [(api, health) for _, health, api in waiting]
        self.url = self.replicas[0]

    async def _start_proxy(self) -> None:
        if not self._proxied():
            return
        program = haproxy.found()
        assert program is not None
        listen = _with_port(self.settings.listen)
        path = self.directory / "haproxy.cfg"
        part = self._start("haproxy", haproxy.command(program, path, listen, self._targets), program=True)
        host, _, port = listen.rpartition(":")
        await self._until(part, "HAProxy in front of them", lambda: _connects(host, int(port)))
        self.url = f"https://{listen}"

    def _proxied(self) -> bool:
        return self.settings.haproxy and self.settings.replicas > 1 and haproxy.found() is not None

    def _certificate(self) -> tuple[str, str]:
        if self.settings.tls_cert and self.settings.tls_key:
            return self.settings.tls_cert, self.settings.tls_key
        authority = Authority("larder up")
        self.ca = authority.pem
        certificate, key = authority.server().write(self.directory, "server")
        return str(certificate), str(key)

    def _write_kubeconfigs(self) -> None:
        if self.settings.kubeconfig:
            self._rewrite(Path(self.settings.kubeconfig), self.directory / "larder.kubeconfig", "you")
            return
        for path in sorted((self.directory / "sandbox").glob("*.kubeconfig")):
            if path.stem != COMPONENT:
                self._rewrite(path, self.directory / path.name, path.stem)

    def _rewrite(self, source: Path, target: Path, user: str) -> None:
        """The same user and credentials, but towards larder."""
        document = yaml.safe_load(source.read_text())
        current = document["current-context"]
        context = next(entry["context"] for entry in document["contexts"] if entry["name"] == current)
        account = next(entry["user"] for entry in document["users"] if entry["name"] == context["user"])
        made = yaml.safe_load(kubeconfig.text(self.url, self.ca or b"", context["user"]))
        made["users"][0]["user"] = account
        made["contexts"][0]["context"]["namespace"] = context.get("namespace", "default")
        if self.ca is None:
            del made["clusters"][0]["cluster"]["certificate-authority-data"]
        self.kubeconfigs[user] = kubeconfig.write(target, yaml.safe_dump(made, sort_keys=False))

    def _start(self, name: str, arguments: list[str], *, program: bool = False) -> Part:
        command = arguments if program else [sys.executable, "-m", "larder", *arguments]
        part = Part(name, command, self.directory / f"{name}.log")
        self.parts[name] = part
        self._keepers[name] = asyncio.create_task(part.keep(self.say), name=f"keep {name}")
        self._stack.push_async_callback(self._end, name)
        return part

    async def _end(self, name: str) -> None:
        await self.parts[name].stop()
        keeper = self._keepers[name]
        keeper.cancel()
        await asyncio.wait({keeper})

    async def _until(self, part: Part, what: str, problem: Callable[[], str]) -> None:
        """Wait until `problem` has none to tell; say what it is about, once, and what is missing when it changes."""
        self.say(f"starting {what}")
        told = ""
        try:
            async with asyncio.timeout(READY_SECONDS):
                while text := await asyncio.to_thread(problem):
                    if part.restarts:
                        raise NotReady(f"{part.name} does not start:\n{part.last_words()}")
                    if text != told and text.startswith("not synced"):
                        self.say(f"  {text}")
                        told = text
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise NotReady(
                f"{part.name} is not ready after {READY_SECONDS:.0f} s: {text}\n{part.last_words()}"
            ) from None


async def up(settings: UpSettings) -> int:
    """Run everything until Ctrl-C or SIGTERM. Exit code 1: a part does not come up."""
    console = Console(stderr=True, highlight=False)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, ended.set)
    try:
        starting = asyncio.ensure_future(_run(settings, console, ended))
        stopping = asyncio.ensure_future(ended.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            console.print("[dim]stopping[/]")
            starting.cancel()
        await asyncio.wait({starting})
        stopping.cancel()
        if not starting.cancelled() and (error := starting.exception()) is not None:
            raise error
    except NotReady as error:
        console.print(f"[red]larder up:[/] {error}", markup=True)
        return 1
    return 0


async def _run(settings: UpSettings, console: Console, ended: asyncio.Event) -> None:
    async with Stack(settings, lambda text: console.print(f"[dim]{text}[/]")) as stack:
        _show(console, stack)
        await ended.wait()
        console.print("[dim]stopping[/]")


def _show(console: Console, stack: Stack) -> None:
    table = Table(title=f"larder is at {stack.url}", title_justify="left")
    table.add_column("who")
    table.add_column("try")
    for user, path in stack.kubeconfigs.items():
        table.add_row(user, f"kubectl --kubeconfig {path} get pods -A")
    console.print(table)
    replicas = ", ".join(stack.replicas)
    console.print(f"[dim]{len(stack.replicas)} replicas: {replicas}; logs: {stack.directory}. Ctrl-C ends all.[/]")


def probe(address: str) -> str:
    """What `/readyz` at HOST:PORT complains of, or ""."""
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=2):
            return ""
    except urllib.error.HTTPError as error:
        lines = error.read().decode(errors="replace").splitlines()
        return next((line.partition(": ")[2] for line in lines if line.startswith("[-]")), "not ready")
    except OSError as error:
        return str(error)


def free_port() -> int:
    """A TCP port on loopback that nobody has right now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _connects(host: str, port: int) -> str:
    try:
        with socket.create_connection((host, port), timeout=2):
            return ""
    except OSError as error:
        return str(error)


def _with_port(listen: str) -> str:
    host, _, port = listen.rpartition(":")
    return listen if port != "0" else f"{host}:{free_port()}"
