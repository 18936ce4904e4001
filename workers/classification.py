"""Decide where a query goes and send it there; a clarification is answered at once."""

from __future__ import annotations

import asyncio
import json
import logging
from functools import partial
from typing import Any

from agentic_flywheel import wire
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlywheelError, InvalidQuery, UnknownSession
from agentic_flywheel.learning.lessons import keep_unrouted
from agentic_flywheel.models import Answer, Choice, Query, Route, read_query, trace_id_of
from agentic_flywheel.profiles import leaning
from agentic_flywheel.routing import choose_route
from agentic_flywheel.sessions import recent_turns, session_profile
from agentic_flywheel.transitions import Execution
from workers.journal import Journal, now
from workers.messages import answer_message, synthesis_message
from workers.outcomes import failure, success
from workers.runtime import Runtime

logger = logging.getLogger(__name__)

#: So many turns tell what a follow-up is about.
_TURNS = 3


async def classify_query(runtime: Runtime, query_id: str, given: Any) -> FlywheelError | None:
    """Route a query. ``given`` is its JSON form, from any Celery client. Returns the error that it ended with."""
    try:
        query = read_query({"question": given} if isinstance(given, str) else given)
    except InvalidQuery as error:
        return await _refuse(runtime, query_id, Query(question="(not a valid query)"), error)
    verdict = await _route(runtime, query_id, query, now())
    if isinstance(verdict, FlywheelError):
        return verdict
    if verdict != "unknown":
        return None
    if query.session_id is not None and query.profile is None:
        carried = await session_profile(runtime.batch, query.session_id, owner=query.user)
        query = query.model_copy(update={"profile": carried})
    match await runtime.transitions.adopt(query_id, query, _again(query_id, query)):
        case "foreign":
            return await _end(runtime, query_id, query, UnknownSession(query.session_id or ""))
        case "held":
            return None
        case _:
            verdict = await _route(runtime, query_id, query, now())
            return verdict if isinstance(verdict, FlywheelError) else None


async def _route(runtime: Runtime, query_id: str, query: Query, began: int) -> str | FlywheelError:
    """Return what the script said, or the error that the query ended with."""
    turns = await recent_turns(runtime.batch, query.session_id, _TURNS) if query.session_id else []
    catalog = runtime.catalog
    try:
        profile = runtime.profile_of(query)
        words = leaning(profile, query)
        router = runtime.router
        choose = partial(choose_route, query, router, catalog, turns=turns, profile_keywords=words)
        # The stronger encoder takes milliseconds: others go on meanwhile.
        route = choose() if router.stronger is None else await asyncio.to_thread(choose)
    except FlywheelError as error:
        adopted = await runtime.transitions.adopt(query_id, query, _again(query_id, query))
        return await _end(
            runtime, query_id, query, UnknownSession(query.session_id or "") if adopted == "foreign" else error
        )
    decided = now()
    targets = [catalog.flow(target.flow) for target in route.targets]
    event = json.dumps(
        {
            "flow": targets[0].key,
            "domain": targets[0].domain,
            "domains": [flow.domain for flow in targets],
            "decision": route.decision,
            "band": route.band,
            "confidence": route.confidence,
            "reason": route.reason,
        }
    )
    written = route.model_dump_json(exclude_defaults=True)
    if route.decision == "clarify":
        messages = []
    elif len(targets) == 1:
        messages = [answer_message(query_id, query, targets[0])]
    else:
        messages = [answer_message(query_id, query, flow, flow.key) for flow in targets]
    routed = await runtime.transitions.route(
        query_id,
        route=written,
        flow=targets[0],
        event=event,
        messages=messages,
        synthesis=synthesis_message(query_id, query) if len(messages) > 1 else None,
    )
    if routed.verdict == "routed":
        journal = Journal(runtime, query_id, query)
        journal.classified(route, routed.created, began, decided)
        if route.band == "low":
            await keep_unrouted(runtime.batch, query_id)
        if route.decision == "clarify":
            await _clarify(runtime, query_id, query, route, journal)
    return routed.verdict


async def _clarify(runtime: Runtime, query_id: str, query: Query, route: Route, journal: Journal) -> None:
    catalog = runtime.catalog
    offered = [*route.targets, *route.alternatives]
    choices = tuple(
        Choice(
            flow=flow.key,
            domain=flow.domain,
            name=flow.title,
            description=flow.description,
            confidence=target.confidence,
        )
        for target in offered
        for flow in [catalog.flow(target.flow)]
    )
    names = "; ".join(f"{choice.name} ({choice.flow})" for choice in choices)
    answer = Answer(
        query_id=query_id,
        kind="clarify",
        text=f"Which of these is the question for? {names}",
        flow=route.best.flow,
        domain=route.best.domain,
        session_id=query.session_id,
        band=route.band,
        confidence=route.confidence,
        explanation=route.reason,
        choices=choices,
        trace_id=trace_id_of(query_id),
    )
    execution = _own(query_id, catalog.flow(route.best.flow))
    journal.route = route
    finished = await runtime.transitions.finish(execution, success(answer, execution.flow), queue=wire.CLASSIFY_QUEUE)
    journal.ended(finished, execution, answer, None)


async def _refuse(runtime: Runtime, query_id: str, query: Query, error: FlywheelError) -> FlywheelError:
    await runtime.transitions.adopt(query_id, query, "")
    return await _end(runtime, query_id, query, error)


async def _end(runtime: Runtime, query_id: str, query: Query, error: FlywheelError) -> FlywheelError:
    execution = _own(query_id, runtime.catalog.default)
    outcome = failure(error, execution, query, 0)
    finished = await runtime.transitions.finish(execution, outcome, queue=wire.CLASSIFY_QUEUE)
    Journal(runtime, query_id, query).ended(finished, execution, None, error)
    return error


def _own(query_id: str, flow: Flow) -> Execution:
    return Execution(query_id, "", flow, "", query_id)


def _again(query_id: str, query: Query) -> str:
    return wire.classify_message(query_id, query, query.written())
