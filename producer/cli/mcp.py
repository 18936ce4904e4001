"""``flywheel mcp``: become the MCP bridge, which stands above the producer: started as a program, not imported."""

from __future__ import annotations

import os
import sys

import typer

mcp = typer.Typer(add_completion=False)


@mcp.command(
    "mcp", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def _mcp(context: typer.Context) -> None:
    """Serve every MCP client, over stdio by default; `flywheel mcp --help` tells the rest."""
    # ``-P``: a folder named `mcp_bridge` in the user's working folder must not be run in the place of ours.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "mcp_bridge", *context.args])
