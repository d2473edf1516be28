"""Keep the big buffers of idle connections out of resident memory.

Each TLS connection asks the C library for a read buffer of 256 KB, of which an idle watch touches a page. Taken from
the operating system directly, the rest costs nothing; taken from the heap, where glibc puts such buffers once one has
been freed, it is memory that others had used before, and stays resident (measured: 12 KB more for each idle watch).
"""

from __future__ import annotations

import ctypes
import logging
import platform

_log = logging.getLogger(__name__)

MAP_ABOVE_BYTES = 128 * 1024
"""glibc's own first threshold, above every buffer of ours that is used in full."""

_M_MMAP_THRESHOLD = -3


def keep_big_buffers_apart() -> bool:
    """Fix the size above which memory is taken from the operating system directly; whether that was possible."""
    if platform.libc_ver()[0] != "glibc":
        return False  # other C libraries do not move their threshold
    try:
        fixed: int = ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, MAP_ABOVE_BYTES)
    except (OSError, AttributeError) as error:
        _log.debug("the threshold of big buffers cannot be fixed: %s", error)
        return False
    return bool(fixed)
