"""Put queries into the queue: check their fields, and accept each in one atomic step or refuse it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, assert_never

from pydantic import JsonValue

from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.messages import classify_parcel
from agentic_flywheel.broker.persistence import front_digest, read_answer
from agentic_flywheel.broker.records import load_records
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import (
    DeadlineExceeded,
    EarlierTurnAsks,
    FlywheelError,
    IdempotencyConflict,
    InvalidQuery,
    OwnerLimitReached,
    QueueFull,
    UploadLost,
)
from agentic_flywheel.forms import fitted_query
from agentic_flywheel.given import deadline_after
from agentic_flywheel.idempotency import content_digest, query_id_of, read_key
from agentic_flywheel.ids import trace_id_of
from agentic_flywheel.models import Answer, Model, Query, read_query
from producer.connections import SUBMIT_PATIENCE, Caller
from producer.fields import QueryFields
from producer.front_trace import trace_hit
from producer.uploading import check_sizes, submitted_with_files

if TYPE_CHECKING:
    from agentic_flywheel.profiles import Profile

_Reply = TypeVar("_Reply")

#: Seconds after which a full queue is worth another try when it does not drain at all.
_STALLED = 30.0
#: Questions of many that are submitted at once while their owner is at a limit.
_AT_ONCE = 50
#: Longest time that they wait before they are submitted again, in seconds.
_LONGEST_WAIT = 4.0


class Submission(Model):
    """A query that was accepted. ``answer`` is there at once where the cache had it."""

    query_id: str
    trace_id: str
    session_id: str | None = None
    #: The query whose call this one waits for.
    attached_to: str | None = None
    answer: Answer | None = None


class SubmissionName(NamedTuple):
    """What a submission may be repeated under."""

    query_id: str
    #: Digest of the content, where the id is made from the caller's key; empty where the id is a new one.
    content: str = ""
    #: The caller's key.
    key: str = ""


def name_for(caller: Caller, query: Query, key: str | None = None) -> SubmissionName:
    """Return a new name, or the one that the caller's idempotency key means. Raises InvalidQuery."""
    if key is None:
        return SubmissionName(caller.shared.new_id())
    key = read_key(key)
    return SubmissionName(query_id_of(query.asker, key), content_digest(query), key)


def query_from(caller: Caller, question: str | Query, fields: QueryFields | dict[str, Any]) -> Query:
    """Return the query that a question and further fields describe; of a ``Query``, the fields replace its own.

    Raises InvalidQuery, UnknownFlow, UnknownDomain, InvalidRegistry.
    """
    given: dict[str, Any] = {"client": caller.client, **fields, "owner": caller.asker.owner}
    user = caller.asker.user
    if user is not None and given.setdefault("user", user) != user:
        raise InvalidQuery("user", f"this producer asks for {user} alone")
    timeout = given.pop("timeout", None)
    if timeout is not None:
        given["deadline"] = deadline_after(timeout)
    asked: dict[str, Any] = {"question": question}
    if isinstance(question, Query):
        # Not dumped: its uploads know where their files are.
        asked = {each: getattr(question, each) for each in question.model_fields_set}
    query = read_query({**asked, **given})
    _check_config(query.config)
    check_sizes(query, caller.shared.settings)
    if query.flow is not None:
        query = fitted_query(query, caller.shared.catalog.flow(query.flow))
    elif query.form:
        raise InvalidQuery("flow", "a form is the form of one flow: name that flow")
    if query.domain is not None:
        caller.shared.catalog.in_domain(query.domain)
    return query


def _check_config(config: Mapping[str, JsonValue]) -> None:
    """Raises InvalidQuery for what no flow could make use of: it would be refused after the queue, or ignored."""
    if "sessionId" in config:
        raise InvalidQuery("config", "a `sessionId` is given as session_id: it names the conversation")
    dotted = next((name for name in config if name.startswith("vars.")), None)
    if dotted is not None:
        raise InvalidQuery("config", f'a variable stands in `vars`: {{"vars": {{"{dotted[5:][:100]}": …}}}}')
    if not isinstance(config.get("vars", {}), dict):
        raise InvalidQuery("config.vars", 'it should be an object of variables, such as {"city": "Oslo"}')


async def put(caller: Caller, name: SubmissionName, query: Query) -> Submission:
    """Accept a query under this name: from the cache, attached to an identical one, or into the queue; once only.

    Raises IdempotencyConflict, InvalidRegistry, InvalidProfile, UnknownProfile, QueueFull, UploadsFull, UploadLost,
    EarlierTurnAsks, OwnerLimitReached, DeadlineExceeded where it has passed already, BrokerRefused; BrokerUnavailable,
    after which it may have been accepted.
    """
    query_id = name.query_id
    catalog = caller.shared.catalog
    flow = catalog.flow(query.flow) if query.flow else None
    domain = flow.domain if flow else query.domain
    profile = profile_of(caller, query)
    # A profile that only the workers have may be another one by now, so its answers are looked up by them.
    at_front = query.profile is None or profile is not None
    # Each question to a flow whose answers are not kept is a call of its own.
    at_front = at_front and (flow is None or flow.cache != "off")
    written = query.written()
    began = time.time_ns()
    front = front_digest(query, catalog, profile.revision if profile else "") if at_front else ""
    parcel = classify_parcel(query_id, query, written)
    submitted = await submitted_with_files(
        caller,
        query,
        lambda: caller.shared.transitions.submit(
            query_id, query, written, parcel, front=front, domain=domain, content=name.content, own=caller.own
        ),
    )
    answer: Answer | None = None
    leader = ""
    match submitted:
        case scripts.SubmitFull():
            queue = wire.domain_queue(domain) if domain else wire.CLASSIFY_QUEUE
            raise QueueFull(queue, submitted.length, _worth_another_try(submitted))
        case scripts.SubmitLimited():
            seconds = submitted.wait_ms / 1000
            raise OwnerLimitReached(query.owner, submitted.name, submitted.most, submitted.value, seconds)
        case scripts.SubmitLate():
            raise DeadlineExceeded(query_id, "it was on its way here")
        case scripts.SubmitLacking():
            raise UploadLost(query.uploads[0].name)
        case scripts.SubmitProfiled():
            return await put(caller, name, query.model_copy(update={"profile": submitted.profile}))
        case scripts.SubmitAsks():
            raise EarlierTurnAsks(submitted.query_id)
        case scripts.SubmitConflict():
            raise IdempotencyConflict(name.key, query_id)
        case scripts.SubmitHit():
            answer = _from_cache(query_id, query, submitted, catalog)
            answered_by = catalog.flows.get(answer.flow)
            title = answered_by.title if answered_by else None
            private = profile is not None and profile.confidential
            trace_hit(caller.shared.tracer, query, answer, submitted.answer, began, title, private=private)
        case scripts.SubmitAttached():
            leader = submitted.leader
        case scripts.SubmitExists():
            # Under the caller's key, or by an attempt whose reply was lost.
            (record,) = await load_records(caller.shared.batch, [query_id], patience=caller.patience)
            if record is not None:
                answer, leader = record.answer, record.attached_to or ""
        case scripts.SubmitAccepted():
            pass
        case _:
            assert_never(submitted)
    return Submission(
        query_id=query_id,
        trace_id=trace_id_of(query_id),
        session_id=query.session_id,
        attached_to=leader.partition("|")[0] or None,
        answer=answer,
    )


async def put_many(
    caller: Caller,
    questions: Iterable[str | Query],
    keys: Iterable[str | None] | None,
    fields: QueryFields,
    *,
    limit_wait: float,
) -> list[Submission | FlywheelError]:
    """Submit many at once, patiently. The list has their order; in the place of a refused one stands its error.

    At a limit of their owner they wait until there is room, for no longer than ``limit_wait`` seconds.

    Raises InvalidQuery where there are not as many keys as questions.
    """
    patient = replace(caller, patience=max(caller.patience, SUBMIT_PATIENCE))
    asked = list(questions)
    named = [None] * len(asked) if keys is None else list(keys)
    if len(named) != len(asked):
        raise InvalidQuery("idempotency_keys", f"there are {len(named)} keys for {len(asked)} questions")

    async def one(question: str | Query, key: str | None) -> Submission | FlywheelError:
        try:
            query = query_from(patient, question, fields)
            return await put(patient, name_for(patient, query, key), query)
        except FlywheelError as refused:
            return refused

    done = list(await asyncio.gather(*map(one, asked, named)))
    give_up = time.monotonic() + limit_wait
    while beyond := {n: each for n, each in enumerate(done) if isinstance(each, OwnerLimitReached)}:
        first, left = next(iter(beyond.values())), give_up - time.monotonic()
        # There may be room sooner than one can tell, except within a minute that is used up.
        pause = first.retry_after if first.limit == "queries_a_minute" else min(first.retry_after, _LONGEST_WAIT)
        if pause > left:
            break
        await asyncio.sleep(pause)
        # A few at a time until one is refused again: who waits for room costs the broker little.
        places = list(beyond)
        for start in range(0, len(places), _AT_ONCE):
            some = places[start : start + _AT_ONCE]
            again = await asyncio.gather(*(one(asked[n], named[n]) for n in some))
            for n, each in zip(some, again, strict=True):
                done[n] = each
            if any(isinstance(each, OwnerLimitReached) for each in again):
                break
    return done


def profile_of(caller: Caller, query: Query) -> Profile | None:
    """Return a query's profile; None without one, and where no profiles are kept here: then the workers know it.

    Raises UnknownProfile, InvalidProfile.
    """
    profiles = caller.shared.profiles
    if query.profile is None or not profiles.folders:
        return None
    return profiles.get(query.profile, query.owner)


def _worth_another_try(full: scripts.SubmitFull) -> float:
    """Return the seconds in which a twentieth of a full queue drains at the pace of the last minute."""
    pace = full.drained / 60
    return round(max(1.0, 0.05 * full.length / pace), 1) if pace else _STALLED


def _from_cache(query_id: str, query: Query, hit: scripts.SubmitHit, catalog: Catalog) -> Answer:
    cached = read_answer(hit.answer, wire.flow_of_answer(hit.cache_key))
    flow = catalog.flows.get(cached.flow)
    return cached.model_copy(
        update={
            "query_id": query_id,
            "session_id": query.session_id,
            "cache_key": hit.cache_key,
            # A value that somebody else wrote has none.
            "domain": cached.domain or (flow.domain if flow else ""),
            "elapsed": timedelta(0),
            "remembered": False,
            "chat_id": None,
            "message_id": None,
            "trace_id": trace_id_of(query_id),
        }
    )
