from __future__ import annotations

import asyncio
import base64
import json

import pytest

from kube.status import ServiceUnavailable, Unauthorized
from server import authn
from server.authn import Authenticator, ReviewFailed
from server.identity import User

ALICE = User("alice", ("system:authenticated",))


class Clocks:
    """Both clocks of an authenticator, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Upstream:
    """Answers reviews as it is told, and counts them."""

    def __init__(self) -> None:
        self.users: dict[str, User | None] = {"good": ALICE}
        self.away = False
        self.asked = 0
        self.gate: asyncio.Event | None = None

    async def review(self, token: str) -> User | None:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise ReviewFailed("no answer")
        return self.users.get(token)


@pytest.fixture
def clocks() -> Clocks:
    """Standing still at 1000 s."""
    return Clocks()


@pytest.fixture
def upstream() -> Upstream:
    """Knows the token `good`."""
    return Upstream()


@pytest.fixture
def authenticator(upstream: Upstream, clocks: Clocks) -> Authenticator:
    """Believes for 60 s, and for 300 s while upstream is away."""
    return Authenticator(upstream.review, cache_seconds=60, grace_seconds=300, monotonic=clocks, clock=clocks)


def jwt(expires: float) -> str:
    """An unsigned token with an expiry."""
    parts = ({"alg": "none"}, {"sub": "alice", "exp": expires})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join((*encoded, "signature"))


@pytest.mark.asyncio
async def test_review_is_believed_for_its_time(
    authenticator: Authenticator, upstream: Upstream, clocks: Clocks
) -> None:
    """A token is reviewed once in its time, then again: a revoked one lives on no longer."""
    assert await authenticator.token("good") == await authenticator.token("good") == ALICE
    assert upstream.asked == 1
    clocks.now += 61
    upstream.users.clear()
    with pytest.raises(Unauthorized):
        await authenticator.token("good")
    assert upstream.asked == 2


@pytest.mark.asyncio
async def test_concurrent_reviews_of_one_token_are_one(authenticator: Authenticator, upstream: Upstream) -> None:
    """Callers with the same token wait for one review, also if the first of them gives up."""
    upstream.gate = asyncio.Event()
    tasks = [asyncio.create_task(authenticator.token("good")) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    upstream.gate.set()
    assert await asyncio.gather(*tasks[1:]) == [ALICE] * 4
    assert upstream.asked == 1


@pytest.mark.asyncio
async def test_wrong_token_is_refused_unasked_for_a_moment(
    authenticator: Authenticator, upstream: Upstream, clocks: Clocks
) -> None:
    """A wrong token costs one review, and is asked about again soon: it may have become right."""
    for _ in range(3):
        with pytest.raises(Unauthorized):
            await authenticator.token("new")
    assert upstream.asked == 1
    upstream.users["new"] = ALICE
    clocks.now += authn.WRONG_SECONDS + 1
    assert await authenticator.token("new") == ALICE


@pytest.mark.asyncio
async def test_expired_token_is_refused_before_its_time_in_the_cache(
    authenticator: Authenticator, upstream: Upstream, clocks: Clocks
) -> None:
    """A token's own expiry ends the belief in it, whatever the cache allows."""
    token = jwt(clocks.now + 5)
    upstream.users[token] = ALICE
    assert await authenticator.token(token) == ALICE
    clocks.now += 6
    assert authenticator.cached(authn.token_digest(token)) is None
    with pytest.raises(Unauthorized):
        await authenticator.token(token)
    assert upstream.asked == 1


@pytest.mark.asyncio
async def test_known_tokens_outlive_upstream_for_a_bounded_time(
    authenticator: Authenticator, upstream: Upstream, clocks: Clocks
) -> None:
    """While upstream is away a known token stays known for the grace period; an unknown one gets 503, never 401."""
    await authenticator.token("good")
    upstream.away = True
    clocks.now += 100
    assert await authenticator.token("good") == ALICE
    asked = upstream.asked
    assert await authenticator.token("good") == ALICE
    assert upstream.asked == asked
    with pytest.raises(ServiceUnavailable):
        await authenticator.token("other")
    clocks.now += 201
    with pytest.raises(ServiceUnavailable):
        await authenticator.token("good")
    upstream.away = False
    assert await authenticator.token("good") == ALICE


@pytest.mark.asyncio
async def test_caches_are_bounded(
    authenticator: Authenticator, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither known nor wrong tokens pile up, and wrong ones cannot push out known ones."""
    monkeypatch.setattr(authn, "TOKENS_LIMIT", 3)
    await authenticator.token("good")
    for number in range(10):
        with pytest.raises(Unauthorized):
            await authenticator.token(f"wrong-{number}")
    assert len(authenticator._wrong) == 3
    assert authenticator.cached(authn.token_digest("good")) == ALICE


def test_no_token_is_kept(authenticator: Authenticator) -> None:
    """What the authenticator holds of a token is its hash."""
    asyncio.run(authenticator.token("good"))
    assert "good" not in repr(vars(authenticator))


def test_review_that_is_no_answer() -> None:
    """An error, or nonsense, is no word on the token: it fails, and neither lets in nor refuses."""
    for code, body in ((403, b"{}"), (500, b""), (201, b"[]"), (201, b'{"status":1}')):
        with pytest.raises(ReviewFailed):
            authn.reviewed_user(code, body)
    assert authn.reviewed_user(201, b'{"status":{"authenticated":false,"error":"no"}}') is None
    assert authn.reviewed_user(201, b'{"status":{"authenticated":true,"user":{}}}') is None


def test_review_names_the_user() -> None:
    """Name, uid, groups and extra of a reviewed user are upstream's, implicit groups included."""
    body = {
        "status": {"authenticated": True, "user": {"username": "a", "uid": "7", "groups": ["g"], "extra": {"k": ["v"]}}}
    }
    user = authn.reviewed_user(201, json.dumps(body).encode())
    assert user == User("a", ("g", "system:authenticated"), "7", (("k", ("v",)),))


def test_bearer_tokens_of_websockets() -> None:
    """A browser's token comes as a subprotocol; one that comes malformed is refused, not ignored."""
    encoded = base64.urlsafe_b64encode(b"to?ken>").decode().rstrip("=")
    bearer = f"base64url.bearer.authorization.k8s.io.{encoded}"
    assert authn.bearer_token(None, [f"{bearer}, v4.channel.k8s.io"]) == "to?ken>"
    assert authn.bearer_token("Bearer header", [f"{bearer}, v4.channel.k8s.io"]) == "header"
    with pytest.raises(Unauthorized):
        authn.bearer_token(None, [bearer])


def test_certificate_names_a_user() -> None:
    """CN is the user, O are the groups; a certificate without CN is nobody."""
    identity = authn.certificate_identity("alice", ("devs",))
    assert identity.user == User("alice", ("devs", "system:authenticated"))
    with pytest.raises(Unauthorized):
        authn.certificate_identity("", ("devs",))
