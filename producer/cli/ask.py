"""``flywheel ask``: a question in, its answer out as it comes."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

from agentic_flywheel.errors import WaitTimeout
from agentic_flywheel.models import Answer, Event
from producer.cli import options
from producer.cli.objects import answer_object
from producer.cli.screen import Piece, Screen
from producer.client import AsyncProducer, Submission


def ask(
    question: options.Question,
    flow: options.Flow = None,
    domain: options.Domain = None,
    session: options.SessionId = None,
    profile: options.Profile = None,
    context: options.ContextKind = None,
    timeout: options.Timeout = None,
    wait: options.Wait = None,
    priority: options.PriorityName = "normal",
    config: options.Config = None,
    no_cache: options.NoCache = False,
    refresh: options.Refresh = False,
    user: options.User = "local",
    json: options.Json = False,
) -> None:
    """Ask a question and watch the answer come.

    The tokens are printed as they come, then where the question went, how sure that was, the time, and whether the
    answer was cached. Ctrl-C cancels the query.
    """
    screen = Screen(json)
    fields = options.query_fields(
        flow=flow,
        domain=domain,
        session=session,
        profile=profile,
        context=context,
        timeout=timeout,
        priority=priority,
        config=config,
        no_cache=no_cache,
        refresh=refresh,
    )
    with screen.reporting():
        asyncio.run(_ask(screen, user, options.question_text(question), fields, wait))


async def _ask(screen: Screen, user: str, question: str, fields: dict[str, Any], wait: timedelta | None) -> None:
    async with AsyncProducer(owner=user, client="cli") as producer:
        # What a process does once does not count as the query's time; what fails here fails again below.
        once = asyncio.to_thread(lambda: producer.catalog), producer.batch.call("PING")
        await asyncio.gather(*once, return_exceptions=True)
        began = time.monotonic()
        submission = await producer.submit(question, **fields)
        answer, shown = await watched_answer(screen, producer, submission, wait)
        answer = answer.model_copy(update={"elapsed": timedelta(seconds=time.monotonic() - began)})
        if screen.json:
            screen.object({"question": question, **answer_object(answer)})
        else:
            show_answer(screen, answer, already=shown)


async def watched_answer(
    screen: Screen, producer: AsyncProducer, submission: Submission, wait: timedelta | None
) -> tuple[Answer, str]:
    """Return the answer, and what of it stands on the screen already. Ctrl-C cancels the query. Raises WaitTimeout."""
    query_id, shown = submission.query_id, ""
    if submission.answer is not None:
        return submission.answer, shown
    try:
        async with asyncio.timeout(wait.total_seconds() if wait else None):
            if not screen.json:
                shown = await watch(screen, producer, query_id)
            return await producer.wait(query_id), shown
    except TimeoutError:
        screen.end_part()
        raise WaitTimeout(query_id, wait.total_seconds() if wait else 0.0) from None
    except asyncio.CancelledError:
        await producer.cancel(query_id)
        raise


async def watch(screen: Screen, producer: AsyncProducer, query_id: str) -> str:
    """Print a query's tokens as they come, until its end. Returns the text that now stands on the screen."""
    shown = ""
    async for event in producer.stream(query_id):
        match event.kind:
            # The parts of several domains come mixed; they are shown together at the end.
            case "token" if "part" not in event.data:
                shown += str(event.data.get("text", ""))
                screen.part(str(event.data.get("text", "")))
            case "retrying" | "waiting" | "attached":
                screen.end_part()
                screen.note((_told(event), "dim"))
                shown = "" if event.kind == "retrying" else shown
    return shown


def _told(event: Event) -> str:
    data = event.data
    if event.kind == "attached":
        return f"The same question is being answered already, as query {data.get('query_id')}; its answer is yours too."
    if event.kind == "waiting":
        return f"Waiting: {data.get('reason', 'the flow takes no more now')}."
    then = f"flow {data['fallback']} is asked instead" if "fallback" in data else f"again in {data.get('delay_s')} s"
    return f"{data.get('error', 'The flow failed')}; {then}."


def show_answer(screen: Screen, answer: Answer, *, already: str = "") -> None:
    """Print an answer, but for the text that stands there already, and beneath it where it came from."""
    if already.strip() != answer.text.strip():
        screen.end_part()
        screen.line(answer.text)
    screen.end_part()
    for choice in answer.choices:
        screen.line(f"  {choice.name} ", (f"--flow {choice.flow}", "cyan"), f"  {choice.description}")
    screen.line()
    pieces: list[Piece] = [("→ ", "dim"), (_went_to(answer), "bold cyan"), f"  {answer.confidence:.0%} ({answer.band})"]
    pieces += [f"  {_time(answer.elapsed)}", f"  {_cached(answer)}", (f"  {answer.query_id}", "dim")]
    screen.line(*pieces)
    if answer.band != "high" or len(answer.domains) > 1:
        screen.line(("  ", ""), (answer.explanation, "dim"))
    for part in answer.parts:
        if part.error is not None:
            screen.note(("  ", ""), (f"{part.flow}: {part.error.error}", "yellow"))


def _time(span: timedelta) -> str:
    seconds = span.total_seconds()
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _went_to(answer: Answer) -> str:
    if answer.parts:
        return " + ".join(f"{part.flow} ({part.domain})" for part in answer.parts)
    return f"{answer.flow} ({answer.domain})"


def _cached(answer: Answer) -> str:
    if answer.cached:
        return "cached, stale" if answer.stale else "cached"
    return "shared" if answer.attached_to else "not cached"
