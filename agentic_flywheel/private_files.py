"""Files that only their owner may read: what people asked, and passwords."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Literal, TextIO

from agentic_flywheel.whole_files import naming


def private_text(path: Path, *, errors: str = "strict") -> TextIO:
    """Open a text file that only its owner may read, to write it anew. Raises OSError."""
    return open(path, "w", encoding="utf-8", errors=errors, opener=_only_owner)


def private_binary(path: Path, mode: Literal["wb", "ab"], buffering: int = -1) -> BinaryIO:
    """Open a binary file that only its owner may read. Raises OSError."""
    return open(path, mode, buffering, opener=_only_owner)


def write_private(path: Path, text: str, *, errors: str = "strict") -> None:
    """Write a file that only its owner may read. Raises OSError."""
    with naming(path), private_text(path, errors=errors) as file:
        file.write(text)


def _only_owner(path: str, flags: int) -> int:
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)  # one that was there already
    return descriptor
