"""Which commands there are, and where. A new one is one more line in ``COMMANDS`` and one module beside this one."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command


@dataclass(frozen=True)
class Command:
    """Where a command is: a function, or a ``Typer`` with commands of its own."""

    module: str
    name: str
    summary: str
    panel: str


ASK, LOOK, RUN = "Ask", "Look", "Run"

COMMANDS = {
    "ask": Command("ask", "ask", "Ask a question and watch the answer come.", ASK),
    "submit": Command("query", "submit", "Put a question into the queue and return at once.", ASK),
    "wait": Command("query", "wait", "Wait for a query's answer.", ASK),
    "stream": Command("query", "stream", "Follow a query's events, from the first one or from where you were.", ASK),
    "score": Command("score", "score", "Say how good an answer was.", ASK),
    "reroute": Command("reroute", "reroute", "Ask a query again of the flow that it should have gone to.", ASK),
    "waiting": Command("waiting", "waiting", "List your queries whose flow asks a person.", ASK),
    "cancel": Command("query", "cancel", "Cancel a query, a session's queries, or all of yours.", ASK),
    "status": Command("status", "status", "Show a query, or what runs and waits.", LOOK),
    "route": Command("route", "route", "Show where a question would go, and why. Calls no flow.", LOOK),
    "trace": Command("trace", "trace", "Show a query's way as a tree, with the time of each step as a bar.", LOOK),
    "traces": Command("trace", "traces", "Find queries by text, flow, session, date and score.", LOOK),
    "thread": Command("trace", "thread", "Show the queries of a conversation as one thread.", LOOK),
    "health": Command("health", "health", "Show how the flows and queues are doing.", LOOK),
    "usage": Command("usage", "usage", "Show who asks how much of what.", LOOK),
    "sessions": Command("sessions", "sessions", "List and show conversations.", LOOK),
    "profiles": Command("profiles", "profiles", "What flows are told of a domain: list, show, make, use.", LOOK),
    "cache": Command("cache", "cache", "Show what the cache saves, or empty it.", LOOK),
    "flows": Command("flows", "flows", "List, check, add and import the flows of the registry.", LOOK),
    "learn": Command("learn", "learn", "Propose changes of the registry from what people said of answers.", LOOK),
    "audit": Command("audit", "audit_", "Check that nothing accepted is lost, and repair what is.", LOOK),
    "doctor": Command("doctor", "doctor", "Check everything that is needed, and say what to do.", LOOK),
    "forget": Command("forget", "forget", "Delete what is known of a person.", RUN),
    "init": Command("init", "init", "Begin with your own Flowise: import, check, first question.", RUN),
    "up": Command("up", "up", "Start what is missing: broker, Flowise sandbox, workers, Flower.", RUN),
    "worker": Command("handed_over", "worker", "Answer queries in this process: one worker.", RUN),
    "mcp": Command("handed_over", "mcp", "Serve MCP clients, or put the bridge into a client's configuration.", RUN),
    "serve": Command("handed_over", "serve", "Serve HTTP: our API, Flowise's and OpenAI's, and MCP at /mcp.", RUN),
    "tokens": Command("tokens", "tokens", "Make, list and revoke the tokens with which others come in.", RUN),
    "demo": Command("demo", "demo", "Start the stack and see six questions answered.", RUN),
    "pause": Command("pausing", "pause", "Pause a domain or a flow; its queries wait.", RUN),
    "resume": Command("pausing", "resume", "Decide what a query asks; or let a paused domain or flow go on.", RUN),
    "replay": Command("replay", "replay", "Ask many questions again and see what changed.", RUN),
    "dead-letters": Command("dead_letters", "dead_letters", "List, show, retry and purge failed queries.", RUN),
}

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


def options_of(name: str, *rest: str) -> list[str]:
    """Return the options of a command; of a group those of its command that ``rest`` begins with."""
    command = load_command(name) if name in COMMANDS else None
    if isinstance(command, TyperGroup):
        command = command.commands.get(rest[0]) if rest else None
    return [] if command is None else [option for each in command.params for option in each.opts]


def load_command(name: str) -> Any:
    """Import a command and return it, or its group of commands."""
    place = COMMANDS[name]
    with _without_figures_of_redis():
        found = getattr(import_module(f"producer.cli.{place.module}"), place.name)
    if not gc.isenabled():
        # What is imported stays to the end. Looking through it for garbage, again and again, took a tenth of the start.
        gc.freeze()
        gc.enable()
    if isinstance(found, typer.Typer):
        return get_command(found)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(found)
    return get_command(single)
