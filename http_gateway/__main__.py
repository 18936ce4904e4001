"""The HTTP gateway as a command: ``flywheel serve``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from agentic_flywheel.errors import FlywheelError, InvalidSetting
from agentic_flywheel.stack import GATEWAY_PORT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status; 2 where what was given is not acceptable."""
    given = _parser().parse_args(arguments)
    try:
        if given.folder is not None:
            _enter(given.folder)
        return _run(_serve(given))
    except FlywheelError as error:
        sys.stderr.write(f"{error.message}\n" + "".join(f"  - {each}\n" for each in error.recovery_suggestions))
        return 2
    except KeyboardInterrupt:
        return 130


async def _serve(given: argparse.Namespace) -> int:
    from agentic_flywheel.access.environment import read_tokens
    from agentic_flywheel.log_files import keep_log
    from agentic_flywheel.settings import load_settings
    from http_gateway.gateway import Gateway
    from http_gateway.serving import serve

    settings = load_settings()
    keep_log(settings)
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger().setLevel(given.log_level)
    gateway = Gateway(
        None, read_tokens(settings), host=given.host, allowed=given.allowed_host, changes=given.allow_changes
    )
    await serve(gateway, host=given.host, port=given.port, ready=_told)
    return 0


def _told(address: str) -> None:
    sys.stderr.write(f"The gateway serves {address}\n")
    sys.stderr.flush()


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as refused:
        raise InvalidSetting("--folder", f"{folder}: {refused.strerror}") from None


def _run(work: Coroutine[Any, Any, int]) -> int:
    if sys.platform == "win32":
        return asyncio.run(work)
    import uvloop

    return uvloop.run(work)


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError("it should be a number from 0 to 65535")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flywheel serve",
        description="Serve HTTP: our own API under /v1, the APIs of Flowise and OpenAI, and the MCP bridge at /mcp.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; beyond loopback with tokens only")
    parser.add_argument("--port", type=_port, default=GATEWAY_PORT, help=f"{GATEWAY_PORT} by default; 0: a free one")
    parser.add_argument(
        "--allowed-host", action="append", default=[], metavar="NAME", help="a further Host that clients may name"
    )
    parser.add_argument("--allow-changes", action="store_true", help="with MCP tools that change what all share")
    parser.add_argument("--folder", metavar="DIR", help="work in this folder: its registry, its stack")
    parser.add_argument("--log-level", default="WARNING", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    return parser


if __name__ == "__main__":
    sys.exit(main())
