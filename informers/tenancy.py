"""Which shard a namespace's objects belong in: the tenant label, kept in memory for whoever writes.

A shard is a partition and never a permission, so being late here costs a move and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from store.keys import NO_TENANT


class Tenancy:
    """Namespace → shard, as of the newest namespace objects that were told.

    >>> tenancy = Tenancy(["team"])
    >>> tenancy.tell("shop-dev", {"team": "shop"}), tenancy.shard("shop-dev"), tenancy.shard("unknown")
    (True, 'shop', '-')
    """

    def __init__(self, label_keys: Sequence[str]) -> None:
        self._keys = tuple(label_keys)
        self._shards: dict[str, str] = {}

    def of_labels(self, labels: Mapping[str, str]) -> str:
        """The shard that these labels name: the first key with a value, else that of no tenant."""
        for key in self._keys:
            if value := labels.get(key):
                return value
        return NO_TENANT

    def tell(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Take in a namespace's labels; returns whether its shard is another one now."""
        shard = self.of_labels(labels)
        changed = self._shards.get(namespace, NO_TENANT) != shard
        self._shards[namespace] = shard
        return changed

    def forget(self, namespace: str) -> None:
        """The namespace is gone. What is left of it stays where it is until its own deletion comes."""
        self._shards.pop(namespace, None)

    def shard(self, namespace: str) -> str:
        """Where new objects of the namespace belong."""
        return self._shards.get(namespace, NO_TENANT)

    def namespaces(self) -> Iterable[tuple[str, str]]:
        """Every known namespace with its shard."""
        return self._shards.items()
