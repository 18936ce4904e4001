"""Look whether a home has room for a stack before it is started: a broker that cannot write takes no query."""

from __future__ import annotations

import tempfile
from pathlib import Path

from agentic_flywheel.whole_files import naming

#: Bytes that a start writes: the broker's file, logs, a fit of the router.
NEEDED = 1 << 20


def need_room(home: Path) -> None:
    """Raise OSError, with the folder's name, unless a start can write there. It is tried: quotas count too."""
    try:
        with naming(home), tempfile.TemporaryFile(dir=home) as file:
            file.write(bytes(NEEDED))
            file.flush()
    except OSError as full:
        raise OSError(full.errno, f"{full.strerror} (a start needs {NEEDED >> 20} MiB)", str(home)) from None
