"""Which namespaces of a resource a view has: by whole shards, but for those that moved while it looked.

Places change only by what the feed says, in the order of positions, so this knowledge is of the view's position.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from store.meta import Meta


def loop_time() -> float:
    """Seconds of the event loop's clock."""
    return asyncio.get_running_loop().time()


@dataclass(slots=True)
class HeldShard:
    """A shard that the view follows.

    `whole`: all its namespaces are in the view, but for `missing` (they moved here from a shard that
    was not held); else only `namespaces` (they moved here from one that was).
    `since`: the history of the shard is complete after this RV. `used`: loop time of the last read of it alone.
    """

    whole: bool
    since: int
    namespaces: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    used: float = 0.0

    def has(self, namespace: str) -> bool:
        """Whether the namespace's objects in this shard are in the view."""
        return namespace not in self.missing if self.whole else namespace in self.namespaces


class Holdings:
    """The part of a view that knows where its objects are.

    `places`: namespace → (since, shard), of all namespaces that have ever had objects, held or not.
    `known_shards`: every shard that was heard of. `shards`: those that are held.
    """

    position: int

    def __init__(self, meta: Meta) -> None:
        self.meta = meta
        self.places: dict[str, tuple[int, str]] = {}
        self.known_shards: set[str] = {"-"}
        self.shards: dict[str, HeldShard] = {}
        self.holds_all = False
        """Whether all shards are held, so that a shard never heard of is a new one."""
        self.began = self.forgot = meta.position
        """The newest RV at which a place may have been forgotten: one that comes up anew may have a past until then."""
        self._all_used = 0.0
        """Loop time of the last read of everything. Not noted in each shard: they are as many as there are tenants."""
        self._expected: Counter[str] = Counter()

    def holds(self, namespaces: Collection[str] | None = None) -> bool:
        """Whether the view has all objects of these namespaces (None: all objects)."""
        if namespaces is None or not self.meta.namespaced:
            return self.holds_all
        return all(self._missing_shard(namespace) is None for namespace in namespaces)

    def last_used(self, shard: HeldShard) -> float:
        """Loop time of the last read of the shard, or of everything."""
        return max(shard.used, self._all_used)

    def held(self, namespace: str) -> bool:
        """Whether the view has all objects of the namespace; "": of all namespaces."""
        return self.holds((namespace,) if namespace else None)

    def past_of_unknown(self) -> int:
        """From which RV on it is sure that nothing happened in a namespace that has no place."""
        told = self.forgot if self.forgot > self.began else 0
        return max(self.meta.since, self.meta.forgot, told)

    def expect(self, namespaces: Collection[str]) -> Callable[[], None]:
        """Have the first objects of namespaces followed wherever they land; returns what ends it.

        Who watches a namespace that has no objects yet holds no shard for it.
        """
        self._expected.update(namespaces)

        def cancel() -> None:
            self._expected.subtract(namespaces)
            for namespace in namespaces:
                if self._expected[namespace] <= 0:
                    del self._expected[namespace]

        return cancel

    # --- what the feed says ------------------------------------------------------------------------

    def heard_of(self, shard: str) -> bool:
        """There is such a shard. Returns whether it must be followed from here on, and was not so far.

        Where all others are held it is a new one, and was empty until now.
        """
        new = self.holds_all and shard not in self.known_shards
        if new:
            self.shards[shard] = HeldShard(whole=True, since=self.position, used=loop_time())
        self.known_shards.add(shard)
        return new

    def moved(self, place: str, source: str, target: str) -> bool:
        """A place's objects are in another shard now (storage only: no reader sees a difference).

        Returns whether the new shard must be followed from here on, which it was not.
        """
        if not self.meta.namespaced:
            return self.heard_of(target) if target and target not in self.shards else False
        if not target:
            self.places.pop(place, None)
            self.forgot = self.position
            return False
        if not source:
            self.places[place] = (self.forgot, target)
            return self.heard_of(target) or self._follow_expected(place, target)
        known, self.known_shards = self.known_shards, self.known_shards | {target}
        self.places[place] = (self.position, target)
        before, held = self.shards.get(source), self.shards.get(target)
        if before is None or not before.has(place):
            if held is not None and held.whole:
                held.missing.add(place)
            return False
        before.namespaces.discard(place)
        if held is not None:
            held.missing.discard(place)
            if not held.whole:
                held.namespaces.add(place)
            return False
        whole = self.holds_all and target not in known
        self.shards[target] = HeldShard(whole, self.position, {place}, used=loop_time())
        return True

    def set_places(self, places: dict[str, tuple[int, str]]) -> None:
        """Where the namespaces are (nothing of the kind matters for cluster-scoped objects)."""
        self.places = dict(places) if self.meta.namespaced else {}

    # --- inside -------------------------------------------------------------------------------------

    def _follow_expected(self, place: str, target: str) -> bool:
        """Follow a new place that someone waits for. It was empty until now, so nothing is to be read."""
        if place not in self._expected:
            return False
        held = self.shards.get(target)
        if held is None:
            self.shards[target] = HeldShard(whole=False, since=self.position, namespaces={place}, used=loop_time())
            return True
        if not held.has(place):
            held.missing.discard(place)
            held.namespaces.add(place)
        return False

    def _shard_of(self, namespace: str) -> str | None:
        place = self.places.get(namespace)
        return place[1] if place is not None else None

    def _missing_shard(self, namespace: str) -> str | None:
        """The shard that must be hydrated before the namespace can be read."""
        shard = self._shard_of(namespace)
        if shard is None:
            return None  # No object of this resource was ever in it.
        held = self.shards.get(shard)
        return None if held is not None and held.has(namespace) else shard

    def _missing_shards(self) -> set[str]:
        return {
            shard
            for shard in self.known_shards
            if (held := self.shards.get(shard)) is None or not held.whole or held.missing
        }

    def _use(self, namespaces: Collection[str]) -> set[str]:
        """Note a read of these namespaces. Returns the shards that must be hydrated first."""
        now, missing = loop_time(), set()
        for namespace in namespaces:
            shard = self._shard_of(namespace)
            if shard is None:
                continue  # No object of this resource was ever in it.
            held = self.shards.get(shard)
            if held is not None and held.has(namespace):
                held.used = now
            else:
                missing.add(shard)
        return missing
