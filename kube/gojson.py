"""JSON as Go's encoding/json writes it: no spaces, `<`, `>`, `&`, U+2028 and U+2029 escaped."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_SURROGATES = re.compile("[\ud800-\udfff]")
_EMPTY_OBJECT = re.compile(rb'^( *)("(?:[^"\\]|\\.)*": )?\{\}(,?)$', re.MULTILINE)


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

    `jsoniter`: with empty objects as the encoder of API servers before 1.23 broke them over two lines.
    """
    text = msgspec.json.format(compact, indent=2)
    if jsoniter:
        text = _EMPTY_OBJECT.sub(rb"\1\2{\n\1  \n\1}\3", text)
    return text


def _replace_surrogates(value: Any) -> Any:
    """The value with every byte that was not UTF-8 replaced by U+FFFD, which is what Go writes for it."""
    if isinstance(value, str):
        return _SURROGATES.sub("�", value)
    if isinstance(value, dict):
        return {_replace_surrogates(key): _replace_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_surrogates(item) for item in value]
    return value
