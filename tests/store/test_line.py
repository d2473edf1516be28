"""The one connection of a store for small questions: replies go to who asked, whatever happens in between."""

from __future__ import annotations

import asyncio
import random

import pytest

from store.connection import Store
from store.embedded import EmbeddedRedis
from store.errors import StoreError, StoreUnavailable


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
    broken = line._connection
    await store.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert await line.ask("ECHO", "two") == b"two"
    assert line._connection is not broken
    same = line._connection
    with pytest.raises(StoreError):
        await line.ask("NOSUCHCOMMAND")
    assert await line.ask("ECHO", "three") == b"three"
    assert line._connection is same


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
