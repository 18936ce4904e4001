"""Replace a file in one step: a reader sees the old content or the new, also after a crash. Errors name the file."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an error of the block name the file that is written there: what a write fails with names none."""
    try:
        yield
    except OSError as refused:
        if refused.filename is not None or refused.errno is None:
            raise
        raise OSError(refused.errno, refused.strerror, str(path)) from None


@contextmanager
def replacing(path: Path, mode: int) -> Iterator[BinaryIO]:
    """Write a file anew, with these rights. It is replaced at the end, and stays as it is where writing fails.

    Through a link, the file behind it is replaced. Its folder must exist. Raises OSError.
    """
    target = path.resolve()
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    draft = Path(name)
    try:
        with naming(target), os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(mode)
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def mode_of(path: Path, otherwise: int) -> int:
    """Return the rights of a file, through a link; ``otherwise`` where it is not there."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return otherwise
