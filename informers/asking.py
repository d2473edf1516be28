"""In which form upstream is asked for the objects of a resource: plainly, or as Tables with its rows of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from informers.extract import Print
from kube.client import UpstreamClient
from kube.list_watch import list_pages, watch
from kube.printed import Printed, Sent, SentPage, printed_pages, printed_watch
from kube.resources import GVR
from tables.registry import KeptRows


class OtherColumns(Exception):
    """Upstream printed a row for other columns than those that are known."""


class Asking:
    """Of one resource. `form`: Tables with these columns, or None; a watch in another form is to be begun anew.

    `reopen` is called when the form has become another. `settled` is set once a watch in the present one was open: all
    that was sent in another is in the store by then.
    """

    def __init__(self, client: UpstreamClient, gvr: GVR, reopen: Callable[[], None]) -> None:
        self.form: bytes | None = None
        self.settled = asyncio.Event()
        self._client = client
        self._gvr = gvr
        self._reopen = reopen
        self._kept: KeptRows | None = None

    @property
    def printed(self) -> bool:
        """Whether rows come with the objects."""
        return self._kept is not None

    def use(self, kept: KeptRows | None, columns: bytes) -> None:
        """Ask for Tables with these columns, whose rows are to be kept; or plainly."""
        before, self.form = self.form, columns if kept is not None else None
        self._kept = kept
        if self.form != before:
            self.settled.clear()
            self._reopen()

    def pages(self, limit: int, cause: str) -> AsyncGenerator[SentPage, None]:
        """Upstream's list."""
        if self._kept is not None:
            return printed_pages(self._client, self._gvr, limit=limit, cause=cause)
        return list_pages(self._client, self._gvr, limit=limit, cause=cause)

    def watch(self, rv: int, seconds: int) -> AsyncGenerator[Sequence[tuple[str, Sent]], None]:
        """Upstream's watch."""
        if self._kept is not None:
            return printed_watch(self._client, self._gvr, rv, seconds=seconds)
        return watch(self._client, self._gvr, rv, seconds=seconds)

    def watched(self, form: bytes | None) -> None:
        """A watch in this form is open, and all that came before it is in the store."""
        if form == self.form:
            self.settled.set()

    def row_of(self, printed: Printed) -> Print | None:
        """What makes the row of an object that came with upstream's; None where ours are right.

        Raises:
            OtherColumns
        """
        kept = self._kept
        if kept is None:
            return None
        if printed.columns != self.form:
            raise OtherColumns
        now = self._client.clock.now()
        return lambda obj: kept.row(obj, printed.cells, printed.conditions, now)
