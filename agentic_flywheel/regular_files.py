"""Open files by names that came from outside: regular ones alone, and below a folder without following any link."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePath
from typing import IO

#: A pipe would have its opening wait for somebody who writes; a terminal could become that of the process.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY


class NotRegularError(OSError):
    """It is a folder, a pipe, a terminal or a device: what is read of those may never end."""

    def __init__(self) -> None:
        super().__init__("it is not a regular file")


def open_regular(path: Path) -> IO[bytes]:
    """Open a file, whatever links lead to it. Raises OSError."""
    return _regular(os.open(path, _READ))


def open_below(folder: Path, path: PurePath) -> IO[bytes]:
    """Open a file below a folder, by a path in which nothing is a link: who puts one there meanwhile gains nothing.

    Raises OSError.
    """
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for name in path.parts[:-1]:
            within = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = within
        return _regular(os.open(path.name or ".", _READ | os.O_NOFOLLOW, dir_fd=at))
    finally:
        os.close(at)


def _regular(opened: int) -> IO[bytes]:
    """Return what was opened as a file. Raises NotRegularError."""
    if stat.S_ISREG(os.fstat(opened).st_mode):
        return os.fdopen(opened, "rb")
    os.close(opened)
    raise NotRegularError
