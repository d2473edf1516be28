"""The same request again on the same connection, as pollers send it: the bytes of its head come again and again."""

from __future__ import annotations

import asyncio
import json
from typing import NamedTuple, Self

import pytest

from tests.server.program.conftest import Start, world
from tests.server.program.stored import Stored
from tests.server.program.upstream import ScriptedUpstream

pytestmark = pytest.mark.asyncio

PODS = "/api/v1/pods"
OIL = "/api/v1/namespaces/oil-dev/pods"


def head(path: str, token: str, *more: str, method: str = "GET") -> bytes:
    """The bytes of a request without a body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Answer(NamedTuple):
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def names(self) -> list[str]:
        """Of the objects in a list."""
        assert self.status == 200, self.body
        return [item["metadata"]["name"] for item in json.loads(self.body)["items"]]


class Connection:
    """One connection, whose bytes the test writes itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, port: int) -> Self:
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: bytes) -> Answer:
        """Send and read the answer."""
        self.writer.write(request)
        return await self.answer()

    async def answer(self, *, body: bool = True) -> Answer:
        """The next answer; `body`: whether it has one."""
        raw = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode().rstrip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = int(headers["content-length"]) if body else 0
        return Answer(int(first.split()[1]), headers, await self._reader.readexactly(size))

    async def ended(self) -> bool:
        """Whether the server has closed it."""
        return await self._reader.read() == b""


async def test_heads_in_turn(stored: Stored, start: Start) -> None:
    """Two users' heads in turn on one connection, each twice: everyone is who they say they are, each time."""
    await stored.load(*world())
    connection = await Connection.to((await start()).port)
    for _ in range(2):
        for token, names in (("bob-token", ["db-0", "web-0", "web-1"]), ("alice-token", ["web-0", "web-1"])):
            for _ in range(2):
                assert (await connection.ask(head(PODS, token))).names == names
    assert (await connection.ask(head(PODS, "carol-token"))).status == 403
    assert (await connection.ask(head(PODS, "wrong-token"))).status == 401
    assert (await connection.ask(head(PODS, "wrong-token"))).status == 401
    assert (await connection.ask(head(OIL, "alice-token"))).names == ["web-0", "web-1"]
    connection.writer.close()


async def test_pipelined_heads(stored: Stored, start: Start) -> None:
    """Repeated heads that come in one piece are answered in turn, each under an audit ID of its own."""
    await stored.load(*world())
    connection = await Connection.to((await start()).port)
    bob, alice = head(PODS, "bob-token"), head(PODS, "alice-token")
    connection.writer.write(bob * 3 + alice * 2 + bob)
    answers = [await connection.answer() for _ in range(6)]
    assert [len(answer.names) for answer in answers] == [3, 3, 3, 2, 2, 3]
    assert len({answer.headers["audit-id"] for answer in answers}) == 6
    connection.writer.close()


async def test_head_in_pieces(stored: Stored, start: Start) -> None:
    """A head that begins like the last one waits for its end, wherever it was cut, and may end otherwise."""
    await stored.load(*world())
    server = await start()
    connection = await Connection.to(server.port)
    bob = head(PODS, "bob-token")
    assert len((await connection.ask(bob)).names) == 3
    for cut in (1, len(bob) - 10, len(bob) - 4, len(bob) - 3, len(bob) - 1):
        for end in (bob[cut:], bob[cut:].replace(b"\r\n\r\n", b"\r\nAudit-Id: mine\r\n\r\n")):
            if end == bob[cut:] and cut != 1:
                assert (await connection.ask(bob)).status == 200
            connection.writer.write(bob[:cut])
            await connection.writer.drain()
            await asyncio.sleep(0.01)
            answer = await connection.ask(end)
            assert len(answer.names) == 3
            assert (answer.headers["audit-id"] == "mine") is (b"mine" in end)
    connection.writer.close()


async def test_too_long_a_head_after_a_good_one(stored: Stored, start: Start) -> None:
    """The limit holds for every head of a connection."""
    await stored.load(*world())
    connection = await Connection.to((await start()).port)
    bob = head(PODS, "bob-token")
    for _ in range(2):
        assert (await connection.ask(bob)).status == 200
    answer = await connection.ask(bob[:-2] + b"X-Long: " + b"a" * 17_000 + b"\r\n\r\n")
    assert answer.status == 431
    assert answer.headers["connection"] == "close"
    assert await connection.ended()


async def test_token_that_ends(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """The same head with the same token is refused as soon as the token is no longer good."""
    await stored.load(*world())
    connection = await Connection.to((await start(token_cache_seconds=0.0, token_grace_seconds=0.0)).port)
    bob = head(PODS, "bob-token")
    for _ in range(3):
        assert (await connection.ask(bob)).status == 200
    del upstream.users["bob-token"]
    for _ in range(2):
        assert (await connection.ask(bob)).status == 401
    connection.writer.close()


async def test_token_that_becomes_someone_else(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """The same head is answered for whoever upstream says that it is now."""
    await stored.load(*world())
    connection = await Connection.to((await start(token_cache_seconds=0.0, token_grace_seconds=0.0)).port)
    request = head(PODS, "bob-token")
    for _ in range(2):
        assert len((await connection.ask(request)).names) == 3
    upstream.user("bob-token", "alice", "devs")
    for _ in range(2):
        assert (await connection.ask(request)).names == ["web-0", "web-1"]
    connection.writer.close()


async def test_other_kinds_of_requests_between(stored: Stored, start: Start) -> None:
    """Requests with bodies, HEAD and refusals between repeated heads disturb nothing, nor are they taken for them."""
    await stored.load(*world())
    connection = await Connection.to((await start()).port)
    bob = head(PODS, "bob-token")
    with_body = bob.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n")
    for text in (b"abcde", bob[:5], b"abcde"):
        assert len((await connection.ask(bob)).names) == 3
        assert len((await connection.ask(with_body + text)).names) == 3
    document = head("/apis/capsule.clastix.io/v1beta2/tenants", "admin-token", method="HEAD")
    for _ in range(2):
        connection.writer.write(document)
        assert (await connection.answer(body=False)).status == 200
        assert len((await connection.ask(bob)).names) == 3
    impersonating = head(PODS, "bob-token", "Impersonate-User: admin")
    for _ in range(2):
        assert (await connection.ask(impersonating)).status == 403
    assert len((await connection.ask(bob)).names) == 3
    connection.writer.close()


async def test_given_audit_id_is_repeated(stored: Stored, start: Start) -> None:
    """Who gives an audit ID gets it each time that the head comes, and nobody else does."""
    await stored.load(*world())
    connection = await Connection.to((await start()).port)
    for request, mine in ((head(PODS, "bob-token", "Audit-ID: mine"), True), (head(PODS, "bob-token"), False)):
        for _ in range(2):
            assert ((await connection.ask(request)).headers["audit-id"] == "mine") is mine
    connection.writer.close()


@pytest.mark.parametrize(
    "last",
    [head(PODS, "bob-token", "Connection: close"), head(PODS, "bob-token").replace(b"HTTP/1.1", b"HTTP/1.0")],
    ids=["close", "HTTP/1.0"],
)
async def test_connection_that_is_to_end(stored: Stored, start: Start, last: bytes) -> None:
    """It ends with the request that says so, and is not held by a head that was kept."""
    await stored.load(*world())
    connection = await Connection.to((await start()).port)
    for _ in range(2):
        assert (await connection.ask(head(PODS, "bob-token"))).headers["connection"] == "keep-alive"
    answer = await connection.ask(last * 2)
    assert answer.headers["connection"] == "close"
    assert len(answer.names) == 3
    assert await connection.ended()
