"""Listening to channels, in such a way that every possible loss of messages is told.

redis-py's own PubSub reconnects and subscribes again without a word, so a connection is driven here directly: messages
are taken in as their bytes come (`store/wire.py`).
What comes over it is a hint; the logs are the truth, and after RESYNC they must be read.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from redis import exceptions

from kube import tasks
from store.errors import StoreError, StoreUnavailable
from store.redis_errors import translate
from store.wire import Wire, pack

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from store.connection import Store

logger = logging.getLogger(__name__)

BUFFER_BYTES = 64 << 20
"""Messages that may wait for the consumer. Redis itself gives up on a subscriber that is 32 MB behind."""

QUIET_SECONDS = 3.0
"""After so long without a message the connection is probed; feeds have a heartbeat each second."""

ANSWER_SECONDS = 5.0
"""For the answer to a probe, to a subscription, and for connecting."""

FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.05, 2.0
"""Between attempts to connect, doubling, less up to a half at random so that replicas do not come all at once."""


class Message(NamedTuple):
    """What was published on a channel."""

    channel: str
    data: bytes


class Resync:
    """Messages may have been lost; everything published from now on will come, on every channel subscribed to."""

    def __repr__(self) -> str:
        return "RESYNC"


RESYNC: Final = Resync()


class Subscriber:
    """One connection, any number of channels; an asynchronous iterator of Message and RESYNC for one consumer.

    Used as `async with Subscriber(store) as subscriber:`. Messages are held for the consumer up to `buffer_bytes`;
    beyond that they are all dropped, and the connection with them, which is told as RESYNC like any other loss.
    A lost connection is made again for ever, with growing pauses. Between the loss and RESYNC nothing is given out.
    """

    def __init__(self, store: Store, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.resyncs = 0
        self._store = store
        self._limit = buffer_bytes
        self._wanted: set[str] = set()
        self._confirmed: set[str] = set()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._names: dict[bytes, str] = {}
        self._buffer: deque[Message | Resync] = deque()
        self._buffered = 0
        self._arrived = asyncio.Event()
        self._wire: Wire | None = None
        self._resyncing = False
        self._connected = False
        self._heard_at = 0.0
        """Loop time of the last word from Redis."""
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether messages are coming in: not between a loss and its RESYNC."""
        return self._connected

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="store-subscriber")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        await tasks.end(self._task)

    async def subscribe(self, *channels: str, timeout_seconds: float = 10.0) -> None:
        """Listen to these channels too; returns once Redis has confirmed it: whatever is published later will come.

        Raises:
            StoreUnavailable: not confirmed in time; they stay wanted, and a RESYNC follows once they are.
        """
        self._wanted.update(channels)
        fresh = [channel for channel in channels if channel not in self._confirmed]
        waiting = [self._waiting.setdefault(channel, _future()) for channel in fresh]
        if not waiting:
            return
        if self._connected:
            self._send("SUBSCRIBE", fresh)
        _, pending = await asyncio.wait(waiting, timeout=timeout_seconds)
        if pending:
            # Whoever gave up will not know from when on it is complete: let the loss be told when it comes true.
            await self._drop_connection()
            raise StoreUnavailable(f"no answer to a subscription within {timeout_seconds:g} s")

    async def unsubscribe(self, *channels: str) -> None:
        """Stop listening; messages of these channels that are still waiting for the consumer are dropped."""
        gone = [channel for channel in channels if channel in self._wanted]
        self._wanted.difference_update(gone)
        self._confirmed.difference_update(gone)
        for channel in gone:
            future = self._waiting.pop(channel, None)
            if future is not None:
                future.cancel()
        if gone and self._connected:
            self._send("UNSUBSCRIBE", gone)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message | Resync:
        """The next message, or RESYNC.

        Raises:
            StopAsyncIteration: the subscriber was closed.
        """
        while True:
            while self._buffer:
                item = self._buffer.popleft()
                if isinstance(item, Resync):
                    return item
                self._buffered -= len(item.data)
                if item.channel in self._wanted:
                    return item
            if self._task is None or self._task.done():
                self._raise_its_error()
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()

    def _raise_its_error(self) -> None:
        if self._task is not None and not self._task.cancelled() and self._task.exception() is not None:
            raise self._task.exception()  # type: ignore[misc]

    async def _run(self) -> None:
        """Keep a connection for ever."""
        backoff = FIRST_BACKOFF_SECONDS
        try:
            while True:
                try:
                    await self._connect()
                    backoff = FIRST_BACKOFF_SECONDS
                    await self._listen()
                except (exceptions.RedisError, OSError, StoreError) as error:
                    reason = error if isinstance(error, StoreError) else translate(error)
                    logger.warning("lost the subscriptions to %s channels: %s", len(self._wanted), reason)
                await self._drop_connection()
                await asyncio.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 (no secret)
                backoff = min(2 * backoff, LAST_BACKOFF_SECONDS)
        finally:
            await self._drop_connection()
            self._arrived.set()

    async def _connect(self) -> None:
        """Open a connection and ask for all wanted channels; their confirmations come to `_take`."""
        async with asyncio.timeout(ANSWER_SECONDS):
            self._wire = await Wire.open(self._store.writes.connection_pool, self._take)
        self._heard_at = asyncio.get_running_loop().time()
        self._connected = True
        if self._wanted:
            self._send("SUBSCRIBE", sorted(self._wanted))
        self._finish_resync()

    async def _listen(self) -> None:
        """See that the connection lives, until it ends.

        Raises:
            RedisError, StoreError: it has ended.
        """
        loop = asyncio.get_running_loop()
        wire, probed_at = self._wire, math.inf
        while wire is not None:
            if probed_at <= self._heard_at:
                probed_at = math.inf
            probed = probed_at < math.inf
            due = probed_at + ANSWER_SECONDS if probed else self._heard_at + QUIET_SECONDS
            if due <= loop.time():
                if probed:
                    raise StoreUnavailable(f"no answer within {ANSWER_SECONDS:g} s")
                probed_at = loop.time()
                wire.send(pack([("PING",)]))
            await asyncio.wait({wire.lost}, timeout=min(QUIET_SECONDS, max(0.0, due - loop.time())))
            if wire.lost.done():
                await wire.lost

    def _take(self, reply: Any) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        match reply:
            case [b"message", name, data]:
                if not self._resyncing:
                    self._put(Message(self._name(name), data))
            case [b"subscribe", name, _]:
                channel = self._name(name)
                if channel in self._wanted:
                    self._confirmed.add(channel)
                    future = self._waiting.pop(channel, None)
                    if future is not None and not future.done():
                        future.set_result(None)
                self._finish_resync()
            case [b"unsubscribe", name, _]:
                if name is not None and self._name(name) not in self._wanted:
                    del self._names[name]
            case _:
                pass  # the answer to a probe

    def _finish_resync(self) -> None:
        """Tell the consumer of a loss as soon as every channel is listened to again."""
        if self._resyncing and self._wanted <= self._confirmed:
            self._resyncing = False
            self.resyncs += 1
            self._buffer.append(RESYNC)
            self._arrived.set()

    def _put(self, message: Message) -> None:
        self._buffer.append(message)
        self._buffered += len(message.data)
        self._arrived.set()
        if self._buffered > self._limit:
            raise StoreUnavailable(f"the consumer is {self._buffered} bytes behind")

    def _send(self, command: str, channels: Iterable[str]) -> None:
        if self._wire is not None:
            self._wire.send(pack([(command, *channels)]))

    async def _drop_connection(self) -> None:
        """Close the connection; what was confirmed on it, and what still waits for the consumer, is void."""
        wire, self._wire = self._wire, None
        if self._confirmed or self._resyncing or self._buffer:
            self._resyncing = True
        self._connected = False
        self._confirmed.clear()
        self._buffer.clear()
        self._buffered = 0
        if wire is not None:
            await wire.close()

    def _name(self, channel: bytes) -> str:
        name = self._names.get(channel)
        if name is None:
            name = self._names[channel] = channel.decode()
        return name


def _future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()
