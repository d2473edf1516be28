"""Leases: one worker at a time writes a resource; and the list of the workers that are alive.

A lease does not keep its holder from believing, for some time, that it still holds it (a stalled process, a failed
over Redis). The fence does: every acquisition has a greater one, and scripts refuse all but the last.
Times are measured by Redis alone.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from store.errors import Fenced
from store.keys import GLOBAL, ResourceKeys

if TYPE_CHECKING:
    from kube.resources import GVR
    from store.connection import Store

LEASE_SECONDS = 10.0
"""A worker that dies is replaced after so long at most; it renews three times in that time."""


class Lease:
    """The lease of one resource, or, with None, of what belongs to no resource (the catalogue and the documents)."""

    def __init__(self, store: Store, gvr: GVR | None, worker: str, *, seconds: float = LEASE_SECONDS) -> None:
        """`worker` is a name for people; what owns the lease is this very object."""
        self.owner = f"{worker} {secrets.token_hex(4)}"
        self.fence: int | None = None
        self.holder: str | None = None
        self._store = store
        self._keys = ResourceKeys(store.prefix, GLOBAL) if gvr is None else store.keys(gvr)
        self._milliseconds = max(1, round(seconds * 1000))

    async def acquire(self) -> int | None:
        """The fence to write with, or None while another one holds the lease (`holder` says who).

        Raises:
            StoreUnavailable: it may have been acquired; try again.
        """
        reply = await self._store.scripts.write("acquire", self._key_names(), self.owner, self._milliseconds)
        if reply[0] == b"OK":
            self.fence, self.holder = int(reply[1]), self.owner
        else:
            self.fence, self.holder = None, reply[1].decode()
        return self.fence

    async def renew(self) -> None:
        """Keep it for its full time from now on.

        Raises:
            Fenced: another one holds it, or has held it: stop writing.
            StoreUnavailable: it ends by itself unless a renewal succeeds.
        """
        if self.fence is None:
            raise Fenced("the lease was not acquired")
        reply = await self._store.scripts.write("renew", self._key_names(), self.owner, self._milliseconds, self.fence)
        if reply[0] != b"OK":
            self.fence = None
            raise Fenced("the lease was lost: another worker has it, or the store was emptied")

    async def release(self) -> None:
        """Give it back if it is ours.

        Raises:
            StoreUnavailable: it ends by itself.
        """
        self.fence = None
        await self._store.scripts.write("release", self._key_names(), self.owner)

    def _key_names(self) -> tuple[str, str]:
        return self._keys.meta, self._keys.lease


async def check_in(store: Store, worker: str, *, seconds: float = LEASE_SECONDS) -> list[str]:
    """Say that `worker` is alive; the names of all that said so within `seconds`, in order. "" asks only.

    Raises:
        StoreUnavailable
    """
    keys = store.global_keys
    alive = await store.scripts.write("check_in", (keys.meta,), worker, round(seconds * 1000))
    return sorted(name.decode() for name in alive)


async def check_out(store: Store, worker: str) -> None:
    """Take a worker off the list, so that the others need not wait.

    Raises:
        StoreUnavailable
    """
    await store.scripts.write("check_out", (store.global_keys.meta,), worker)
