"""Run the sandbox: ``python -m flowise_sandbox --port 3100``. SIGTERM and Ctrl-C stop it."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.log_files import keep_log
from agentic_flywheel.settings import load_settings
from flowise_sandbox.behaviour import Behaviour
from flowise_sandbox.flows import read_flows

if TYPE_CHECKING:
    from flowise_sandbox.server import Sandbox


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C. Returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        keep_log(load_settings())
        flows = read_flows(given.registry) if given.registry else ()
        behaviour = Behaviour(latency=given.latency, token_delay=given.token_delay, overrides=given.overrides)
    except (FlywheelError, ValidationError) as refused:
        print(f"sandbox: {refused}", file=sys.stderr)
        return 2
    # It imports aiohttp, which opens what variables of TLS name: the settings are read before.
    from flowise_sandbox.server import Sandbox

    sandbox = Sandbox(flows, behaviour=behaviour, api_key=given.api_key, host=given.host, port=given.port)
    if sys.platform == "win32":
        return asyncio.run(_serve(sandbox))
    import uvloop

    return uvloop.run(_serve(sandbox))


async def _serve(sandbox: Sandbox) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stopped.set)
    try:
        await sandbox.start()
    except OSError as taken:
        print(f"sandbox: cannot listen at {sandbox.url}: {taken.strerror}", file=sys.stderr)
        return 1
    print(f"sandbox: {sandbox.url}", flush=True)
    await stopped.wait()
    await sandbox.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flowise_sandbox", description=__doc__, allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one (default)")
    parser.add_argument("--registry", type=Path, help="a flow registry whose flows are served too")
    parser.add_argument("--api-key", help="the key that guards the management API; open without one")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before the first token")
    parser.add_argument("--token-delay", type=float, default=0.0, help="seconds between tokens")
    parser.add_argument("--overrides", action="store_true", help="honour overrideConfig, as an owner may enable")
    return parser


if __name__ == "__main__":
    sys.exit(main())
