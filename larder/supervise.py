"""Child processes that are kept running until told otherwise: what `larder up` is made of.

A part that ends by itself is started again, sooner at first and later when it keeps ending. A part dies with us:
the kernel tells it when we are gone, so that nothing is left behind even by `kill -9`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

STOP_SECONDS = 15.0
"""Replicas drain for up to ten."""

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
STEADY_SECONDS = 30.0
"""A part that ran this long starts over with the first pause."""

_PR_SET_PDEATHSIG = 1


@dataclass
class Part:
    """One kept process: `name` for messages, `command`, and the file its output goes to."""

    name: str
    command: Sequence[str]
    log: Path
    restarts: int = 0
    process: asyncio.subprocess.Process | None = None
    stopping: bool = False
    _pause: float = field(default=FIRST_PAUSE_SECONDS, repr=False)

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        running = self.process is not None and self.process.returncode is None
        return self.process.pid if running and self.process is not None else None

    async def keep(self, said: Callable[[str], None]) -> None:
        """Run it, and again whenever it ends, until `stop`. `said` is told of every end."""
        while not self.stopping:
            started = time.monotonic()
            with self.log.open("ab") as log:
                # A session of its own: Ctrl-C reaches the parent alone, which ends the parts in order.
                self.process = await asyncio.create_subprocess_exec(
                    *self.command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True, preexec_fn=_die_with_parent,
                )  # fmt: skip
            code = await self.process.wait()
            if self._told_to_stop():
                return
            self._pause = FIRST_PAUSE_SECONDS if time.monotonic() - started > STEADY_SECONDS else self._pause
            said(f"{self.name} ended ({_how(code)}), again in {self._pause:.1f} s; its log is {self.log}")
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
            self.restarts += 1

    def _told_to_stop(self) -> bool:
        return self.stopping

    async def stop(self) -> None:
        """End it: politely, then not."""
        self.stopping = True
        if self.process is None or self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()

    def last_words(self, lines: int = 5) -> str:
        """The end of its log, for an error message."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _die_with_parent() -> None:
    """Runs in the child: have the kernel send it SIGTERM when the parent is gone (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
