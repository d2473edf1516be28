"""Which headers of a forwarded request and its answer go on, and in whose name the request goes.

Invariants: no inbound `Impersonate-*` or `X-Remote-*` header reaches upstream; the caller's own token is what a
request carries, and our own identity appears only under an impersonation that names the caller.
"""

from __future__ import annotations

from collections.abc import Iterable

from kube import status
from kube.status import Forbidden
from server.identity import AUTHENTICATED, Credential, CredentialKind, User

Headers = list[tuple[str, str]]

_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_IDENTITY_PREFIXES = ("impersonate-", "x-remote-")
_NOT_UPSTREAM = _HOP_BY_HOP | {"host", "authorization", "audit-id", "x-forwarded-for", "expect"}
_NOT_REPEATED = frozenset(("x-larder-source", "x-larder-age", "alt-svc"))
_NOT_REPEATED_OF_WHOLE = _NOT_REPEATED | {"content-length"}


def impersonates(headers: Iterable[tuple[str, str]]) -> bool:
    """Whether a request wants to be someone else's; `headers` have lower-case names."""
    return any(name.startswith("impersonate-") for name, _ in headers)


def impersonation_refused() -> Forbidden:
    """The answer to inbound impersonation: being served as the caller instead would be the wrong answer."""
    return Forbidden(
        403,
        "Forbidden",
        "impersonation is not supported by this server: remove --as, --as-group and Impersonate-* headers, "
        "or send the request to the API server itself",
        details={},
    )


def for_upstream(
    headers: Iterable[tuple[str, str]], identity: Headers, *, client: str, upgrade: bool = False
) -> Headers:
    """The headers of the forwarded request, but for the audit ID under which upstream is to log it.

    Args:
        headers: the client's, with lower-case names, repeated ones repeated.
        identity: from `identity_headers`.
        client: the client's address, for X-Forwarded-For.
        upgrade: keep the headers that ask for another protocol.
    """
    headers = list(headers)
    kept = [
        header for header in headers if header[0] not in _NOT_UPSTREAM and not header[0].startswith(_IDENTITY_PREFIXES)
    ]
    if named := _named_by_connection(headers):
        kept = [header for header in kept if header[0] not in named]
    if upgrade:
        kept += [(name, value) for name, value in headers if name == "upgrade"]
        kept.append(("connection", "Upgrade"))
    if client:
        before = [value for name, value in headers if name == "x-forwarded-for"]
        kept.append(("x-forwarded-for", ", ".join((*before, client))))
    return kept + identity


def identity_headers(user: User, credential: Credential, authorization: str | None) -> Headers:
    """In whose name the request goes: the caller's own token, or our impersonation of a certificate's user.

    Args:
        user: the caller.
        credential: how they proved it.
        authorization: the caller's Authorization header. A token that came as a WebSocket subprotocol stays there.

    Raises:
        Forbidden: the caller cannot be represented.
    """
    if credential.kind is CredentialKind.TOKEN:
        return [("authorization", authorization)] if authorization else []
    if credential.kind is CredentialKind.NONE:
        return []
    if user.master:
        # An impersonated system:masters would be a way around all authorization, for whoever gets hold of a replica.
        raise Forbidden(
            403,
            "Forbidden",
            "this request must be answered by the API server, and certificates of the group system:masters are not "
            "impersonated: use a token, or send the request to the API server itself",
            details={},
        )
    groups = [("impersonate-group", group) for group in user.groups if group != AUTHENTICATED]
    return [("impersonate-user", user.name), *groups]


def impersonated(credential: Credential) -> bool:
    """Whether `identity_headers` lean on our own credential."""
    return credential.kind is CredentialKind.CERTIFICATE


def for_client(headers: Iterable[tuple[str, str]], *, whole: bool = False) -> Headers:
    """The headers of upstream's answer as the client gets them.

    Args:
        headers: those of the message, with lower-case names.
        whole: without the length of the body, which is there and says it itself.
    """
    dropped = _NOT_REPEATED_OF_WHOLE if whole else _NOT_REPEATED
    return [header for header in headers if header[0] not in dropped]


def of_message(headers: Iterable[tuple[str, str]]) -> Headers:
    """The headers that are not of the connection alone, in lower case."""
    headers = [(name.lower(), value) for name, value in headers]
    dropped = _HOP_BY_HOP | _named_by_connection(headers)
    return [header for header in headers if header[0] not in dropped]


def _named_by_connection(headers: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Headers that are for this connection alone. Not those of the identity: nobody may have them taken out."""
    values = [value for name, value in headers if name == "connection"]
    if not values:
        return frozenset()
    named = {part.strip().lower() for value in values for part in value.split(",")}
    return frozenset(named - {"authorization", "", "close"})


def upstream_failed(*, took_effect_unknown: bool) -> status.StatusError:
    """What the client is told if upstream gave no answer. Where upstream is, and how it is reached, is not for them."""
    if took_effect_unknown:
        return status.StatusError(
            504, "Timeout", "upstream did not answer, and the request may have taken effect", details={}
        )
    return status.service_unavailable("upstream cannot be reached now; what the cache holds can still be read", 1)
