"""Lists too long to be held at once: sent as they are made, and the same as the compressed ones."""

from __future__ import annotations

import zlib

import pytest

from tests.authz.objects import PODS
from tests.server.program.conftest import Start, client, world
from tests.server.program.stored import Stored
from tests.server.program.upstream import ScriptedUpstream
from tests.server.views.cluster import record_of

pytestmark = pytest.mark.asyncio

LONG = 300
NAMES = [f"pod-{number:03}" for number in range(LONG)]


async def test_a_long_list_is_streamed(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """A list of some 6 MB comes in chunks, whole and in order; compressed it is the very same."""
    pods = [
        (PODS, record_of("gas-dev", name, 500 + number, {}, f"{number}-" * 4000)) for number, name in enumerate(NAMES)
    ]
    await stored.load(*[entry for entry in world() if entry[0] != PODS], *pods)
    server = await start()
    async with client(server, "bob-token") as bob:
        plain = await bob.get("/api/v1/pods", headers={"Accept-Encoding": "identity"})
        assert plain.status_code == 200
        assert plain.headers["transfer-encoding"] == "chunked"
        assert plain.headers["content-type"] == "application/json"
        assert plain.headers["x-larder-source"] == "cache"
        assert "content-encoding" not in plain.headers
        assert len(plain.content) > 4 << 20
        assert [item["metadata"]["name"] for item in plain.json()["items"]] == NAMES
        async with bob.stream("GET", "/api/v1/pods", headers={"Accept-Encoding": "gzip"}) as answer:
            packed = b"".join([part async for part in answer.aiter_raw()])
            assert answer.headers["content-encoding"] == "gzip"
            assert answer.headers["vary"] == "Accept-Encoding"
        assert len(packed) < len(plain.content) / 10
        assert zlib.decompress(packed, zlib.MAX_WBITS | 16) == plain.content
    assert upstream.forwarded == []


async def test_who_leaves_a_long_list_harms_nobody(stored: Stored, start: Start) -> None:
    """A client that goes away in the middle ends its own answer alone."""
    pods = [(PODS, record_of("gas-dev", name, 500 + n, {}, "x" * 20000)) for n, name in enumerate(NAMES)]
    await stored.load(*[entry for entry in world() if entry[0] != PODS], *pods)
    server = await start()
    async with client(server, "bob-token") as bob:
        for _ in range(3):
            async with bob.stream("GET", "/api/v1/pods", headers={"Accept-Encoding": "identity"}) as answer:
                async for _part in answer.aiter_raw():
                    break
        whole = await bob.get("/api/v1/pods", headers={"Accept-Encoding": "identity"})
        assert len(whole.json()["items"]) == LONG
