"""``flywheel route``: where a question would go, and why. It calls no flow and needs no broker."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import Query, Route, Turn, read_query
from agentic_flywheel.profiles import ProfileWatch
from agentic_flywheel.registry import find_registry, load_catalog
from agentic_flywheel.routing import choose_route, fit_router, strong_encoder
from agentic_flywheel.sessions import load_session
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
    profile: options.Profile = None,
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
        turns, carried = asyncio.run(_conversation(user, session)) if session else ([], None)
        named = profile or carried
        keywords = ProfileWatch(settings.profiles).get(named, user).keywords if named else ()
        found = route_of(query, catalog, settings, turns, keywords)
    if json:
        screen.object({"question": query.question, **found.model_dump(mode="json")})
    else:
        _show(screen, found, catalog)


async def _conversation(user: str, session: str) -> tuple[list[Turn], str | None]:
    """Return a session's last turns and the profile that it carries."""
    from producer.client import AsyncProducer

    async with AsyncProducer(owner=user, client="cli") as producer:
        about = await load_session(producer.batch, session, owner=user)
        return await producer.history(session, limit=_TURNS), about.profile


def route_of(
    query: Query, catalog: Catalog, settings: Settings, turns: list[Turn], profile_keywords: tuple[str, ...] = ()
) -> Route:
    """Return the route that a worker would choose, from the fit that the workers keep where there is one."""
    kept = settings.home / "routers" if settings.home.exists() else None
    router = fit_router(catalog, stronger=strong_encoder(), cache_dir=kept)
    return choose_route(query, router, catalog, turns=turns, profile_keywords=profile_keywords)


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
