"""Tokens of the next page: opaque to clients, made and checked by any replica.

A token says which snapshot the list is of (incarnation and RV), behind which key the page begins, and
what it is a page of: the resource, namespace and selectors, and the digest of the scope. It is
authenticated by a key that all replicas share, so nobody can make one for another's scope.

Upstream's own tokens come by too (its pages are continued by forwarding): `is_ours` tells them apart,
and `check_foreign` refuses what upstream would refuse.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from typing import TYPE_CHECKING

import msgspec

from kube import status

if TYPE_CHECKING:
    from kube.version import ServerVersion
    from server.matching import Selectors

_PREFIX = "larder."
"""A dot is no base64url, so no token of upstream's begins so."""
_MAC_BYTES = 16
_VERSION = "meta.k8s.io/v1"
_UNQUOTED_SINCE = (1, 25)


class Token(msgspec.Struct, array_like=True, frozen=True):
    """`rv` is that of the first page; -1: continue at whatever is latest. The page begins behind `namespace`/`name`.

    `subject` is the digest of what is listed (`subject_of`), `scope` the scope's.
    """

    rv: int
    incarnation: str
    namespace: str
    name: str
    subject: str
    scope: str

    @property
    def inconsistent(self) -> bool:
        """Whether the page is of the latest state, not of the first page's."""
        return self.rv < 0


class TokenError(ValueError):
    """Not a token of ours, or one that was tampered with."""


def is_ours(token: str) -> bool:
    """Whether a replica made it; else it is upstream's, or nonsense."""
    return token.startswith(_PREFIX)


def encode(token: Token, key: bytes) -> str:
    """The text of a token, authenticated with the replicas' key."""
    payload = msgspec.msgpack.encode(token)
    return _PREFIX + base64.urlsafe_b64encode(_mac(payload, key) + payload).decode().rstrip("=")


def decode(text: str, key: bytes) -> Token:
    """The inverse of `encode`.

    Raises:
        TokenError: it was not made with this key.
    """
    if not is_ours(text):
        raise TokenError("not one of our tokens")
    encoded = text[len(_PREFIX) :]
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, _mac(payload, key)):
            raise TokenError("the token was not made by these replicas")
        return msgspec.msgpack.decode(payload, type=Token)
    except (ValueError, msgspec.DecodeError) as error:
        raise TokenError(str(error)) from None


def subject_of(gvr: str, namespace: str, selectors: Selectors) -> str:
    """A digest of what is listed: pages of one list agree in it."""
    text = "\0".join((gvr, namespace, str(selectors.labels), str(selectors.fields)))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def refused(detail: str) -> status.BadRequest:
    """The 400 of a token that cannot be used."""
    return status.bad_request(f"invalid continue token: continue key is not valid: {detail}")


def check_foreign(token: str, version: ServerVersion) -> None:
    """Refuse what upstream would refuse of a token that is not ours, as far as it needs no storage to know.

    Raises:
        BadRequest: with upstream's text.
    """
    try:
        raw = _go_base64(token)
    except TokenError as error:
        raise refused(str(error)) from None
    members = _go_json(raw)
    if members is None:
        return  # Upstream has its own words for it.
    v, rv, start = members
    if v != _VERSION:
        named = v if (version.major, version.minor) >= _UNQUOTED_SINCE else json.dumps(v)
        raise refused(f"server does not recognize this encoded version {named}")
    if rv == 0:
        raise refused(f"incorrect encoded start resourceVersion (version {_VERSION})")
    if not start:
        raise refused(f"encoded start key empty (version {_VERSION})")
    key = start if start.startswith("/") else "/" + start
    if _cleaned(key) != key:
        raise refused(start)


def _mac(payload: bytes, key: bytes) -> bytes:
    return hmac.new(key, payload, hashlib.sha256).digest()[:_MAC_BYTES]


_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def _go_base64(text: str) -> bytes:
    """As base64.RawURLEncoding.DecodeString, which passes over line ends and wants no padding."""
    kept = []
    data = text.encode("utf-8", "surrogateescape")
    for offset, byte in enumerate(data):
        rune = chr(byte)
        if rune in "\r\n":
            continue
        if rune not in _ALPHABET:
            raise TokenError(f"illegal base64 data at input byte {offset}")
        kept.append(rune)
    if len(kept) % 4 == 1:
        raise TokenError(f"illegal base64 data at input byte {len(data) - 1}")
    return base64.urlsafe_b64decode("".join(kept) + "=" * (-len(kept) % 4))


def _go_json(raw: bytes) -> tuple[str, int, str] | None:
    """`v`, `rv` and `start` of a token's JSON; None where upstream's JSON reader must speak for itself.

    Raises:
        BadRequest: the faults whose texts are known.
    """
    text = raw.decode("utf-8", "replace")
    stripped = text.lstrip(" \t\r\n")
    if not stripped:
        raise refused("unexpected end of JSON input")
    if stripped[0] not in '{["-0123456789tfn':
        # Go looks at bytes: one that begins no ASCII character is shown as the Latin-1 letter of its number.
        first = raw.lstrip(b" \t\r\n")[:1].decode("latin-1")
        raise refused(f"invalid character {_go_rune(first)} looking for beginning of value")
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    members = {name.lower(): member for name, member in value.items()}
    v, rv, start = members.get("v", ""), members.get("rv", 0), members.get("start", "")
    if not isinstance(v, str) or not isinstance(rv, int) or isinstance(rv, bool) or not isinstance(start, str):
        return None
    return v, rv, start


def _go_rune(rune: str) -> str:
    """A character as Go's JSON errors quote it."""
    if rune == "'":
        return "'\\''"
    if rune == '"':
        return "'\"'"
    if rune.isprintable():
        return f"'{rune}'"
    short = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
    number = ord(rune)
    escaped = f"\\x{number:02x}" if number < 0x80 else f"\\u{number:04x}"
    return f"'{short.get(rune) or escaped}'"


def _cleaned(key: str) -> str:
    """The key as path.Clean leaves it (it begins with a slash)."""
    segments: list[str] = []
    for segment in re.split("/+", key):
        if segment == "..":
            if segments:
                segments.pop()
        elif segment not in ("", "."):
            segments.append(segment)
    return "/" + "/".join(segments) + ("/" if key.endswith("/") and segments else "")
