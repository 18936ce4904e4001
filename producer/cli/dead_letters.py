"""``flywheel dead-letters``: list, show, retry and remove the queries whose attempts ran out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Annotated

import typer

from agentic_flywheel.broker.records import DeadLetter, remove_dead_letters
from agentic_flywheel.errors import UnknownDeadLetter
from producer.cli import options
from producer.cli.exits import Exit
from producer.cli.moments import age
from producer.cli.objects import dead_letter_object
from producer.cli.replay import carry_out, resume_command
from producer.cli.safe_text import one_line
from producer.cli.screen import Screen
from producer.client import AsyncProducer
from producer.replay.own import letters
from producer.replay.program import Replay
from producer.replay.results import ItemResult
from producer.replay.sources import Source
from producer.replay.wanted import Wanted

dead_letters = options.command_group("List, show, retry and purge failed queries.")

#: Number of dead letters that one call removes.
_PAGE = 500

QueryIds = Annotated[list[str] | None, typer.Argument(metavar="[QUERY_ID]...", show_default=False)]
Everything = Annotated[bool, typer.Option("--all", help="All of them.")]
OfFlow = Annotated[str | None, typer.Option("--flow", metavar="FLOW", help="Only those of this flow.")]
OfError = Annotated[str | None, typer.Option("--error", metavar="TYPE", help="Only those with this error_type.")]
OfUser = Annotated[str | None, typer.Option("--user", metavar="NAME", help="Only those of this user.")]
Since = Annotated[
    timedelta | None,
    typer.Option("--since", metavar="TIME", parser=options.duration, help="Only those not older than this: 2h, 7d."),
]
Older = Annotated[
    timedelta | None,
    typer.Option("--older", metavar="TIME", parser=options.duration, help="Only those older than this."),
]


@dead_letters.command("list")
def list_(
    flow: OfFlow = None,
    error: OfError = None,
    user: OfUser = None,
    since: Since = None,
    older: Older = None,
    json: options.Json = False,
) -> None:
    """List the dead letters, the newest first."""
    screen = Screen(json)
    with screen.reporting():
        asyncio.run(_list(screen, Wanted(flow=flow, error_type=error, user=user, since=since, older=older)))


async def _list(screen: Screen, wanted: Wanted) -> None:
    shown: list[tuple[str, ...]] = []
    async for letter in _found(wanted):
        if screen.json:
            screen.object(dead_letter_object(letter))
        else:
            shown.append(
                (
                    letter.query_id,
                    letter.flow,
                    str(letter.attempts),
                    age(letter.at),
                    letter.error.error_type,
                    one_line(letter.query.question, 50),
                )
            )
    if shown:
        screen.table(("query", "flow", "attempts", "age", "error", "question"), shown, right=("attempts", "age"))
    elif not screen.json:
        screen.line("No dead letters.")


@dead_letters.command()
def show(query_id: options.QueryId, json: options.Json = False) -> None:
    """Show one dead letter: the query, and the error it ended with."""
    screen = Screen(json)
    with screen.reporting():
        asyncio.run(_show(screen, query_id))


async def _show(screen: Screen, query_id: str) -> None:
    (letter,) = [each async for each in _found(Wanted(query_ids=frozenset([query_id])))]
    if screen.json:
        screen.object(dead_letter_object(letter))
        return
    screen.facts(
        [
            ("query", letter.query_id),
            ("flow", f"{letter.flow} ({letter.domain})"),
            ("asker", letter.query.asker.name),
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
    query_ids: QueryIds = None,
    everything: Everything = False,
    flow: OfFlow = None,
    error: OfError = None,
    user: OfUser = None,
    since: Since = None,
    older: Older = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=10_000, metavar="N", help="At once.")] = 32,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0.001, max=100_000, metavar="N", help="Begin at most so many a second."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Ask dead letters again and wait for what comes of it; a letter leaves the list once its new query has ended.

    Each becomes a new query of the same user in the same session, with low priority. As with any replay nothing is
    lost or asked twice by a crash, and one that was stopped can go on. One that fails again is a new dead letter.
    """
    wanted = selection_from(
        query_ids, everything, Wanted(flow=flow, error_type=error, user=user, since=since, older=older)
    )
    screen = Screen(json)
    with screen.reporting():
        failed = asyncio.run(_retry(screen, wanted, concurrency=concurrency, rate=rate))
    raise typer.Exit(failed)


async def _retry(screen: Screen, wanted: Wanted, *, concurrency: int, rate: float | None) -> Exit:
    if not await _count(wanted):
        if not screen.json:
            screen.line("No dead letters.")
        return Exit.DONE
    source = Source("dead-letters", wanted=wanted)
    replay = Replay(source, redrive=True, concurrency=concurrency, rate=rate)
    ended = await carry_out(screen, replay, lambda result: _show_retried(screen, result))
    if ended.how != "complete":
        screen.note("The rest: ", resume_command(replay.folder))
        return ended.exit
    return Exit.FAILED if ended.progress is not None and ended.progress.failed else Exit.DONE


def _show_retried(screen: Screen, result: ItemResult) -> None:
    outcome = result.outcome
    if screen.json:
        screen.object(
            {
                "query_id": result.query_id or None,
                "redrive_of": result.item.id,
                "state": outcome.state,
                "error_type": outcome.error_type,
            }
        )
    else:
        how = outcome.state if outcome.error_type is None else f"{outcome.state}: {outcome.error_type}"
        screen.line(f"{result.item.id} → {result.query_id or 'not accepted'}  {how}")


@dead_letters.command()
def purge(
    query_ids: QueryIds = None,
    everything: Everything = False,
    flow: OfFlow = None,
    error: OfError = None,
    user: OfUser = None,
    since: Since = None,
    older: Older = None,
    json: options.Json = False,
) -> None:
    """Remove dead letters for good."""
    wanted = selection_from(
        query_ids, everything, Wanted(flow=flow, error_type=error, user=user, since=since, older=older)
    )
    screen = Screen(json)
    with screen.reporting():
        removed = asyncio.run(_purge(wanted))
    if json:
        screen.object({"purged": removed})
    else:
        screen.line(f"{removed} dead letter{'' if removed == 1 else 's'} removed.")


async def _purge(wanted: Wanted) -> int:
    chosen = [letter.query_id async for letter in _found(wanted)]
    async with AsyncProducer(client="cli") as producer:
        pages = [chosen[start : start + _PAGE] for start in range(0, len(chosen), _PAGE)]
        return sum([await remove_dead_letters(producer.batch, page) for page in pages])


def selection_from(query_ids: list[str] | None, everything: bool, filtered: Wanted) -> Wanted:
    """Return which letters are wanted: exactly one of ids, filters or --all is given. Raises BadParameter."""
    if bool(query_ids) == (everything or filtered != Wanted()):
        raise typer.BadParameter("give query ids; or a filter such as --flow or --error; or --all.")
    return filtered.model_copy(update={"query_ids": frozenset(query_ids or ())})


async def _count(wanted: Wanted) -> int:
    return sum([1 async for _ in _found(wanted)])


async def _found(wanted: Wanted) -> AsyncIterator[DeadLetter]:
    """Yield the letters that are wanted. Raises UnknownDeadLetter for an id that none has, at the end."""
    missing = set(wanted.query_ids)
    async with (
        AsyncProducer(client="cli") as producer,
        aclosing(letters(producer.batch, wanted, newest_first=True)) as found,
    ):
        async for letter in found:
            missing.discard(letter.query_id)
            yield letter
    if missing:
        raise UnknownDeadLetter(min(missing))
