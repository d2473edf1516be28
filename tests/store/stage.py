"""A resource with a writer, a reader, and a look at the raw keys: what the tests of the store stand on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

from kube.resources import GVR
from store import entry, feed, record
from store.connection import Store
from store.entry import Entry
from store.feed import FeedMessage
from store.keys import ResourceKeys, object_key
from store.leases import Lease
from store.reader import Reader
from store.record import Record
from store.subscriber import Message, Subscriber
from store.writer import Event, Writer
from tables.row import Row

PODS = GVR("", "v1", "pods")
NODES = GVR("", "v1", "nodes")


def make(name: str, rv: int, namespace: str = "a", payload: bytes = b"") -> Record:
    """A record; `payload` makes it differ or big (it is stored as it stands)."""
    row = Row((b'{"cells":["%b","' % name.encode(), b'"]'), (1.5,))
    return Record(namespace, name, rv, f"uid-{name}", {"app": name}, {}, row, (0, 0), len(payload), payload)


@dataclass
class Stage:
    """One resource in one store."""

    store: Store
    gvr: GVR
    lease: Lease
    writer: Writer
    reader: Reader
    keys: ResourceKeys

    @classmethod
    async def set(cls, store: Store, *, namespaced: bool = True, position: int = 100, **budgets: int) -> Self:
        """Loaded, empty, at `position`."""
        gvr = PODS if namespaced else NODES
        lease = Lease(store, gvr, "worker")
        fence = await lease.acquire()
        assert fence is not None
        writer = Writer(store, gvr, fence, **budgets)
        await writer.load_begin()
        await writer.load_commit(position)
        return cls(store, gvr, lease, writer, Reader(store), store.keys(gvr))

    @property
    def namespaced(self) -> bool:
        return self.gvr == PODS

    async def put(self, name: str, namespace: str = "a", payload: bytes = b"", shard: str = "-") -> Record:
        """Add or change an object at the next RV."""
        return await self._event("M", name, namespace, payload, shard)

    async def delete(self, name: str, namespace: str = "a") -> Record:
        """Delete an object at the next RV."""
        return await self._event("D", name, namespace, b"", "-")

    async def _event(
        self, kind: Literal["A", "M", "D"], name: str, namespace: str, payload: bytes, shard: str
    ) -> Record:
        rv = self.writer.position + 1
        made = make(name, rv, namespace if self.namespaced else "", payload)
        await self.writer.apply_many([Event(kind, rv, made, shard)])
        return made

    async def rival(self) -> Writer:
        """A second worker, which has taken the lease over (as after the first one's death)."""
        await self.store.redis.delete(self.keys.lease)
        fence = await Lease(self.store, self.gvr, "rival").acquire()
        assert fence is not None
        writer = Writer(self.store, self.gvr, fence)
        await writer.resume()
        return writer

    async def objects(self, shard: str) -> dict[str, Record]:
        """Object key → record, of one shard."""
        held = await self.store.ask("HGETALL", self.keys.objects(shard))
        return {name.decode(): record.decode(data) for name, data in held.items()}

    async def index(self, shard: str) -> list[str]:
        """The index of one shard."""
        return [name.decode() for name in await self.store.ask("ZRANGE", self.keys.index(shard), 0, -1)]

    async def dump(self) -> dict[str, Any]:
        """All that is stored of the resource, but the times: equal dumps are equal stores."""
        found: dict[str, Any] = {}
        for key in await self.store.ask("KEYS", self.keys.base.replace("[", "\\[") + "*"):
            name = key.decode().removeprefix(self.keys.base)
            kind = (await self.store.ask("TYPE", key)).decode()
            if kind == "hash":
                found[name] = await self.store.ask("HGETALL", key)
            elif kind == "zset":
                found[name] = await self.store.redis.zrange(key, 0, -1, withscores=True)
            elif kind == "stream":
                found[name] = await self.store.ask("XRANGE", key, "-", "+")
        found["meta"].pop(b"fresh_ms", None)
        return found

    async def log(self, after: int, shards: list[str] | None = None, limit: int = 256) -> list[Entry]:
        """All entries after an RV, page by page."""
        entries: list[Entry] = []
        while True:
            page = await self.reader.log(self.gvr, shards, after, limit=limit)
            entries += page.entries
            if not page.more:
                return entries
            after = page.entries[-1].rv


async def published(stage: Stage, *shards: str, act: Callable[[], Any]) -> tuple[list[FeedMessage], list[Entry]]:
    """What is published on the feed and on the channels of `shards` while `act` runs."""
    feeds: list[FeedMessage] = []
    entries: list[Entry] = []
    async with Subscriber(stage.store) as subscriber:
        channels = [stage.keys.feed, *(stage.keys.shard_channel(shard) for shard in shards)]
        await subscriber.subscribe(*channels)
        await act()
        await stage.store.redis.publish(stage.keys.feed, "end")
        async with asyncio.timeout(10):
            async for item in subscriber:
                assert isinstance(item, Message)
                shard = stage.keys.shard_of_channel(item.channel)
                if shard is not None:
                    entries.append(entry.parse_message(item.data, shard))
                elif item.data == b"end":
                    break
                else:
                    feeds.append(feed.parse(item.data))
    return feeds, entries


def key_of(made: Record) -> str:
    """A record's object key."""
    return object_key(made.namespace, made.name)
