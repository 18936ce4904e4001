"""The three standard streams of a command, also where whoever starts it has closed one; and what cannot be written."""

from __future__ import annotations

import errno
import os
import sys

#: What a write fails with where there is no room, or the place itself fails.
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
#: What opening or making a file or folder fails with that this user may not write, or where something else stands.
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR})


def prepare() -> None:
    """Put an empty stream in the place of each that is closed; show by its number what a terminal cannot show."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (as long as the process)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def could_not_write(fault: OSError) -> bool:
    """Say on stderr that a command cannot write what it has to. Returns whether this is what has failed."""
    refused = fault.errno in _REFUSED and fault.filename is not None
    if not refused and fault.errno not in _UNWRITABLE:
        return False
    if fault.filename is None:
        # What is left in its buffer would fail again at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stderr.write(
        f"✗ The command could not {'use' if refused else 'write'} {fault.filename or 'its output'}: {fault.strerror}\n"
        "  - Make room there, or let this user write there.\n"
        "  - Or have it written elsewhere: FLYWHEEL_HOME, FLYWHEEL_REGISTRY and FLYWHEEL_PROFILES name the places.\n"
        "  - No query is lost by this: `flywheel status` lists yours, with their answers.\n"
    )
    return True
