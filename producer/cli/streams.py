"""The three standard streams of a command: also where whoever starts it has closed one, or where its disk is full."""

from __future__ import annotations

import errno
import os
import sys

#: What a write fails with where there is no room, or the place itself fails.
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def prepare() -> None:
    """Put an empty stream in the place of each that is closed; show by its number what a terminal cannot show."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (as long as the process)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def could_not_write(fault: OSError) -> bool:
    """Say on stderr that there is no room for what a command writes. Returns whether this is what has failed."""
    if fault.errno not in _UNWRITABLE:
        return False
    if fault.filename is None:
        # What is left in its buffer would fail again at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stderr.write(
        f"✗ The command could not write {fault.filename or 'its output'}: {fault.strerror}\n"
        "  - Make room there, or have it written elsewhere, then give the command again.\n"
        "  - No query is lost by this: `flywheel status` lists yours, with their answers.\n"
    )
    return True
