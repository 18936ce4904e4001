"""The task ``flywheel.classify``: choose a query's route and enqueue what answers it. A clarification ends here."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, assert_never

from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.executions import of_no_cache, without_flow
from agentic_flywheel.broker.messages import answer_parcel, classify_parcel, synthesis_parcel
from agentic_flywheel.broker.records import load_records
from agentic_flywheel.broker.sessions import recent_turns, session_profile
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import (
    EarlierTurnAsks,
    FlywheelError,
    InvalidProfile,
    InvalidQuery,
    OwnerLimitReached,
    UnknownDomain,
    UnknownFlow,
    UnknownProfile,
    UnreadableQuery,
)
from agentic_flywheel.forms import fitted_query
from agentic_flywheel.ids import trace_id_of
from agentic_flywheel.learning.lessons import keep_unrouted
from agentic_flywheel.models import Answer, Choice, Query, Route, read_query
from agentic_flywheel.naming import RegistryName, profile_named_by
from agentic_flywheel.prices import FREE
from agentic_flywheel.profiles import leaning
from agentic_flywheel.routing import choose_route
from agentic_flywheel.routing.naming import named_by
from workers.ending import INVALID, NOBODY, UNREADABLE, end_with_answer, end_with_error, store_failure
from workers.handing_on import NotServedHere
from workers.journal import TraceJournal, now
from workers.runtime import Runtime
from workers.wishes import Wishes

#: Number of a session's latest turns that the router is given, for follow-up questions.
_TURNS = 3


class _Classified(NamedTuple):
    """A route, with the times at which choosing it began and ended: nanoseconds since 1970."""

    route: Route
    #: The catalog that it was chosen from.
    catalog: Catalog
    began: int
    decided: int


async def classify_query(
    runtime: Runtime, query_id: str, given: Any, wishes: Wishes, version: int | None
) -> FlywheelError | None:
    """Route a query. ``given`` is its JSON form, from any Celery client; ``wishes`` are the options of its message.

    ``version``: that of its message; None where a plain Celery client has sent it. Returns the error with which the
    query ended, if any. Raises NotServedHere, BrokerUnavailable.
    """
    try:
        query = read_query({"question": given} if isinstance(given, str) else given)
        query = wishes.granted(query, runtime.settings.query_age)
        if version is None and any(each.digest for each in query.uploads):
            reason = "a plain Celery client gives addresses alone: files travel beside the queue, through a Producer"
            raise InvalidQuery("uploads", reason)
    except InvalidQuery as error:
        standing = await runtime.upkeep.standing(query_id, "")
        if standing is not None and standing.version > wire.VERSION:  # for that version it is valid
            raise NotServedHere(None, standing.version) from None
        return await _refuse(runtime, query_id, INVALID, error, wishes)
    if query.client == NOBODY and query in (UNREADABLE, INVALID):
        return await _refuse(runtime, query_id, query, UnreadableQuery(query_id, "its worker ended over it"), wishes)
    try:
        if wishes.due is None:
            known = await _classify_and_send(runtime, query_id, query, version or wire.VERSION)
            if known:
                return None
        if query.session_id is not None and query.profile is None:
            carried = await session_profile(runtime.batch, query.session_id, asker=query.asker)
            query = query.model_copy(update={"profile": carried})
        if await _adopt(runtime, query_id, query, wishes):
            await _classify_and_send(runtime, query_id, query, version or wire.VERSION)
        return None
    except NotServedHere as lack:
        # Before it waits, a plain client's query gets its record; where it waits for its turn already, it stays there.
        try:
            if version is None and not await _adopt(runtime, query_id, query, wishes):
                return None
        except (OwnerLimitReached, EarlierTurnAsks) as beyond:
            return await _refuse(runtime, query_id, query, beyond, wishes)
        raise lack from None
    except FlywheelError as error:
        if error.transient and not isinstance(error, OwnerLimitReached):
            raise
        return await _refuse(runtime, query_id, query, error, wishes)


async def refuse_id(runtime: Runtime, task_id: str) -> FlywheelError:
    """Refuse the id that a plain client has chosen. It has no record, since names of keys are built from ids."""
    error = InvalidQuery(
        "task_id",
        "it begins with a letter or digit and has at most 128 letters, digits, dots, colons, dashes and underscores",
    )
    await store_failure(runtime, task_id, error)
    return error


async def _classify(runtime: Runtime, query: Query) -> _Classified:
    began = now()
    turns = []
    if query.session_id:
        turns = await recent_turns(runtime.batch, query.session_id, _TURNS, asker=query.asker)
    router, catalog = runtime.router, runtime.catalog
    words = leaning(runtime.profile_of(query), query)
    choose = partial(choose_route, query, router, catalog, turns=turns, profile_keywords=words)
    # The stronger encoder takes milliseconds, so it runs in a thread and other tasks go on.
    route = choose() if router.stronger is None else await asyncio.to_thread(choose)
    return _Classified(route, catalog, began, now())


async def _classify_and_send(runtime: Runtime, query_id: str, query: Query, version: int) -> bool:
    """Choose the route, store it and enqueue what answers. Returns False where the query has no record.

    Raises NotServedHere where this worker lacks what the query names.
    """
    profile = profile_named_by(query)
    try:
        return await _send(runtime, query_id, query, await _classify(runtime, query), version)
    except UnknownDomain as unknown:
        raise NotServedHere(RegistryName("domain", unknown.domain), version, query, beside=profile) from None
    except UnknownFlow as unknown:
        # One that the query does not name has left the registry since it was chosen.
        named = named_by(query) or RegistryName("flow", unknown.flow)
        raise NotServedHere(named, version, query, beside=profile) from None
    except (UnknownProfile, InvalidProfile) as lack:
        raise NotServedHere(profile, version, query, beside=named_by(query), why=lack.message) from None


async def _send(runtime: Runtime, query_id: str, query: Query, classified: _Classified, version: int) -> bool:
    """Store the route and enqueue the messages that answer it. Returns False where the query has no record."""
    route, catalog = classified.route, classified.catalog
    targets = [catalog.flow(target.flow) for target in route.targets]
    if query.form and query.flow is None:
        raise InvalidQuery("flow", "a form is the form of one flow: name that flow")
    query = fitted_query(query, targets[0])
    if route.decision == "clarify":
        parcels = {}
    elif len(targets) == 1:
        parcels = {"": answer_parcel(query_id, query, targets[0], version=version)}
    else:
        parcels = {flow.key: answer_parcel(query_id, query, flow, flow.key, version=version) for flow in targets}
    routed = await runtime.transitions.route(
        query_id,
        version=version,
        route=route.model_dump_json(exclude_defaults=True),
        flow=targets[0],
        intent=route.best.topic or "",
        event=_told(route),
        alone=bool(parcels) and any(flow.cache == "off" for flow in _answering(targets, catalog)),
        parcels=parcels,
        synthesis=synthesis_parcel(query_id, query, version=version) if len(parcels) > 1 else None,
    )
    match routed:
        case scripts.RouteRouted():
            journal = TraceJournal(runtime, query_id, query)
            journal.classified(route, routed.created, classified.began, classified.decided)
            if route.band == "low":
                await keep_unrouted(runtime.batch, query_id)
            if route.decision == "clarify":
                await _clarify(runtime, query_id, query, route, journal)
            return True
        case scripts.RouteAlready():
            await _go_on(runtime, query_id, query)
            return True
        case scripts.RouteGone():
            await runtime.events.message_was_late(runtime.batch, query_id)
            return True
        case scripts.RouteVersioned():
            # A plain client's message, of which another worker has made the record.
            if routed.version > wire.VERSION:
                raise NotServedHere(None, routed.version, query)
            return await _send(runtime, query_id, query, classified, routed.version)
        case scripts.RouteUnknown():
            return False
        case _:
            assert_never(routed)


def _answering(targets: list[Flow], catalog: Catalog) -> list[Flow]:
    """Return the flows that make the answer: those that are asked, and the one that unites what several of them say."""
    uniting = catalog.active.get(catalog.policy.synthesis_flow or "")
    return [*targets, uniting] if uniting and len(targets) > 1 else targets


async def _go_on(runtime: Runtime, query_id: str, query: Query) -> None:
    """Finish a clarification whose worker was lost between its route and its end."""
    (record,) = await load_records(runtime.batch, [query_id])
    if record is not None and record.route is not None and record.route.decision == "clarify":
        journal = TraceJournal(runtime, query_id, query)
        journal.continued(record)
        await _clarify(runtime, query_id, query, record.route, journal)


def _told(route: Route) -> str:
    return json.dumps(
        {
            "flow": route.best.flow,
            "domain": route.best.domain,
            "domains": [target.domain for target in route.targets],
            "decision": route.decision,
            "band": route.band,
            "confidence": route.confidence,
            "reason": route.reason,
        },
        ensure_ascii=False,
    )


async def _adopt(runtime: Runtime, query_id: str, query: Query, wishes: Wishes) -> bool:
    """Record a query that a plain Celery client sent. Returns whether it goes on at once.

    Raises OwnerLimitReached, EarlierTurnAsks.
    """
    parcel = classify_parcel(query_id, query, query.written())
    adopted = await runtime.transitions.adopt(query_id, query, parcel, due=wishes.due, follows=wishes.follows)
    match adopted:
        case scripts.AdoptAdopted() | scripts.AdoptExists():
            return True
        case scripts.AdoptWaits() | scripts.AdoptOver():
            return False
        case scripts.AdoptLimited():
            seconds = adopted.wait_ms / 1000
            raise OwnerLimitReached(query.owner, adopted.name, adopted.most, adopted.value, seconds)
        case scripts.AdoptAsks():
            raise EarlierTurnAsks(adopted.query_id)
        case _:
            assert_never(adopted)


async def _clarify(runtime: Runtime, query_id: str, query: Query, route: Route, journal: TraceJournal) -> None:
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
        cost=FREE,
        trace_id=trace_id_of(query_id),
    )
    journal.route = route
    execution = of_no_cache(query_id, catalog.flow(route.best.flow))
    await end_with_answer(runtime, execution, answer, journal, queue=wire.CLASSIFY_QUEUE)


async def _refuse(runtime: Runtime, query_id: str, query: Query, error: FlywheelError, wishes: Wishes) -> FlywheelError:
    with suppress(OwnerLimitReached, EarlierTurnAsks):  # it is recorded all the same
        await _adopt(runtime, query_id, query, wishes._replace(due=None))
    journal = TraceJournal(runtime, query_id, query)
    execution = without_flow(query_id)
    return await end_with_error(runtime, execution, query, error, journal, queue=wire.CLASSIFY_QUEUE)
