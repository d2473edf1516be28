"""One HTTP/1.1 connection to upstream, as forwarded requests use it: one request after the other, bytes in, bytes out.

The parser is llhttp (`httptools`). This is here instead of the HTTP library that all else uses: a request through that
costs 350 µs of CPU at the least, of which 115 µs are TLS, the socket and the loop; with this it costs 195 µs, and a
client waits for that whenever it asks for what is not in the cache.

Invariants: framing is ours alone (`request_head`, `Connection.ask`): no header of a client's decides where a request
ends. An answer that was not asked for ends its connection. What upstream sends faster than it is read stays with it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from kube import status
from kube.answer import UpstreamAnswer
from kube.buffered import BUFFER
from kube.upstream_error import UpstreamBroken, reason

READ_AHEAD_BYTES = 1 << 20
"""Of a body that nobody reads, so much comes in; then upstream has to wait."""
HEAD_BYTES = 256 << 10
"""So much may come without the end of a head or a piece of a body: the parser keeps what it has of a header. Heads of
an API server have a few hundred bytes."""

HOP_BY_HOP = frozenset(
    ("connection", "host", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
     "trailer", "transfer-encoding", "upgrade", "expect")
)  # fmt: skip
"""Headers of one connection, never of the message: not forwarded."""

Headers = Sequence[tuple[str, str]]


def request_head(method: str, target: str, host: str, headers: Headers) -> bytes:
    r"""The head of a request; `headers` are those that it shall have, in this order, names in lower case.

    >>> request_head("GET", "/version", "example", [("accept", "*/*")])
    b'GET /version HTTP/1.1\r\nhost: example\r\naccept: */*\r\n\r\n'

    Raises:
        PlainError: 400, something in it would end a line or begin another: HTTP servers differ in what they take for
            the end of a line, and what is one header here must not be two upstream.
    """
    lines = [f"{method} {target} HTTP/1.1\r\nhost: {host}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers]
    lines.append("\r\n")
    head = "".join(lines).encode("utf-8", "surrogateescape")
    ends = len(lines) + 1
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head or b"\n " in head or b"\n\t" in head:
        raise status.malformed_request()
    return head


class _Unasked(Exception):
    """Upstream sends what cannot be an answer to a request of ours."""


class Connection(asyncio.BufferedProtocol):
    """One connection. `free` is told when it can take another request.

    `context` are the TLS settings that it was made with, `own` whether they have our client certificate.
    """

    def __init__(
        self,
        own: bool,
        context: ssl.SSLContext | None,
        free: Callable[[Connection], None],
    ) -> None:
        self.own = own
        self.context = context
        self.rests = False
        """It was idle when that was last looked at."""
        self._free = free
        self._transport: asyncio.Transport
        self._parser = HttpResponseParser(self)
        self._answer: UpstreamAnswer | None = None
        """That of the request under way, until its body has come."""
        self._headers: list[tuple[bytes, bytes]] = []
        self._bodiless = False
        self._until_close = False
        """The body ends with the connection."""
        self._unframed = 0
        """Bytes that have come since the request, or since the last piece of a body."""
        self._again = True
        """Whether another request may follow."""
        self._paused = False
        self._sender: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    # The requests' side

    @property
    def open(self) -> bool:
        """Whether it can take a request, as far as is known here."""
        return self._again and not self._transport.is_closing()

    @property
    def answered(self) -> bool:
        """Whether anything has come since the last request."""
        return self._unframed > 0

    async def ask(
        self,
        head: bytes,
        body: AsyncIterator[bytes] | None = None,
        *,
        length: int | None = None,
        bodiless: bool = False,
    ) -> UpstreamAnswer:
        """Send a request, and wait for the head of its answer; its body is sent meanwhile and after that.

        `head` says how the body is framed: with a content-length of `length`, or chunked (None). `bodiless`: the
        answer has a head alone, whatever that says, since the request is a HEAD.

        Raises:
            UpstreamBroken: there is no answer. What `body` raises.
        """
        answer = self._answer = UpstreamAnswer(self)
        self._bodiless, self._until_close, self._unframed = bodiless, False, 0
        self._transport.write(head)
        if body is not None:
            self._sender = asyncio.create_task(self._send(body, length), name="forwarded body")
            self._sender.add_done_callback(self._sent)
        try:
            await answer.more()
            answer.begun()
        except BaseException:
            answer.close()
            raise
        return answer

    def leave(self) -> None:
        """The answer to the last request is not read any further."""
        sender, self._sender = self._sender, None
        if sender is not None and not _done_well(sender):
            sender.cancel()
            self._again = False
        if self._answer is not None or not self.open:
            self.abort()
            return
        self.resume()
        self._free(self)

    def resume(self) -> None:
        """Read on."""
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        """End it in order: no request is under way."""
        self._again = False
        self._transport.close()

    def abort(self) -> None:
        """End it now: upstream sees that nobody waits for its answer."""
        self._again = False
        self._transport.abort()

    async def _send(self, body: AsyncIterator[bytes], length: int | None) -> None:
        async for chunk in body:
            if self._transport.is_closing():
                return  # whoever waits for the answer is told by `connection_lost`
            if not chunk:
                continue
            if length is None:
                self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            else:
                length -= len(chunk)
                if length < 0:
                    raise UpstreamBroken("a request's body is longer than it says")
                self._transport.write(chunk)
            await self._writable.wait()
        if length is None:
            self._transport.write(b"0\r\n\r\n")
        elif length:
            raise UpstreamBroken("a request's body is shorter than it says")

    def _sent(self, sender: asyncio.Task[None]) -> None:
        error = None if sender.cancelled() else sender.exception()
        if error is not None and sender is self._sender:
            if self._answer is not None:
                self._answer.fail(error if isinstance(error, Exception) else UpstreamBroken("a body broke off"))
            self.abort()

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """So many have come."""
        self._unframed += nbytes
        try:
            self._parser.feed_data(BUFFER[:nbytes])
        except (HttpParserError, HttpParserUpgrade) as error:
            cause = error.__context__ if isinstance(error.__context__, _Unasked) else error
            self._break(UpstreamBroken(f"upstream sent what is no answer: {cause}"))
        else:
            if self._unframed > HEAD_BYTES:
                self._break(UpstreamBroken("upstream sent an answer whose head has no end"))

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._again = False
        self._writable.set()
        answer, self._answer = self._answer, None
        if answer is not None:
            if self._until_close and exc is None:
                answer.end()
            else:
                why = reason(exc) if exc is not None else "the connection was closed"
                answer.fail(UpstreamBroken(f"upstream broke off: {why}"))

    def pause_writing(self) -> None:
        """Upstream takes too little."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has taken most of it."""
        self._writable.set()

    def _break(self, error: UpstreamBroken) -> None:
        if self._answer is not None:
            self._answer.fail(error)
        self.abort()

    # The parser's side

    def on_message_begin(self) -> None:
        """An answer begins."""
        if self._answer is None or self._answer.status:
            raise _Unasked("nothing was asked")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or a trailer: those say nothing that is passed on."""
        if self._answer is not None and not self._answer.status:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head has come: of the answer, or of one that only says that it is being worked on."""
        headers, self._headers = self._headers, []
        code = self._parser.get_status_code()
        answer = self._answer
        assert answer is not None
        if code == 101:
            raise _Unasked("another protocol")
        if code < 200:
            return
        kept, date, framed = self._read_head(headers)
        answer.head(code, kept, date)
        if self._bodiless:
            self._answer = None
            answer.end()
            # This parser would take the next answer for the body that its head announces.
            self._parser = HttpResponseParser(self)
        elif not framed and code not in (204, 304):
            self._until_close, self._again = True, False

    def _read_head(self, headers: list[tuple[bytes, bytes]]) -> tuple[list[tuple[str, str]], str | None, bool]:
        """The headers that are the message's, its date, and whether it says where its body ends."""
        kept: list[tuple[str, str]] = []
        date, framed, named = None, False, ""
        for raw_name, raw_value in headers:
            name = raw_name.decode("latin-1").lower()
            value = raw_value.decode("utf-8", "surrogateescape").strip(" \t")
            if name not in HOP_BY_HOP:
                kept.append((name, value))
                if name == "content-length":
                    framed = True
                elif name == "date":
                    date = value
            elif name == "connection":
                named = f"{named},{value.lower()}"
            elif name == "transfer-encoding":
                framed = framed or value.lower().endswith("chunked")
        if named:
            tokens = {token.strip() for token in named.split(",")}
            self._again = self._again and "close" not in tokens
            kept = [(name, value) for name, value in kept if name not in tokens]
        if self._parser.get_http_version() != "1.1":
            self._again = False
        return kept, date, framed

    def on_body(self, part: bytes) -> None:
        """A piece of the body."""
        if self._answer is None:
            raise _Unasked("a body where there is none")
        self._unframed = 1
        if self._answer.add(part) > READ_AHEAD_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """The answer has come whole."""
        answer = self._answer
        if answer is not None and answer.status:
            self._answer = None
            answer.end()


def _done_well(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
