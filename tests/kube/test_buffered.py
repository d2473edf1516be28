"""A protocol behind the shared buffer sees what it would see without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from kube.buffered import _SIZE, Buffered


class _Noting(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.told: list[str] = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.data += data

    def eof_received(self) -> bool:
        self.told.append("eof")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")
        self.lost.set_result(exc)


async def _exchange(sizes: list[int]) -> None:
    """Two connections at a time, with different bytes, in writes of these sizes."""
    made: list[_Noting] = []

    def connection() -> Buffered:
        made.append(_Noting())
        return Buffered(made[-1])

    loop = asyncio.get_running_loop()
    server = await loop.create_server(connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    writers = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(2)]
    for size in sizes:
        for number, writer in enumerate(writers):
            writer.write(bytes([number + 1]) * size)
            await writer.drain()
    for writer in writers:
        writer.write_eof()
    await asyncio.gather(*(one.lost for one in made))
    for writer in writers:
        writer.close()
    server.close()
    assert {one.data for one in made} == {bytes([number]) * sum(sizes) for number in (1, 2)}
    assert [one.told for one in made] == [["made", "eof", "lost"]] * 2


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("sizes", [[1, 700, 3], [_SIZE], [_SIZE - 1, _SIZE + 1], [20 * _SIZE + 5]])
def test_bytes_come_as_they_were_sent(sizes: list[int], make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Whatever the lengths, each of two connections gets its own bytes, then the end."""
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(_exchange(sizes))
