"""Change what becomes of a query or a session: cancel it, ask again elsewhere, set the profile."""

from __future__ import annotations

from collections.abc import Sequence

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.listing import known_names
from agentic_flywheel.broker.records import asked_only, load_record
from agentic_flywheel.broker.sessions import Session, load_session
from agentic_flywheel.broker.sessions import use_profile as keep_profile
from agentic_flywheel.broker.stops import asking
from agentic_flywheel.errors import InvalidQuery, UnknownProfile, UnknownQuery
from agentic_flywheel.learning.lessons import keep_rerouting
from agentic_flywheel.models import State
from producer.connections import Caller
from producer.submitting import Submission, name_for, profile_of, put, query_from


async def cancel_query(caller: Caller, query_id: str) -> dict[str, State]:
    """Cancel one query, also where its record is damaged. Raises UnknownQuery, BrokerUnavailable."""
    states = await _cancel(caller, [query_id])
    if not states:
        raise UnknownQuery(query_id)
    return states


async def cancel_session(caller: Caller, session_id: str) -> dict[str, State]:
    """Cancel the queries of a session that have not ended. Raises UnknownSession, BrokerUnavailable."""
    session = await load_session(caller.shared.batch, session_id, asker=caller.asker)
    # The latest first: cancelling the head of a session would otherwise start the next one.
    return await _cancel(caller, list(reversed(session.under_way)))


async def cancel_everything(caller: Caller) -> dict[str, State]:
    """Cancel all of the asker's queries. Raises BrokerUnavailable."""
    batch = caller.shared.batch
    # The newest first, for the same reason. What waits for a person may be older than that list goes back.
    latest = await batch.call("ZREVRANGE", wire.owned_key(caller.asker.name), 0, -1)
    return await _cancel(caller, list(dict.fromkeys([*latest, *await asking(batch, caller.asker)])))


async def _cancel(caller: Caller, query_ids: Sequence[str]) -> dict[str, State]:
    states = await caller.shared.transitions.cancel(query_ids, asker=caller.asker, reason="asked by its owner")
    known = set(State)
    return {each: State(state) for each, state in zip(query_ids, states, strict=True) if state in known}


async def reroute(caller: Caller, query_id: str, flow: str, idempotency_key: str | None = None) -> Submission:
    """Ask a query's question again of another flow, and keep that for learning.

    Raises UnknownQuery, UnknownFlow, InvalidQuery, and what ``put`` raises.
    """
    record = await load_record(caller.shared.batch, query_id, asker=caller.asker)
    right = caller.shared.catalog.flow(flow).key
    if asked_only(record, right):
        raise InvalidQuery("flow", f"query {query_id} was asked of {right} already")
    # What was learned holds also where the queue is full, and telling it again changes nothing.
    await keep_rerouting(caller.shared.batch, query_id, right, asker=caller.asker)
    metadata = {**record.query.metadata, "reroute_of": query_id}
    again = query_from(
        caller,
        record.query,
        {"flow": right, "domain": None, "intent": None, "deadline": None, "metadata": metadata},
    )
    return await put(caller, name_for(caller, again, idempotency_key), again)


async def use_profile(caller: Caller, session_id: str, profile: str | None) -> Session:
    """Let a session carry a profile from now on, or none.

    Raises InvalidQuery, UnknownProfile, InvalidProfile, BrokerUnavailable.
    """
    # As strict as a query that names both.
    found = profile_of(caller, query_from(caller, "?", {"session_id": session_id, "profile": profile}))
    shared = caller.shared
    if profile is not None and found is None:
        await _check_with_workers(caller, profile)
    return await keep_profile(shared.batch, session_id, profile, asker=caller.asker, ttl=shared.settings.session_ttl)


async def _check_with_workers(caller: Caller, profile: str) -> None:
    """Raise UnknownProfile where no profiles are kept here, and no worker has this one for the asker's owner.

    A session would carry it for long, and each of its questions wait for a worker that there is not.
    """
    names = await known_names(caller.shared.batch, "profile")
    if names is None:
        return
    ours = f" of {caller.asker.owner}"
    usable = {name.removesuffix(ours) for name in names if " of " not in name or name.endswith(ours)}
    if profile not in usable:
        raise UnknownProfile(profile, sorted(usable))
