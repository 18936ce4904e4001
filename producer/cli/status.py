"""``flywheel status``: one query, or what runs and waits."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated

import typer

from agentic_flywheel.asker import LOCAL, Asker
from agentic_flywheel.broker.control import queue_lengths, read_paused
from agentic_flywheel.given import asker_of
from agentic_flywheel.models import Record, State
from agentic_flywheel.stops import Stop
from agentic_flywheel.tracing.tree import duration
from producer.cli import options
from producer.cli.doings import doing_lines
from producer.cli.moments import age, when
from producer.cli.objects import record_object
from producer.cli.safe_text import one_line
from producer.cli.screen import Piece, Screen
from producer.cli.sources import source_lines
from producer.client import AsyncProducer

STYLES = {
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.CANCELLED: "yellow",
    State.EXPIRED: "yellow",
    State.RUNNING: "cyan",
    State.INPUT_REQUIRED: "magenta",
}


def status(
    query_id: Annotated[str | None, typer.Argument(metavar="[QUERY_ID]", show_default=False)] = None,
    owner: options.Owner = LOCAL,
    user: options.User = None,
    json: options.Json = False,
) -> None:
    """Show all that is known of a query; without an id, the queues and your latest queries."""
    screen = Screen(json, owner, user)
    with screen.reporting():
        asker = asker_of(owner, user)
        asyncio.run(_overview(screen, asker) if query_id is None else _query(screen, asker, query_id))


async def _query(screen: Screen, asker: Asker, query_id: str) -> None:
    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli") as producer:
        record = await producer.status(query_id)
    if screen.json:
        screen.object(record_object(record))
    else:
        _show(screen, record)


def _show(screen: Screen, record: Record) -> None:
    attempts = str(record.attempts) if record.attempts > 1 else ""
    route = record.route
    screen.facts(
        [
            ("query", record.query_id),
            ("state", (record.state, STYLES.get(record.state, "")) if not record.reason else _waiting(record)),
            ("question", one_line(record.query.question, 200)),
            ("session", record.query.session_id or ""),
            ("flow", f"{record.flow} ({record.domain})" if record.flow else ""),
            ("route", f"{route.decision}, {route.confidence:.0%} ({route.band}): {route.reason}" if route else ""),
            *(("asks", asks) for asks in map(asked_in, record.stops)),
            ("attempts", attempts),
            ("shares", f"the answer of query {record.attached_to}" if record.attached_to else ""),
            ("created", when(record.created)),
            ("routed", _after(record, record.routed)),
            ("started", _after(record, record.started)),
            ("finished", _after(record, record.finished)),
            ("answer", one_line(record.answer.text, 400) if record.answer else ""),
            *(("source", line) for line in source_lines(record.answer.sources if record.answer else ())),
            *(("flow", line) for line in (doing_lines(record.answer) if record.answer else ())),
            *(("warning", one_line(each)) for each in (record.answer.warnings if record.answer else ())),
        ]
    )
    if record.error is not None:
        screen.line()
        screen.explanation(record.error)


def asked_in(stop: Stop) -> str:
    """Return what a flow asks, until when, and the decisions, in one line."""
    choices = " or ".join(f"--{decision} ({label})" for decision, label in stop.choices.items())
    asked = one_line(stop.text, 200)
    return f"{stop.number}. {stop.flow}: {asked}  {choices}, until {when(stop.until)}"


def _waiting(record: Record) -> Piece:
    return f"{record.state}: {record.reason}", STYLES.get(record.state, "")


def _after(record: Record, moment: datetime | None) -> str:
    if moment is None:
        return ""
    seconds = (moment - record.created).total_seconds()
    return f"+{seconds:.3f} s" if seconds < 60 else f"+{duration(round(seconds * 1e9))}"


async def _overview(screen: Screen, asker: Asker) -> None:
    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli") as producer:
        queues, paused, records = await asyncio.gather(
            queue_lengths(producer.batch, producer.catalog), read_paused(producer.batch), producer.recent(limit=10)
        )
    if screen.json:
        screen.object(
            {
                "queues": [queue.model_dump(mode="json") for queue in queues],
                "paused": paused.model_dump(mode="json"),
                "recent": [record_object(record) for record in records],
            }
        )
        return
    screen.table(
        ("queue", "ready", "delayed", "parked"),
        [(each.queue, str(each.ready), str(each.delayed), str(each.parked)) for each in queues],
        right=("ready", "delayed", "parked"),
    )
    screen.facts([("paused domains", ", ".join(paused.domains)), ("paused flows", ", ".join(paused.flows))])
    screen.line()
    if records:
        show_records(screen, records)
    else:
        screen.line('No queries of yours yet: `flywheel ask "…"`.')


def show_records(screen: Screen, records: list[Record]) -> None:
    """Print queries as a table, one a row."""
    screen.table(
        ("query", "state", "flow", "age", "question"),
        [
            (
                record.query_id,
                (record.state, STYLES.get(record.state, "")),
                record.flow or "",
                age(record.created),
                one_line(record.query.question, 60),
            )
            for record in records
        ],
        right=("age",),
    )
