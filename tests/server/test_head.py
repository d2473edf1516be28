"""What a request's head says by itself is worked out once for heads that are repeated."""

from __future__ import annotations

from typing import Any

import pytest

from server.connection import PolledRequest
from server.head import Head

PLAIN = {"authorization": "Bearer a", "accept": "application/json", "user-agent": "kubectl/v1"}


def request(url: bytes = b"/api/v1/pods", method: str = "GET", **headers: str) -> PolledRequest:
    """A request with the plain headers and others; "" leaves one out."""
    pairs: Any = {name.replace("_", "-"): value for name, value in (PLAIN | headers).items() if value}
    lines = "\r\n".join(f"{name}: {value}" for name, value in pairs.items())
    return PolledRequest(url, pairs, "1.1", method, None, None, f"{method} {url.decode()} HTTP/1.1\r\n{lines}".encode())


def test_the_same_head_is_read_once() -> None:
    """A request that has taken over what is known of its head's last one is not looked at again."""
    first, second = request(), request()
    second.known = first.known
    assert Head.of(first, certificates=False) is Head.of(second, certificates=False)
    assert Head.of(request(), certificates=False).asked == Head.of(first, certificates=False).asked


@pytest.mark.parametrize(
    "other",
    [
        request(authorization="Bearer b"),
        request(authorization=""),
        request(accept="application/yaml"),
        request(accept=""),
        request(user_agent="curl/8"),
        request(accept_encoding="gzip"),
        request(b"/api/v1/pods?limit=1"),
        request(method="HEAD"),
    ],
    ids=["token", "nobody", "accept", "anything", "browser", "gzip", "url", "method"],
)
def test_what_is_decided_otherwise_is_asked_otherwise(other: PolledRequest) -> None:
    """Whatever a plan depends on makes another key; what nothing depends on does not."""
    plain = Head.of(request(), certificates=False).asked
    assert Head.of(other, certificates=False).asked != plain
    assert Head.of(request(user_agent="kubectl/v2", accept_encoding="br"), certificates=False).asked == plain


def test_no_token_is_in_the_key() -> None:
    """What plans are kept under does not hold the credential, only its digest."""
    head = Head.of(request(authorization="Bearer secret-of-mine"), certificates=False)
    assert "secret-of-mine" not in repr(head.asked)
    assert head.presented.credential is not None
    assert head.presented.credential.token == "secret-of-mine"


def test_impersonation_is_seen_whatever_its_case() -> None:
    """A head that asks to be someone else says so; one that only mentions it does not."""
    assert Head.of(request(impersonate_user="x"), certificates=False).impersonates
    assert not Head.of(request(accept="impersonate-user"), certificates=False).impersonates
