"""The tests of watches run on the event loop that a replica runs on: its transports differ from asyncio's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """One loop for all of them."""
    return {"uvloop": uvloop.new_event_loop}
