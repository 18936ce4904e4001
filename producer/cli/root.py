"""The command ``flywheel``: which commands there are, each imported when it is called, and what happens when one fails.

A new command is one more line in ``COMMANDS`` and one module beside this one.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.extras import missing
from producer.cli import streams
from producer.cli.exits import Exit

_EPILOG = (
    "Exit codes: 0 done; 1 the query or the command failed; 2 what was given is not acceptable; 3 the broker or the "
    "stack is not available; 4 the wait was over before the answer came; 5 cancelled or expired."
)
#: What to do about arguments and options that are not acceptable.
_USAGE = (
    "Run the command with --help: it lists its arguments and options.",
    "Put a text that begins with a dash behind `--`.",
    "Run `flywheel --help`: it lists the commands.",
)
#: What to do about a fault of ours.
_FAULT = (
    "Run the command again as `flywheel --traceback …`: it shows where the fault is.",
    "Run `flywheel doctor`: it finds what is missing on this machine.",
    "Report the fault, with what `flywheel --traceback …` prints.",
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
    "waiting": Command("waiting", "waiting", "List your queries whose flow asks a person.", _ASK),
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
    "flows": Command("flows", "flows", "List, check, add and import the flows of the registry.", _LOOK),
    "learn": Command("learn", "learn", "Propose changes of the registry from what people said of answers.", _LOOK),
    "audit": Command("audit", "audit_", "Check that nothing accepted is lost, and repair what is.", _LOOK),
    "doctor": Command("doctor", "doctor", "Check everything that is needed, and say what to do.", _LOOK),
    "forget": Command("forget", "forget", "Delete what is known of a person.", _RUN),
    "init": Command("init", "init", "Begin with your own Flowise: import, check, first question.", _RUN),
    "up": Command("up", "up", "Start what is missing: broker, Flowise sandbox, workers, Flower.", _RUN),
    "worker": Command("handed_over", "worker", "Answer queries in this process: one worker.", _RUN),
    "mcp": Command("handed_over", "mcp", "Serve MCP clients, or put the bridge into a client's configuration.", _RUN),
    "serve": Command("handed_over", "serve", "Serve HTTP: our API, Flowise's and OpenAI's, and MCP at /mcp.", _RUN),
    "tokens": Command("tokens", "tokens", "Make, list and revoke the tokens with which others come in.", _RUN),
    "demo": Command("demo", "demo", "Start the stack and see six questions answered.", _RUN),
    "pause": Command("pausing", "pause", "Pause a domain or a flow; its queries wait.", _RUN),
    "resume": Command("pausing", "resume", "Decide what a query asks; or let a paused domain or flow go on.", _RUN),
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
        return name, load_command(name) if name else None, rest


#: redis-py imports them where they are installed, and 65 modules with them: a tenth of a command's time to start. They
#: are for figures that nobody asks the command line for.
_NOT_FOR_REDIS = ("opentelemetry.metrics", "opentelemetry.sdk.metrics")


@contextmanager
def _without_figures_of_redis() -> Iterator[None]:
    """Have redis-py find no OpenTelemetry while it is imported, unless somebody has imported either before."""
    hidden = [each for each in _NOT_FOR_REDIS if each not in sys.modules and "redis" not in sys.modules]
    for each in hidden:
        sys.modules[each] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for each in hidden:
            del sys.modules[each]


def load_command(name: str) -> Any:
    """Import a command and return it, or its group of commands."""
    place = COMMANDS[name]
    with _without_figures_of_redis():
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
    streams.prepare()
    try:
        get_command(app)(prog_name="flywheel")
    except SystemExit as end:
        refused = getattr(end.__context__, "format_message", None)
        if refused is not None and _json_wanted():
            # Typer itself says on stderr what it does not accept, before a command can.
            _tell(refused(), "UsageError", _USAGE)
        raise
    except ModuleNotFoundError as absent:
        error = missing(absent.name or "", f"`flywheel {' '.join(sys.argv[1:2])}`")
        if error is None or "--traceback" in sys.argv[1:2]:
            _show(absent)
            sys.exit(Exit.FAULT)
        _refuse(error)
    except Exception as fault:
        if isinstance(fault, OSError) and streams.could_not_write(fault):
            sys.exit(Exit.FAILED)
        # Expected failures were shown by their command; this one is ours.
        _show(fault)
        sys.exit(Exit.FAULT)


def _refuse(error: FlywheelError) -> None:
    """Say that a command cannot work as it is installed, and end."""
    from producer.cli.screen import Screen

    Screen(_json_wanted()).failure(error.describe())
    sys.exit(Exit.UNUSABLE)


def _show(fault: Exception) -> None:
    """Say what should not have happened: as JSON where that is asked for, also when no command was reached."""
    said = f"This should not have happened: {type(fault).__name__}: {str(fault)!a}"
    if _json_wanted():
        _tell(said, type(fault).__name__, _FAULT)
    else:
        sys.stderr.write(f"{said}\n")
    if "--traceback" in sys.argv[1:2]:
        traceback.print_exception(fault)
    elif "--json" not in sys.argv:
        sys.stderr.write("`flywheel --traceback …` shows where; please report it.\n")


def _json_wanted() -> bool:
    return "--json" in sys.argv[1 : sys.argv.index("--") if "--" in sys.argv else None]


def _tell(error: str, kind: str, suggestions: tuple[str, ...]) -> None:
    told = {"error": error, "error_type": kind, "details": {}, "recovery_suggestions": suggestions}
    sys.stdout.write(json.dumps({**told, "retry_after": 0.0, "query_id": None, "error_id": ""}) + "\n")
