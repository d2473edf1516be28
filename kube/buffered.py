"""One buffer in which the bytes of all connections come in, and nothing stays.

To a plain protocol the TLS layer hands bytes, and takes 256 KB of memory for them each time that it looks whether some
have come. Where the C library maps such sizes anew (as in replicas, see `server/malloc.py`), that takes as long as all
the rest of TLS and HTTP together: measured in a bare server, 150 µs of CPU a request, and 70 µs with this. A protocol
that offers a buffer is read into directly.
"""

from __future__ import annotations

import asyncio

_SIZE = 64 * 1024
"""More than most messages; of longer ones the next part follows at once."""

BUFFER = memoryview(bytearray(_SIZE))
"""Filled and emptied within one call of the event loop, so that no two connections are ever in it."""


class Buffered(asyncio.BufferedProtocol):
    """Stands between a transport and its protocol, which sees no difference."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self.protocol.connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """So many have come."""
        self.protocol.data_received(bytes(BUFFER[:nbytes]))

    def eof_received(self) -> bool | None:
        """The other side will send no more."""
        return self.protocol.eof_received()

    def pause_writing(self) -> None:
        """The other side takes too little."""
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        """It has taken most of it."""
        self.protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.protocol.connection_lost(exc)
