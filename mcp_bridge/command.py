"""What the commands that serve have in common: ``flywheel mcp`` and ``flywheel serve``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from agentic_flywheel.errors import FlywheelError, InvalidSetting


def carry_out(command: Callable[[], int], folder: str | None) -> int:
    """Run a command in a folder, if one is given. Returns the exit status; 2 where what was given is not acceptable."""
    try:
        if folder is not None:
            _enter(folder)
        return command()
    except FlywheelError as error:
        sys.stderr.write(f"{error.message}\n" + "".join(f"  - {each}\n" for each in error.advice))
        return 2
    except KeyboardInterrupt:
        return 130


def run(work: Coroutine[Any, Any, int]) -> int:
    """Run the coroutine that serves, on uvloop where there is one. Returns what it returns."""
    if sys.platform == "win32":
        return asyncio.run(work)
    import uvloop

    return uvloop.run(work)


def log_to_stderr(level: str) -> None:
    """Have what is logged from this level on written to stderr."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger().setLevel(level)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that both commands have."""
    parser.add_argument(
        "--allowed-host", action="append", default=[], metavar="NAME", help="a further Host that clients may name"
    )
    parser.add_argument("--folder", metavar="DIR", help="work in this folder: its registry, its stack")
    parser.add_argument("--log-level", default="WARNING", choices=["DEBUG", "INFO", "WARNING", "ERROR"])


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as refused:
        raise InvalidSetting("--folder", f"{folder}: {refused.strerror}") from None
