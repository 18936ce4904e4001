"""The tools that ask: put a question into the queue, wait for it, look after it, cancel it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.backends.models import overridden
from agentic_flywheel.broker.clarifications import awaits_choice, successor_of
from agentic_flywheel.broker.sessions import session_config
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.learning.lessons import keep_rerouting
from agentic_flywheel.models import Model, State
from agentic_flywheel.stops import Decision
from mcp_bridge.arguments import (
    USUAL_WAIT,
    Arguments,
    BatchId,
    Cache,
    FlowOverride,
    Intent,
    Key,
    ObjectText,
    ProfileName,
    QueryId,
    Question,
    SessionId,
    Timeout,
    Wait,
)
from mcp_bridge.batches import cancel_batch
from mcp_bridge.files import Files, uploads_of
from mcp_bridge.following import await_answer, partial_answer
from mcp_bridge.tool import ASKS, DECIDES, READS, REMOVES, Call, Started, tool
from mcp_bridge.views import (
    BATCH,
    QueryHead,
    QueryLine,
    QueryList,
    QueryView,
    answer_view,
    query_line,
    record_view,
    submission_view,
)
from producer import AsyncProducer, Submission

#: Seconds for which a decision waits for what comes of it: most flows that were let go on are quick.
SHORT_WAIT = 5.0
#: How many of the latest queries are looked through for those that run.
_LATEST = 200


class Submit(Arguments):
    """A question and how it is to be asked."""

    question: Question | None = None
    form: Annotated[ObjectText | None, Field(description="Instead of a question: the flow's form, as JSON.")] = None
    uploads: Files | None = None
    flow_override: FlowOverride | None = None
    intent: Intent | None = None
    profile: ProfileName | None = None
    session_id: SessionId | None = None
    reroute_of: Annotated[
        QueryId | None,
        Field(description="The query that went wrong: routing learns from it, with flow_override."),
    ] = None
    config: Annotated[
        ObjectText | None, Field(description='Flow settings to override, as JSON: {"temperature": 0.2}.')
    ] = None
    cache: Cache = "use"
    timeout_s: Timeout = 0.0
    idempotency_key: Key | None = None


class Ask(Submit):
    """A question that is waited for."""

    wait_s: Wait = USUAL_WAIT


async def submit(call: Call, given: Submit, **fields: Any) -> Submission:
    """Put a question into the queue. ``fields`` are further ones of the query."""
    config = dict(given.config or {})
    if given.reroute_of is not None and given.flow_override is not None:
        right = call.producer.catalog.flow(given.flow_override).key
        await keep_rerouting(call.producer.batch, given.reroute_of, right, asker=call.asker)
        fields = {**fields, "metadata": {"reroute_of": given.reroute_of}}
    if given.session_id is not None:
        kept = await session_config(call.producer.batch, given.session_id, asker=call.asker)
        config = overridden(kept, config)
    asked = {
        "session_id": given.session_id,
        "profile": given.profile,
        "cache": given.cache,
        "timeout": given.timeout_s or None,
        "idempotency_key": given.idempotency_key,
        "form": given.form,
        **_aim(call.producer.catalog, given),
        **fields,
    }
    if config:
        asked["config"] = config
    if given.uploads:
        asked["uploads"] = await uploads_of(given.uploads, call.bridge.files)
    return await call.producer.submit(
        given.question or "", **{name: value for name, value in asked.items() if value is not None}
    )


def _aim(catalog: Catalog, given: Submit) -> dict[str, str | None]:
    """Return where the caller wants the question to go; an intent names a flow or a domain."""
    if given.flow_override is not None or given.intent is None:
        return {"flow": given.flow_override, "intent": given.intent}
    if given.intent in catalog.active:
        return {"flow": given.intent, "intent": given.intent}
    catalog.in_domain(given.intent)
    return {"domain": given.intent, "intent": given.intent}


async def start(call: Call, given: Submit, **fields: Any) -> Started:
    """Begin a query without waiting for it."""
    submission = await submit(call, given, **fields)
    done = submission_view(submission) if submission.answer is not None else None
    return Started(submission.query_id, done)


async def wait_for(call: Call, submission: Submission, wait_s: float) -> QueryView:
    """Return a query's answer, or how far it is after ``wait_s`` seconds.

    A call that is cancelled meanwhile only stops waiting: most clients cancel because their time is up, and the answer
    is still of use to them.
    """
    if submission.answer is not None or not wait_s:
        return submission_view(submission)
    answer = await await_answer(call, submission.query_id, wait_s)
    return answer_view(submission.query_id, answer) if answer else await look(call, submission.query_id)


async def look(call: Call, query_id: str) -> QueryView:
    """Return how far a query is; after a clarification, how far the query of the chosen flow is."""
    record = await call.producer.status(query_id)
    if awaits_choice(record) and (successor := await successor_of(call.producer.batch, query_id)) is not None:
        record = await call.producer.status(successor)
    running = record.state is State.RUNNING
    return record_view(record, partial=await partial_answer(call.producer, query_id) if running else None)


async def follow(call: Call, query_id: str, wait_s: float) -> QueryView:
    """Return how far a query is, after ``wait_s`` seconds at most."""
    view = await look(call, query_id)
    if view.done or not wait_s:
        return view
    answer = await await_answer(call, view.query_id, wait_s)
    return answer_view(view.query_id, answer) if answer else await look(call, query_id)


async def cancel_query(call: Call, query_id: str) -> dict[str, State]:
    """Cancel a query, and the one that went on for it after a clarification. Returns the state that each was in."""
    states = await call.producer.cancel(query_id)
    successor = await successor_of(call.producer.batch, query_id)
    return states if successor in (None, query_id) else {**states, **await call.producer.cancel(successor)}


async def latest(producer: AsyncProducer, limit: int) -> QueryList:
    """Return an owner's latest queries, those under way first, else the newest first."""
    records = await producer.recent(limit=_LATEST)
    under_way_first = sorted(records, key=lambda record: record.state.terminal)
    named = (record.query.metadata.get(BATCH) for record in records)
    batch_ids = tuple(dict.fromkeys(each for each in named if isinstance(each, str)))
    return QueryList(queries=tuple(map(query_line, under_way_first[:limit])), batch_ids=batch_ids[:limit])


@tool("Ask Flowise", ASKS, Scope.ASK, start=start)
async def flowise_query(call: Call, given: Ask) -> QueryView:
    """Ask one question and wait for its answer. It goes through a durable queue to the Flowise flow that fits best,
    unless you aim it. If `done` is false, it goes on: call flowise_poll. Cancelling the call, or a time-out of yours,
    ends only the waiting. If `kind` is "clarify", let the user pick from `choices` and ask again with flow_override."""
    return await wait_for(call, await submit(call, given), given.wait_s)


@tool("Submit a question", ASKS, Scope.ASK)
async def flowise_submit(call: Call, given: Submit) -> QueryHead:
    """Queue a question and return its query_id at once, for work that takes minutes; flowise_poll gets the answer."""
    return submission_view(await submit(call, given))


class Poll(Arguments):
    """Which query, and how long to wait."""

    query_id: Annotated[QueryId | None, Field(description="Left out: your latest.")] = None
    wait_s: Wait = 0.0
    answer_from: Annotated[int, Field(ge=0, description="answer_next of a cut answer: go on there.")] = 0


@tool("Poll a query", READS, Scope.ASK)
async def flowise_poll(call: Call, given: Poll) -> QueryView | QueryList:
    """Return a query's answer, or how far it is and what was streamed so far. Waiting with wait_s beats polling often.
    Without query_id it lists your latest queries and batch_ids."""
    if given.query_id is None:
        return await latest(call.producer, QueryLine.SHOWN)
    view = await follow(call, given.query_id, given.wait_s)
    return view.from_character(given.answer_from)


class Decide(Arguments):
    """A person's decision."""

    query_id: QueryId
    decision: Annotated[Decision, Field(description="The user's, not yours.")]
    feedback: Annotated[str, Field(description="What the user says to it.")] = ""
    stop: Annotated[int | None, Field(description="The `stop` of `asks`; needed from 2 on.")] = None


@tool("Decide for a flow", DECIDES, Scope.ASK)
async def flowise_resume(call: Call, given: Decide) -> QueryHead:
    """Tell a flow that has stopped (state "input_required") what the user decides: never decide yourself. The query
    goes on under its query_id, and may ask again."""
    await call.producer.resume(given.query_id, given.decision, feedback=given.feedback or None, stop=given.stop)
    return await follow(call, given.query_id, SHORT_WAIT)


class Cancel(Arguments):
    """What to cancel: exactly one of them."""

    query_id: QueryId | None = None
    batch_id: BatchId | None = None
    session_id: SessionId | None = None

    @model_validator(mode="after")
    def _one(self) -> Cancel:
        if sum(each is not None for each in (self.query_id, self.batch_id, self.session_id)) != 1:
            raise ValueError("give exactly one of query_id, batch_id and session_id")
        return self


class Cancelled(Model):
    """What was cancelled."""

    #: query_ids; those that had ended before stay as they were.
    cancelled: tuple[str, ...]
    ended_before: tuple[str, ...]


@tool("Cancel queries", REMOVES, Scope.ASK)
async def flowise_cancel(call: Call, given: Cancel) -> Cancelled:
    """Cancel one query, all of a batch, or all that are under way in a session: give exactly one of the ids."""
    if given.batch_id is not None:
        states = await cancel_batch(call, given.batch_id)
    elif given.query_id is not None:
        states = await cancel_query(call, given.query_id)
    else:
        states = await call.producer.cancel(session_id=given.session_id)
    return Cancelled(
        cancelled=tuple(query_id for query_id, state in states.items() if not state.terminal),
        ended_before=tuple(query_id for query_id, state in states.items() if state.terminal),
    )
