"""What a request's head says by itself: the same for all requests of a connection that repeat it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from server.forward_headers import impersonates
from server.identify import Presented, certificate_of
from server.negotiation import gzip_accepted

if TYPE_CHECKING:
    from server.connection import PolledRequest

_BROWSERS = ("curl", "Wget", "Mozilla/5.0")


class Head(NamedTuple):
    """Says nothing of who the caller is or what they may: that is asked for each request."""

    presented: Presented
    asked: tuple[object, ...]
    """Equal for requests that are decided on alike, as long as nothing else changes: what a plan is kept under."""
    impersonates: bool

    @classmethod
    def of(cls, request: PolledRequest, *, certificates: bool) -> Head:
        """Worked out once for heads that are repeated. `certificates`: clients may have some.

        Raises:
            Unauthorized: the certificate names nobody.
        """
        head = request.known.get(cls)
        if head is None:
            head = request.known[cls] = cls._read(request, certificates=certificates)
        return cast("Head", head)

    @classmethod
    def _read(cls, request: PolledRequest, *, certificates: bool) -> Head:
        presented, headers = Presented.of(request), request.headers
        # The token itself is not kept: see `authn`. Whoever comes of it is compared with the plan's user all the same.
        who: object = presented.digest
        if certificates and (found := certificate_of(request)) is not None:
            who = found.user
        browser = (headers.get("user-agent") or "").startswith(_BROWSERS)
        gzip = gzip_accepted(headers.get("accept-encoding"))
        asked = (who, request.method, request.raw_url, headers.get("accept"), browser, gzip)
        impersonating = b"mpersonate-" in request.head.lower() and impersonates(headers.items())
        return cls(presented, asked, impersonating)
