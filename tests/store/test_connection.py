"""Opening a store: what will not do is refused, with advice; errors come under our names; embedded servers."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from store import embedded
from store.connection import Store, unsuitable
from store.embedded import EmbeddedRedis
from store.errors import StoreError, StoreFull, StoreUnavailable, StoreUnsuitable
from store.redis_errors import translate
from tests.store.stage import Stage


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"redis_version": "6.2.14"}, "7.0 or newer"),
        ({"redis_version": "7.0.0", "role": "slave", "master_host": "m", "master_port": 1}, "its master, m:1"),
        ({"redis_version": "7.0.0", "cluster_enabled": 1}, "standalone"),
        ({"redis_version": "7.0.0", "maxmemory": 1, "maxmemory_policy": "allkeys-lru"}, "maxmemory-policy noeviction"),
        ({"redis_version": "7.0.0", "maxmemory": 0, "maxmemory_policy": "allkeys-lru"}, None),
        ({"redis_version": "7.0.0", "maxmemory": 1, "maxmemory_policy": "noeviction"}, None),
        ({"redis_version": "10.1", "role": "master"}, None),
    ],
)
def test_unsuitable_servers_come_with_advice(info: dict[str, Any], words: str | None) -> None:
    """Each reason for which a server will not do names what to change."""
    complaint = unsuitable(info)
    assert complaint is None if words is None else words in (complaint or "")


@pytest.mark.asyncio
async def test_a_server_that_evicts_is_refused() -> None:
    """A real server with an evicting policy is refused at the start."""
    options = {"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}
    with EmbeddedRedis(options) as server, pytest.raises(StoreUnsuitable, match="allkeys-lru"):
        await Store.open(server.url)


@pytest.mark.asyncio
async def test_a_replica_is_refused() -> None:
    """Replicas may be behind, and refuse writes: only masters will do."""
    with EmbeddedRedis({"replicaof": "127.0.0.1 1"}) as server, pytest.raises(StoreUnsuitable, match="replica"):
        await Store.open(server.url)


@pytest.mark.asyncio
@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "unix:///nowhere/redis.sock", "rediss://127.0.0.1:1"])
async def test_nobody_there_is_unavailable(url: str) -> None:
    """Where nothing listens the store is unavailable: worth another attempt later."""
    with pytest.raises(StoreUnavailable):
        await Store.open(url)


@pytest.mark.asyncio
@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:6379", "redis://host:port"])
async def test_a_url_that_is_none_is_unsuitable(url: str) -> None:
    """A mistyped URL is told as such, with examples of right ones."""
    with pytest.raises(StoreUnsuitable, match="redis://HOST:6379/0"):
        await Store.open(url)


@pytest.mark.asyncio
async def test_wrong_passwords_are_unsuitable_and_never_shown() -> None:
    """A refused login does not become better by waiting; the message has the user but not the password."""
    with EmbeddedRedis() as server:
        path = server.url.removeprefix("unix://")
        async with await Store.open(server.url) as store:
            await store.ask("ACL", "SETUSER", "larder", "on", ">right", "~larder:*", "&larder:*", "+@all")
        with pytest.raises(StoreUnsuitable) as refused:
            await Store.open(f"unix://larder:secretword@{path}")
        assert "larder" in str(refused.value)
        assert "secretword" not in str(refused.value)
        async with await Store.open(f"unix://larder:right@{path}") as store:
            stage = await Stage.set(store)
            await stage.put("web")
            assert (await stage.reader.get(stage.gvr, "a", "web"))[1] == 101
        async with await Store.open(f"unix://larder:right@{path}", "other") as store:
            with pytest.raises(StoreUnsuitable):
                await Stage.set(store)


@pytest.mark.asyncio
async def test_tls(tmp_path: Path) -> None:
    """`rediss://` speaks TLS, checks the server's certificate, and shows one of its own."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("the Valkey wheel has no TLS")
    certificate, key = _certificate(tmp_path)
    port = embedded._free_port()
    options = {
        "tls-port": str(port), "tls-cert-file": str(certificate), "tls-key-file": str(key),
        "tls-ca-cert-file": str(certificate),
    }  # fmt: skip
    with EmbeddedRedis(options, program):
        trust = f"ssl_ca_certs={certificate}&ssl_certfile={certificate}&ssl_keyfile={key}"
        async with await Store.open(f"rediss://localhost:{port}/0?{trust}") as store:
            stage = await Stage.set(store)
            await stage.put("web")
        with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
            await Store.open(f"rediss://localhost:{port}/0")


@pytest.mark.asyncio
async def test_tls_with_a_server_that_has_none_is_unsuitable() -> None:
    """A `rediss://` URL of a server without TLS is refused with what to do; that server would say nothing for ever."""
    port = embedded._free_port()
    with EmbeddedRedis({"port": str(port)}), pytest.raises(StoreUnsuitable, match=r"no TLS: use redis://"):
        await Store.open(f"rediss://:secretword@127.0.0.1:{port}/0")


@pytest.mark.asyncio
async def test_writes_are_not_repeated_and_reads_are(redis_url: str) -> None:
    """After a cut connection a read goes on; a write reports it, since it may have happened."""
    async with await Store.open(redis_url, f"cut{os.getpid()}") as store:
        stage = await Stage.set(store)
        name = b"larder"
        clients = await store.redis.client_list()
        assert all(client["name"] == name.decode() for client in clients if client["name"])
        for client in (store.redis, store.writes):
            pool = client.connection_pool
            connection: Any = await pool.get_connection()  # type: ignore[no-untyped-call]
            await connection._writer.drain()
            connection._writer.close()
            await pool.release(connection)
        assert await stage.reader.position(stage.gvr) == 100
        try:
            await stage.writer.advance(101)
        except StoreUnavailable:
            meta = await stage.writer.resume()
            assert meta.position in {100, 101}
        await stage.writer.advance(102)
        assert await stage.reader.position(stage.gvr) == 102


@pytest.mark.asyncio
async def test_a_lost_server_is_unavailable_and_comes_back(tmp_path: Path) -> None:
    """While Redis is away everything says so; when it is back, empty, the writer is fenced and readers see nothing."""
    server = EmbeddedRedis()
    url = server.start(tmp_path)
    try:
        async with await Store.open(url) as store:
            stage = await Stage.set(store)
            await stage.put("web")
            server.stop()
            for attempt in (
                stage.reader.position(stage.gvr),
                stage.reader.get(stage.gvr, "a", "web"),
                stage.reader.places(stage.gvr),
                stage.writer.heartbeat(),
                stage.writer.resume(),
                stage.put("db"),
                stage.lease.renew(),
                store.now_ms(),
            ):
                with pytest.raises(StoreUnavailable):
                    await attempt
            server.start(tmp_path)
            await store.check()
            with pytest.raises(StoreError):
                await stage.put("db")
            assert (await stage.reader.meta(stage.gvr)).state == ""
    finally:
        server.stop()


@pytest.mark.asyncio
async def test_many_callers_share_a_bounded_number_of_connections(redis_url: str) -> None:
    """A thousand reads at once wait for connections instead of opening a thousand."""
    async with await Store.open(redis_url, f"many{os.getpid()}") as store:
        await asyncio.gather(*(store.now_ms() for _ in range(1000)))
        assert len(store.redis.connection_pool._available_connections) <= 32


def test_unknown_errors_stay_errors_of_the_store() -> None:
    """Whatever redis-py raises comes out as one of ours."""
    from redis import exceptions

    assert type(translate(exceptions.ResponseError("ERR what"))) is StoreError
    assert type(translate(exceptions.OutOfMemoryError("full"))) is StoreFull
    assert type(translate(exceptions.BusyLoadingError("loading"))) is StoreUnavailable
    assert type(translate(exceptions.ReadOnlyError("a replica now"))) is StoreUnavailable


@pytest.fixture
def no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no server is found."""
    monkeypatch.delenv("REDIS_SERVER", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(embedded, "wheel_server", lambda: None)


@pytest.mark.usefixtures("no_servers")
def test_where_an_embedded_server_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """REDIS_SERVER goes first, then PATH, then the wheel; without any the advice is to install one."""
    with pytest.raises(StoreUnavailable, match="install redis-server"):
        embedded.find_server()
    monkeypatch.setattr(embedded, "wheel_server", lambda: "/wheel/valkey-server")
    assert embedded.find_server() == "/wheel/valkey-server"
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/redis-server")
    assert embedded.find_server() == "/usr/bin/redis-server"
    monkeypatch.setenv("REDIS_SERVER", "/mine")
    assert embedded.find_server() == "/mine"


def test_an_embedded_server_is_started_and_stopped(tmp_path: Path) -> None:
    """It answers when `start` returns, and is gone after `stop`; both may be repeated."""
    server = EmbeddedRedis()
    assert server.start(tmp_path / "new") == server.start()
    assert (tmp_path / "new" / "redis.log").exists()
    pid = server.pid
    assert pid is not None
    os.kill(pid, 0)
    server.stop()
    server.stop()
    assert server.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_embedded_server_does_not_outlive_its_owner() -> None:
    """When the program that started it is killed, and can clean up nothing, the server ends all the same."""
    code = (
        "import os, signal\nfrom store.embedded import EmbeddedRedis\nserver = EmbeddedRedis()\nserver.start()\n"
        "print(server.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    pid = int(ended.stdout)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/comm").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_long_path_is_served_on_a_port(tmp_path: Path) -> None:
    """Where the kernel allows no socket of that path a free loopback port is taken."""
    deep = tmp_path / ("d" * 100)
    server = EmbeddedRedis()
    try:
        assert server.start(deep).startswith("redis://127.0.0.1:")
    finally:
        server.stop()


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    """Wrong options, a wrong program and a missing one are told at once."""
    with pytest.raises(StoreUnavailable, match="ended at once"):
        EmbeddedRedis({"maxmemory": "nonsense"}).start(tmp_path)
    with pytest.raises(StoreUnavailable, match="ended at once"):
        EmbeddedRedis(program="/bin/true").start(tmp_path)
    with pytest.raises(StoreUnavailable, match="cannot start"):
        EmbeddedRedis(program="/nowhere/redis-server").start()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "server.pem", folder / "server.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
