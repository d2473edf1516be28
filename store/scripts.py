"""The Lua scripts of `store/scripts`: each one an atomic act, called by its file's name.

What a script takes and returns stands in its header. `prelude.lua` is put in front of each of them, after the line
with the script's flags: scripts without `allow-oom` are refused as a whole when Redis is out of memory, so none of
them is ever half done.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from redis import exceptions

from store.redis_errors import translate, translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from store.connection import Store
    from store.errors import StoreError

Argument = str | bytes | int | float


class Script(NamedTuple):
    """One script as Redis gets it."""

    name: str
    source: bytes
    sha: str


class Call(NamedTuple):
    """One call of a script: `keys` begins with the resource's meta."""

    name: str
    keys: tuple[str, ...]
    arguments: Sequence[Argument]


@cache
def all_scripts() -> dict[str, Script]:
    """Every script by its name."""
    files = [file for file in (resources.files("store") / "scripts").iterdir() if file.name.endswith(".lua")]
    texts = {file.name.removesuffix(".lua"): file.read_text() for file in files}
    prelude = texts.pop("prelude")
    return {name: _composed(name, prelude, text) for name, text in sorted(texts.items())}


def _composed(name: str, prelude: str, text: str) -> Script:
    flags, _, body = text.partition("\n")
    source = f"{flags}\n{prelude}\n{body}".encode()
    return Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest())


class Scripts:
    """Runs scripts; a Redis that does not know them (restarted, failed over, flushed) is taught them on the way."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, name: str, keys: Iterable[str], *arguments: Argument) -> Any:
        """Run a script that only reads; a broken connection is tried once more.

        Raises:
            StoreError: as `store.redis_errors.translate` names it.
        """
        command = _command(Call(name, tuple(keys), arguments))
        with translated():
            try:
                return await self._store.redis.execute_command(*command)  # type: ignore[no-untyped-call]
            except exceptions.NoScriptError:
                await self._load()
                return await self._store.redis.execute_command(*command)  # type: ignore[no-untyped-call]

    async def write(self, name: str, keys: Iterable[str], *arguments: Argument) -> Any:
        """Run a script that writes. After StoreUnavailable nobody knows whether it ran.

        Raises:
            StoreError: as `store.redis_errors.translate` names it.
        """
        (reply,) = await self.write_many((Call(name, tuple(keys), arguments),))
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def write_many(self, calls: Sequence[Call]) -> list[Any | StoreError]:
        """Run scripts in this order in one round trip; a reply or an error for each.

        They are separate acts: one that fails does not keep the next from running.

        Raises:
            StoreUnavailable: the connection broke; any number of the first ones may have run.
        """
        replies = await self._store.pen.ask_all([_command(call) for call in calls])
        unknown = [index for index, reply in enumerate(replies) if isinstance(reply, exceptions.NoScriptError)]
        if unknown:
            # Only a Redis that lost its scripts before the first of these gets here, so order is kept.
            with translated():
                await self._load()
            again = await self._store.pen.ask_all([_command(calls[index]) for index in unknown])
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        return [translate(reply) if isinstance(reply, Exception) else reply for reply in replies]

    async def _load(self) -> None:
        pipeline = self._store.redis.pipeline(transaction=False)
        for script in all_scripts().values():
            pipeline.script_load(script.source)
        await pipeline.execute()


def _command(call: Call) -> tuple[Argument, ...]:
    return ("EVALSHA", all_scripts()[call.name].sha, len(call.keys), *call.keys, *call.arguments)
