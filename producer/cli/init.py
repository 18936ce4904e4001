"""``flywheel init``: from a Flowise server of one's own to the first answer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated

import typer
from pydantic import SecretStr

from agentic_flywheel.addresses import without_secrets
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import NoFirstAnswer, WaitTimeout
from agentic_flywheel.registry import bundled_registry, find_registry, load_catalog
from agentic_flywheel.settings import Settings, load_settings, server_of
from agentic_flywheel.stack import StackInfo, running_stack
from producer.cli import options
from producer.cli.ask import show_answer
from producer.cli.exits import Exit
from producer.cli.flow_check import check_flows
from producer.cli.flow_import import Domain, Key, Select, Url, Yes, carry_out, read_import, server_settings
from producer.cli.flows import show_report
from producer.cli.objects import answer_object
from producer.cli.safe_text import one_line
from producer.cli.screen import Screen
from producer.cli.watching import AnswerWatch
from producer.client import AsyncProducer
from producer.stack import start_stack

#: Where Flowise serves unless it is told otherwise.
_USUAL = "http://localhost:3000"
#: Asked where neither the registry has an example nor a person can be asked.
_ANY_QUESTION = "What can you do for me?"
#: How long the first answer is waited for.
_PATIENCE = timedelta(minutes=2)

FirstQuestion = Annotated[
    str | None, typer.Option("--question", metavar="TEXT", help="The first question; else an example of the registry.")
]
NoQuestion = Annotated[bool, typer.Option("--no-question", help="Ask nothing and start nothing.")]


def init(
    url: Url = None,
    key: Key = None,
    select: Select = None,
    domain: Domain = None,
    question: FirstQuestion = None,
    no_question: NoQuestion = False,
    yes: Yes = False,
    json: options.Json = False,
) -> None:
    """Begin with your own Flowise: take its flows into a registry, check them, and ask the first question.

    What is not given is asked for. For the question a stack is started and stopped again, unless one runs here.
    """
    screen = Screen(json)
    person = sys.stdin.isatty() and not json
    with screen.reporting():
        settings = _settings(url, key, ask=person)
        written = carry_out(screen, read_import(settings, select or [], domain), yes=yes)
        path = find_registry(settings.registry)
        if path == bundled_registry() and not written:
            screen.note("There is no registry of your own yet: nothing is checked, and nothing asked.")
            raise typer.Exit(Exit.DONE)
        catalog = load_catalog(path)
        reports = asyncio.run(check_flows(catalog, settings))
        for report in reports:
            show_report(screen, report)
        usable = [each.flow for each in reports if not each.problems and each.flow in catalog.routable]
        if not usable:
            screen.note("No flow can be asked: correct what is said above, then run `flywheel flows check`.")
            raise typer.Exit(Exit.FAILED)
        if not no_question:
            asked = question or _example(catalog) or (_asked_for(screen) if person else _ANY_QUESTION)
            asyncio.run(_first_question(screen, settings, asked))
    if not json:
        _show_rest(screen, settings)


def _settings(url: str | None, key: str | None, *, ask: bool) -> Settings:
    """Return the settings with address and key, asked for where they are not known and somebody can be asked."""
    given = load_settings()
    running = running_stack(given.home)
    if url is None and given.flowise_base_url is None:
        if running is not None and running.flowise_url and not running.sandbox:
            url = running.flowise_url
        elif ask:
            url = typer.prompt("Address of your Flowise", default=_USUAL)
    if key is None and given.flowise_api_key is None and ask:
        key = typer.prompt("API key (Enter: none)", default="", hide_input=True, show_default=False)
        given = given.model_copy(update={"flowise_api_key": SecretStr(key) if key else None})
        key = None
    return server_settings(given, url, key)


def _example(catalog: Catalog) -> str | None:
    """Return the first example question of the registry."""
    for flow in catalog.routable.values():
        for text in (*flow.examples, *(text for topic in flow.topics.values() for text in topic)):
            return text
    return None


def _asked_for(screen: Screen) -> str:
    screen.line()
    return str(typer.prompt("Your first question", default=_ANY_QUESTION))


async def _first_question(screen: Screen, settings: Settings, question: str) -> None:
    """Ask one question through the whole stack. Raises what starting it and asking raise."""
    running = running_stack(settings.home)
    if running is not None and server_of(None, _reaching(settings, running)) != server_of(None, settings):
        screen.note(
            f"The stack that runs here asks {without_secrets(running.flowise_url or 'no Flowise')}: stop it, set "
            "FLOWISE_BASE_URL and start it again with `flywheel up`; then `flywheel ask` works."
        )
        return
    async with _stack(screen, settings, running) as info:
        async with AsyncProducer(_reaching(settings, info), client="cli") as producer:
            if not screen.json:
                screen.line()
                screen.line(("? ", "bold cyan"), one_line(question, 200))
            watch = AnswerWatch(screen, _PATIENCE)
            submission = await producer.submit(question)
            try:
                answer = await watch.answer_to(producer, submission)
            except WaitTimeout as late:
                # It would be asked again by the stack that is started next.
                await producer.cancel(late.query_id)
                raise NoFirstAnswer(late.query_id, late.waited, watch.flow) from None
        if screen.json:
            screen.object({"question": question, **answer_object(answer)})
        else:
            show_answer(screen, answer, already=watch.shown)


@asynccontextmanager
async def _stack(screen: Screen, settings: Settings, running: StackInfo | None) -> AsyncIterator[StackInfo]:
    """Give the stack that runs here, or one that is started for the block."""
    if running is not None:
        yield running
        return
    say = screen.note
    async with start_stack(settings, on_line=lambda line: say((line, "dim")), flower=False, sandbox=False) as stack:
        yield stack.info


def _reaching(settings: Settings, info: StackInfo) -> Settings:
    return settings.model_copy(update=info.places)


def _show_rest(screen: Screen, settings: Settings) -> None:
    """Say how to go on: what stays to be set, and the next commands."""
    usual = load_settings()
    screen.line()
    screen.line(("From now on:", "bold"))
    if usual.flowise_base_url is None:
        screen.line(f"  export FLOWISE_BASE_URL={without_secrets(settings.flowise_base_url or '')}")
    if settings.flowise_api_key is not None and usual.flowise_api_key is None:
        screen.line("  export FLOWISE_API_KEY=…")
    screen.line("  flywheel up")
    screen.line('  flywheel ask "…"')
    screen.line(f"Examples and keywords stand in {find_registry(settings.registry)}: the more, the surer the routes.")
