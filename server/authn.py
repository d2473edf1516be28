"""Credentials → who it is. Tokens are reviewed by upstream and remembered; certificates speak for themselves.

A token's review is believed until the token expires, and `ServerSettings.token_cache_seconds` at most. While upstream
cannot be asked, tokens that it has vouched for stay known for `token_grace_seconds`; others get 503.
Only hashes of tokens are kept.

Invariant: nobody is let in by an answer that upstream did not give for this very token.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from kube import status, tasks
from server.identity import (
    ANONYMOUS,
    AUTHENTICATED,
    Credential,
    CredentialKind,
    Identity,
    User,
    implicit_groups,
)
from server.websocket import bearer_from_protocols

_log = logging.getLogger(__name__)

TOKENS_LIMIT = 20_000
"""Known tokens, and as many wrong ones: each some 500 bytes. The least recently used go first."""

WRONG_SECONDS = 10.0
"""How long a refused token stays refused unasked: it may have been made a moment ago, on another API server."""

RETRY_SECONDS = 5.0
"""How long upstream is not asked again about a known token after it could not be asked."""

REVIEWS_LIMIT = 64
"""Reviews under way at once. A restart of a fleet of clients must not become a flood upstream."""

WAITING_LIMIT = 2000
"""Distinct tokens waiting for their review; more get 429."""

_Value = TypeVar("_Value")


class ReviewFailed(Exception):
    """Upstream gave no answer about a token: it is away, overloaded, or refuses us."""


Review = Callable[[str], Awaitable[User | None]]
"""Asks upstream about a token: its user, or None for a wrong token. Raises ReviewFailed."""


class _UserInfo(msgspec.Struct):
    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] | None = None
    extra: dict[str, tuple[str, ...]] | None = None


class _ReviewStatus(msgspec.Struct):
    authenticated: bool = False
    user: _UserInfo | None = None


class _TokenReview(msgspec.Struct):
    status: _ReviewStatus


_review_decoder = msgspec.json.Decoder(_TokenReview)


def review_request(token: str) -> bytes:
    """The body of a TokenReview that asks about a token."""
    return msgspec.json.encode(
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    )


def reviewed_user(code: int, body: bytes) -> User | None:
    """What upstream answered to a TokenReview.

    Raises:
        ReviewFailed: it is no answer.
    """
    if code not in (200, 201):
        own = {401: "; our own login is not accepted", 403: "; our own user may not create tokenreviews"}.get(code, "")
        raise ReviewFailed(f"the TokenReview was answered with {code}{own}: {body[:200]!r}")
    try:
        review = _review_decoder.decode(body).status
    except msgspec.DecodeError as error:
        raise ReviewFailed(f"the TokenReview's answer cannot be read: {error}") from None
    found = review.user
    if not review.authenticated or found is None or not found.username:
        return None
    extra = tuple(sorted((found.extra or {}).items()))
    # Upstream has added the implicit groups already; adding them again changes nothing.
    return User(found.username, implicit_groups(found.username, found.groups or ()), found.uid, extra)


@dataclass(slots=True)
class _Known:
    """A token that upstream has vouched for. Times are of the monotonic clock, `expires` of the wall clock."""

    user: User
    ask_again: float
    forget: float
    expires: float


class Authenticator:
    """The identities behind credentials. One per replica."""

    def __init__(
        self,
        review: Review,
        *,
        cache_seconds: float,
        grace_seconds: float,
        anonymous: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._review = review
        self._cache_seconds = cache_seconds
        self._grace_seconds = grace_seconds
        self._anonymous = anonymous
        self._monotonic = monotonic
        self._clock = clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._wrong: OrderedDict[bytes, float] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[User]] = {}
        self._slots = asyncio.Semaphore(REVIEWS_LIMIT)
        self.reviews = 0
        """Questions sent upstream."""
        self.hits = 0
        """Requests that needed none."""

    def nobody(self) -> Identity:
        """The identity of a request without a credential.

        Raises:
            Unauthorized: anonymous requests are not served.
        """
        if not self._anonymous:
            raise status.unauthorized()
        return Identity(ANONYMOUS, Credential(CredentialKind.NONE))

    def cached(self, digest: bytes) -> User | None:
        """The user behind a token's digest if it can be told without asking: the path of nearly every request."""
        known = self._known.get(digest)
        if known is None or self._monotonic() >= known.ask_again or self._clock() >= known.expires:
            return None
        self.hits += 1
        return known.user

    async def token(self, token: str, digest: bytes | None = None) -> User:
        """The user that a bearer token stands for.

        Raises:
            Unauthorized: none.
            ServiceUnavailable: upstream cannot be asked, and the token is not known.
            TooManyRequests: too many tokens wait to be reviewed.
        """
        digest = digest or token_digest(token)
        now = self._monotonic()
        known = self._known.get(digest)
        if known is not None:
            if self._clock() >= known.expires:
                del self._known[digest]
                raise status.unauthorized()
            if now < known.ask_again:
                self._known.move_to_end(digest)
                self.hits += 1
                return known.user
        if self._wrong.get(digest, 0.0) > now:
            raise status.unauthorized()
        task = self._asking.get(digest)
        if task is None:
            if len(self._asking) >= WAITING_LIMIT:
                raise status.too_many_requests("too many tokens wait for their review")
            task = asyncio.create_task(self._ask(token, digest), name="token review")
            self._asking[digest] = task
            task.add_done_callback(lambda done: self._asked(digest, done))
        # Shielded: the caller who came first may hang up without failing the others.
        return await asyncio.shield(task)

    def _asked(self, digest: bytes, task: asyncio.Task[User]) -> None:
        self._asking.pop(digest, None)
        if not task.cancelled():
            task.exception()  # Read here, since every caller may have gone.

    async def _ask(self, token: str, digest: bytes) -> User:
        try:
            async with self._slots:
                self.reviews += 1
                user = await self._review(token)
        except ReviewFailed as error:
            return self._unasked(digest, error)
        now = self._monotonic()
        if user is None:
            self._known.pop(digest, None)
            _remember(self._wrong, digest, now + WRONG_SECONDS)
            raise status.unauthorized()
        grace = max(self._grace_seconds, self._cache_seconds)
        known = _Known(user, now + self._cache_seconds, now + grace, token_expiry(token))
        _remember(self._known, digest, known)
        self._wrong.pop(digest, None)
        return user

    def _unasked(self, digest: bytes, error: ReviewFailed) -> User:
        """Upstream could not be asked: what it said before holds for a bounded time."""
        known, now = self._known.get(digest), self._monotonic()
        if known is not None and now < known.forget:
            known.ask_again = now + RETRY_SECONDS
            _log.warning("a known token is believed without a new review: %s", error)
            return known.user
        _log.warning("a token cannot be reviewed: %s", error)
        raise status.service_unavailable("the token cannot be reviewed now", 2)

    async def close(self) -> None:
        """End the questions under way."""
        await tasks.end(*self._asking.values())


def certificate_identity(common_name: str, organizations: tuple[str, ...]) -> Identity:
    """Who a verified client certificate says it is: CN the user, O the groups, as upstream reads them.

    Raises:
        Unauthorized: it names nobody.
    """
    if not common_name:
        raise status.unauthorized()
    groups = organizations if AUTHENTICATED in organizations else (*organizations, AUTHENTICATED)
    return Identity(User(common_name, groups), Credential(CredentialKind.CERTIFICATE))


def bearer_token(authorization: str | None, websocket_protocols: Sequence[str] = ()) -> str | None:
    """The token of a request, from its Authorization header or, as browsers must send it, a WebSocket subprotocol.

    >>> bearer_token("Bearer abc"), bearer_token("Basic abc"), bearer_token(None)
    ('abc', None, None)

    Raises:
        Unauthorized: the subprotocols name a token, but not as they must.
    """
    if authorization:
        scheme, _, rest = authorization.strip().partition(" ")
        token = rest.strip().partition(" ")[0]
        if scheme.lower() == "bearer" and token:
            return token
    if websocket_protocols:
        offered = bearer_from_protocols(websocket_protocols)
        if offered is None:
            raise status.unauthorized()
        return offered.token or None
    return None


def token_expiry(token: str) -> float:
    """The Unix seconds at which a JWT expires by its own `exp`; infinite for any other token.

    The token is not verified here, so this may only shorten what upstream has vouched for.

    >>> token_expiry("opaque")
    inf
    """
    parts = token.split(".")
    if len(parts) != 3:
        return float("inf")
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return float("inf")
    expiry = claims.get("exp") if isinstance(claims, dict) else None
    if isinstance(expiry, int | float) and not isinstance(expiry, bool):
        return float(expiry)
    return float("inf")


def token_digest(token: str) -> bytes:
    """What a token is known by: it cannot be turned back into the token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _remember(cache: OrderedDict[bytes, _Value], digest: bytes, value: _Value) -> None:
    cache[digest] = value
    cache.move_to_end(digest)
    if len(cache) > TOKENS_LIMIT:
        cache.popitem(last=False)
