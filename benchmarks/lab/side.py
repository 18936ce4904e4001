"""One side of a comparison, started by ``benchmarks.against``: ``python -m benchmarks.lab.side LOAD COUNT``.

Starts the load's stack, says ``ready``, runs the load once for every line of its input and prints what it came to as
one line of JSON. Ends with its input or by SIGTERM, and ends all that it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from dataclasses import asdict

import uvloop

from benchmarks.lab.loops import LOADS
from benchmarks.lab.parts import ROOT, interruptible, lab


async def serve(load: str, count: int) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    with lab() as here:
        async with LOADS[load].standing(here) as loop:
            require_own_code()
            say("ready")
            while await lines.readline():
                say(json.dumps(asdict(await loop.run(count))))


def require_own_code() -> None:
    """Raise RuntimeError where the code that is measured is not that of this folder."""
    import producer

    if not str(producer.__file__).startswith(str(ROOT)):
        raise RuntimeError(f"{producer.__file__} was imported, not the code in {ROOT}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with interruptible(), contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
