"""The way to Redis: opening it, and checking that it is fit to be a store."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Self

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from store.errors import StoreError, StoreUnavailable, StoreUnsuitable
from store.keys import DEFAULT_PREFIX, GlobalKeys, ResourceKeys
from store.line import Line
from store.redis_errors import translated
from store.scripts import Scripts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from kube.resources import GVR

OLDEST_VERSION = (7, 0)
"""Stream ids of the form `7-*`, script flags and UNLINK in scripts are what is used of it. Valkey says 7.2."""

TIMEOUT_SECONDS = 5.0
"""For one answer. The longest scripts (moving a namespace of 10,000 objects) take some 0.5 s."""

PLAIN_SECONDS = 1.0
"""A Redis without TLS answers a word in its own language within milliseconds."""

MAX_CONNECTIONS = 32
"""Of one process. Commands beyond wait for a free one, so a burst cannot open thousands."""


class Store:
    """An open store. One per process; all methods may be called concurrently.

    `redis` is for what may be sent twice (reads): a command on a connection that broke is tried once more.
    `writes` never repeats anything: the caller must first find out what happened.
    `line` is for what is read with nearly every request; `pen`, which repeats nothing, for the scripts that write.
    """

    def __init__(self, url: str, prefix: str = DEFAULT_PREFIX) -> None:
        """Use `Store.open`, which also checks the server; this connects to nothing."""
        self.url = url
        self.prefix = prefix
        self.global_keys = GlobalKeys(prefix)
        self.redis = self._client(retries=1)
        self.writes = self._client(retries=0)
        self.line = Line(self.redis.connection_pool, seconds=TIMEOUT_SECONDS, repeats=True)
        self.pen = Line(self.writes.connection_pool, seconds=TIMEOUT_SECONDS, repeats=False)
        self.scripts = Scripts(self)
        self._keys: dict[GVR, ResourceKeys] = {}

    @classmethod
    async def open(cls, url: str, prefix: str = DEFAULT_PREFIX) -> Self:
        """Connect to `redis://`, `rediss://` or `unix://` and check that larder can run on what answers.

        TLS and ACL users are part of the URL (`rediss://user:password@host:port/0?ssl_ca_certs=FILE`).

        Raises:
            StoreUnavailable: nothing answers there (yet).
            StoreUnsuitable: it answers but will not do; the message says what to change.
        """
        try:
            store = cls(url, prefix)
        except ValueError as error:
            raise StoreUnsuitable(f"Redis URL: {error}. Like redis://HOST:6379/0 or unix:///run/redis.sock") from error
        try:
            await store._refuse_without_tls()
            await store.check()
        except BaseException:
            await store.close()
            raise
        return store

    async def check(self) -> None:
        """What `open` checks; worth repeating after a failover to another server.

        Raises:
            StoreUnavailable, StoreUnsuitable: see `open`.
        """
        try:
            info = await self.ask("INFO")
        except StoreUnavailable:
            raise
        except StoreError as error:
            said = str(error).rstrip(".")
            message = f"{without_password(self.url)}: {said}. Check the URL's user, password and database, and the ACL"
            raise StoreUnsuitable(message) from error
        complaint = unsuitable(info)
        if complaint:
            raise StoreUnsuitable(f"{without_password(self.url)}: {complaint}")

    async def _refuse_without_tls(self) -> None:
        """A Redis without TLS says nothing at all to the first words of TLS, so it is told apart beforehand.

        Raises:
            StoreUnsuitable: the URL wants TLS, and what listens there has none.
        """
        if not self.url.startswith("rediss://"):
            return
        address = self.redis.connection_pool.connection_kwargs
        if await _answers_plainly(str(address.get("host", "localhost")), int(address.get("port", 6379))):
            advice = "what listens there speaks no TLS: use redis://, or the port that Redis has as its tls-port"
            raise StoreUnsuitable(f"{without_password(self.url)}: {advice}")

    async def close(self) -> None:
        """Close all connections of commands. Subscribers close their own."""
        await self.line.close()
        await self.pen.close()
        await self.redis.aclose()
        await self.writes.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def keys(self, gvr: GVR) -> ResourceKeys:
        """The keys of a resource."""
        keys = self._keys.get(gvr)
        if keys is None:
            keys = self._keys[gvr] = ResourceKeys(self.prefix, gvr)
        return keys

    async def ask(self, *command: str | bytes | int) -> Any:
        """The reply to a command that reads; a broken connection is tried once more.

        Raises:
            StoreError: as `store.redis_errors.translate` names it.
        """
        with translated():
            return await self.redis.execute_command(*command)  # type: ignore[no-untyped-call]

    async def ask_all(self, commands: Iterable[tuple[str | bytes | int, ...]], *, atomic: bool = False) -> list[Any]:
        """The replies to commands that read, in one round trip; `atomic`: as of one instant.

        Raises:
            StoreError: as `store.redis_errors.translate` names it.
        """
        with translated():
            pipeline = self.redis.pipeline(transaction=atomic)
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute()

    async def now_ms(self) -> int:
        """The store's time, Unix ms: the clock of everything that is stored.

        Raises:
            StoreUnavailable
        """
        seconds, micros = await self.ask("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def _client(self, *, retries: int) -> aioredis.Redis:
        pool = aioredis.BlockingConnectionPool.from_url(
            self.url,
            max_connections=MAX_CONNECTIONS,
            timeout=TIMEOUT_SECONDS,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), retries),
            protocol=2,  # its replies are the cheaper ones to read, and nothing here needs RESP3
            client_name="larder",
            encoding_errors="surrogateescape",  # a path's bytes that are no UTF-8 are a name that is not there
        )
        return aioredis.Redis.from_pool(pool)


def unsuitable(info: dict[str, Any]) -> str | None:
    """Why larder cannot run on the server that gave this INFO, and what to do; None if it can.

    >>> unsuitable({"redis_version": "6.2.14", "role": "master"})
    'this is Redis 6.2.14, and 7.0 or newer (or Valkey) is needed'
    """
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_VERSION:
        return f"this is Redis {version}, and 7.0 or newer (or Valkey) is needed"
    if info.get("role", "master") != "master":
        master = f"{info.get('master_host')}:{info.get('master_port')}"
        return f"this is a replica, which may be behind; give the address of its master, {master}"
    if info.get("cluster_enabled"):
        return "this server runs in cluster mode, which is not spoken yet; give a standalone server"
    policy = info.get("maxmemory_policy", "noeviction")
    if int(info.get("maxmemory", 0)) and policy != "noeviction":
        return (
            f"its maxmemory-policy is {policy}, which would drop parts of the store at will; "
            "run CONFIG SET maxmemory-policy noeviction, and write it into its configuration"
        )
    return None


async def _answers_plainly(host: str, port: int) -> bool:
    """Whether a Redis without TLS is there; one with TLS closes the connection.

    Who cannot be reached at all is found out, with the reason, by who really connects.
    """
    try:
        async with asyncio.timeout(PLAIN_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"PING\r\n")
                return await reader.read(1) in (b"+", b"-")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


def without_password(url: str) -> str:
    """The URL as it may be shown.

    >>> without_password("redis://user:secret@host:6379/0")
    'redis://user:***@host:6379/0'
    """
    return re.sub(r"(?<=:)([^:@/]*)(?=@)", "***", url, count=1)
