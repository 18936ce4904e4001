"""``flywheel waiting``: the queries that wait for a person."""

from __future__ import annotations

import asyncio

from agentic_flywheel.asker import LOCAL, Asker
from agentic_flywheel.given import asker_of
from producer.cli import options
from producer.cli.moments import age, time_left
from producer.cli.objects import record_object
from producer.cli.safe_text import one_line
from producer.cli.screen import Screen
from producer.client import AsyncProducer


def waiting(owner: options.Owner = LOCAL, user: options.User = None, json: options.Json = False) -> None:
    """List your queries whose flow has stopped and asks a person, the most urgent first.

    `flywheel resume QUERY_ID --proceed` or `--reject` decides.
    """
    screen = Screen(json, owner, user)
    with screen.reporting():
        asyncio.run(_list(screen, asker_of(owner, user)))


async def _list(screen: Screen, asker: Asker) -> None:
    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli") as producer:
        records = await producer.waiting()
    if screen.json:
        for record in records:
            screen.object(record_object(record))
        return
    if not records:
        screen.line("No query of yours waits for a person.")
        return
    screen.table(
        ("query", "stop", "flow", "since", "left", "asks", "question"),
        [
            (
                record.query_id,
                str(stop.number),
                stop.flow,
                age(stop.since),
                time_left(stop.until),
                one_line(stop.text, 60),
                one_line(record.query.question, 40),
            )
            for record in records
            for stop in record.stops
        ],
        right=("stop", "since", "left"),
        keep=("query",),
    )
    for flow in sorted({stop.flow for record in records for stop in record.stops if stop.served is False}):
        screen.line(
            f"No living worker's registry has the flow {one_line(flow, 200)} any more: put it back there to decide, or "
            "`flywheel cancel QUERY_ID`."
        )
