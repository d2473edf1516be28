"""The one connection of a store for small questions: replies go to who asked, whatever happens in between."""

from __future__ import annotations

import asyncio
import random

import pytest

from store.connection import Store
from store.embedded import EmbeddedRedis
from store.errors import StoreError, StoreUnavailable
from store.line import Line


@pytest.mark.asyncio
async def test_everybody_gets_the_own_reply(store: Store) -> None:
    """Many ask at once, and some give up in the middle: each of the others gets what they asked for."""
    line, chance = store.line, random.Random(1)

    async def one(number: int) -> bytes:
        reply: bytes = await line.ask("ECHO", number)
        return reply

    for _ in range(20):
        asking = [asyncio.create_task(one(number)) for number in range(50)]
        for _ in range(chance.randrange(8)):
            await asyncio.sleep(0)
        given_up = set(chance.sample(range(50), 10))
        for number in given_up:
            asking[number].cancel()
        for number, task in enumerate(asking):
            if number not in given_up:
                assert await task == str(number).encode()
        await asyncio.gather(*asking, return_exceptions=True)


@pytest.mark.asyncio
async def test_a_broken_connection_is_made_anew(store: Store) -> None:
    """Whoever asks next after it broke gets a reply; an error that is a reply breaks nothing."""
    line = store.line
    assert await line.ask("ECHO", "one") == b"one"
    broken = line._wire
    await store.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert await line.ask("ECHO", "two") == b"two"
    assert line._wire is not broken
    same = line._wire
    with pytest.raises(StoreError):
        await line.ask("NOSUCHCOMMAND")
    assert await line.ask("ECHO", "three") == b"three"
    assert line._wire is same


@pytest.mark.asyncio
async def test_nobody_there() -> None:
    """A server that is gone is our own error, again and again."""
    with EmbeddedRedis() as server:
        store = await Store.open(server.url)
        assert await store.line.ask("PING") == b"PONG"
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await store.line.ask("PING")
    await store.close()


@pytest.mark.asyncio
async def test_what_writes_is_not_sent_twice(store: Store) -> None:
    """A write whose connection broke is an error, and happens at most once; the next one has a new connection."""
    key = f"{store.prefix}:counted"
    assert await store.pen.ask("INCR", key) == 1
    await store.ask("CLIENT", "PAUSE", 300, "WRITE")
    writing = asyncio.create_task(store.pen.ask("INCR", key))
    while b"cmd=incr" not in await store.ask("CLIENT", "LIST"):
        await asyncio.sleep(0.005)
    await store.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(StoreUnavailable):
        await writing
    await store.ask("CLIENT", "UNPAUSE")
    assert await store.pen.ask("INCR", key) == 2


@pytest.mark.asyncio
async def test_replies_and_errors_stand_in_their_places(store: Store) -> None:
    """Of commands that go out together each has its own reply, and an error is one; others' come in between."""
    one, two = await asyncio.gather(
        store.line.ask_all([("ECHO", "a"), ("NOSUCHCOMMAND",), ("ECHO", b"b")]), store.line.ask("ECHO", "c")
    )
    assert one[0] == b"a"
    assert isinstance(one[1], Exception)
    assert one[2] == b"b"
    assert two == b"c"


@pytest.mark.asyncio
async def test_a_server_that_says_nothing(store: Store) -> None:
    """Whoever waits longer than the limit is told, and the next one asks on a new connection."""
    line = Line(store.redis.connection_pool, seconds=0.1, repeats=True)
    assert await line.ask("PING") == b"PONG"
    silent = line._wire
    await store.ask("CLIENT", "PAUSE", 400, "ALL")
    with pytest.raises(StoreUnavailable, match="no answer"):
        await asyncio.gather(line.ask("PING"), line.ask("PING"))
    await store.ask("PING")  # the pause is over
    assert await line.ask("PING") == b"PONG"
    assert line._wire is not silent
    await line.close()
