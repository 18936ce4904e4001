"""``flywheel ask``: a question in, its answer out as it comes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from agentic_flywheel.asker import LOCAL, Asker
from agentic_flywheel.errors import InputRequired
from agentic_flywheel.given import asker_of
from agentic_flywheel.models import Answer
from agentic_flywheel.prices import rounded
from agentic_flywheel.stops import Decision
from producer.cli import options
from producer.cli.doings import doing_lines
from producer.cli.objects import answer_object
from producer.cli.screen import Piece, Screen
from producer.cli.sources import source_lines
from producer.cli.watching import AnswerWatch, with_decisions
from producer.client import AsyncProducer
from producer.connections import SUBMIT_PATIENCE


def ask(
    question: options.QuestionOrForm = None,
    flow: options.Flow = None,
    domain: options.Domain = None,
    session: options.SessionId = None,
    profile: options.Profile = None,
    context: options.ContextKind = None,
    timeout: options.Timeout = None,
    wait: options.Wait = None,
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
    """Ask a question and watch the answer come.

    The tokens are printed as they come, and what the flow does meanwhile. Then where the question went, how sure that
    was, the time, and whether the answer was cached. A flow that asks a person asks you. Ctrl-C cancels the query.
    """
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
        asker, asked = asker_of(owner, user), options.question_text(given)
        watch = AnswerWatch(screen, wait)

        def show(answer: Answer) -> None:
            answer = answer.model_copy(update={"elapsed": watch.elapsed})
            if screen.json:
                screen.object({"question": asked, **answer_object(answer)})
            else:
                show_answer(screen, answer, already=watch.shown)

        async def submit() -> None:
            async with _producer(asker) as producer:
                # What a process does once does not count as the query's time; what fails here fails again below.
                once = asyncio.to_thread(lambda: producer.catalog), producer.batch.call("PING")
                await asyncio.gather(*once, return_exceptions=True)
                watch.begin()
                submission = await producer.submit(asked, idempotency_key=idempotency_key, **fields)
                show(await watch.answer_to(producer, submission))

        async def go_on(stop: InputRequired, decision: Decision, feedback: str) -> None:
            async with _producer(asker) as producer:
                show(await watch.answer_after(producer, stop, decision, feedback))

        with_decisions(watch, submit(), go_on)


def _producer(asker: Asker) -> AsyncProducer:
    return AsyncProducer(owner=asker.owner, user=asker.user, client="cli", patience=SUBMIT_PATIENCE)


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
    pieces += [f"  {_time(answer.elapsed)}", f"  {_cached(answer)}{_paid(answer)}", (f"  {answer.query_id}", "dim")]
    screen.line(*pieces)
    if answer.band != "high" or len(answer.domains) > 1:
        screen.line(("  ", ""), (answer.explanation, "dim"))
    for line in (*source_lines(answer.sources), *doing_lines(answer)):
        screen.line(("  ", ""), (line, "dim"))
    for warning in answer.warnings:
        screen.note(("  ", ""), (warning, "yellow"))
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


def _paid(answer: Answer) -> str:
    """Return what an answer has cost, or what it has saved; nothing where that is not known."""
    spared = answer.usage.cost if answer.usage and (answer.cached or answer.attached_to) else None
    if spared is not None:
        return f", saved {rounded(spared)}"
    return f"  {rounded(answer.cost)}" if answer.cost is not None and answer.cost.amount else ""


def _cached(answer: Answer) -> str:
    if answer.cached:
        return "cached, stale" if answer.stale else "cached"
    return "shared" if answer.attached_to else "not cached"
