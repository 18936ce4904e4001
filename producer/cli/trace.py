"""``flywheel trace``, ``traces`` and ``thread``: how queries came to their answers, one or many."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from agentic_flywheel.asker import LOCAL, Asker
from agentic_flywheel.given import asker_of
from agentic_flywheel.tracing.archive import Wish
from agentic_flywheel.tracing.reading import read_thread, read_trace, search_traces
from agentic_flywheel.tracing.tree import duration, render_tree
from agentic_flywheel.tracing.view import FoundTrace
from producer.cli import options
from producer.cli.moments import age
from producer.cli.objects import milliseconds
from producer.cli.safe_text import one_line
from producer.cli.screen import Screen
from producer.client import AsyncProducer


def trace(
    query_id: options.QueryId, owner: options.Owner = LOCAL, user: options.User = None, json: options.Json = False
) -> None:
    """Show a query's way as a tree, with the time of each step as a bar.

    Read from Langfuse where its keys are set, else from the local trace file, else from the query's record.
    """
    screen = Screen(json, owner, user)
    with screen.reporting():
        asyncio.run(_trace(screen, asker_of(owner, user), query_id))


async def _trace(screen: Screen, asker: Asker, query_id: str) -> None:
    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli") as producer:
        view = await read_trace(producer.batch, producer.settings, query_id, asker=asker)
    if screen.json:
        screen.object(view.as_object())
    else:
        screen.drawing(render_tree(view))


def traces(
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="In the question or the answer.")] = "",
    flow: Annotated[str | None, typer.Option("--flow", metavar="FLOW", help="Answered by this flow.")] = None,
    session: Annotated[str | None, typer.Option("--session", metavar="ID", help="Of this conversation.")] = None,
    since: Annotated[
        timedelta | None,
        typer.Option("--since", metavar="TIME", parser=options.duration, help="Not longer ago than 2h, 7d, …"),
    ] = None,
    until: Annotated[
        timedelta | None,
        typer.Option("--until", metavar="TIME", parser=options.duration, help="Longer ago than this."),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option("--min-score", min=1, max=10, metavar="N", help="Rated at least so.")
    ] = None,
    max_score: Annotated[
        float | None, typer.Option("--max-score", min=1, max=10, metavar="N", help="Rated at most so.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, metavar="N", help="At most so many.")] = 20,
    owner: options.Owner = LOCAL,
    user: options.User = None,
    json: options.Json = False,
) -> None:
    """Find queries by text, flow, session, date and score, the latest first."""
    screen = Screen(json, owner, user)
    now = datetime.now(UTC)
    with screen.reporting():
        asker = asker_of(owner, user)
        wish = Wish(
            text=text,
            flow=flow,
            session=session,
            asker=asker,
            since=None if since is None else now - since,
            until=None if until is None else now - until,
            min_score=min_score,
            max_score=max_score,
            limit=limit,
        )
        asyncio.run(_traces(screen, asker, wish))


async def _traces(screen: Screen, asker: Asker, wish: Wish) -> None:
    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli") as producer:
        found = await search_traces(producer.batch, producer.settings, wish)
    _show(screen, found, "No query of yours is like that.")


def thread(
    session: Annotated[str, typer.Argument(metavar="SESSION", show_default=False)],
    owner: options.Owner = LOCAL,
    user: options.User = None,
    json: options.Json = False,
) -> None:
    """Show the queries of a conversation as one thread, the first one first."""
    screen = Screen(json, owner, user)
    with screen.reporting():
        asyncio.run(_thread(screen, asker_of(owner, user), session))


async def _thread(screen: Screen, asker: Asker, session: str) -> None:
    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli") as producer:
        found = await read_thread(producer.batch, producer.settings, session, asker=asker)
    _show(screen, found, "Nothing was asked in this conversation yet.")


def _show(screen: Screen, found: list[FoundTrace], nothing: str) -> None:
    if screen.json:
        for each in found:
            screen.object(_object(each))
        return
    if not found:
        screen.line(nothing)
        return
    screen.table(
        ("query", "age", "took", "flow", "score", "question"),
        [
            (
                each.query_id,
                age(each.at),
                duration(round(each.elapsed / timedelta(microseconds=1)) * 1000) if each.elapsed else "",
                each.flow or "",
                "" if each.rating is None else f"{each.rating:g}",
                (one_line(f"✗ {each.problem}: {each.question}", 100), "red")
                if each.problem
                else one_line(each.question or each.name, 60),
            )
            for each in found
        ],
        right=("age", "took", "score"),
    )


def _object(found: FoundTrace) -> dict[str, Any]:
    return {**found.model_dump(mode="json", exclude={"elapsed"}), "elapsed_ms": milliseconds(found.elapsed)}
