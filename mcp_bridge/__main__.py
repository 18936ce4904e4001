"""The MCP bridge as a command: ``flywheel mcp``, ``flywheel mcp --http``, ``flywheel mcp install claude-desktop``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from agentic_flywheel.errors import FlywheelError, InvalidSetting

DEFAULT_PORT = 8765


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status; 2 where what was given is not acceptable."""
    given = _parser().parse_args(arguments)
    # stdout belongs to the protocol; whatever else is said goes to stderr.
    logging.basicConfig(stream=sys.stderr, level=given.log_level, format="%(levelname)s %(name)s: %(message)s")
    try:
        if given.folder is not None:
            _enter(given.folder)
        if given.command == "install":
            from mcp_bridge.install import install

            sys.stdout.write(install(given.client, folder=Path.cwd(), dry_run=given.dry_run))
            return 0
        _run(_serve(given))
    except FlywheelError as error:
        sys.stderr.write(f"{error.message}\n" + "".join(f"  - {each}\n" for each in error.recovery_suggestions))
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


async def _serve(given: argparse.Namespace) -> None:
    from agentic_flywheel.settings import load_settings
    from mcp_bridge.bridge import Bridge
    from mcp_bridge.owners import read_tokens

    if given.http is None:
        await _serve_stdio(Bridge(changes=not given.read_only))
        return
    from mcp_bridge.http import serve

    host, port = address_of(given.http)
    tokens = read_tokens(load_settings())
    bridge = Bridge(changes=given.allow_changes and not given.read_only)
    await serve(bridge, tokens, host=host, port=port, allowed=given.allowed_host, ready=_told)


async def _serve_stdio(bridge: Any) -> None:
    from mcp.server.stdio import stdio_server

    from mcp_bridge.server import build_server

    server = build_server(bridge)
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def _told(address: str) -> None:
    sys.stderr.write(f"The MCP bridge serves {address}\n")
    sys.stderr.flush()


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as refused:
        raise InvalidSetting("--folder", f"{folder}: {refused.strerror}") from None


def address_of(text: str) -> tuple[str, int]:
    """Return the host and port that a person means: nothing, a port, a host, or both; IPv6 in brackets with a port."""
    host, colon, port = text.rpartition(":")
    if text.isdigit():
        return "127.0.0.1", int(text)
    if not colon or not port.isdigit() or (":" in host and not host.startswith("[")):
        host, port = text, str(DEFAULT_PORT)
    return host.strip("[]") or "127.0.0.1", int(port)


def _run(work: Coroutine[Any, Any, None]) -> None:
    if sys.platform == "win32":
        asyncio.run(work)
    else:
        import uvloop

        uvloop.run(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flywheel mcp", description="Serve every MCP client, over stdio by default.")
    parser.add_argument(
        "--http",
        metavar="[HOST:]PORT",
        nargs="?",
        const="",
        help=f"serve streamable HTTP at /mcp instead; 127.0.0.1:{DEFAULT_PORT} by default",
    )
    parser.add_argument("--read-only", action="store_true", help="without the tools that change what all share")
    parser.add_argument("--allow-changes", action="store_true", help="with them, over HTTP")
    parser.add_argument(
        "--allowed-host", action="append", default=[], metavar="NAME", help="a further Host that clients may name"
    )
    parser.add_argument("--folder", metavar="DIR", help="work in this folder: its registry, its stack")
    parser.add_argument("--log-level", default="WARNING", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    commands = parser.add_subparsers(dest="command", metavar="install")
    found = commands.add_parser("install", help="put the bridge into an MCP client's configuration")
    found.add_argument("client", choices=["claude-desktop", "claude-code", "vscode", "cursor"])
    found.add_argument("--dry-run", action="store_true", help="show what would be written, and write nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
