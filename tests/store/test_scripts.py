"""The scripts as texts, the keys they touch, and the messages they send."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import store as package
from kube.resources import GVR
from store import catalogue, documents, entry, feed, keys
from store.catalogue_writer import CatalogueWriter
from store.connection import Store
from store.documents import StoredDocument
from store.embedded import EmbeddedRedis
from store.errors import StoreError
from store.keys import GlobalKeys, ResourceKeys
from store.leases import Lease, check_in, check_out
from store.meta import Description
from store.replies import checked
from store.scripts import Argument, Call, all_scripts
from store.writer import Refresh
from tests.store.stage import Stage

FOLDER = Path(str(resources.files("store") / "scripts"))
FILES = sorted(file for file in FOLDER.glob("*.lua") if file.stem != "prelude")
NAMES = [file.stem for file in FILES]
COMMANDS = """
    DEL GET HDEL HEXISTS HGET HINCRBY HKEYS HMGET HSET HVALS PEXPIRE PTTL PUBLISH SET TIME UNLINK XADD XRANGE XTRIM
    ZADD ZINCRBY ZLEXCOUNT ZRANGE ZRANGEBYLEX ZREM ZREMRANGEBYSCORE ZREVRANGE
"""


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_a_script_says_what_it_takes_and_returns(file: Path) -> None:
    """The header has the flags, one sentence, every key and argument that the body uses, and what is returned."""
    lines = file.read_text().splitlines()
    assert re.fullmatch(r"#!lua( flags=(allow-oom|no-writes))?", lines[0])
    header = "\n".join(line for line in lines if line.startswith("-- "))
    body = "\n".join(line.split("--")[0] for line in lines)
    assert re.search(r"^-- returns ", header, re.MULTILINE)
    documented = {
        (kind, int(number)) for kind, number in re.findall(r"^-- (KEYS|ARGV)\[(\d+)…?\]", header, re.MULTILINE)
    }
    assert ("KEYS", 1) in documented
    assert {(kind, int(number)) for kind, number in re.findall(r"(KEYS|ARGV)\[(\d+)\]", body)} <= documented


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_scripts_use_commands_of_redis_7_0_only(file: Path) -> None:
    """Only commands of the agreed floor are called, with a literal name."""
    allowed = set(re.findall(r"\w+", COMMANDS))
    text = file.read_text() + (FOLDER / "prelude.lua").read_text()
    assert set(re.findall(r"redis\.call\('(\w+)'", text)) <= allowed
    assert len(re.findall(r"redis\.p?call\(", text)) == len(re.findall(r"redis\.call\('\w+'", text))


def test_every_script_is_called_and_every_call_has_a_script() -> None:
    """No script is left over, none is missing."""
    code = "\n".join(file.read_text() for file in Path(package.__path__[0]).glob("*.py"))
    called = set(re.findall(r'(?:_write|write|read|Call)\(\s*"(\w+)"', code))
    assert called == set(NAMES) == set(all_scripts())


@pytest.mark.asyncio
async def test_all_scripts_stay_in_one_slot(tmp_path: Path) -> None:
    """On a server in cluster mode, which refuses scripts that leave their slot, everything works as it stands."""
    with EmbeddedRedis({"cluster-enabled": "yes"}) as server:
        async with Store(server.url) as store:
            await store.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            deadline = time.monotonic() + 10
            while b"cluster_state:ok" not in await store.ask("CLUSTER", "INFO"):
                assert time.monotonic() < deadline
            ran: set[str] = set()
            read, many = store.scripts.read, store.scripts.write_many

            async def recorded(name: str, keys: Iterable[str], *arguments: Argument) -> Any:
                ran.add(name)
                return await read(name, keys, *arguments)

            async def recorded_many(calls: Sequence[Call]) -> list[Any]:
                ran.update(call.name for call in calls)
                return await many(calls)

            store.scripts.read = recorded  # type: ignore[method-assign]
            store.scripts.write_many = recorded_many  # type: ignore[method-assign]
            for namespaced in (True, False):
                await _use_everything(
                    await Stage.set(store, namespaced=namespaced, log_budget_bytes=0, log_minimum_bytes=0)
                )
            assert ran == set(NAMES)
            with pytest.raises(StoreError, match="slot"):
                await store.ask("EVAL", "#!lua\nreturn redis.call('GET', 'elsewhere')", 1, store.global_keys.meta)


async def _use_everything(stage: Stage) -> None:
    """Run every script in its most far-reaching way."""
    writer, reader = stage.writer, stage.reader
    await writer.describe(Description(kind="X", list_kind="XList", namespaced=stage.namespaced))
    await stage.put("web", shard="oil")
    old = await stage.put("web", shard="gas")
    await writer.refresh_many([Refresh(old, replace(old, packed=b"x"))])
    await writer.move("a" if stage.namespaced else "web", "oil", namespaced=stage.namespaced)
    await stage.delete("web")
    await writer.forget("a")
    await writer.advance(writer.position + 1)
    await writer.heartbeat()
    await writer.trim(0)
    await writer.mark_stale()
    await reader.get(stage.gvr, "a", "web")
    await reader.log(stage.gvr, None, 0)
    await writer.load_begin()
    await writer.load([(old, "oil")])
    await writer.load_commit(1)
    await stage.lease.renew()
    await stage.lease.release()
    fence = await Lease(stage.store, None, "worker").acquire()
    if fence is not None:
        catalogue_writer = CatalogueWriter(stage.store, fence)
        await catalogue_writer.put_resources({})
        await catalogue_writer.put_documents({("/version", ""): StoredDocument(200, {}, b"")})
        await catalogue_writer.drop_documents(set())
    await check_in(stage.store, "worker")
    await check_out(stage.store, "worker")


def test_every_key_is_in_the_table() -> None:
    """The table at the top of `store/keys.py` has every key and channel that is built there."""
    table = keys.__doc__ or ""
    resource, common = ResourceKeys("P", "R"), GlobalKeys("P")
    names = [resource.objects("S"), resource.index("S"), resource.log("S"), resource.shard_channel("S")]
    names += [getattr(resource, name) for name in ResourceKeys.__slots__ if name != "base"]
    names += [getattr(common, name) for name in GlobalKeys.__slots__]
    for name in names:
        assert f"`{name}`" in table
        assert re.match(r"P:\{(R|larder)\}:", name)


def test_channels_are_told_apart() -> None:
    """A shard is found in its channel's name, however it is called; other channels have none."""
    pods = ResourceKeys("larder", GVR("", "v1", "pods"))
    for shard in ("-", "oil", "shard", "a.b-c_d"):
        assert pods.shard_of_channel(pods.shard_channel(shard)) == shard
    assert pods.shard_of_channel(pods.feed) is None
    assert pods.shard_of_channel(ResourceKeys("larder", GVR("", "v1", "nodes")).shard_channel("oil")) is None


@pytest.mark.parametrize("data", [b"", b"e", b"z 1 1 1", b"e x 1 1 s", b"p 1 1 1 place", b"h 1 1 1"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    """Messages that no script sends are errors, not guesses."""
    with pytest.raises(ValueError):
        feed.parse(data)
    with pytest.raises(ValueError):
        entry.parse_message(data, "-")


def test_documents_and_catalogue_entries_that_are_none_are_refused() -> None:
    """Bytes of another version are an error that can be caught, not a half-read value."""
    import msgspec

    for decode in (catalogue.decode, documents.decode):
        with pytest.raises(msgspec.DecodeError):
            decode(b"\x00nonsense")
    assert documents.split_field(documents.field("/apis", "v2")) == ("/apis", "v2")
    assert documents.split_field(documents.field("/apis")) == ("/apis", "")


def test_an_answer_that_no_script_gives_is_an_error() -> None:
    """An unknown outcome is told as it is."""
    with pytest.raises(StoreError, match="WHAT"):
        checked([b"WHAT"])
    with pytest.raises(StoreError, match="broken"):
        checked(StoreError("broken"))
