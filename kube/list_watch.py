"""Lists by pages and watches of a whole resource, in raw bytes: what an informer reads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec

from kube.client import ANSWER_SECONDS, JSON, Streamed, UpstreamClient
from kube.resources import GVR
from kube.status import StatusError
from kube.upstream_error import UpstreamBroken
from kube.watch_event import FrameInvalid, FrameTooLong, WatchDecoder

WATCH_START_SECONDS = 30.0
"""For the headers of a watch, which an API server sends at once."""
WATCH_SECONDS = (300, 600)
"""After a random time in between a watch is begun anew, as client-go does: API servers spread their load so."""
WATCH_GRACE_SECONDS = 30.0
"""A watch that upstream has not ended so long after its time is taken for dead."""
PAGE_OBJECTS = 500
PAGE_BYTES = 16 << 20
"""A page above it makes the next ones smaller: some objects are a thousand times bigger than others."""
LEAST_PAGE_OBJECTS = 10

WatchEvents = list[tuple[str, bytes]]
"""Types (ADDED, MODIFIED, DELETED, BOOKMARK) and objects, in order."""


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of a list: `items` are the objects as they came, `rv` is the list's.

    `remaining` objects are still to come (None where upstream does not say). `bytes` is the size of the answer.
    Of a Table the items are its rows, and `columns` is the text of their definitions.
    """

    items: list[bytes]
    rv: int
    kind: str
    remaining: int | None
    columns: bytes
    bytes: int


class _ListMeta(msgspec.Struct):
    resource_version: str = msgspec.field(default="", name="resourceVersion")
    token: str = msgspec.field(default="", name="continue")
    remaining: int | None = msgspec.field(default=None, name="remainingItemCount")


class _List(msgspec.Struct):
    kind: str = ""
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[msgspec.Raw] | None = None
    rows: list[msgspec.Raw] | None = None
    columns: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw, name="columnDefinitions")


_decode_list = msgspec.json.Decoder(_List).decode
_decode_status = msgspec.json.Decoder(dict[str, Any]).decode


async def list_pages(
    client: UpstreamClient,
    gvr: GVR,
    *,
    limit: int = PAGE_OBJECTS,
    query: Mapping[str, str] | None = None,
    accept: str = JSON,
    cause: str = "list",
) -> AsyncGenerator[ListPage, None]:
    """The whole resource, page by page: all pages are of the first one's state. `limit` 0: in one page.

    Raises:
        Expired: upstream has forgotten that state meanwhile: begin again, with bigger pages.
        StatusError, UpstreamError: upstream refused, or there is no answer.
    """
    token = ""
    while True:
        options = {**(query or {})}
        if limit:
            options["limit"] = str(limit)
        if token:
            options["continue"] = token
        path = gvr.path() + (f"?{urlencode(options)}" if options else "")
        response = await client.request(
            "GET", path, headers={"Accept": accept}, verb="list", resource=str(gvr), cause=cause
        )
        body = response.checked().body
        try:
            page = _decode_list(body)
            rv = int(page.metadata.resource_version or 0)
        except (msgspec.DecodeError, ValueError) as error:
            raise UpstreamBroken(f"{client.server} answered GET {path} with what is no list: {error}") from error
        # Copies: one item would keep the whole page in memory.
        items = [bytes(item) for item in (page.rows if page.kind == "Table" else page.items) or ()]
        yield ListPage(items, rv, page.kind, page.metadata.remaining, bytes(page.columns), len(body))
        token = page.metadata.token
        if not token:
            return
        if limit and len(body) > PAGE_BYTES:
            limit = max(LEAST_PAGE_OBJECTS, limit // 4)


async def watch(
    client: UpstreamClient,
    gvr: GVR,
    rv: int,
    *,
    query: Mapping[str, str] | None = None,
    accept: str = JSON,
    seconds: int | None = None,
    cause: str = "watch",
) -> AsyncGenerator[WatchEvents, None]:
    """What happens after `rv`, in batches as they come, bookmarks included. Close it (`aclosing`) when leaving early.

    The first batch is empty: upstream has accepted the watch. It ends as upstream ends it, after
    `seconds` (default: random).

    Raises:
        Expired: `rv` is too old.
        StatusError: upstream refused, or sent an ERROR event.
        UpstreamBroken: cut off in an event, or after one that is none.
        UpstreamTimeout, UpstreamUnreachable
    """
    seconds = seconds or random.randint(*WATCH_SECONDS)  # noqa: S311 (spreads load, keeps no secret)
    options = {"watch": "1", "resourceVersion": str(rv), "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
    opened = client.stream(
        "GET",
        f"{gvr.path()}?{urlencode({**options, **(query or {})})}",
        [("Accept", accept), ("Accept-Encoding", "identity"), ("User-Agent", client.user_agent)],
        answer_seconds=WATCH_START_SECONDS,
        verb="watch",
        resource=str(gvr),
        cause=cause,
    )
    async with opened as answer:
        if answer.status != 200:
            await _refused(client, answer)
        yield []
        deadline = asyncio.get_running_loop().time() + seconds + WATCH_GRACE_SECONDS
        async for batch in _events(answer, gvr, deadline):
            yield batch


async def _refused(client: UpstreamClient, answer: Streamed) -> None:
    """Raise what a watch was refused with; after a 401 the next one comes with another login."""
    deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS
    body = b""
    while chunk := await answer.read(deadline):
        body += chunk
    if answer.status == 401:
        await client.credentials.renew()
    raise StatusError.from_response(answer.status, body)


async def _events(answer: Streamed, gvr: GVR, deadline: float) -> AsyncGenerator[WatchEvents, None]:
    decoder = WatchDecoder()
    while chunk := await answer.read(deadline):
        try:
            batch = decoder.feed(chunk)
        except (FrameInvalid, FrameTooLong) as error:
            raise UpstreamBroken(f"the watch of {gvr} sent what is no event: {error}") from error
        for index, (kind, body) in enumerate(batch):
            if kind == "ERROR":
                if index:
                    yield batch[:index]
                raise _error_event(body)
        if batch:
            yield batch
    if decoder.pending_bytes:
        raise UpstreamBroken(f"the watch of {gvr} was cut off in the middle of an event")


def _error_event(body: bytes) -> StatusError | UpstreamBroken:
    try:
        return StatusError.from_status(_decode_status(body))
    except msgspec.DecodeError:
        return UpstreamBroken(f"a watch ended with an error that is no Status: {body[:200]!r}")
