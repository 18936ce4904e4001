"""The command ``flywheel``: which commands there are, each imported when it is called, and what happens when one fails.

A new command is one more line in ``COMMANDS`` and one module beside this one.
"""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from producer.cli.exits import Exit

_EPILOG = (
    "Exit codes: 0 done; 1 the query or the command failed; 2 what was given is not acceptable; 3 the broker or the "
    "stack is not available; 4 the wait was over before the answer came; 5 cancelled or expired."
)


@dataclass(frozen=True)
class Command:
    """Where a command is: a function, or a ``Typer`` with commands of its own."""

    module: str
    name: str
    summary: str
    panel: str


_ASK, _LOOK, _RUN = "Ask", "Look", "Run"

COMMANDS = {
    "ask": Command("ask", "ask", "Ask a question and watch the answer come.", _ASK),
    "submit": Command("query", "submit", "Put a question into the queue and return at once.", _ASK),
    "wait": Command("query", "wait", "Wait for a query's answer.", _ASK),
    "stream": Command("query", "stream", "Follow a query's events, from the first one or from where you were.", _ASK),
    "score": Command("score", "score", "Say how good an answer was.", _ASK),
    "reroute": Command("reroute", "reroute", "Ask a query again of the flow that it should have gone to.", _ASK),
    "cancel": Command("query", "cancel", "Cancel a query, a session's queries, or all of yours.", _ASK),
    "status": Command("status", "status", "Show a query, or what runs and waits.", _LOOK),
    "route": Command("route", "route", "Show where a question would go, and why. Calls no flow.", _LOOK),
    "trace": Command("trace", "trace", "Show a query's way as a tree, with the time of each step as a bar.", _LOOK),
    "traces": Command("trace", "traces", "Find queries by text, flow, session, date and score.", _LOOK),
    "thread": Command("trace", "thread", "Show the queries of a conversation as one thread.", _LOOK),
    "health": Command("health", "health", "Show how the flows and queues are doing.", _LOOK),
    "usage": Command("usage", "usage", "Show who asks how much of what.", _LOOK),
    "sessions": Command("sessions", "sessions", "List and show conversations.", _LOOK),
    "profiles": Command("profiles", "profiles", "What flows are told of a domain: list, show, make, use.", _LOOK),
    "cache": Command("cache", "cache", "Show what the cache saves, or empty it.", _LOOK),
    "flows": Command("flows", "flows", "List, check and add the flows of the registry.", _LOOK),
    "learn": Command("learn", "learn", "Propose changes of the registry from what people said of answers.", _LOOK),
    "doctor": Command("doctor", "doctor", "Check everything that is needed, and say what to do.", _LOOK),
    "up": Command("up", "up", "Start what is missing: broker, Flowise sandbox, workers, Flower.", _RUN),
    "mcp": Command("mcp", "mcp", "Serve MCP clients, or put the bridge into a client's configuration.", _RUN),
    "demo": Command("demo", "demo", "Start the stack and see six questions answered.", _RUN),
    "pause": Command("hold", "pause", "Hold a domain or a flow; its queries wait.", _RUN),
    "resume": Command("hold", "resume", "Let a held domain or flow go on.", _RUN),
    "replay": Command("replay", "replay", "Ask many questions again and see what changed.", _RUN),
    "dead-letters": Command("dead_letters", "dead_letters", "List, show, retry and purge failed queries.", _RUN),
}


class Commands(TyperGroup):
    """Knows the commands by name and summary, and imports only the one that is called."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for name, command in COMMANDS.items():
            self.add_command(TyperCommand(name=name, help=command.summary))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for panel in (_ASK, _LOOK, _RUN):
            with formatter.section(panel):
                formatter.write_dl([(name, each.summary) for name, each in COMMANDS.items() if each.panel == panel])

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, _load(name) if name else None, rest


def _load(name: str) -> Any:
    place = COMMANDS[name]
    found = getattr(import_module(f"producer.cli.{place.module}"), place.name)
    if isinstance(found, typer.Typer):
        return get_command(found)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(found)
    return get_command(single)


app = typer.Typer(cls=Commands, no_args_is_help=True, epilog=_EPILOG, rich_markup_mode=None)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("agentic-flywheel"))
        raise typer.Exit


@app.callback()
def _flywheel(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    tracebacks: Annotated[bool, typer.Option("--traceback", help="Show where a fault of ours happened.")] = False,
) -> None:
    """A durable, observable queue in front of Flowise."""
    context.obj = tracebacks


def main() -> None:
    """Run the command line and end the process with the command's exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its number; the command goes on.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        get_command(app)(prog_name="flywheel")
    except Exception as fault:
        # Expected failures were shown by their command; this one is ours.
        sys.stderr.write(f"This should not have happened: {type(fault).__name__}: {str(fault)!a}\n")
        if "--traceback" in sys.argv[1:2]:
            traceback.print_exception(fault)
        else:
            sys.stderr.write("`flywheel --traceback …` shows where; please report it.\n")
        sys.exit(Exit.FAULT)
