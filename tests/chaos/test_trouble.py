"""Whatever part dies, clients are told upstream's own history: in order, each event once, none missing, no other."""

from __future__ import annotations

import random
import ssl
from pathlib import Path

import pytest

from tests.chaos.clients import Place
from tests.chaos.session import LEAST_WRITES, Session, session
from tests.chaos.troubled import Troubled, troubled
from tests.chaos.writing import prepare
from tests.real.apiserver import TOKENS, RealApiServer
from tests.real.every import every_server

CLIENTS = 24


def _sandbox(parts: Troubled) -> Place:
    stack = parts.system.stack
    tls = ssl.create_default_context(cafile=str(stack.directory / "sandbox" / "ca.crt"))
    return Place(lambda: stack.upstream_url, tls)


async def _each_trouble_once(parts: Troubled, run: Session, seconds: float) -> None:
    """All kinds of trouble in turn, with a few new clients now and then."""
    assert await run.through(lambda: None, seconds) == 0, "all that was asked for is in the history"
    assert await run.through(parts.kill_replica, seconds) == 0, "a client of a replica that died resumes at another"
    run.join(4)
    assert await run.through(parts.kill_informer, seconds) == 0, "nobody notices that an informer died"
    assert await run.through(parts.cut_upstream, seconds) == 0, "nobody notices that an informer's watch broke"
    parts.save_redis()
    await run.through(parts.restart_redis, seconds)
    run.join(4)
    await run.through(parts.crash_redis, seconds)
    await run.through(parts.empty_redis, seconds)
    run.join(4)


@pytest.mark.asyncio
@pytest.mark.timeout(300)
async def test_a_replica_and_an_informer_die(tmp_path: Path) -> None:
    """Beside a sandbox: a replica is killed, an informer is killed and its lease taken over; nobody lists again."""
    with troubled(tmp_path) as parts:
        upstream = _sandbox(parts)
        await prepare(upstream)
        parts.start_informers()
        async with session(upstream, parts.place(), seed=1, exact=False) as run:
            run.join(CLIENTS)
            assert await run.through(lambda: None, 1.0) == 0
            assert await run.through(parts.kill_replica, 2.0) == 0
            assert await run.through(parts.kill_informer, 1.0) == 0
            await run.end()
            assert run.judge.told() > LEAST_WRITES
            assert max(client.connections for client, _ in run.judge.pairs) > 1


@pytest.mark.chaos
@pytest.mark.asyncio
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(3))
async def test_every_trouble(tmp_path: Path, seed: int) -> None:
    """Beside a sandbox: each kind of trouble once, then several at random, while writers write and clients come."""
    chance = random.Random(seed)
    with troubled(tmp_path) as parts:
        upstream = _sandbox(parts)
        await prepare(upstream)
        parts.start_informers()
        async with session(upstream, parts.place(), seed=seed, exact=False) as run:
            run.join(2 * CLIENTS)
            await _each_trouble_once(parts, run, 3.0)
            troubles = (
                parts.kill_replica, parts.kill_informer, parts.cut_upstream,
                parts.restart_redis, parts.crash_redis, parts.empty_redis,
            )  # fmt: skip
            for _ in range(8):
                parts.system.wait_until_all_ready()
                await run.through(chance.choice(troubles), chance.choice((0.2, 1.0, 3.0)))
            await run.end()


@pytest.mark.real
@pytest.mark.parametrize("assets", every_server())
@pytest.mark.asyncio
@pytest.mark.timeout(600)
async def test_every_trouble_beside_a_real_server(assets: Path, tmp_path: Path) -> None:
    """Beside a real API server: its own watchers' sequences, bytes and all, through each kind of trouble."""
    (tmp_path / "apiserver").mkdir()
    tokens = {**TOKENS, "mallory-token": ("mallory", [])}
    with RealApiServer(assets, tmp_path / "apiserver", tokens=tokens) as real:
        upstream = Place(lambda: real.url, real.ssl_context())
        await prepare(upstream)
        with troubled(tmp_path / "parts", kubeconfig=str(real.kubeconfig("larder-token", "larder"))) as parts:
            parts.start_informers()
            async with session(upstream, parts.place(), seed=7, exact=True) as run:
                run.join(2 * CLIENTS)
                await _each_trouble_once(parts, run, 3.0)
                await run.end()
                assert run.judge.told() > 2 * LEAST_WRITES
