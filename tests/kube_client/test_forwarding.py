"""Forwarded requests over real connections, on the event loop that replicas run on and on asyncio's."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from kube import credentials, forwarding
from kube.client import UpstreamClient
from kube.credentials import Credentials, _Fixed, _Pem
from kube.http1 import READ_AHEAD_BYTES
from kube.status import MalformedRequest
from kube.upstream_error import UpstreamBroken, UpstreamUnreachable
from sandbox.certificates import Authority, server_context
from tests.informers.eventually import until

pytestmark = pytest.mark.asyncio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """An upstream that is a conversation; remembers the heads of requests, by connection."""

    def __init__(self) -> None:
        self.heads: list[list[str]] = []
        self.ended = 0
        """Connections that are over."""
        self.talk: Conversation = self.answer
        self._server: asyncio.Server
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> str:
        """Listen; returns the URL."""
        self._server = await asyncio.start_server(self._serve, host, 0, ssl=tls)
        port = self._server.sockets[0].getsockname()[1]
        return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

    async def stop(self) -> None:
        """Listen no more, and end what is open."""
        self._server.close()
        self.hang_up()

    def hang_up(self) -> None:
        """End all connections."""
        for writer in self._open:
            writer.transport.abort()

    @property
    def asked(self) -> list[str]:
        """The first lines of all requests."""
        return [head.partition("\r\n")[0] for heads in self.heads for head in heads]

    async def head(self, reader: asyncio.StreamReader) -> str:
        """The next request's head."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads[-1].append(head)
        return head

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say ok to every request without a body."""
        while True:
            await self.head(reader)
            writer.write(OK)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append([])
        self._open.add(writer)
        try:
            await self.talk(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client has gone, or was hung up on
        finally:
            self._open.discard(writer)
            self.ended += 1
            writer.close()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    """An upstream."""
    made = Server()
    yield made
    await made.stop()


@pytest_asyncio.fixture
async def client(server: Server) -> AsyncIterator[UpstreamClient]:
    """A client of it."""
    async with UpstreamClient(Credentials(await server.start(), _Fixed("Bearer own")), user_agent="t") as made:
        yield made


async def ask(client: UpstreamClient, method: str = "GET", path: str = "/x", **options: object) -> bytes:
    """The body of a whole answer."""
    answer = await client.forward(method, path, [("accept", "*/*")], **options)  # type: ignore[arg-type]
    try:
        return b"".join([chunk async for chunk in answer.chunks()])
    finally:
        answer.close()


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    """A body in pieces."""
    for part in parts:
        yield part


async def test_one_connection_after_another(server: Server, client: UpstreamClient) -> None:
    """Requests that follow each other take one connection, those at once one each."""
    for number in range(3):
        assert await ask(client, path=f"/{number}?a=%2F") == b"ok"
    assert server.asked == [f"GET /{number}?a=%2F HTTP/1.1" for number in range(3)]
    assert len(server.heads) == 1
    await asyncio.gather(*(ask(client) for _ in range(5)))
    assert len(server.heads) == 5
    host = client.server.partition("//")[2]
    assert server.heads[0][0] == f"GET /0?a=%2F HTTP/1.1\r\nhost: {host}\r\naccept: */*\r\n\r\n"


async def test_framing_is_ours(server: Server, client: UpstreamClient) -> None:
    """Where a request ends is said by us alone, whatever headers come along."""
    sent: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await server.head(reader)
            if "chunked" in head:
                sent.append(await reader.readuntil(b"0\r\n\r\n"))
            else:
                sent.append(await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0])))
            writer.write(OK)

    server.talk = talk
    odd = [("content-length", "3"), ("transfer-encoding", "gzip, chunked"), ("connection", "close"), ("host", "evil")]
    for headers, body in (
        (odd, pieces(b"abc")),
        ([("content-length", "3"), ("content-length", "900")], pieces(b"a", b"", b"bc")),
        ([("transfer-encoding", "chunked")], pieces(b"abc", b"", b"x" * 20)),
        ([("content-length", "+3")], pieces(b"abc")),
        (odd, None),
    ):
        answer = await client.forward("POST", "/", headers, body)
        answer.close()
    assert sent == [b"abc", b"abc", b"3\r\nabc\r\n14\r\n" + b"x" * 20 + b"\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", b""]
    heads = server.heads[0]
    assert [head.count("content-length") + head.count("transfer-encoding") for head in heads] == [1] * 5
    assert not any("evil" in head or "connection" in head for head in heads)
    assert len(server.heads) == 1


@pytest.mark.parametrize("parts", [[b"ab"], [b"ab", b"cd"]])
async def test_bodies_of_another_length(server: Server, client: UpstreamClient, parts: list[bytes]) -> None:
    """A body that is shorter or longer than it says is not taken for another request, nor waited for."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.head(reader)
        assert await reader.read() in (b"", b"ab")

    server.talk = talk
    with pytest.raises(UpstreamBroken, match="than it says"):
        await client.forward("POST", "/", [("content-length", "3")], pieces(*parts))
    await until(lambda: server.ended == 1)


async def test_headers_that_would_be_others(server: Server, client: UpstreamClient) -> None:
    """A line break in a header reaches nobody."""
    with pytest.raises(MalformedRequest):
        await client.forward("GET", "/", [("x", "a\nimpersonate-user: admin")], own=True)
    assert server.heads == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_idle_connection_that_breaks(server: Server, client: UpstreamClient, method: str) -> None:
    """Upstream closes an idle connection just as the next request is written: it is sent again, over a new one."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.head(reader)
        writer.write(OK)
        await server.head(reader)

    server.talk = talk
    # Two are idle: the second attempt must not find the other.
    await asyncio.gather(ask(client), ask(client))
    server_talk, server.talk = server.talk, server.answer
    answer = await client.forward(method, "/again", [])
    assert answer.status == 200
    answer.close()
    assert server.asked.count(f"{method} /again HTTP/1.1") == 2
    assert server_talk is talk


async def test_closed_idle_connections_are_not_used(server: Server, client: UpstreamClient) -> None:
    """Nor is one asked that is known to be closed."""
    assert await ask(client) == b"ok"
    server.hang_up()
    await until(lambda: not client._forwarding._idle[False][0].open)
    assert await ask(client, "POST") == b"ok"


@pytest.mark.parametrize(
    ("method", "body", "said"),
    [("POST", None, b""), ("PATCH", None, b""), ("PUT", b"x", b""), ("GET", b"x", b""), ("GET", None, b"HTTP/1.1 2")],
)
async def test_what_is_not_sent_again(
    server: Server, client: UpstreamClient, method: str, body: bytes | None, said: bytes
) -> None:
    """A request that changes things, whose body is gone, or that upstream began to answer, is sent once."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.head(reader)
        writer.write(OK)
        await server.head(reader)
        writer.write(said)
        await writer.drain()

    server.talk = talk
    assert await ask(client) == b"ok"
    with pytest.raises(UpstreamBroken):
        await client.forward(method, "/x", [], None if body is None else pieces(body))
    assert len(server.asked) == 2


async def test_a_request_is_sent_twice_at_most(server: Server, client: UpstreamClient) -> None:
    """Where nothing is ever answered, that is said after the second attempt."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.head(reader)

    server.talk = talk
    with pytest.raises(UpstreamBroken, match="the connection was closed"):
        await client.forward("GET", "/x", [])
    assert len(server.asked) == 2


async def test_who_leaves_ends_the_request(server: Server, client: UpstreamClient) -> None:
    """Cancelling a request, and leaving its answer, close the connection: upstream sees that nobody waits."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if "/begins" in await server.head(reader):
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        assert await reader.read() == b""

    server.talk = talk
    asking = asyncio.create_task(client.forward("GET", "/waits", []))
    await until(lambda: server.asked)
    asking.cancel()
    await until(lambda: server.ended == 1)
    answer = await client.forward("GET", "/begins", [])
    assert await answer.read() == b"one"
    answer.close()
    await until(lambda: server.ended == 2)


async def test_who_leaves_while_it_connects(server: Server, tmp_path: Path) -> None:
    """A handshake is not broken off: its connection is there for the next request."""
    authority = Authority()
    url = await server.start(tls=server_context(*authority.server().write(tmp_path, "server")))
    login = Credentials(url, _Fixed(""), authority=_Pem(data=authority.pem))
    async with UpstreamClient(login, user_agent="t") as client:
        asking = asyncio.create_task(client.forward("GET", "/left", []))
        while not client._forwarding._connecting:
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: client._forwarding._idle[False])
        assert await ask(client) == b"ok"
        assert server.asked == ["GET /x HTTP/1.1"]
        assert len(server.heads) == 1


async def test_answers_before_the_body(server: Server, client: UpstreamClient) -> None:
    """Upstream may answer before it has the body; what is left of that is not sent into the next request."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.head(reader)
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
        assert b"/second" not in await reader.read()

    taken = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.sleep(3600)
            yield b"last"
        finally:
            taken.set()

    server.talk = talk
    answer = await client.forward("POST", "/first", [], slow())
    assert (answer.status, await answer.read(), answer.complete) == (401, b"no", True)
    answer.close()
    await asyncio.wait_for(taken.wait(), 20)
    server.talk = server.answer
    assert await ask(client, path="/second") == b"ok"
    assert len(server.heads) == 2


async def test_body_that_fails(server: Server, client: UpstreamClient) -> None:
    """What goes wrong with a body is raised as it is, and upstream does not take its beginning for the whole."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.head(reader)
        assert not (await reader.read()).endswith(b"0\r\n\r\n")

    async def broken() -> AsyncIterator[bytes]:
        yield b"first"
        raise LookupError("the client's fault")

    server.talk = talk
    with pytest.raises(LookupError):
        await client.forward("POST", "/x", [], broken())
    await until(lambda: server.ended == 1)


async def test_bodies_are_as_fast_as_upstream_takes_them(server: Server, client: UpstreamClient) -> None:
    """Of a body that upstream does not read, no more is asked for than fits in between."""
    goes_on = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.head(reader)
        await goes_on.wait()
        await reader.readexactly(100 << 20)
        writer.write(OK)

    given = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(1600):
            given += 1
            yield bytes(1 << 16)

    server.talk = talk
    asking = asyncio.create_task(client.forward("PUT", "/x", [("content-length", str(100 << 20))], body()))
    await until(lambda: given)
    while True:
        before = given
        await asyncio.sleep(0.2)
        if given == before:
            break
    assert given < 400, "buffers of sockets, and some of ours"
    goes_on.set()
    answer = await asking
    assert (answer.status, given) == (200, 1600)
    answer.close()


@pytest.mark.parametrize("tls", [False, True])
async def test_answers_are_as_fast_as_they_are_read(server: Server, tmp_path: Path, tls: bool) -> None:
    """Of an answer that is not read, upstream cannot send more than fits in between; no byte of it is lost."""
    size = 64 << 20

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for number in range(size >> 16):
            writer.write(bytes([number % 256]) * (1 << 16))
            await writer.drain()
        await server.answer(reader, writer)

    server.talk = talk
    authority = Authority()
    context = server_context(*authority.server().write(tmp_path, "server")) if tls else None
    login = Credentials(await server.start(tls=context), _Fixed(""), authority=_Pem(data=authority.pem))
    async with UpstreamClient(login, user_agent="t") as client:
        answer = await client.forward("GET", "/x", [])
        await until(lambda: answer._connection._paused)  # type: ignore[attr-defined]
        for _ in range(20):
            await asyncio.sleep(0.01)
            assert answer._held <= READ_AHEAD_BYTES + (1 << 16)  # type: ignore[attr-defined]
        came, expected = 0, 0
        while chunk := await answer.read():
            for begin in range(0, len(chunk), 4096):
                expected = (came + begin) >> 16
                assert chunk[begin] == expected % 256
            came += len(chunk)
        assert came == size
        answer.close()
        assert await ask(client) == b"ok"
        assert len(server.heads) == 1


async def test_certificates_that_change(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the authority is another, idle connections are of no use; a server of another one is not talked to."""
    monkeypatch.setattr(credentials, "RECHECK_SECONDS", 0.0)
    first, second = Authority("first"), Authority("second")
    file = tmp_path / "ca.crt"
    file.write_bytes(first.pem)
    url = await server.start(tls=server_context(*first.server().write(tmp_path, "server")))
    async with UpstreamClient(
        Credentials(url, _Fixed(""), authority=_Pem(path=file), source="/etc/kubeconfig"), user_agent="t"
    ) as client:
        assert await ask(client) == b"ok"
        assert await ask(client) == b"ok"
        assert len(server.heads) == 1
        file.write_bytes(first.pem + second.pem)
        assert await ask(client) == b"ok"
        assert len(server.heads) == 2
        file.write_bytes(second.pem)
        with pytest.raises(UpstreamUnreachable) as raised:
            await ask(client)
    assert str(raised.value).startswith(
        f"the certificate of {url} is not vouched for by the certificate-authority in /etc/kubeconfig: "
    )


async def test_our_certificate_is_for_us(server: Server, tmp_path: Path) -> None:
    """Requests in our name show our certificate, those in their callers' own never do: they share no connection."""
    authority = Authority()
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    shown: list[bool] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await server.head(reader)
            shown.append(bool(writer.get_extra_info("peercert")))
            assert ("Bearer own" in head) == shown[-1]
            writer.write(OK)

    server.talk = talk
    own = authority.client("larder")
    login = Credentials(
        await server.start(
            tls=server_context(*authority.server().write(tmp_path, "server"), client_ca=tmp_path / "ca.crt")
        ),
        _Fixed("Bearer own"),
        authority=_Pem(data=authority.pem),
        certificate=_Pem(data=own.certificate),
        key=_Pem(data=own.key),
    )
    async with UpstreamClient(login, user_agent="t") as client:
        for ours in (True, False, True, False, False):
            assert await ask(client, own=ours) == b"ok"
    assert shown == [True, False, True, False, False]
    assert len(server.heads) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_names_and_addresses(server: Server, host: str) -> None:
    """Upstream may be an address or a name; a path of its URL comes before each target."""
    try:
        url = await server.start(host)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    bases = [url] if ":" in host else [url.replace(host, "localhost"), f"{url}/clusters/one/"]
    for base in bases:
        async with UpstreamClient(Credentials(base, _Fixed("")), user_agent="t") as client:
            assert await ask(client) == b"ok"
    prefix = "/clusters/one"
    assert [heads[0].split("\r\n")[:2] for heads in server.heads] == [
        [f"GET {prefix if prefix in base else ''}/x HTTP/1.1", f"host: {base.split('/')[2]}"] for base in bases
    ]


async def test_through_a_proxy(server: Server) -> None:
    """Where the kubeconfig names a proxy, forwarded requests go through it too."""
    login = Credentials("http://cluster.invalid:6443", _Fixed(""), proxy=await server.start())
    async with UpstreamClient(login, user_agent="t") as client:
        assert await ask(client) == b"ok"
    assert server.asked == ["GET http://cluster.invalid:6443/x HTTP/1.1"]


async def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be reached says what to look at: nobody listens, no such name, no handshake in time."""
    monkeypatch.setattr(forwarding, "CONNECT_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        slow = f"https://127.0.0.1:{silent.getsockname()[1]}"
        for url, said in (
            ("http://127.0.0.1:9", "cannot connect to http://127.0.0.1:9 (from the kubeconfig): Connection refused"),
            ("http://nobody.invalid:9", "cannot connect to http://nobody.invalid:9"),
            (slow, "does not answer within 5 s"),
        ):
            async with UpstreamClient(Credentials(url, _Fixed("")), user_agent="t") as client:
                with pytest.raises(UpstreamUnreachable) as raised:
                    await ask(client)
                assert said in str(raised.value)


async def test_idle_connections_are_bounded(
    server: Server, client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many connections some are kept, and those that nobody needs are closed after a while."""
    monkeypatch.setattr(forwarding, "IDLE_LIMIT", 3)
    monkeypatch.setattr(forwarding, "IDLE_SECONDS", 0.1)
    held = [await client.forward("GET", "/x", []) for _ in range(8)]
    for answer in held:
        answer.close()
    assert len(client._forwarding._idle[False]) == 3
    await until(lambda: server.ended == 8)
    assert await ask(client) == b"ok"
