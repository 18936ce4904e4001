"""``flywheel reroute``: ask the same question of the right flow, and record that the first route was wrong."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from agentic_flywheel.asker import LOCAL, Asker
from agentic_flywheel.given import asker_of
from producer.cli import options
from producer.cli.ask import show_answer
from producer.cli.objects import answer_object
from producer.cli.screen import Screen
from producer.cli.watching import AnswerWatch
from producer.client import AsyncProducer
from producer.connections import SUBMIT_PATIENCE


def reroute(
    query_id: options.QueryId,
    flow: Annotated[str, typer.Option("--flow", metavar="FLOW", show_default=False, help="Where it belongs.")],
    wait: options.Wait = None,
    owner: options.Owner = LOCAL,
    user: options.User = None,
    json: options.Json = False,
) -> None:
    """Ask a query's question again of the flow that it should have gone to.

    That the first route was wrong is remembered: `flywheel learn` proposes what in the registry would have led there.
    """
    screen = Screen(json, owner, user)
    with screen.reporting():
        asyncio.run(_reroute(screen, asker_of(owner, user), query_id, flow, wait))


async def _reroute(screen: Screen, asker: Asker, query_id: str, flow: str, wait: timedelta | None) -> None:
    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli", patience=SUBMIT_PATIENCE) as producer:
        submission = await producer.reroute(query_id, flow)
        watch = AnswerWatch(screen, wait)
        answer = await watch.answer_to(producer, submission)
        if screen.json:
            screen.object({"reroute_of": query_id, **answer_object(answer)})
        else:
            show_answer(screen, answer, already=watch.shown)
