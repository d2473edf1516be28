"""What may be a label's key and value, and upstream's words for what may not.

The texts changed in steps: 1.21 gave errors a field path, and 1.35 speaks of bytes and of a label key
where older versions spoke of characters and of a qualified name.
"""

from __future__ import annotations

import re

from kube.strconv import utf8
from kube.version import ServerVersion

MAX_NAME_BYTES = 63
MAX_PREFIX_BYTES = 253

STRUCTURED_ERRORS_SINCE = ServerVersion(1, 21)
"""From here on selector errors name a field (`values[0][app]: Invalid value: …`)."""
LABEL_KEY_WORDING_SINCE = ServerVersion(1, 35)
"""From here on: "a valid label key must …", "must be no more than 63 bytes"."""

_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_VALUE = rf"({_NAME})?"
_matches_name = re.compile(_NAME).fullmatch
_matches_subdomain = re.compile(_SUBDOMAIN).fullmatch

_NAME_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_NAME_EXAMPLES = f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_NAME}')"
_NAME_ERROR = f"{_NAME_RULE} {_NAME_EXAMPLES}"
_SUBDOMAIN_ERROR = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start"
    f" and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_VALUE_ERROR = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is"
    f" '{_VALUE}')"
)


def key_errors(key: str, version: ServerVersion) -> list[str]:
    """Why `key` is no label key (`[prefix/]name`), in upstream's words and order; empty if it is one."""
    errors = []
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        subject = "a valid label key" if version >= LABEL_KEY_WORDING_SINCE else "a qualified name"
        return [f"{subject} {_NAME_ERROR} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    if slash and not prefix:
        errors.append("prefix part must be non-empty")
    elif slash:
        if _bytes(prefix) > MAX_PREFIX_BYTES:
            errors.append(f"prefix part {_too_long(MAX_PREFIX_BYTES, version)}")
        if not _matches_subdomain(prefix):
            errors.append(f"prefix part {_SUBDOMAIN_ERROR}")
    if not name:
        errors.append("name part must be non-empty")
    elif _bytes(name) > MAX_NAME_BYTES:
        errors.append(f"name part {_too_long(MAX_NAME_BYTES, version)}")
    if not _matches_name(name):
        errors.append(f"name part {_NAME_ERROR}")
    return errors


def value_errors(value: str, version: ServerVersion) -> list[str]:
    """Why `value` is no label value; empty if it is one."""
    errors = []
    if _bytes(value) > MAX_NAME_BYTES:
        errors.append(_too_long(MAX_NAME_BYTES, version))
    if value and not _matches_name(value):
        errors.append(_VALUE_ERROR)
    return errors


def _too_long(limit: int, version: ServerVersion) -> str:
    return f"must be no more than {limit} {'bytes' if version >= LABEL_KEY_WORDING_SINCE else 'characters'}"


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(utf8(text))
