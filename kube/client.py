"""Requests to upstream, our own and those that a replica forwards. Bytes in, bytes out.

Objects are never decoded here. Library exceptions stop here: what upstream answers is `kube.status.StatusError`,
no answer is `kube.upstream_error`.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from kube.answer import Incoming
from kube.buffered import Buffered
from kube.clock import Clock
from kube.credentials import Credentials
from kube.forwarding import Forwarding, kept_alive
from kube.http1 import HOP_BY_HOP, Headers
from kube.status import StatusError
from kube.upstream_error import (
    CONNECT_SECONDS,
    UpstreamBroken,
    UpstreamTimeout,
    UpstreamUnreachable,
    reason,
    unreachable,
)

ANSWER_SECONDS = 60.0
"""For a whole answer that is no watch: the API server's own limit."""
INFLATE_IN_THREAD_BYTES = 256 << 10
"""Above this size a gzip answer is unpacked in a thread."""

JSON = "application/json"

Body = bytes | AsyncIterator[bytes] | None
OnRequest = Callable[[str, str, str], None]
"""Told of each request: its verb, resource (`pods.v1`, or "") and cause."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer, unpacked. Header names are in lower case; of repeated ones the last counts."""

    status: int
    headers: dict[str, str]
    body: bytes

    def checked(self) -> Response:
        """Itself, if it is a success.

        Raises:
            StatusError: it is none.
        """
        if self.status >= 400:
            raise StatusError.from_response(self.status, self.body)
        return self


@dataclass(slots=True)
class Streamed(Incoming):
    """That of the HTTP library."""

    status: int
    headers: list[tuple[str, str]]
    _client: UpstreamClient = field(repr=False)
    _answer: aiohttp.ClientResponse = field(repr=False)

    @property
    def complete(self) -> bool:
        """Whether the whole body has come: reading it waits for nothing."""
        return self._answer.content.is_eof()

    async def read(self, deadline: float | None = None) -> bytes:
        """What has come of the body, compressed as upstream sends it; empty at its end. `deadline`: by the loop's time.

        Raises:
            UpstreamBroken: it ends before its end. UpstreamTimeout: nothing came until the deadline.
        """
        try:
            with _translated("the answer"):
                async with asyncio.timeout_at(deadline):
                    chunk = await self._answer.content.readany()
        except TimeoutError:
            raise UpstreamTimeout(f"{self._client.server} neither continued nor ended an answer in time") from None
        self._client.answered_at = time.monotonic()
        return chunk

    def close(self) -> None:
        """Nobody reads on: its connection is free again, or closed if the answer was not read to its end."""
        _finish(self._answer)


_decode_json = msgspec.json.Decoder().decode


class UpstreamClient:
    """One API server, with any number of connections: every watch holds one.

    `clock` follows upstream's. `on_request` is told of each request.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        user_agent: str,
        clock: Clock | None = None,
        on_request: OnRequest | None = None,
    ) -> None:
        self.credentials = credentials
        self.clock = clock or Clock()
        self.answered_at = float("-inf")
        """When upstream last answered anything, or sent something on a watch: `time.monotonic`."""
        self.user_agent = user_agent
        self._on_request = on_request
        self._session: aiohttp.ClientSession | None = None
        self._forwarding = Forwarding(credentials)

    @property
    def server(self) -> str:
        """Upstream's URL."""
        return self.credentials.server

    async def close(self) -> None:
        """Close all connections."""
        await self._forwarding.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_seconds: float = ANSWER_SECONDS,
        verb: str = "",
        resource: str = "",
        cause: str = "",
    ) -> Response:
        """One request in our own name. `path` is with its query, percent-encoded. Any status is an answer.

        Raises:
            UpstreamError: there is none.
        """
        sent = {"Accept": JSON, "Accept-Encoding": "gzip", "User-Agent": self.user_agent, **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", JSON)
        self._count(verb or method.lower(), resource, cause)
        for attempt in (1, 2):
            authorization = await self.credentials.authorization()
            if authorization:
                sent["Authorization"] = authorization
            try:
                async with asyncio.timeout(timeout_seconds):
                    response = await self._whole(await self._open(method, path, list(sent.items()), body))
            except TimeoutError:
                what = f"{method} {path} within {timeout_seconds:g} s"
                raise UpstreamTimeout(f"{self.server} gave no answer to {what}") from None
            if response.status != 401 or attempt == 2 or not await self.credentials.renew():
                return response
        raise AssertionError("the second attempt returns")

    async def get_json(self, path: str, **options: Any) -> Any:
        """The decoded body of a GET; `options` as in `request`.

        Raises:
            StatusError: upstream refused.
            UpstreamError: no answer.
        """
        response = (await self.request("GET", path, **options)).checked()
        try:
            return _decode_json(response.body)
        except msgspec.DecodeError as error:
            raise UpstreamBroken(f"{self.server} answered GET {path} with what is no JSON: {error}") from error

    async def forward(
        self,
        method: str,
        path: str,
        headers: Headers,
        body: AsyncIterator[bytes] | None = None,
        *,
        own: bool = False,
        verb: str = "",
        resource: str = "",
        cause: str = "forward",
    ) -> Incoming:
        """A client's request. Close what is returned: that ends the request upstream, if its answer is not there yet.

        `path` is as the client wrote it, with its query; `headers` have names in lower case. `own`: with our
        credentials, for a request that says in Impersonate-* headers whose it is. Else it goes with the caller's
        Authorization header and without our client certificate.

        Raises:
            UpstreamUnreachable: it was not sent. UpstreamBroken: it may have taken effect. PlainError: it is malformed.
        """
        if own:
            headers = await self._in_our_name(headers)
        self._count(verb or method.lower(), resource, cause)
        if self.credentials.proxy:
            return await self._streamed(method, path, headers, body, own=own)
        sent_at = time.time()
        answer = await self._forwarding.ask(method, path, headers, body, own=own)
        self.answered_at = time.monotonic()
        self.clock.heard_header(answer.date, sent_at, time.time())
        return answer

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        headers: Headers,
        *,
        answer_seconds: float | None = None,
        verb: str = "",
        resource: str = "",
        cause: str = "",
    ) -> AsyncIterator[Streamed]:
        """A request in our own name whose answer is read as it comes, a watch. Leaving the context ends it.

        `answer_seconds`: for the answer's headers; None: as long as it takes.

        Raises:
            UpstreamUnreachable: it was not sent. UpstreamBroken, UpstreamTimeout: it may have taken effect.
        """
        sent = await self._in_our_name(headers)
        self._count(verb or method.lower(), resource, cause)
        try:
            async with asyncio.timeout(answer_seconds):
                answer = await self._streamed(method, path, sent, own=True)
        except TimeoutError:
            raise UpstreamTimeout(f"{self.server} gave no answer to {method} {path} in time") from None
        try:
            yield answer
        finally:
            answer.close()

    async def _in_our_name(self, headers: Headers) -> list[tuple[str, str]]:
        sent = [(name, value) for name, value in headers if name.lower() != "authorization"]
        authorization = await self.credentials.authorization()
        return [*sent, ("authorization", authorization)] if authorization else sent

    async def _streamed(self, method: str, path: str, headers: Headers, body: Body = None, *, own: bool) -> Streamed:
        sent = [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP]
        answer = await self._open(method, path, sent, body, own=own)
        received = [(name.lower(), value) for name, value in answer.headers.items()]
        return Streamed(answer.status, [header for header in received if header[0] not in HOP_BY_HOP], self, answer)

    async def connect(self, *, own: bool = False) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of its own, for a request that upgrades it; the caller writes and reads HTTP itself.

        Raises:
            UpstreamUnreachable: there is none. CredentialsError
        """
        parts = urlsplit(self.server)
        await self.credentials.authorization()
        context = self.credentials.ssl_context(own=own)
        if self.credentials.proxy:
            raise UpstreamUnreachable("connections that are upgraded cannot go through the kubeconfig's proxy-url")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await asyncio.open_connection(
                    parts.hostname,
                    parts.port or (443 if context else 80),
                    ssl=context,
                    server_hostname=(self.credentials.server_name or parts.hostname) if context else None,
                )
        except (OSError, TimeoutError) as error:
            raise _unreachable(self.credentials, error) from error

    def _count(self, verb: str, resource: str, cause: str) -> None:
        if self._on_request is not None:
            self._on_request(verb, resource, cause)

    def _http(self) -> aiohttp.ClientSession:
        """The session: made with the first request, since it belongs to the loop that runs then."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(limit=0, limit_per_host=0, socket_factory=kept_alive),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                auto_decompress=False,
                read_bufsize=1 << 20,
                max_line_size=64 << 10,
                max_field_size=64 << 10,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            )
        return self._session

    async def _open(
        self, method: str, path: str, headers: Headers, body: Body = None, *, own: bool = True
    ) -> aiohttp.ClientResponse:
        """Send a request and wait for the answer's headers."""
        context = self.credentials.ssl_context(own=own)
        sent_at = time.time()
        try:
            answer = await self._http().request(
                method,
                URL(self.server + path, encoded=True),
                headers=CIMultiDict(headers),
                data=body,
                allow_redirects=False,
                ssl=context if context is not None else True,
                server_hostname=self.credentials.server_name or None,
                proxy=self.credentials.proxy or None,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _unreachable(self.credentials, error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamBroken(f"{self.server} broke off {method} {path}: {reason(_cause(error))}") from error
        self.answered_at = time.monotonic()
        self.clock.heard_header(answer.headers.get("Date"), sent_at, time.time())
        return answer

    async def _whole(self, answer: aiohttp.ClientResponse) -> Response:
        try:
            with _translated(f"the answer to {answer.method} {answer.url.path}"):
                body = await answer.read()
        finally:
            _finish(answer)
        self.answered_at = time.monotonic()
        headers = {name.lower(): value for name, value in answer.headers.items()}
        if headers.get("content-encoding") == "gzip":
            del headers["content-encoding"]
            try:
                if len(body) > INFLATE_IN_THREAD_BYTES:
                    body = await asyncio.to_thread(zlib.decompress, body, 31)
                else:
                    body = zlib.decompress(body, 31)
            except zlib.error as error:
                raise UpstreamBroken(f"{self.server} answered with broken gzip: {error}") from error
        return Response(answer.status, headers, body)


class _Connector(aiohttp.TCPConnector):
    """Connections that are read through one buffer."""

    async def _wrap_create_connection(self, *arguments: Any, **options: Any) -> Any:
        transport, protocol = await super()._wrap_create_connection(*arguments, **options)
        transport.set_protocol(Buffered(protocol))
        return transport, protocol


class _translated:  # noqa: N801 (reads as the statement that it is)
    """Within, errors of the HTTP library that end a body become UpstreamBroken."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, aiohttp.ClientError | ConnectionError):
            raise UpstreamBroken(f"{self._what} broke off: {reason(_cause(error))}") from error


def _finish(answer: aiohttp.ClientResponse) -> None:
    """Let the connection go; close it where the body was not read to its end: upstream sees that nobody wants it."""
    if answer.content.at_eof():
        answer.release()
    else:
        answer.close()


def _cause(error: BaseException) -> BaseException:
    """The HTTP library's own texts have addresses of Python's objects in them: what lies behind them."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return error.certificate_error
    return error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error


def _unreachable(credentials: Credentials, error: BaseException) -> UpstreamUnreachable:
    return unreachable(credentials.server, credentials.source, _cause(error))
