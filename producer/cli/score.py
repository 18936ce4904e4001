"""``flywheel score``: rate an answer."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from agentic_flywheel.asker import LOCAL, Asker
from agentic_flywheel.broker.scores import RATING, read_value
from agentic_flywheel.given import asker_of
from producer.cli import options
from producer.cli.screen import Screen
from producer.client import AsyncProducer


def score(
    query_id: options.QueryId,
    value: Annotated[str, typer.Argument(metavar="VALUE", show_default=False)],
    comment: Annotated[str, typer.Option("--comment", metavar="TEXT", help="Why.", show_default=False)] = "",
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="What is judged; `rating` makes a flow's mean.")
    ] = RATING,
    owner: options.Owner = LOCAL,
    user: options.User = None,
    json: options.Json = False,
) -> None:
    """Say how good an answer was: VALUE is a number from 1 to 10, true or false, or one word.

    A second score of the same name corrects the first.
    """
    screen = Screen(json, owner, user)
    with screen.reporting():
        asyncio.run(_score(screen, asker_of(owner, user), query_id, value, name, comment))


async def _score(screen: Screen, asker: Asker, query_id: str, value: str, name: str, comment: str) -> None:
    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli") as producer:
        kept = await producer.score(query_id, read_value(value), name=name, comment=comment)
    if screen.json:
        screen.object(kept.model_dump(mode="json"))
    else:
        shown = screen.runnable(f"`flywheel trace {kept.query_id}` shows it.")
        screen.line(f"{kept.name} {kept.shown_value}, of {kept.flow}. {shown}")
