"""Is this the recorded answer? Byte for byte, but for what no server could know.

Free are: a list's own resourceVersion (any number from the newest object's on), the RV of bookmarks, continue tokens,
and the `current: N` of a resourceVersion that is too large. Tables as YAML are compared by value, without the
descriptions of columns: the recordings left them empty elsewhere.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import yaml

from tests.replay.wire import Answer

HEADERS = (
    "cache-control",
    "content-encoding",
    "content-type",
    "retry-after",
    "vary",
    "warning",
    "x-content-type-options",
)
"""What was recorded of the headers: one that is missing there must be missing here."""

_OWN_RV = (
    # Typed lists, Tables and lists of metadata say it first, lists of custom resources last.
    re.compile(
        rb'\A(\{\s*"kind":\s*"\w+",\s*"apiVersion":\s*"[^"]+",\s*"metadata":\s*\{\s*"resourceVersion":\s*")(\d+)'
    ),
    re.compile(rb'("resourceVersion":\s*")(\d+)("\s*\}\s*\}\s*)\Z'),
    re.compile(rb'(\nmetadata:\n(?:  (?:continue|remainingItemCount): .*\n)*  resourceVersion: ")(\d+)'),
)
_CONTINUE = re.compile(rb'("continue":\s*"|\n  continue: )[^"\s]+')
_CURRENT = re.compile(rb"(current: )\d+")
_RV = re.compile(rb'("resourceVersion":")\d+')


def difference(recorded: dict[str, Any], answer: Answer, *, listed: bool) -> str:
    """What differs from the recorded answer (`status`, `headers`, `body`), "" if nothing does.

    `listed`: the answer to a list, whose own RV is free.
    """
    body = recorded["body"]
    text = base64.b64decode(body["base64"]) if "base64" in body else body["text"].encode()
    return between(recorded["status"], recorded["headers"], text, answer, listed=listed)


def between(status: int, headers: dict[str, list[str]], body: bytes, answer: Answer, *, listed: bool) -> str:
    """What differs from an answer whose parts are given, "" if nothing does."""
    if answer.status != status:
        return f"status {answer.status}, not {status}: {answer.body[:300]!r}"
    for name in HEADERS:
        wanted, found = headers.get(name, []), answer.headers.get(name, [])
        if wanted != found:
            return f"header {name} is {found}, not {wanted}"
    return body_difference(body, answer.content, answer.header("content-type"), listed=listed)


def body_difference(wanted: bytes, found: bytes, content_type: str, *, listed: bool) -> str:
    """What differs between two bodies, "" if nothing does."""
    if wanted == found:
        return ""
    if content_type == "application/yaml" and b"\ncolumnDefinitions:" in wanted:
        wanted, found = _from_yaml(wanted, listed=listed), _from_yaml(found, listed=listed)
    if b'{"type":"' in wanted[:9] or b'{"type":"' in found[:9]:
        return _first(wanted.split(b"\n"), [free_line(line) for line in found.split(b"\n")])
    if listed and (problem := _own_rv_problem(found)):
        return problem
    return _first([free(wanted, listed=listed)], [free(found, listed=listed)])


def free(body: bytes, *, listed: bool) -> bytes:
    """A body without what is free."""
    if listed:
        for pattern in _OWN_RV:
            body, count = pattern.subn(rb"\1<own>\3" if pattern.groups == 3 else rb"\1<own>", body, count=1)
            if count:
                break
    return _CURRENT.sub(rb"\1<current>", _CONTINUE.sub(rb"\1<continue>", body))


def free_line(line: bytes) -> bytes:
    """One line of a watch without what is free."""
    if line.startswith(b'{"type":"BOOKMARK"'):
        return _RV.sub(rb"\1<rv>", line)
    return _CURRENT.sub(rb"\1<current>", line)


def _own_rv_problem(body: bytes) -> str:
    """A list must not claim to be older than what is in it."""
    document = json.loads(body) if body[:1] == b"{" else yaml.load(body, _Loader)
    members = document.get("items") or [row.get("object") or {} for row in document.get("rows") or []]
    own = document.get("metadata", {}).get("resourceVersion")
    if document.get("kind") == "Status" or own is None:
        return ""
    newest = max((int(item.get("metadata", {}).get("resourceVersion", 0)) for item in members), default=0)
    return f"the list is at {own}, an object in it at {newest}" if int(own) < newest else ""


class _Loader(yaml.CSafeLoader):
    """Leaves times as they are written: some that are none look like one."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
    for first, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _from_yaml(body: bytes, *, listed: bool) -> bytes:
    """The value as JSON, a list's own metadata last: where lists of custom resources have it."""
    document = yaml.load(body, _Loader)
    if listed and "metadata" in document:
        document["metadata"] = document.pop("metadata")
    for column in document.get("columnDefinitions") or ():
        column["description"] = ""
    return json.dumps(document, default=str, separators=(",", ":")).encode()


def _first(wanted: list[bytes], found: list[bytes]) -> str:
    """Where two sequences of lines begin to differ."""
    wanted = [free_line(line) for line in wanted]
    for number, (one, other) in enumerate(zip(wanted, found, strict=False)):
        if one != other:
            at = next(
                (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
            )
            begin = max(at - 60, 0)
            return f"line {number}, byte {at}: …{other[begin : at + 120]!r}, not …{one[begin : at + 120]!r}"
    if len(wanted) != len(found):
        rest = (found if len(found) > len(wanted) else wanted)[min(len(wanted), len(found))]
        return f"{len(found)} lines, not {len(wanted)}: {rest[:200]!r}"
    return ""
