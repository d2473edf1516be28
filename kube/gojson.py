"""JSON as Go's encoding/json writes it: no spaces, `<`, `>`, `&`, U+2028 and U+2029 escaped."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_SURROGATES = re.compile("[\ud800-\udfff]")
_EMPTY_OBJECT = re.compile(rb'^( *)("(?:[^"\\]|\\.)*": )?\{\}(,?)$', re.MULTILINE)
_SHORT_EXPONENT = re.compile(rb'^( *(?:"(?:[^"\\]|\\.)*": )?-?[0-9.]+)e-([0-9],?)$', re.MULTILINE)
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]|[^\s{}\[\]",:]+')
_RAW_ANYWHERE = b'"fieldsV1":'
_RAW_IN = {
    b'{"kind":"Table"': b'"object":',
    b'{"kind":"ControllerRevision"': b'"data":',
    b'{"kind":"ControllerRevisionList"': b'"data":',
}


def go_json_string(text: str) -> bytes:
    r"""One JSON string with its quotes.

    >>> go_json_string("<none>")
    b'"\\u003cnone\\u003e"'
    """
    return dumps(text)


def dumps(value: Any) -> bytes:
    """Compact JSON of dicts (in their order), lists, strings, numbers, booleans and None; no newline at the end."""
    try:
        return escape(_encode(value))
    except UnicodeEncodeError:
        return escape(_encode(_replace_surrogates(value))).replace(b"\xef\xbf\xbd", b"\\ufffd")


def escape(text: bytes) -> bytes:
    """JSON text with Go's HTML escapes: none of these characters can stand outside a string."""
    if b"<" in text:
        text = text.replace(b"<", b"\\u003c")
    if b">" in text:
        text = text.replace(b">", b"\\u003e")
    if b"&" in text:
        text = text.replace(b"&", b"\\u0026")
    if b"\xe2\x80" in text:
        text = text.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return text


def indent(compact: bytes, *, jsoniter: bool = False) -> bytes:
    """JSON with an indent of two spaces and no newline at the end, as MarshalIndent writes it.

    `jsoniter`: as the encoder of API servers before 1.23 wrote it, which broke empty objects over two lines, gave
    exponents two digits, and left alone what Go holds as raw JSON: managed fields, the objects of Tables, the data
    of ControllerRevisions.
    """
    if not jsoniter:
        return msgspec.json.format(compact, indent=2)
    marker = b"\\u0001"
    while marker in compact:
        marker += b"1"
    text, raw = _set_raw_aside(compact, marker)
    text = _EMPTY_OBJECT.sub(rb"\1\2{\n\1  \n\1}\3", msgspec.json.format(text, indent=2))
    text = _SHORT_EXPONENT.sub(rb"\g<1>e-0\2", text)
    return re.sub(b'"%b:([0-9]+)"' % re.escape(marker), lambda found: raw[int(found[1])], text)


def _set_raw_aside(compact: bytes, marker: bytes) -> tuple[bytes, list[bytes]]:
    """The text with each raw value replaced by a string of the marker and its number; and those values."""
    members = [_RAW_ANYWHERE]
    members += [member for start, member in _RAW_IN.items() if compact.startswith(start)]
    # Inside a string the closing quote of such a name would be escaped, so these are names of members.
    key = re.compile(b"|".join(map(re.escape, members)))
    parts: list[bytes] = []
    raw: list[bytes] = []
    at = 0
    while found := key.search(compact, at):
        end = _value_end(compact, found.end())
        parts += [compact[at : found.end()], b'"%b:%d"' % (marker, len(raw))]
        raw.append(compact[found.end() : end])
        at = end
    return b"".join([*parts, compact[at:]]), raw


def _value_end(compact: bytes, start: int) -> int:
    """Where the value that begins at `start` ends."""
    depth = 0
    for token in _TOKENS.finditer(compact, start):
        if token[0] in (b"{", b"["):
            depth += 1
        elif token[0] in (b"}", b"]"):
            depth -= 1
        if depth == 0:
            return token.end()
    return len(compact)


def _replace_surrogates(value: Any) -> Any:
    """The value with every byte that was not UTF-8 replaced by U+FFFD, which is what Go writes for it."""
    if isinstance(value, str):
        return _SURROGATES.sub("�", value)
    if isinstance(value, dict):
        return {_replace_surrogates(key): _replace_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_surrogates(item) for item in value]
    return value
