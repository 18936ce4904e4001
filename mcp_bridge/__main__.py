"""The MCP bridge as a command: ``flywheel mcp``, ``flywheel mcp --http``, ``flywheel mcp install claude-desktop``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from agentic_flywheel.log_files import tell
from agentic_flywheel.stack import BRIDGE_PORT
from mcp_bridge.clients import CLIENTS
from mcp_bridge.command import add_common_options, carry_out, log_to_stderr, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status; 2 where what was given is not acceptable."""
    given = _parser().parse_args(arguments)
    return carry_out(lambda: _install(given) if given.command == "install" else run(_serve(given)), given.folder)


def _install(given: argparse.Namespace) -> int:
    from mcp_bridge.install import install

    done = install(
        given.client,
        folder=Path.cwd(),
        scope=given.scope,
        url=given.url,
        token_env=given.token_env,
        dry_run=given.dry_run,
    )
    sys.stdout.write(done)
    return 0


async def _serve(given: argparse.Namespace) -> int:
    from agentic_flywheel.access.environment import read_tokens
    from agentic_flywheel.broker.starting import beside_broker, prepare
    from agentic_flywheel.errors import InvalidSetting
    from agentic_flywheel.log_files import STDERR, keep_log
    from agentic_flywheel.settings import load_settings
    from agentic_flywheel.stack import stack_settings
    from mcp_bridge.bridge import Bridge
    from mcp_bridge.files import shared_folder

    settings = load_settings()
    # stdout belongs to the protocol; whatever else is said goes to stderr, or to the log file.
    keep_log(settings, descriptors=(STDERR,))
    log_to_stderr(given.log_level)
    files = None if given.files is None else shared_folder(given.files)
    if files is not None and given.http is not None:
        raise InvalidSetting("--files", "over HTTP no client may name files of this machine; leave it out, or --http")
    bridge = Bridge(changes=given.allow_changes, tools=given.tools, user=given.user, files=files)
    prepare(settings, tell)
    async with beside_broker(stack_settings, "The bridge", tell):
        if given.http is None:
            from mcp_bridge.stdio import serve_stdio

            return await serve_stdio(bridge)
        from mcp_bridge.http import serve

        host, port = address_of(given.http)
        tokens = read_tokens(settings)
        await serve(bridge, tokens, host=host, port=port, allowed=given.allowed_host, ready=_told)
    return 0


def _told(address: str) -> None:
    tell(f"The MCP bridge serves {address}")


def address_of(text: str) -> tuple[str, int]:
    """Return the host and port that a person means: nothing, a port, a host, or both; IPv6 in brackets with a port."""
    host, colon, port = text.rpartition(":")
    if text.isdigit():
        return "127.0.0.1", int(text)
    if not colon or not port.isdigit() or (":" in host and not host.startswith("[")):
        host, port = text, str(BRIDGE_PORT)
    return host.strip("[]") or "127.0.0.1", int(port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flywheel mcp", description="Serve every MCP client, over stdio by default.", allow_abbrev=False
    )
    parser.add_argument(
        "--http",
        metavar="[HOST:]PORT",
        nargs="?",
        const="",
        help=f"serve streamable HTTP at /mcp instead; 127.0.0.1:{BRIDGE_PORT} by default",
    )
    parser.add_argument(
        "--tools",
        metavar="GROUP|NAME,…",
        help="what to offer: ask (the default), sessions, learn, figures, admin, flow-tools, all, or names of tools",
    )
    parser.add_argument("--allow-changes", action="store_true", help="with the tools that change what all share")
    parser.add_argument(
        "--user",
        metavar="NAME",
        help="for whom a client asks that has no token and names nobody",
    )
    parser.add_argument(
        "--files",
        metavar="FOLDER",
        help="over stdio: a folder below which the client may name files that go with a question",
    )
    add_common_options(parser)
    commands = parser.add_subparsers(dest="command", metavar="install")
    found = commands.add_parser("install", help="put the bridge into an MCP client's configuration")
    found.add_argument("client", choices=CLIENTS)
    found.add_argument("--scope", choices=["user", "project"], help="whose configuration; the client's usual one")
    found.add_argument("--url", help="a bridge that serves there (`flywheel mcp --http`), instead of one of its own")
    found.add_argument("--token-env", metavar="NAME", help="with --url: the environment variable with the token")
    found.add_argument("--dry-run", action="store_true", help="show what would be written, and write nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
