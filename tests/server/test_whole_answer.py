"""An answer's body is written in pieces; what the client gets is the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sanic.http.constants import Stage

from server.whole_answer import PIECE_BYTES, WholeAnswer, _pieces


class _Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(bytes(data))


class _Http:
    """As much of Sanic's own as a whole answer needs."""

    head_only = False
    expecting_continue = False
    keep_alive = True
    stage = Stage.HANDLER
    response_func: Any = None

    def __init__(self) -> None:
        self.protocol = self
        self.transport = _Transport()

    def respond(self, response: Any) -> None:
        self.response = response

    async def _send(self, data: bytes) -> None:
        self.transport.write(data)


_SIZES = st.lists(st.sampled_from((0, 1, 700, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES + 3)))


@given(_SIZES)
def test_pieces_are_the_parts(sizes: list[int]) -> None:
    """Whatever the parts' lengths: the same bytes, never more than a piece at once, and all but the last are full."""
    parts = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    pieces = [bytes(piece) for piece in _pieces(parts)]
    assert b"".join(pieces) == b"".join(parts)
    assert pieces
    assert {len(piece) for piece in pieces[:-1]} <= {PIECE_BYTES}
    assert len(pieces[-1]) <= PIECE_BYTES


@pytest.mark.parametrize("size", [0, 10, 300_000])
def test_head_and_body_are_one_http_answer(size: int) -> None:
    """The head names the whole length, and a small answer is one write."""
    http = _Http()
    body = bytes(range(256)) * (size // 256 + 1)
    answer = WholeAnswer((b"<", body[:size], b">"), 200, "X-One: 1\r\nContent-Type: application/json\r\n")
    asyncio.run(answer.send_whole(http))  # type: ignore[arg-type]
    head, _, rest = b"".join(http.transport.written).partition(b"\r\n\r\n")
    assert rest == b"<" + body[:size] + b">"
    assert f"content-length: {size + 2}".encode() in head.lower()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (len(http.transport.written) == 1) is (size < PIECE_BYTES)
    assert http.stage is Stage.IDLE
