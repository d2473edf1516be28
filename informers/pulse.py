"""Whether upstream is there, which version it is, and how far its history goes: asked once for all resources.

Staleness is told from evidence: a watch that is open but silent proves nothing, an answer to anything does.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

from kube.client import UpstreamClient
from kube.list_watch import list_pages
from kube.resources import NAMESPACES
from kube.status import StatusError
from kube.upstream_error import UpstreamError

log = logging.getLogger("larder.informer")

QUIET_SECONDS = 2.0
"""After so long without a word from upstream it is asked for its version: the cheapest of answers."""
VERSION_SECONDS = 30.0
"""Its version is asked for so often in any case: upgrades change what is printed."""
ANSWER_SECONDS = 5.0
NEWEST_SECONDS = 1.0
"""For so long the newest resourceVersion is taken as it is: many resources ask for it at once."""
SPREAD_SECONDS = 1.0
"""Over so long all who waited for upstream's return ask it again."""


class Pulse:
    """Listens to one upstream.

    `version_changed` is called with another gitVersion than `version`, `returned` when upstream is there again.
    """

    def __init__(
        self,
        client: UpstreamClient,
        version: str,
        version_changed: Callable[[str], None],
        returned: Callable[[], None] = lambda: None,
    ) -> None:
        self.version = version
        self._returned = returned
        self._client = client
        self._version_changed = version_changed
        self._asked_at = time.monotonic()
        self._newest = (float("-inf"), 0)
        self._asking = asyncio.Lock()
        self._silent = False
        self._returned_at = float("-inf")
        self._return = asyncio.Event()
        """The next one."""

    @property
    def silent_seconds(self) -> float:
        """Since upstream last said anything."""
        return max(0.0, time.monotonic() - self._client.answered_at)

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            now = time.monotonic()
            pause = min(QUIET_SECONDS - (now - self._client.answered_at), VERSION_SECONDS - (now - self._asked_at))
            await asyncio.sleep(max(pause, QUIET_SECONDS / 4))
            if self.silent_seconds >= QUIET_SECONDS or time.monotonic() - self._asked_at >= VERSION_SECONDS:
                await self._ask()

    async def rest(self, seconds: float, since: float) -> bool:
        """Wait so long after something failed that was begun at `since`; true: upstream has returned, after a silence.

        Then the wait ends early: who found nobody for minutes need not wait out the long pause that came of it.
        """
        returned = self._return
        try:
            async with asyncio.timeout(seconds):
                if self._returned_at <= since:
                    await returned.wait()
                await asyncio.sleep(random.uniform(0, SPREAD_SECONDS))  # noqa: S311
        except TimeoutError:
            return False
        return True

    async def newest(self, least: int) -> int:
        """The newest resourceVersion of upstream's main storage, at most a second old.

        Less than `least` only if it was so after the call: what is written meanwhile is newer than what others were
        told a moment ago.

        Raises:
            StatusError, UpstreamError
        """
        called_at = time.monotonic()
        async with self._asking:
            asked_at, newest = self._newest
            now = time.monotonic()
            if now - asked_at > NEWEST_SECONDS or (newest < least and asked_at < called_at):
                pages = list_pages(self._client, NAMESPACES, limit=1, cause="newest")
                try:
                    newest = (await anext(pages)).rv
                finally:
                    await pages.aclose()
                self._newest = (now, newest)
            return newest

    async def _ask(self) -> None:
        self._asked_at = time.monotonic()
        try:
            found = await self._client.get_json("/version", verb="get", cause="pulse", timeout_seconds=ANSWER_SECONDS)
        except (StatusError, UpstreamError) as error:
            if not self._silent:
                log.warning("upstream is silent: %s", error)
            self._silent = True
            return
        if self._silent:
            log.info("upstream is there again")
            self._returned_at = time.monotonic()
            self._return.set()
            self._return = asyncio.Event()
            self._returned()
        self._silent = False
        version = found.get("gitVersion") if isinstance(found, dict) else None
        if version and version != self.version:
            log.info("upstream was %s and is %s", self.version, version)
            self.version = version
            self._version_changed(version)
