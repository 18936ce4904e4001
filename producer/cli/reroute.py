"""``flywheel reroute``: the same question to the right flow, and a lesson for the classification."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from producer.cli import options
from producer.cli.ask import show_answer, watched_answer
from producer.cli.objects import answer_object
from producer.cli.screen import Screen
from producer.client import AsyncProducer


def reroute(
    query_id: options.QueryId,
    flow: Annotated[str, typer.Option("--flow", metavar="FLOW", show_default=False, help="Where it belongs.")],
    wait: options.Wait = None,
    user: options.User = "local",
    json: options.Json = False,
) -> None:
    """Ask a query's question again of the flow that it should have gone to.

    That the first route was wrong is remembered: `flywheel learn` proposes what in the registry would have led there.
    """
    screen = Screen(json)
    with screen.reporting():
        asyncio.run(_reroute(screen, user, query_id, flow, wait))


async def _reroute(screen: Screen, user: str, query_id: str, flow: str, wait: timedelta | None) -> None:
    async with AsyncProducer(owner=user, client="cli") as producer:
        submission = await producer.reroute(query_id, flow)
        answer, shown = await watched_answer(screen, producer, submission, wait)
        if screen.json:
            screen.object({"reroute_of": query_id, **answer_object(answer)})
        else:
            show_answer(screen, answer, already=shown)
