"""``flywheel demo``: send six questions through the whole stack and show the results in one table."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import Answer, CachePolicy
from agentic_flywheel.private_files import write_private
from agentic_flywheel.registry import bundled_registry, find_registry, load_catalog
from agentic_flywheel.registry.editing import update_flow
from agentic_flywheel.settings import Settings, load_settings
from agentic_flywheel.stack import StackInfo, running_stack
from producer.cli import options
from producer.cli.safe_text import one_line
from producer.cli.screen import Screen
from producer.cli.up import show_stack
from producer.client import AsyncProducer
from producer.stack import start_stack

#: Seconds to wait for one answer.
_PATIENCE = 60.0


_HEAD = "# Written by `flywheel demo` each time it starts. What is changed here is gone then.\n#\n"
_SERVERS = """\
servers:
  # Speaks OpenAI's protocol. In the demonstration it is the sandbox, too.
  models: {{address: {}/v1, backend: openai}}

"""
#: What makes the technical flow one of a model.
_OF_A_MODEL: dict[str, Any] = {
    "id": None,
    "server": "models",
    "model": "sandbox-technical",
    "sampling": {"temperature": 0.2, "max_tokens": 4000},
    "config": None,
    "memory": None,
}


class Question(NamedTuple):
    """One question of the demonstration, and what it shows."""

    text: str
    shows: str
    cache: CachePolicy = "refresh"


_BUNDLED = (
    Question("Which vision could guide the garden that my neighbours dream of?", "one domain: creative"),
    Question("Why does our checkout service lose its database connection every night?", "one domain: technical"),
    Question("How much may a hotel cost according to our travel policy?", "one domain: documents"),
    Question("Why does our checkout service lose its database connection every night?", "asked again: cached", "use"),
    Question("What could our API policy look like?", "ambiguous: routed with an explanation"),
    Question(
        "Why does our checkout API time out, and what does the service contract say about downtime?",
        "two domains: asked in parallel, put together",
    ),
)


def questions(catalog: Catalog) -> tuple[Question, ...]:
    """Return the questions to ask: for another registry than the bundled one, made from its own examples."""
    if catalog.source == str(bundled_registry()):
        return _BUNDLED
    examples: dict[str, str] = {}
    for flow in catalog.routable.values():
        texts = [*flow.examples, *(text for topic in flow.topics.values() for text in topic)]
        if texts:
            examples.setdefault(flow.domain, texts[0])
    asked = list(examples.values()) or ["What can you do for me?"]
    found = [Question(text, f"one domain: {domain}") for domain, text in examples.items()]
    found += [Question(asked[0], "asked again: cached", "use"), Question("Can you help me with this?", "ambiguous")]
    if len(asked) > 1:
        found.append(Question(f"{asked[0].rstrip('.?! ')}, and {asked[1]}", "two domains"))
    return tuple(found)


class Shown(NamedTuple):
    """One question with its answer, and the milliseconds that its caller waited."""

    question: Question
    answer: Answer
    elapsed_ms: float

    def object(self) -> dict[str, Any]:
        answer = self.answer
        return {
            "question": self.question.text,
            "shows": self.question.shows,
            "query_id": answer.query_id,
            "flow": answer.flow,
            "domain": answer.domain,
            "domains": list(answer.domains or (answer.domain,)),
            "band": answer.band,
            "confidence": round(answer.confidence, 4),
            "cached": answer.cached,
            "elapsed_ms": self.elapsed_ms,
            "explanation": answer.explanation,
            "text": answer.text,
        }


def demo(
    leave: Annotated[bool, typer.Option("--exit", help="Leave after the answers instead of staying.")] = False,
    json: options.Json = False,
) -> None:
    """Start the stack, ask six questions, and show the answer and the route of each.

    One question for each bundled domain, one of them again, one that is ambiguous, and one that concerns two domains.
    The stack runs until Ctrl-C, so that you can look at Flower.
    """
    screen = Screen(json)
    with screen.reporting():
        settings = load_settings()
        catalog = load_catalog(find_registry(settings.registry))
        asyncio.run(_demo(screen, settings, questions(catalog), leave=leave))


async def _demo(screen: Screen, settings: Settings, asked: tuple[Question, ...], *, leave: bool) -> None:
    running = running_stack(settings.home)
    if running is not None:
        screen.note(("A stack runs here already; the demo uses it.", "dim"))
        await _show_all(screen, asked, running)
        return
    bundled = find_registry(settings.registry) == bundled_registry()

    def registry_at(sandbox: str) -> Path:
        screen.note((f"Models   {sandbox}/v1 (the same sandbox as an OpenAI-compatible server, for one domain)", "dim"))
        return _write_registry(settings.home, sandbox)

    async with start_stack(
        settings,
        on_line=lambda line: screen.note((line, "dim")),
        flower=not leave,
        registry_at=registry_at if bundled else None,
    ) as stack:
        await _show_all(screen, asked, stack.info)
        if not leave:
            screen.note('It stays until Ctrl-C. In another terminal: flywheel ask "…"')
            await stack.wait()


def _write_registry(home: Path, sandbox: str) -> Path:
    """Write the demonstration's registry: the bundled one, but one domain is a model's. Returns where it is."""
    bundled = bundled_registry().read_text(encoding="utf-8")
    begin, _, rest = bundled.partition("operational_flows:\n")
    path = home / "demo-registry.yaml"
    home.mkdir(parents=True, exist_ok=True)
    write_private(path, f"{_HEAD}{begin}{_SERVERS.format(sandbox)}operational_flows:\n{rest}")
    return update_flow(path, "technical-analysis", _OF_A_MODEL, cwd=home)


async def _show_all(screen: Screen, asked: tuple[Question, ...], info: StackInfo) -> None:
    shown: list[Shown] = []
    async with _producer(info) as producer:
        for question in asked:
            began = time.perf_counter()
            answer = await producer.ask(question.text, wait=_PATIENCE, cache=question.cache)
            each = Shown(question, answer, round((time.perf_counter() - began) * 1000, 1))
            shown.append(each)
            if screen.json:
                screen.object(each.object())
    if not screen.json:
        _table(screen, shown)
        show_stack(screen, info)


@asynccontextmanager
async def _producer(info: StackInfo) -> AsyncIterator[AsyncProducer]:
    settings = load_settings().model_copy(update=info.places)
    async with AsyncProducer(settings, owner="demo", client="demo") as producer:
        await producer.recent(limit=1)  # the connection is there before the first question is timed
        yield producer


def _table(screen: Screen, shown: list[Shown]) -> None:
    screen.line()
    screen.table(
        ("question", "domain", "band", "sure", "cached", "ms", "answer"),
        [
            (
                each.question.text,
                " + ".join(each.answer.domains or (each.answer.domain,)),
                each.answer.band,
                f"{each.answer.confidence:.0%}",
                ("yes", "green") if each.answer.cached else "no",
                f"{each.elapsed_ms:.1f}",
                one_line(each.answer.text, 72),
            )
            for each in shown
        ],
        right=("sure", "ms"),
    )
    screen.line()
    for each in shown:
        if each.answer.band != "high" or len(each.answer.domains) > 1:
            screen.line((f"“{one_line(each.question.text, 60)}”  ", "dim"), each.answer.explanation)
    screen.line()
