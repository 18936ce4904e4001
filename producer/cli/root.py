"""The command ``flywheel``: each command is imported when it is called; and what happens when one fails."""

from __future__ import annotations

import json
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.extras import missing
from producer.cli import streams
from producer.cli.commands import ASK, COMMANDS, LOOK, RUN, load_command
from producer.cli.exits import Exit

_EPILOG = (
    "Exit codes: 0 done; 1 the query or the command failed; 2 what was given is not acceptable; 3 the broker or the "
    "stack is not available; 4 the wait was over before the answer came; 5 cancelled or expired; 6 the query's "
    "flow asks a person; 70 a fault of ours; 130 Ctrl-C."
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


class Commands(TyperGroup):
    """Knows the commands by name and summary, and imports only the one that is called."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for name, command in COMMANDS.items():
            self.add_command(TyperCommand(name=name, help=command.summary))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for panel in (ASK, LOOK, RUN):
            with formatter.section(panel):
                formatter.write_dl([(name, each.summary) for name, each in COMMANDS.items() if each.panel == panel])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as refused:
            from producer.cli.options import refusal_of

            refused.message = refusal_of(refused)
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name else None, rest


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
