"""Secrets that all replicas of one store share: the first that asks makes one, all others find it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from store.connection import Store

KEY_BYTES = 32


async def shared_key(store: Store, name: str) -> bytes:
    """The secret of that name.

    Raises:
        StoreError: the store cannot be asked.
    """
    keys = store.global_keys
    # Repeating it changes nothing, so it may go the way of reads: the first one stays.
    await store.ask("HSETNX", keys.secrets, name, secrets.token_bytes(KEY_BYTES))
    found: bytes = await store.ask("HGET", keys.secrets, name)
    return found
