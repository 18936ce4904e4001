"""``flywheel dead-letters``: the queries whose attempts ran out, and another chance for them."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from agentic_flywheel.batch import Batch
from agentic_flywheel.errors import UnknownDeadLetter
from agentic_flywheel.models import DeadLetter
from agentic_flywheel.records import dead_letters as load_letters
from agentic_flywheel.records import remove_dead_letters
from producer.cli import options
from producer.cli.safe_text import one_line
from producer.cli.screen import Screen
from producer.cli.status import age
from producer.client import AsyncProducer

dead_letters = options.command_group("List, show, retry and purge failed queries.")

#: More dead letters than anybody looks at.
_MANY = 100_000

QueryIds = Annotated[list[str] | None, typer.Argument(metavar="[QUERY_ID]...", show_default=False)]
Everything = Annotated[bool, typer.Option("--all", help="All of them; with --flow, all of that flow.")]
OfFlow = Annotated[str | None, typer.Option("--flow", metavar="FLOW", help="Only those of this flow.")]


@dead_letters.command("list")
def list_(flow: OfFlow = None, json: options.Json = False) -> None:
    """List the dead letters, the newest first."""
    screen = Screen(json)
    with screen.reporting():
        asyncio.run(_list(screen, flow))


async def _list(screen: Screen, flow: str | None) -> None:
    async with AsyncProducer(client="cli") as producer:
        letters = [letter for letter in await load_letters(producer.batch, limit=_MANY) if flow in (None, letter.flow)]
    if screen.json:
        for letter in letters:
            screen.object(letter.model_dump(mode="json"))
    elif letters:
        screen.table(
            ("query", "flow", "attempts", "age", "error", "question"),
            [
                (
                    letter.query_id,
                    letter.flow,
                    str(letter.attempts),
                    age(letter.at),
                    letter.error.error_type,
                    one_line(letter.query.question, 50),
                )
                for letter in letters
            ],
            right=("attempts", "age"),
        )
    else:
        screen.line("No dead letters.")


@dead_letters.command()
def show(query_id: options.QueryId, json: options.Json = False) -> None:
    """Show one dead letter: the query, and the error it ended with."""
    screen = Screen(json)
    with screen.reporting():
        asyncio.run(_show(screen, query_id))


async def _show(screen: Screen, query_id: str) -> None:
    async with AsyncProducer(client="cli") as producer:
        (letter,) = await _chosen(producer.batch, [query_id], everything=False, flow=None)
    if screen.json:
        screen.object(letter.model_dump(mode="json"))
        return
    screen.facts(
        [
            ("query", letter.query_id),
            ("flow", f"{letter.flow} ({letter.domain})"),
            ("user", letter.query.user),
            ("session", letter.query.session_id or ""),
            ("attempts", str(letter.attempts)),
            ("age", age(letter.at)),
            ("question", letter.query.question),
        ]
    )
    screen.line()
    screen.explanation(letter.error)


@dead_letters.command()
def retry(
    query_ids: QueryIds = None, everything: Everything = False, flow: OfFlow = None, json: options.Json = False
) -> None:
    """Ask dead letters again, each as a new query of the same user; a letter that was accepted leaves the list."""
    _refuse_ambiguity(query_ids, everything=everything)
    screen = Screen(json)
    with screen.reporting():
        asyncio.run(_retry(screen, query_ids or [], everything=everything, flow=flow))


async def _retry(screen: Screen, query_ids: list[str], *, everything: bool, flow: str | None) -> None:
    async with AsyncProducer(client="cli") as reader:
        letters = await _chosen(reader.batch, query_ids, everything=everything, flow=flow)
        for letter in letters:
            new_id = await _submit_again(letter)
            await remove_dead_letters(reader.batch, [letter.query_id])
            if screen.json:
                screen.object({"query_id": new_id, "redrive_of": letter.query_id})
            else:
                screen.line(f"{letter.query_id} → {new_id}")
    if not letters and not screen.json:
        screen.line("No dead letters.")


async def _submit_again(letter: DeadLetter) -> str:
    """Submit a letter's query as a new one: its deadline has passed, and a remembered failure is no answer."""
    metadata = {**letter.query.metadata, "redrive_of": letter.query_id}
    async with AsyncProducer(owner=letter.query.user, client=letter.query.client) as producer:
        cache = "refresh" if letter.query.cache == "use" else letter.query.cache
        submission = await producer.submit(letter.query, metadata=metadata, deadline=None, cache=cache)
        return submission.query_id


@dead_letters.command()
def purge(
    query_ids: QueryIds = None, everything: Everything = False, flow: OfFlow = None, json: options.Json = False
) -> None:
    """Remove dead letters for good."""
    _refuse_ambiguity(query_ids, everything=everything)
    screen = Screen(json)
    with screen.reporting():
        removed = asyncio.run(_purge(query_ids or [], everything=everything, flow=flow))
    if json:
        screen.object({"purged": removed})
    else:
        screen.line(f"{removed} dead letter{'' if removed == 1 else 's'} removed.")


async def _purge(query_ids: list[str], *, everything: bool, flow: str | None) -> int:
    async with AsyncProducer(client="cli") as producer:
        letters = await _chosen(producer.batch, query_ids, everything=everything, flow=flow)
        return await remove_dead_letters(producer.batch, [letter.query_id for letter in letters])


def _refuse_ambiguity(query_ids: list[str] | None, *, everything: bool) -> None:
    if bool(query_ids) == everything:
        raise typer.BadParameter("give query ids, or --all.")


async def _chosen(batch: Batch, query_ids: list[str], *, everything: bool, flow: str | None) -> list[DeadLetter]:
    """Return the letters meant, all of them before any is touched. Raises UnknownDeadLetter."""
    letters = {letter.query_id: letter for letter in await load_letters(batch, limit=_MANY)}
    if everything:
        return [letter for letter in letters.values() if flow in (None, letter.flow)]
    for query_id in query_ids:
        if query_id not in letters:
            raise UnknownDeadLetter(query_id)
    return [letters[query_id] for query_id in query_ids]
