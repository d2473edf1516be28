"""A flag that is waited for."""

from __future__ import annotations

import asyncio

import pytest

from server.gate import Gate


@pytest.mark.asyncio
async def test_all_who_wait_go_on_when_it_opens() -> None:
    """Opening it wakes everyone; who comes to an open gate does not wait at all."""
    gate = Gate()
    waiting = [asyncio.create_task(_pass(gate)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not gate.is_set()
    gate.set()
    await asyncio.gather(*waiting)
    assert gate.wait().done()
    gate.clear()
    assert not gate.wait().done()


@pytest.mark.asyncio
async def test_who_gives_up_is_forgotten() -> None:
    """Waits that were given up neither pile up nor are in the way of the others."""
    gate = Gate()
    for _ in range(100):
        given_up = asyncio.create_task(_pass(gate))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
    last = gate.wait()
    assert len(gate._waiting) == 1
    gate.set()
    await last


async def _pass(gate: Gate) -> None:
    await gate.wait()
