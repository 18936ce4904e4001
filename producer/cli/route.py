"""``flywheel route``: where a question would go, and why. It calls no flow and needs no broker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from agentic_flywheel.asker import LOCAL, Asker
from agentic_flywheel.broker.sessions import load_session
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.given import asker_of
from agentic_flywheel.models import Query, Route, Turn, read_query
from agentic_flywheel.profiles import ProfileWatch
from agentic_flywheel.registry import find_registry, load_catalog
from agentic_flywheel.routing import FittedRouter, choose_route, fit_router, strong_encoder
from agentic_flywheel.routing.explanation import Explanation, explanation
from agentic_flywheel.settings import Settings, load_settings
from producer.cli import options
from producer.cli.routes import questions_of, show_moves, show_routes
from producer.cli.screen import Screen
from producer.replay.reads import Hints

#: As many of a session's turns as a worker looks at.
_TURNS = 3


def route(
    question: Annotated[
        str | None, typer.Argument(metavar="QUESTION", show_default=False, help="`-` reads it from stdin.")
    ] = None,
    flow: options.Flow = None,
    domain: options.Domain = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="As a follow-up in it; needs the broker.")
    ] = None,
    profile: options.Profile = None,
    owner: options.Owner = LOCAL,
    user: options.User = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also what the nearest rivals rest on, and which parts were looked at.")
    ] = False,
    file: Annotated[
        str | None,
        typer.Option("--file", metavar="PATH", help="Questions: one a line, or as for replay; `-` reads stdin."),
    ] = None,
    encoding: options.EncodingName = "",
    column: options.ColumnName = "",
    registry: Annotated[
        Path | None, typer.Option("--registry", metavar="PATH", help="Another registry than the one in force.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="What would go elsewhere under --registry than under the one in force.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Show where a question would go and why: the evidence, the scores, the alternatives. No flow is called.

    With --file many questions, with --compare only those that another registry would send elsewhere.
    """
    if (question is None) == (file is None):
        raise typer.BadParameter("give one of: a question, --file PATH.")
    if (encoding or column) and file is None:
        raise typer.BadParameter("--encoding and --column need --file PATH.")
    if compare and registry is None:
        raise typer.BadParameter("--compare needs --registry PATH.")
    screen = Screen(json, owner, user)
    with screen.reporting():
        settings = load_settings()
        in_force = load_catalog(find_registry(settings.registry))
        catalog = load_catalog(find_registry(registry)) if registry else in_force
        given = (
            questions_of(file, Hints(encoding, column), screen.note)
            if file
            else [options.question_text(question or "")]
        )
        fields = {"flow": flow, "domain": domain, "session_id": session}
        queries = [read_query({"question": each, **fields}) for each in given]
        turns, carried = asyncio.run(_conversation(asker_of(owner, user), session)) if session else ([], None)
        named = profile or carried
        keywords = ProfileWatch(settings.profiles).get(named, owner).keywords if named else ()
        router = router_for(catalog, settings)
        found = [choose_route(query, router, catalog, turns=turns, profile_keywords=keywords) for query in queries]
        if compare:
            before = router_for(in_force, settings)
            now = [choose_route(query, before, in_force, turns=turns, profile_keywords=keywords) for query in queries]
    if compare:
        show_moves(screen, given, now, found)
    elif file:
        show_routes(screen, given, found)
    else:
        _show_one(screen, queries[0], found[0], catalog, explanation(queries[0], router, catalog) if explain else None)


def _show_one(screen: Screen, query: Query, found: Route, catalog: Catalog, why: Explanation | None) -> None:
    if screen.json:
        more = {"explanation": why.model_dump(mode="json")} if why else {}
        screen.object({"question": query.question, **found.model_dump(mode="json"), **more})
        return
    _show(screen, found, catalog)
    if why is not None:
        _show_explanation(screen, why)


async def _conversation(asker: Asker, session: str) -> tuple[list[Turn], str | None]:
    """Return a session's last turns and the profile that it carries."""
    from producer.client import AsyncProducer

    async with AsyncProducer(owner=asker.owner, user=asker.user, client="cli") as producer:
        about = await load_session(producer.batch, session, asker=asker)
        return await producer.history(session, limit=_TURNS), about.profile


def router_for(catalog: Catalog, settings: Settings) -> FittedRouter:
    """Return the router that a worker would have, from the fit that the workers keep where there is one."""
    kept = settings.home / "routers" if settings.home.exists() else None
    return fit_router(catalog, stronger=strong_encoder(catalog, kept), cache_dir=kept)


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


def _show_explanation(screen: Screen, why: Explanation) -> None:
    screen.line()
    screen.facts(
        [
            ("read as", why.read_as),
            ("by", why.reader),
            ("bands", f"high from {why.high:.0%}, medium from {why.medium:.0%}, else the default flow {why.default}"),
        ]
    )
    for part in why.parts:
        screen.line(("  part ", "dim"), f'"{part.text}"', ("  → ", "dim"), part.said)
    if why.rivals:
        screen.line()
        screen.table(
            ("log-odds", "flow", "rests on", ""),
            [(f"{each.weight:+.2f}", each.flow, each.kind, each.text) for each in why.rivals],
            right=("log-odds",),
        )
