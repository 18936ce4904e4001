"""The HTTP gateway as a command: ``flywheel serve``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from agentic_flywheel.log_files import tell
from agentic_flywheel.stack import GATEWAY_PORT
from mcp_bridge.command import add_common_options, carry_out, log_to_stderr, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status; 2 where what was given is not acceptable."""
    given = _parser().parse_args(arguments)
    return carry_out(lambda: run(_serve(given)), given.folder)


async def _serve(given: argparse.Namespace) -> int:
    from agentic_flywheel.access.environment import read_tokens
    from agentic_flywheel.broker.starting import beside_broker, prepare
    from agentic_flywheel.log_files import keep_log
    from agentic_flywheel.settings import load_settings
    from agentic_flywheel.stack import stack_settings

    settings = load_settings()
    # They import aiohttp, which opens what variables of TLS name: the settings are read before.
    from http_gateway.gateway import Gateway
    from http_gateway.serving import serve

    keep_log(settings)
    log_to_stderr(given.log_level)
    gateway = Gateway(
        None, read_tokens(settings), host=given.host, allowed=given.allowed_host, changes=given.allow_changes
    )
    prepare(settings, tell)
    async with beside_broker(stack_settings, "The gateway", tell):
        await serve(gateway, host=given.host, port=given.port, ready=_told)
    return 0


def _told(address: str) -> None:
    tell(f"The gateway serves {address}")


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError("it should be a number from 0 to 65535")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flywheel serve",
        description="Serve HTTP: our own API under /v1, the APIs of Flowise and OpenAI, and the MCP bridge at /mcp.",
        allow_abbrev=False,
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; beyond loopback with tokens only")
    parser.add_argument("--port", type=_port, default=GATEWAY_PORT, help=f"{GATEWAY_PORT} by default; 0: a free one")
    parser.add_argument("--allow-changes", action="store_true", help="with MCP tools that change what all share")
    add_common_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
