"""Gather a worker's memory into huge pages, of 2 MiB instead of 4 KiB, so that the processor finds it in fewer steps.

A worker that has little to do meets cold caches with every query. On a virtual machine, finding a page costs most then.
Linux alone has this, since 6.1; where an administrator has switched huge pages off, or the kernel says no, nothing
changes.
"""

from __future__ import annotations

import ctypes
import logging
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

#: Bytes.
HUGE = 2 * 2**20
#: ``MADV_COLLAPSE`` of Linux: make one huge page of these small ones, now.
_COLLAPSE = 25
#: Seconds after the start at which it is done a second time: by then a worker has met its first queries.
AGAIN_AFTER = 20.0

_ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_MAPS = Path("/proc/self/maps")
#: Memory that is read and written and belongs to no file: Python's own, and the heap of C.
_OWN_MEMORY = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p 0+ 00:00 0 *(?:\[heap\])?$", re.MULTILINE)


def gather_in_background() -> None:
    """Gather now and once more after ``AGAIN_AFTER`` seconds, in threads that do not keep the process."""
    if sys.platform == "linux":
        for seconds in (0.0, AGAIN_AFTER):
            timer = threading.Timer(seconds, gather)
            timer.name, timer.daemon = "huge-pages", True
            timer.start()


def gather() -> int:
    """Make huge pages of the memory that this process uses now; return how many blocks are in such pages."""
    try:
        if "[never]" in _ENABLED.read_text():
            return 0
        blocks = list(blocks_in(_MAPS.read_text()))
        advise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError) as missing:
        logger.debug("no huge pages here: %s", missing)
        return 0
    # A block of which too little is used is refused.
    return sum(advise(ctypes.c_void_p(block), ctypes.c_size_t(HUGE), _COLLAPSE) == 0 for block in blocks)


def blocks_in(maps: str) -> Iterator[int]:
    """Yield the addresses of all whole blocks in this process's own memory. ``maps``: as in ``/proc/self/maps``."""
    for begin, end in _OWN_MEMORY.findall(maps):
        first = -(-int(begin, 16) // HUGE) * HUGE
        yield from range(first, int(end, 16) - HUGE + 1, HUGE)
