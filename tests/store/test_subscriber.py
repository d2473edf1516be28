"""Channels: whatever was published comes, or a loss is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from store.connection import Store
from store.embedded import EmbeddedRedis
from store.errors import StoreUnavailable
from store.subscriber import RESYNC, Message, Resync, Subscriber

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def subscriber(store: Store) -> AsyncIterator[Subscriber]:
    """A subscriber without channels."""
    async with Subscriber(store) as listening:
        yield listening


async def following(subscriber: Subscriber) -> Message | Resync:
    """The next item, within reason."""
    async with asyncio.timeout(10):
        return await anext(subscriber)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def publish(store: Store, channel: str, data: bytes) -> int:
    """How many received it."""
    return int(await store.redis.publish(f"{store.prefix}{channel}", data))


async def kill_subscribers(store: Store) -> None:
    """End every connection that listens, as a proxy or a failover would."""
    await store.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]


async def test_messages_come_in_order_from_their_channels(store: Store, subscriber: Subscriber) -> None:
    """What is published after `subscribe` has returned comes, in order, with the name of its channel."""
    one, two = f"{store.prefix}one", f"{store.prefix}two"
    await subscriber.subscribe(one, two)
    for i in range(100):
        assert await publish(store, "one" if i % 3 else "two", b"%d" % i) == 1
    received = [await following(subscriber) for _ in range(100)]
    assert received == [Message(one if i % 3 else two, b"%d" % i) for i in range(100)]
    assert subscriber.connected


async def test_channels_come_and_go(store: Store, subscriber: Subscriber) -> None:
    """A channel can be added to an open connection and taken away again; both at any time, both twice."""
    one, two = f"{store.prefix}one", f"{store.prefix}two"
    await subscriber.subscribe(one)
    await subscriber.subscribe(one)
    await publish(store, "one", b"waiting")
    await asyncio.gather(subscriber.subscribe(two), subscriber.subscribe(two))
    await subscriber.unsubscribe(one)
    await subscriber.unsubscribe(one, f"{store.prefix}never")
    await publish(store, "one", b"unheard")
    await publish(store, "two", b"heard")
    assert await following(subscriber) == Message(two, b"heard")
    await subscriber.subscribe(one)
    assert await publish(store, "one", b"again") == 1
    assert await following(subscriber) == Message(one, b"again")


async def test_a_killed_connection_is_told(store: Store, subscriber: Subscriber) -> None:
    """After a lost connection comes RESYNC, and then everything that is published from then on, on all channels."""
    names = [f"{store.prefix}{i}" for i in range(5)]
    await subscriber.subscribe(*names)
    for times in range(1, 4):
        await kill_subscribers(store)
        assert await following(subscriber) is RESYNC
        for name in names:
            assert await publish(store, name.removeprefix(store.prefix), b"after") == 1
        assert [await following(subscriber) for _ in names] == [Message(name, b"after") for name in names]
        assert subscriber.resyncs == times


async def test_every_message_comes_before_a_mark_or_after_it(store: Store, subscriber: Subscriber) -> None:
    """Numbers published through connections that die again and again have gaps only where RESYNC stands."""
    await subscriber.subscribe(f"{store.prefix}n")

    async def talk() -> None:
        for i in range(400):
            await publish(store, "n", b"%d" % i)
            if i % 100 == 50:
                await kill_subscribers(store)
            if i % 100 == 70:
                await asyncio.sleep(0.15)
        await publish(store, "n", b"400")

    talking = asyncio.create_task(talk())
    expected: int | None = 0
    marks = 0
    while True:
        item = await following(subscriber)
        if isinstance(item, Resync):
            marks, expected = marks + 1, None
            if talking.done():
                break
            continue
        number = int(item.data)
        assert expected in {None, number}
        expected = number + 1
        if number == 400:
            break
    await talking
    assert marks >= 1


async def test_a_consumer_that_falls_behind_is_told(store: Store) -> None:
    """Beyond the buffer everything is dropped at once, and told like a lost connection; memory stays bounded."""
    async with Subscriber(store, buffer_bytes=100_000) as subscriber:
        await subscriber.subscribe(f"{store.prefix}one")
        for _ in range(30):
            await publish(store, "one", bytes(10_000))
        await until(lambda: subscriber.resyncs > 0)
        assert await following(subscriber) is RESYNC
        await publish(store, "one", b"after")
        assert await following(subscriber) == Message(f"{store.prefix}one", b"after")


async def test_subscribing_while_redis_is_away_waits_for_it(tmp_path: Path) -> None:
    """A restart of Redis is survived; who subscribes meanwhile is confirmed when it is back."""
    server = EmbeddedRedis()
    url = server.start(tmp_path)
    try:
        async with Store(url) as store, Subscriber(store) as subscriber:
            await subscriber.subscribe("one")
            server.stop()
            await until(lambda: not subscriber.connected)
            with pytest.raises(StoreUnavailable):
                await subscriber.subscribe("two", timeout_seconds=0.05)
            late = asyncio.create_task(subscriber.subscribe("three"))
            await asyncio.sleep(0)
            assert server.start(tmp_path) == url
            await late
            assert await following(subscriber) is RESYNC
            for name in ("one", "two", "three"):
                assert await store.redis.publish(name, b"x") == 1
                assert await following(subscriber) == Message(name, b"x")
    finally:
        server.stop()


async def test_a_subscription_that_is_not_confirmed_is_given_up(store: Store, subscriber: Subscriber) -> None:
    """Whoever does not hear from Redis in time is told; when the channel comes true after all, so is RESYNC."""
    await subscriber.subscribe(f"{store.prefix}one")
    await store.redis.execute_command("CLIENT", "PAUSE", 300, "ALL")  # type: ignore[no-untyped-call]
    with pytest.raises(StoreUnavailable):
        await subscriber.subscribe(f"{store.prefix}two", timeout_seconds=0.05)
    assert await following(subscriber) is RESYNC
    assert await publish(store, "two", b"x") == 1
    assert await following(subscriber) == Message(f"{store.prefix}two", b"x")


async def test_a_silent_connection_is_probed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quiet channels are asked for a sign of life; an answer keeps them, and no answer is a loss."""
    monkeypatch.setattr("store.subscriber.QUIET_SECONDS", 0.02)
    async with Subscriber(store) as subscriber:
        await asyncio.sleep(0.1)
        await subscriber.subscribe(f"{store.prefix}one")
        await asyncio.sleep(0.1)
        await publish(store, "one", b"still here")
        assert await following(subscriber) == Message(f"{store.prefix}one", b"still here")
        assert subscriber.resyncs == 0
        monkeypatch.setattr("store.subscriber.ANSWER_SECONDS", 0.1)
        await store.redis.execute_command("CLIENT", "PAUSE", 300, "ALL")  # type: ignore[no-untyped-call]
        assert await following(subscriber) is RESYNC


async def test_iteration_ends_with_the_subscriber(store: Store) -> None:
    """Leaving the block ends a waiting consumer and closes the connection."""
    async with Subscriber(store) as subscriber:
        await subscriber.subscribe(f"{store.prefix}one")

        received: list[Message | Resync] = []
        arrived = asyncio.Event()

        async def consume() -> None:
            async for item in subscriber:
                received.append(item)
                arrived.set()

        consumer = asyncio.create_task(consume())
        await publish(store, "one", b"last")
        async with asyncio.timeout(10):
            await arrived.wait()
    async with asyncio.timeout(10):
        await consumer
    assert received == [Message(f"{store.prefix}one", b"last")]
    assert await publish(store, "one", b"x") == 0


async def test_the_consumer_can_be_cancelled(store: Store, subscriber: Subscriber) -> None:
    """Cancelling a waiting consumer loses nothing: the next one goes on."""
    await subscriber.subscribe(f"{store.prefix}one")
    waiting = asyncio.ensure_future(anext(subscriber))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await publish(store, "one", b"x")
    assert await following(subscriber) == Message(f"{store.prefix}one", b"x")
