"""Clients that keep a watch going as informers do, whatever happens to the server, and watchers of upstream itself."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from tests.chaos.wishes import Line, Wish, read
from tests.server.watch.validators import Seen, Told

AGAIN = frozenset({429, 502, 503, 504})
"""Answers after which a client waits a moment and asks the same again."""

PAUSE_SECONDS = 0.2
WATCH_SECONDS = (4, 40)
LONGEST_SECONDS = 90.0
"""A stream that is still open then was not ended at its deadline, or its end was not heard of."""


class Broken(Exception):
    """The server said something that no client can go on from."""


@dataclass
class Place:
    """A server: `url` is asked for at each request, since a balancer may stand before several."""

    url: Callable[[], str]
    tls: ssl.SSLContext

    def session(self, user: str) -> aiohttp.ClientSession:
        """Each request has a connection of its own, so that a balancer chooses again."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self.tls, limit=0, force_close=True),
            headers={"Authorization": f"Bearer {user}-token", "User-Agent": "chaos/1"},
            timeout=aiohttp.ClientTimeout(total=LONGEST_SECONDS),
            read_bufsize=1 << 20,
        )


@dataclass
class Run:
    """What was told since one list, or since the resourceVersion that was begun at. `listed` is that list."""

    seen: Seen
    listed: bool


@dataclass
class KeptWatch:
    """Lists, watches from there, resumes at its last resourceVersion when a stream ends, lists again after a 410.

    With `begin` it does not list first, but watches from that resourceVersion.
    """

    place: Place
    wish: Wish
    chance: random.Random
    begin: int = 0
    runs: list[Run] = field(default_factory=list)
    lines: dict[Told, Line] = field(default_factory=dict)
    relists: int = 0
    connections: int = 0
    rv: int = 0

    async def run(self) -> None:
        """Until it is cancelled.

        Raises:
            Broken: an answer that is wrong whatever happened.
        """
        async with self.place.session(self.wish.user) as session:
            if self.begin:
                self.rv = self.begin
                self._new_run({}, listed=False)
            else:
                await self._list(session)
            while True:
                try:
                    expired = await self._watch(session)
                except (aiohttp.ClientError, ConnectionError) as error:
                    expired = False
                    if isinstance(error, aiohttp.InvalidURL):
                        raise
                if expired:
                    self.relists += 1
                    await self._list(session)
                else:
                    await asyncio.sleep(PAUSE_SECONDS * self.chance.random())

    def _new_run(self, state: dict[Any, int], *, listed: bool) -> None:
        self.runs.append(Run(Seen(self.rv, self.wish.selects(), state), listed))

    async def _list(self, session: aiohttp.ClientSession) -> None:
        """List until an answer comes, whole or in pages."""
        limit = self.chance.choice((0, 3))
        while (found := await self._pages(session, limit)) is None:
            await asyncio.sleep(PAUSE_SECONDS)
        self.rv, state = found
        self._new_run(state, listed=True)

    async def _pages(self, session: aiohttp.ClientSession, limit: int) -> tuple[int, dict[Any, int]] | None:
        """The list's RV and its objects' RVs; None: not now."""
        state: dict[Any, int] = {}
        params = {**self.wish.params, **({"limit": str(limit)} if limit else {})}
        while True:
            try:
                async with session.get(self.place.url() + self.wish.path, params=params) as answer:
                    body = json.loads(await answer.read())
            except (aiohttp.ClientError, ConnectionError, TimeoutError):
                return None
            if answer.status in AGAIN or (answer.status == 410 and "continue" in params):
                return None
            if answer.status != 200:
                raise Broken(f"list {self.wish}: {answer.status} {body}")
            for item in body["items"]:
                metadata = item["metadata"]
                state[metadata["namespace"], metadata["name"]] = int(metadata["resourceVersion"])
            if not body["metadata"].get("continue"):
                return int(body["metadata"]["resourceVersion"]), state
            params["continue"] = body["metadata"]["continue"]

    async def _watch(self, session: aiohttp.ClientSession) -> bool:
        """One stream; True: it ended with 410."""
        params = {
            **self.wish.params,
            "watch": "1",
            "resourceVersion": str(self.rv),
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self.chance.randint(*WATCH_SECONDS)),
        }
        url = self.place.url() + self.wish.path
        async with session.get(url, params=params, headers={"Accept": self.wish.accept}) as answer:
            if answer.status in AGAIN:
                return False
            if answer.status == 410:
                return True
            if answer.status != 200:
                raise Broken(f"watch {self.wish}: {answer.status} {await answer.text()}")
            self.connections += 1
            async for line in answer.content:
                read_line = read(line)
                if read_line.error.get("code") == 410:
                    return True
                if read_line.error:
                    raise Broken(f"watch {self.wish} from {self.rv}: {line!r}")
                self._take(read_line)
        return False

    def _take(self, line: Line) -> None:
        self.runs[-1].seen.events.append(line.told)
        self.rv = line.told[2]
        if line.told[0] != "BOOKMARK":
            self.lines[line.told] = line


@dataclass
class Twin:
    """The same watch of upstream, by an administrator and without an end: what there was to tell."""

    place: Place
    wish: Wish
    begin: int
    seen: Seen = field(init=False)
    lines: dict[Told, Line] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seen = Seen(self.begin, replace(self.wish, user="admin").selects())

    async def run(self) -> None:
        """Until it is cancelled.

        Raises:
            Broken: it ended by itself, so that nothing can be compared with it.
        """
        params = {**self.wish.params, "watch": "1", "resourceVersion": str(self.begin), "timeoutSeconds": "7200"}
        never = aiohttp.ClientTimeout(total=None)
        async with (
            self.place.session("admin") as session,
            session.get(
                self.place.url() + self.wish.path, params=params, headers={"Accept": self.wish.accept}, timeout=never
            ) as answer,
        ):
            async for line in answer.content:
                found = read(line)
                if found.error:
                    raise Broken(f"upstream's watch {self.wish}: {line!r}")
                self.seen.events.append(found.told)
                self.lines[found.told] = found
        raise Broken(f"upstream's watch {self.wish} ended")
