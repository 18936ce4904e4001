"""``flywheel submit``, ``wait``, ``stream`` and ``cancel``: one query by its id."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated, Any

import typer

from agentic_flywheel.asker import LOCAL, Asker
from agentic_flywheel.given import asker_of
from agentic_flywheel.models import Event, EventKind, State
from producer.cli import options
from producer.cli.ask import show_answer
from producer.cli.objects import answer_object
from producer.cli.safe_text import json_line, one_line
from producer.cli.screen import Screen
from producer.client import AsyncProducer
from producer.connections import SUBMIT_PATIENCE


def submit(
    question: options.QuestionOrForm = None,
    flow: options.Flow = None,
    domain: options.Domain = None,
    session: options.SessionId = None,
    profile: options.Profile = None,
    context: options.ContextKind = None,
    timeout: options.Timeout = None,
    priority: options.PriorityName = "normal",
    config: options.Config = None,
    form: options.Form = None,
    upload: options.Upload = None,
    no_cache: options.NoCache = False,
    refresh: options.Refresh = False,
    idempotency_key: options.IdempotencyKey = None,
    owner: options.Owner = LOCAL,
    user: options.User = None,
    json: options.Json = False,
) -> None:
    """Put a question into the queue and return at once, with the id by which it is known everywhere."""
    given = options.question_given(question, form, upload)
    screen = Screen(json, owner, user)
    fields = options.query_fields(
        flow=flow,
        domain=domain,
        session=session,
        profile=profile,
        context=context,
        timeout=timeout,
        priority=priority,
        config=config,
        form=form,
        upload=upload,
        no_cache=no_cache,
        refresh=refresh,
    )
    with screen.reporting():
        asyncio.run(_submit(screen, asker_of(owner, user), options.question_text(given), fields, idempotency_key))


async def _submit(screen: Screen, asker: Asker, question: str, fields: dict[str, Any], key: str | None) -> None:
    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli", patience=SUBMIT_PATIENCE) as producer:
        submission = await producer.submit(question, idempotency_key=key, **fields)
    if screen.json:
        value = submission.model_dump(mode="json", exclude={"answer"})
        screen.object({**value, "answer": answer_object(submission.answer) if submission.answer else None})
        return
    screen.line(submission.query_id)
    if submission.answer is not None:
        screen.note(("The answer is in the cache already: `flywheel wait` shows it.", "dim"))


def wait(
    query_id: options.QueryId,
    timeout: Annotated[
        timedelta | None,
        typer.Option("--timeout", metavar="TIME", parser=options.duration, help="Stop waiting after this."),
    ] = None,
    owner: options.Owner = LOCAL,
    user: options.User = None,
    json: options.Json = False,
) -> None:
    """Wait for a query's answer. It ends with code 4 when the time is over; the query goes on."""
    screen = Screen(json, owner, user)
    with screen.reporting():
        asyncio.run(_wait(screen, asker_of(owner, user), query_id, timeout))


async def _wait(screen: Screen, asker: Asker, query_id: str, timeout: timedelta | None) -> None:
    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli") as producer:
        answer = await producer.wait(query_id, None if timeout is None else timeout.total_seconds())
    if screen.json:
        screen.object(answer_object(answer))
    else:
        show_answer(screen, answer)


def stream(
    query_id: options.QueryId,
    after: Annotated[
        str | None,
        typer.Option("--from", metavar="EVENT_ID", parser=options.event_id, help="Only what came after this event."),
    ] = None,
    owner: options.Owner = LOCAL,
    user: options.User = None,
    json: options.Json = False,
) -> None:
    """Follow a query's events up to its end; also afterwards, and also from where you were cut off."""
    screen = Screen(json, owner, user)
    with screen.reporting():
        asyncio.run(_stream(screen, asker_of(owner, user), query_id, after or "-"))


async def _stream(screen: Screen, asker: Asker, query_id: str, after: str) -> None:
    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli") as producer:
        async for event in producer.stream(query_id, after=after):
            if screen.json:
                screen.object(event.model_dump(mode="json"))
            else:
                screen.line((f"{event.id:<17}", "dim"), (f"  {event.kind:<9}", "cyan"), f" {_about(event)}")


def _about(event: Event) -> str:
    if event.kind == EventKind.TOKEN:
        return str(event.data.get("text", ""))
    if event.kind == EventKind.ROUTED:
        return one_line(str(event.data.get("reason", "")))
    return "  ".join(
        f"{name}: {one_line(value if isinstance(value, str) else json_line(value))}"
        for name, value in event.data.items()
    )


def cancel(
    query_id: Annotated[str | None, typer.Argument(metavar="[QUERY_ID]", show_default=False)] = None,
    session: Annotated[str | None, typer.Option("--session", metavar="ID", help="All queries of a session.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of yours.")] = False,
    owner: options.Owner = LOCAL,
    user: options.User = None,
    json: options.Json = False,
) -> None:
    """Cancel a query, a session's queries, or all of yours. What runs is cut, what waits never starts."""
    if sum([query_id is not None, session is not None, everything]) != 1:
        raise typer.BadParameter("give one of: a query id, --session ID, --all.")
    screen = Screen(json, owner, user)
    with screen.reporting():
        asyncio.run(_cancel(screen, asker_of(owner, user), query_id, session, everything))


async def _cancel(screen: Screen, asker: Asker, query_id: str | None, session: str | None, everything: bool) -> None:
    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli") as producer:
        states = await producer.cancel(query_id, session_id=session, everything=everything)
    if screen.json:
        screen.object({"cancelled": _cancelled(states), "was": dict(states)})
        return
    for each, state in states.items():
        if not state.terminal:
            screen.line("cancelled  ", each, (f"  was {state}", "dim"))
        elif query_id is not None:
            screen.line("had ended  ", each, (f"  {state}", "dim"))
    if query_id is None and not _cancelled(states):
        screen.line("Nothing was under way.")


def _cancelled(states: dict[str, State]) -> list[str]:
    return [each for each, state in states.items() if not state.terminal]
