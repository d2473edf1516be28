"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN_SECONDS = 0.2
"""A library may swallow a cancellation (redis-py does while it connects), so one that did not end is asked again."""


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel these tasks and wait until all have ended, however often they must be asked. Their results stay theirs."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_SECONDS)
