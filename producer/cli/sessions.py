"""``flywheel sessions``: the conversations."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from agentic_flywheel.asker import LOCAL, Asker
from agentic_flywheel.broker.sessions import list_sessions, load_session
from agentic_flywheel.given import asker_of
from producer.cli import options
from producer.cli.moments import age
from producer.cli.safe_text import one_line
from producer.cli.screen import Screen
from producer.client import AsyncProducer

sessions = options.command_group("List and show conversations.")

Limit = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most so many.")]


@sessions.command("list")
def list_(
    limit: Limit = 50, owner: options.Owner = LOCAL, user: options.User = None, json: options.Json = False
) -> None:
    """List your sessions, the latest first."""
    screen = Screen(json, owner, user)
    with screen.reporting():
        asyncio.run(_list(screen, asker_of(owner, user), limit))


async def _list(screen: Screen, asker: Asker, limit: int) -> None:
    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli") as producer:
        found = await list_sessions(producer.batch, asker, limit=limit)
    if screen.json:
        for session in found:
            screen.object(session.shown())
    elif found:
        screen.table(
            ("session", "turns", "under way", "profile", "last turn"),
            [
                (each.session_id, str(each.turns), str(len(each.under_way)), each.profile or "", age(each.updated))
                for each in found
            ],
            right=("turns", "under way", "last turn"),
        )
    else:
        screen.line('No sessions of yours: `flywheel ask --session ID "…"` begins one.')


@sessions.command()
def show(
    session: Annotated[str, typer.Argument(metavar="SESSION", show_default=False)],
    limit: Limit = 50,
    owner: options.Owner = LOCAL,
    user: options.User = None,
    json: options.Json = False,
) -> None:
    """Show a session's turns, the oldest first."""
    screen = Screen(json, owner, user)
    with screen.reporting():
        asyncio.run(_show(screen, asker_of(owner, user), session, limit))


async def _show(screen: Screen, asker: Asker, session_id: str, limit: int) -> None:
    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli") as producer:
        session = await load_session(producer.batch, session_id, asker=asker)
        turns = await producer.history(session_id, limit=limit)
    if screen.json:
        screen.object({**session.shown(), "turns": [turn.model_dump(mode="json") for turn in turns]})
        return
    for turn in turns:
        screen.line(("› ", "bold"), (one_line(turn.question), "bold"))
        screen.line(turn.answer)
        screen.line((f"  {turn.flow}, {age(turn.at)} ago, {turn.query_id}", "dim"))
        screen.line()
    for query_id in session.under_way:
        screen.line((f"under way: {query_id}", "cyan"))
