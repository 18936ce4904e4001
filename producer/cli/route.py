"""``flywheel route``: where a question would go, and why. It calls no flow and needs no broker."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import Query, Route, Turn, read_query
from agentic_flywheel.registry import find_registry, load_catalog
from agentic_flywheel.routing import choose_route, fit_router
from agentic_flywheel.settings import Settings, load_settings
from producer.cli import options
from producer.cli.screen import Screen

#: As many of a session's turns as a worker looks at.
_TURNS = 3


def route(
    question: options.Question,
    flow: options.Flow = None,
    domain: options.Domain = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="As a follow-up in it; needs the broker.")
    ] = None,
    user: options.User = "local",
    json: options.Json = False,
) -> None:
    """Show where a question would go and why: the evidence, the scores, the alternatives. No flow is called."""
    screen = Screen(json)
    with screen.reporting():
        settings = load_settings()
        catalog = load_catalog(find_registry(settings.registry))
        query = read_query(
            {"question": options.question_text(question), "flow": flow, "domain": domain, "session_id": session}
        )
        turns = asyncio.run(_turns(user, session)) if session else []
        found = route_of(query, catalog, settings, turns)
    if json:
        screen.object({"question": query.question, **found.model_dump(mode="json")})
    else:
        _show(screen, found, catalog)


async def _turns(user: str, session: str) -> list[Turn]:
    from producer.client import AsyncProducer

    async with AsyncProducer(owner=user, client="cli") as producer:
        return await producer.history(session, limit=_TURNS)


def route_of(query: Query, catalog: Catalog, settings: Settings, turns: list[Turn]) -> Route:
    """Return the route that a worker would choose, from the fit that the workers keep where there is one."""
    router = fit_router(catalog, cache_dir=settings.home / "routers" if settings.home.exists() else None)
    return choose_route(query, router, catalog, turns=turns)


def _show(screen: Screen, found: Route, catalog: Catalog) -> None:
    targets = " + ".join(f"{target.flow} ({target.domain})" for target in found.targets)
    screen.line(("→ ", "dim"), (targets, "bold cyan"), f"  {found.confidence:.0%} ({found.band}, {found.decision})")
    screen.line("  ", found.reason)
    topics = [f"{target.flow}: {target.topic}" for target in found.targets if target.topic]
    screen.line()
    screen.facts([("topic", "; ".join(topics)), ("registry", catalog.source), ("novelty", f"{found.novelty:.0%}")])
    if found.evidence:
        screen.line()
        screen.table(
            ("weight", "flow", "why", ""),
            [(f"{each.weight:+.2f}", each.flow, each.kind, each.detail) for each in found.evidence],
            right=("weight",),
        )
    if found.scores:
        screen.line()
        scored = sorted(found.scores.items(), key=lambda pair: -pair[1])
        screen.table(
            ("score", "flow", ""),
            [(f"{score:.1%}", key, "█" * round(score * 30)) for key, score in scored],
            right=("score",),
        )
