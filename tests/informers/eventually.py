"""Waiting for what will happen soon, without saying how soon."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

PATIENCE_SECONDS = 20.0
"""Far above what anything here takes, so that a loaded machine fails no test."""


async def until(condition: Callable[[], Any | Awaitable[Any]]) -> Any:
    """Wait until `condition` gives something true, and return that."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.01)
