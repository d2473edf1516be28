"""A request → who sent it: by its connection's certificate, else by its token. What that means is `authn`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from kube import status
from server import authn
from server.identity import Credential, CredentialKind, Identity
from server.tls import certificate_names

if TYPE_CHECKING:
    import ssl

    from sanic.request import Request

    from server.replica import Replica


class Presented(NamedTuple):
    """What a request's Authorization header holds. `other`: something that is no bearer token."""

    credential: Credential | None
    digest: bytes
    other: bool

    @classmethod
    def of(cls, request: Request) -> Presented:
        """Without looking at WebSocket subprotocols: these are for requests that have no such header."""
        authorization = request.headers.get("authorization")
        token = authn.bearer_token(authorization) if authorization else None
        if token is None:
            return cls(None, b"", bool(authorization))
        return cls(Credential(CredentialKind.TOKEN, token), authn.token_digest(token), other=False)


def identified(replica: Replica, request: Request, presented: Presented) -> Identity | None:
    """Who it is, where that can be told without asking upstream: for nearly every request."""
    if replica.settings.client_ca and (found := certificate_of(request)) is not None:
        return found
    if presented.credential is None or (user := replica.authenticator.cached(presented.digest)) is None:
        return None
    return Identity(user, presented.credential)


async def identify(replica: Replica, request: Request, presented: Presented) -> Identity:
    """Who it is. A certificate comes first, as upstream has it.

    Raises:
        Unauthorized, ServiceUnavailable, TooManyRequests
    """
    if (found := identified(replica, request, presented)) is not None:
        return found
    authenticator, credential = replica.authenticator, presented.credential
    if credential is None:
        if presented.other:
            raise status.unauthorized()  # credentials of a kind that nobody here knows
        token = authn.bearer_token(None, request.headers.getall("sec-websocket-protocol", ()))
        if token is None:
            return authenticator.nobody()
        credential = Credential(CredentialKind.TOKEN, token)
    return Identity(await authenticator.token(credential.token, presented.digest), credential)


def certificate_of(request: Request) -> Identity | None:
    """The identity of the connection's certificate, worked out once per connection.

    Raises:
        Unauthorized: the certificate names nobody.
    """
    if request.conn_info is None:
        return None
    connection = request.conn_info.ctx
    if not hasattr(connection, "identity"):
        tls = cast("ssl.SSLObject | None", request.transport.get_extra_info("ssl_object"))
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        connection.identity = authn.certificate_identity(*certificate_names(der)) if der else None
    return cast("Identity | None", connection.identity)
