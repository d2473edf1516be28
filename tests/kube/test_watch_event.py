from __future__ import annotations

import json
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.watch_event import FrameInvalid, FrameTooLong, WatchDecoder, decode_event, encode_event

LINES = [
    encode_event("ADDED", b'{"kind":"Pod","metadata":{"name":"a\\nb"}}'),
    encode_event("BOOKMARK", b'{"metadata":{"resourceVersion":"7"}}'),
    encode_event("DELETED", b"{}"),
]
EVENTS = [
    ("ADDED", b'{"kind":"Pod","metadata":{"name":"a\\nb"}}'),
    ("BOOKMARK", b'{"metadata":{"resourceVersion":"7"}}'),
    ("DELETED", b"{}"),
]


def test_events_are_one_line_each() -> None:
    """Type first, then the object's bytes as they are."""
    assert encode_event("ERROR", b'{"code":410}') == b'{"type":"ERROR","object":{"code":410}}\n'


@given(st.lists(st.integers(0, sum(map(len, LINES))), max_size=8))
def test_events_survive_any_chunking(cuts: list[int]) -> None:
    """Wherever the stream is cut, the same events come out, each as soon as its line is whole."""
    stream = b"".join(LINES)
    bounds = [0, *sorted(cuts), len(stream)]
    decoder = WatchDecoder()
    events = [event for start, end in pairwise(bounds) for event in decoder.feed(stream[start:end])]
    assert events == EVENTS
    assert decoder.pending_bytes == 0


def test_an_unfinished_line_is_kept() -> None:
    """The bytes of a line without an end are counted: a cut stream can be told from a finished one."""
    decoder = WatchDecoder()
    assert decoder.feed(LINES[0] + LINES[1][:10]) == EVENTS[:1]
    assert decoder.pending_bytes == 10
    assert decoder.feed(LINES[1][10:]) == EVENTS[1:2]


def test_empty_lines_are_no_events() -> None:
    """Blank lines between events are skipped."""
    assert WatchDecoder().feed(b"\n\r\n" + LINES[2] + b"\n") == EVENTS[2:]


def test_a_line_cannot_grow_without_bound() -> None:
    """Neither a line that never ends nor one that comes whole may exceed the limit."""
    decoder = WatchDecoder(max_frame_bytes=20)
    decoder.feed(b"x" * 20)
    with pytest.raises(FrameTooLong):
        decoder.feed(b"x")
    with pytest.raises(FrameTooLong):
        WatchDecoder(max_frame_bytes=20).feed(LINES[0])


@pytest.mark.parametrize("line", [b"{}", b"nonsense", b'{"type":1,"object":{}}', b'{"type":"ADDED"}', b"\xff"])
def test_what_is_no_event_is_refused(line: bytes) -> None:
    """A broken line ends the stream with an error that shows its beginning."""
    with pytest.raises(FrameInvalid, match="not a watch event"):
        WatchDecoder().feed(line + b"\n")


def test_objects_do_not_keep_their_line() -> None:
    """What is stored is a copy of its own size, not a view into a large buffer."""
    _, body = decode_event(b'{"type":"ADDED","object":{"a":1},"padding":"' + b"x" * 10_000 + b'"}')
    assert body == b'{"a":1}'
    assert type(body) is bytes
    assert sys.getsizeof(body) < 100


def test_objects_are_passed_through_as_they_are() -> None:
    """Spaces, escapes and numbers of the object stay as upstream wrote them."""
    body = b'{ "n": 1.50, "s": "\\u003cnone\\u003e" }'
    assert decode_event(b'{"type":"ADDED","object":' + body + b"}") == ("ADDED", body)
    assert json.loads(encode_event("ADDED", body))["object"] == {"n": 1.5, "s": "<none>"}
