"""Users read their own writes, on every replica: the answer to a write waits until the store has its effect.

A create, update or patch has an RV: the store has it when its position is there. A delete that took the object away
tells no RV: the store has it when no object of that uid is left. What changes nothing in the store (dry runs, refusals,
resources that are not covered) does not wait, and no wait is longer than the settings say.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from kube.paths import RequestInfo
from kube.resources import GVR
from server.written_object import WrittenObject

if TYPE_CHECKING:
    from store.record import Record

_FIRST_PAUSE_SECONDS = 0.004
_LONGEST_PAUSE_SECONDS = 0.1
"""Pauses between two looks, doubling: the informer needs some 10 ms, and nobody sees 0.1 s more after that."""

_WRITES = frozenset(("create", "update", "patch", "delete"))


class StorePositions(Protocol):
    """What is asked of the store: `store.reader.Reader`."""

    async def position(self, gvr: GVR) -> int:
        """The RV up to which the store is complete."""

    async def get(self, gvr: GVR, namespace: str, name: str) -> tuple[Record | None, int]:
        """One object, and the position as of the same instant."""


def waits(info: RequestInfo) -> bool:
    """Whether the request may change an object in a way that its answer tells of.

    A dry run changes nothing. A delete of a collection tells of many; its effects come within milliseconds.
    """
    return info.is_resource and info.verb in _WRITES and not info.query.get("dryRun")


async def wait(store: StorePositions, gvr: GVR, info: RequestInfo, written: WrittenObject, seconds: float) -> bool:
    """Wait until the store has the effect of a write; False if it has not in time.

    Args:
        store: where to look.
        gvr: the covered resource.
        info: the write.
        written: what it was answered with.
        seconds: how long at most.

    Raises:
        StoreError: the store cannot be read.
    """
    gone = info.verb == "delete" and not info.subresource and not written.stays
    if gone and not (written.uid and info.name):
        return True
    if not gone and not written.rv:
        return True
    # The name in the path of a namespace is also taken for its namespace; in the store it has none.
    namespace = "" if info.gvr is not None and info.gvr.resource == "namespaces" else info.namespace
    pause = _FIRST_PAUSE_SECONDS
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        if gone:
            record, _ = await store.get(gvr, namespace, info.name)
            if record is None or record.uid != written.uid:
                return True
        elif await store.position(gvr) >= written.rv:
            return True
        left = deadline - loop.time()
        if left <= 0:
            return False
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
