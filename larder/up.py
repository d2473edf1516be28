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

from rich.console import Console

from kube import credentials
from kube import kubeconfig as kubeconfig_files
from kube.client import UpstreamClient
from larder import haproxy, kubeconfigs
from larder.supervise import Part
from larder.up_settings import UpSettings
from sandbox import company, kubeconfig
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
    `kubeconfigs` maps users to files that lead there, `parts` are the running processes by name; `replicas` are the
    URLs of the servers themselves, and `health` the addresses (`HOST:PORT`) of their probes and metrics;
    `informer_health` is the informer's.
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
    informer_health: str = ""
    replicas: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    parts: dict[str, Part] = field(default_factory=dict)
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _keepers: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        """Start everything.

        Raises:
            CredentialsError, OSError: the kubeconfig leads nowhere, or the address to listen at is taken.
            NotReady, StoreUnavailable: a part does not come up.
        """
        async with contextlib.AsyncExitStack() as stack:
            self._stack = stack
            self._listen = _free(self.settings.listen)
            if self.settings.kubeconfig:
                credentials.load(self.settings.kubeconfig)
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
            await self._start_servers(await self._client_ca())
            await self._start_proxy()
            self._write_kubeconfigs()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

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
        health = self.informer_health = f"127.0.0.1:{free_port()}"
        options = ["--kubeconfig", self.upstream_kubeconfig, "--redis-url", self.redis_url, "--metrics-listen", health]
        options += ["--tenant-label", ",".join(self.settings.tenant_label)]
        if self.settings.resources is not None:
            options += ["--resources", ",".join(self.settings.resources)]
        part = self._start("informer", ["informer", *options])
        await self._until(part, "an informer: lists everything once, then watches", lambda: probe(health))

    async def _client_ca(self) -> str | None:
        """The file with the authorities of client certificates, where anybody has one.

        Raises:
            UpstreamError: the cluster does not answer.
        """
        if self.settings.client_ca or not self.settings.kubeconfig:
            return self.settings.client_ca
        if not kubeconfigs.has_certificate(_context(Path(self.settings.kubeconfig))):
            return None
        login = credentials.load(self.settings.kubeconfig)
        async with UpstreamClient(login, user_agent="larder-up") as client:
            found = await kubeconfigs.client_authorities(client)
        if found is None:
            self.say("the cluster does not tell the authorities of its client certificates: name them with --client-ca")
            return None
        path = self.directory / "client-ca.crt"
        path.write_text(found)
        return str(path)

    async def _start_servers(self, client_ca: str | None) -> None:
        certificate, key = self._certificate()
        waiting = []
        for number in range(1, self.settings.replicas + 1):
            direct = number == 1 and not self._proxied()
            api = self._listen if direct else f"127.0.0.1:{free_port()}"
            health = f"127.0.0.1:{free_port()}"
            options = ["--kubeconfig", self.upstream_kubeconfig, "--redis-url", self.redis_url]
            options += ["--listen", api, "--metrics-listen", health, "--tls-cert", certificate, "--tls-key", key]
            options += ["--tenant-label", ",".join(self.settings.tenant_label)]
            options += ["--max-staleness", str(self.settings.max_staleness)]
            options += ["--client-ca", client_ca] if client_ca else []
            part = self._start(f"replica-{number}", ["server", *options])
            self.replicas.append(f"https://{api}")
            waiting.append((part, health, api))
        for part, health, _ in waiting:
            await self._until(part, part.name, lambda health=health: probe(health))  # type: ignore[misc]
            self.health.append(health)
        self.url = _url(self.replicas[0].removeprefix("https://"))

    async def _start_proxy(self) -> None:
        if not self._proxied():
            return
        program = haproxy.found()
        assert program is not None
        listen = self._listen
        path = self.directory / "haproxy.cfg"
        targets = [
            (url.removeprefix("https://"), health) for url, health in zip(self.replicas, self.health, strict=True)
        ]
        part = self._start("haproxy", haproxy.command(program, path, listen, targets), program=True)
        host, _, port = listen.rpartition(":")
        await self._until(part, "HAProxy in front of them", lambda: _connects(host, int(port)))
        self.url = _url(listen)

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
        text = kubeconfigs.towards(_context(source), self.url, self.ca)
        self.kubeconfigs[user] = kubeconfig.write(target.absolute(), text)

    def _start(self, name: str, arguments: list[str], *, program: bool = False) -> Part:
        command = arguments if program else [sys.executable, "-m", "larder", *arguments]
        part = Part(name, command, self.directory / f"{name}.log")
        self.parts[name] = part
        self._keepers[name] = asyncio.create_task(part.keep(self.say), name=f"keep {name}")
        self._stack.push_async_callback(self._end, name)
        return part

    async def _end(self, name: str) -> None:
        for part in self.parts.values():
            part.stopping = True  # those whose turn has not come may end by themselves, and stay so
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
                    count = ":".join(text.split(":")[:2])
                    if count != told and text.startswith("not synced"):
                        self.say(f"  {count}")
                        told = count
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise NotReady(
                f"{part.name} is not ready after {READY_SECONDS:.0f} s: {text}\n{part.last_words()}"
            ) from None


async def up(settings: UpSettings) -> int:
    """Run everything until Ctrl-C or SIGTERM; a second one does not wait for open requests.

    Exit code 1: a part does not come up.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    task = asyncio.current_task()
    assert task is not None
    serving, ended = asyncio.Event(), asyncio.Event()

    def end() -> None:
        if not ended.is_set():
            console.print("[dim]stopping[/]")
        if ended.is_set() or not serving.is_set():
            task.cancel()
        ended.set()

    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, end)
    try:
        async with Stack(settings, lambda text: console.print(f"[dim]{text}[/]")) as stack:
            _show(console, stack)
            serving.set()
            await ended.wait()
    except asyncio.CancelledError:
        if not ended.is_set():
            raise
    except NotReady as error:
        console.print(f"[red]larder up:[/] {error}")
        return 1
    return 0


def _show(console: Console, stack: Stack) -> None:
    console.print(
        f"\n[bold green]larder is at {stack.url}[/], {len(stack.replicas)} replicas: {', '.join(stack.replicas)}"
    )
    for user, path in stack.kubeconfigs.items():
        about = company.ABOUT.get(user, "") if stack.upstream_url else "with the credentials of your kubeconfig"
        console.print(f"  [bold]{user}[/] [dim]{about}[/]\n    export KUBECONFIG={path}")
    console.print(f"[dim]Then: kubectl get pods -A. Logs are in {stack.directory}. Ctrl-C ends all.[/]")


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


def _free(listen: str) -> str:
    """`HOST:PORT` with a port that nobody has.

    Raises:
        OSError: somebody has it, or the host is none of this machine's.
    """
    host, _, port = listen.rpartition(":")
    if port == "0":
        return f"{host}:{free_port()}"
    address = (host.strip("[]"), int(port))
    with socket.create_server(address, family=socket.AF_INET6 if ":" in host else socket.AF_INET):
        return listen


def _url(listen: str) -> str:
    """How this machine reaches what listens there."""
    host, _, port = listen.rpartition(":")
    return f"https://127.0.0.1:{port}" if host in {"", "0.0.0.0", "[::]"} else f"https://{listen}"  # noqa: S104 (read, not bound)


def _context(path: Path) -> kubeconfig_files.Context:
    return kubeconfig_files.read([path.expanduser()], str(path))
