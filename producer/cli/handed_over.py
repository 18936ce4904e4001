"""Commands of packages that the producer may not import: ``flywheel mcp``, ``flywheel serve`` and ``flywheel worker``.

Each runs in place of this process.
"""

from __future__ import annotations

import os
import sys

import typer

from agentic_flywheel.extras import need
from producer.cli.screen import Screen

_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

mcp = typer.Typer(add_completion=False)
serve = typer.Typer(add_completion=False)
worker = typer.Typer(add_completion=False)


@mcp.command("mcp", context_settings=_PASSED_ON)
def _mcp(context: typer.Context) -> None:
    """Serve every MCP client, over stdio by default; `flywheel mcp --help` tells the rest."""
    _become("mcp_bridge", context, needs="mcp")


@serve.command("serve", context_settings=_PASSED_ON)
def _serve(context: typer.Context) -> None:
    """Serve HTTP: our own API, those of Flowise and OpenAI, and MCP; `flywheel serve --help` tells the rest."""
    _become("http_gateway", context, needs="fastapi")


@worker.command("worker", context_settings=_PASSED_ON)
def _worker(context: typer.Context) -> None:
    """Answer queries in this process, until SIGTERM or Ctrl-C; `flywheel worker --help` tells the rest."""
    _become("workers", context, needs="celery")


def _become(package: str, context: typer.Context, *, needs: str) -> None:
    with Screen(False).reporting():
        need(needs, f"`flywheel {context.info_name}`")
    # ``-P``: a folder of this name in the user's working folder must not be run in the place of ours.
    os.execv(sys.executable, [sys.executable, "-P", "-m", package, *context.args])
