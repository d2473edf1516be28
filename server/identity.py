"""Who asks, and with what they proved it. Values only; `authn` finds them out."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
ANONYMOUS_NAME = "system:anonymous"
MASTERS = "system:masters"
SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class User:
    """A caller as upstream's authorizers would see them: the implicit groups are already among `groups`."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def master(self) -> bool:
        """Whether the user may do everything and must never be impersonated."""
        return MASTERS in self.groups


ANONYMOUS = User(ANONYMOUS_NAME, (UNAUTHENTICATED,))


class CredentialKind(Enum):
    """How the caller proved who they are, which decides how their requests are forwarded."""

    TOKEN = "token"  # noqa: S105 - a word, no secret
    CERTIFICATE = "certificate"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Credential:
    """What a forwarded request may carry: the caller's own token; of a certificate only the names are left.

    The token stays out of `repr`, so that no log line or traceback shows it.
    """

    kind: CredentialKind
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller of one request."""

    user: User
    credential: Credential


def implicit_groups(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """The groups with those that upstream adds: `system:authenticated`, and a service account's two.

    >>> implicit_groups("system:serviceaccount:ops:ci", ())
    ('system:serviceaccounts', 'system:serviceaccounts:ops', 'system:authenticated')
    """
    added = [AUTHENTICATED]
    if name.startswith(SERVICE_ACCOUNT_PREFIX):
        namespace = name[len(SERVICE_ACCOUNT_PREFIX) :].partition(":")[0]
        added = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED]
    return (*groups, *(group for group in added if group not in groups))
