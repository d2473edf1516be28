"""Whether what clients were told is what happened: the guarantees of a watch, and upstream's own bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.clients import KeptWatch, Place, Twin
from tests.chaos.wishes import PLAIN, Wish
from tests.server.watch import validators
from tests.server.watch.validators import Happening, Key, Seen


class StateBroken(Exception):
    """A list is the state at its resourceVersion."""


class SameBytesBroken(Exception):
    """An event is told in upstream's own bytes."""


@dataclass
class History:
    """What happened to a resource: the state at the start, and an unfiltered watch of upstream since."""

    start: dict[Key, dict[str, Any]]
    twin: Twin
    happened: list[Happening] = field(default_factory=list)
    _now: dict[Key, dict[str, Any]] = field(default_factory=dict)
    _read: int = 0

    @classmethod
    async def begin(cls, place: Place, resource: str) -> History:
        """List once; `twin` is to be run by the caller."""
        async with place.session("admin") as session, session.get(place.url() + resource.format("")) as answer:
            body = await answer.json()
        start = {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in body["items"]}
        wish = Wish(resource, "", "", "", PLAIN, "admin")
        return cls(start, Twin(place, wish, int(body["metadata"]["resourceVersion"])), _now=dict(start))

    def catch_up(self) -> int:
        """Take in what the watch has told by now; returns the newest resourceVersion."""
        events = self.twin.seen.events
        for told in events[self._read :]:
            kind, key, rv = told
            before = self._now.get(key)
            after = None if kind == "DELETED" else json.loads(self.twin.lines[told].comparable)["object"]
            self.happened.append(Happening(rv, key, before, after))
            if after is None:
                del self._now[key]
            else:
                self._now[key] = after
        self._read = len(events)
        return events[-1][2] if events else self.twin.begin

    def state(self, seen: Seen) -> dict[Key, int]:
        """The versions of the objects that a client selects, where it began."""
        state: dict[Key, object] = dict(self.start)
        for one in self.happened:
            if one.rv > seen.begin:
                break
            if one.after is None:
                del state[one.key]
            else:
                state[one.key] = one.after
        return {
            key: int(data["metadata"]["resourceVersion"])
            for key, data in state.items()
            if isinstance(data, dict) and seen.selects(key, data)
        }

    def last_to_tell(self, seen: Seen, goal: int) -> int:
        """The version of the newest event up to `goal` that a client must be told, 0 if there is none."""
        for one in reversed(self.happened):
            if one.rv > goal:
                continue
            if one.rv <= seen.begin:
                break
            was = one.before is not None and seen.selects(one.key, one.before)
            if was or (one.after is not None and seen.selects(one.key, one.after)):
                return one.rv
        return 0


class Judge:
    """Holds the clients' accounts against the histories."""

    def __init__(self, histories: Iterable[History], *, exact: bool) -> None:
        """`exact`: upstream's bytes are a real API server's; else equal values will do, in whatever order of keys."""
        self._exact = exact
        self.histories = {history.twin.wish.resource: history for history in histories}
        self.pairs: list[tuple[KeptWatch, Twin]] = []

    def newest(self) -> dict[str, int]:
        """The newest version in each history."""
        return {resource: history.catch_up() for resource, history in self.histories.items()}

    def behind(self, goals: dict[str, int]) -> list[KeptWatch]:
        """The clients that were not told yet what happened up to these versions of the resources."""
        if any(history.catch_up() < goals[resource] for resource, history in self.histories.items()):
            return [client for client, _ in self.pairs]
        return [client for client, _ in self.pairs if not self._told(client, goals[client.wish.resource])]

    def _told(self, client: KeptWatch, goal: int) -> bool:
        if not client.runs:
            return False
        return client.rv >= self.histories[client.wish.resource].last_to_tell(client.runs[-1].seen, goal)

    def check(self) -> None:
        """Every guarantee, for every client; the clients have caught up.

        Raises:
            Exception: one of the named errors of `validators`, or of this module.
        """
        finals = self.newest()
        for client, twin in self.pairs:
            history = self.histories[client.wish.resource]
            twin.seen.until = finals[client.wish.resource]
            validators.check_all(history.happened, twin.seen)  # else the model is wrong, not the server
            for run in client.runs:
                last = run is client.runs[-1]
                run.seen.until = finals[client.wish.resource] if last else _last(run.seen)
                validators.check_all(history.happened, run.seen)
                if run.listed and run.seen.state != history.state(run.seen):
                    raise StateBroken(
                        f"{client.wish} at {run.seen.begin}: {run.seen.state}, not {history.state(run.seen)}"
                    )
            self._check_bytes(client, twin)

    def _check_bytes(self, client: KeptWatch, twin: Twin) -> None:
        for told, line in client.lines.items():
            upstreams = twin.lines[told]
            # A union's Table that cannot be had at the moment comes in the next form that the client takes.
            if line.form != upstreams.form and client.wish.user != "admin":
                continue
            if line.comparable == upstreams.comparable:
                continue
            if self._exact or json.loads(line.comparable) != json.loads(upstreams.comparable):
                raise SameBytesBroken(f"{client.wish}:\n{line.comparable!r}, not\n{upstreams.comparable!r}")

    def told(self) -> int:
        """How many events the clients were told in all."""
        return sum(len(client.lines) for client, _ in self.pairs)


def _last(seen: Seen) -> int:
    return max([seen.begin, *(event[2] for event in seen.events)])
