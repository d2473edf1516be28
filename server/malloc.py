"""How the C library takes memory from the operating system, and when it gives it back.

Each TLS connection asks for a read buffer of 256 KB, of which an idle watch touches a page. Taken from the operating
system directly, the rest costs nothing; taken from the heap, where glibc puts such buffers once one has been freed, it
is memory that others had used before, and stays resident (measured: 12 KB more for each idle watch).

What an answer passes through on its way (pieces of some 100 KB, `server/whole_answer.py`) comes from the heap, whose
end glibc gives back as soon as 128 KB of it are free, to ask for it again with the next answer. That is kept instead.
"""

from __future__ import annotations

import ctypes
import logging
import platform

_log = logging.getLogger(__name__)

MAP_ABOVE_BYTES = 128 * 1024
"""glibc's own first threshold, above every buffer of ours that is used in full."""

KEPT_BYTES = 8 << 20
"""Free memory at the heap's end that is kept: what ten answers of 730 KB take at once. glibc moves its own
first threshold (128 KB) along with the other one, until that is fixed."""

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def fix_thresholds() -> bool:
    """Fix both; whether that was possible."""
    if platform.libc_ver()[0] != "glibc":
        return False  # other C libraries have no such thresholds
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError) as error:
        _log.debug("the thresholds of memory cannot be fixed: %s", error)
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, MAP_ABOVE_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
