"""The tools that ask: put a question into the queue, wait for it, look after it, cancel it."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
from pydantic import Field, model_validator

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.clarifications import awaits_choice, successor_of
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.learning.lessons import keep_rerouting
from agentic_flywheel.models import Model, Slug, State
from agentic_flywheel.sessions import session_config
from mcp_bridge.arguments import (
    USUAL_WAIT,
    BatchId,
    Cache,
    FlowKey,
    Object,
    ProfileName,
    QueryId,
    Question,
    SessionId,
    Timeout,
    Wait,
)
from mcp_bridge.batches import cancel_batch
from mcp_bridge.following import await_answer, partial_answer
from mcp_bridge.tool import ASKS, READS, REMOVES, Arguments, Call, Started, tool
from mcp_bridge.views import QueryView, answer_view, record_view, submission_view
from producer import Submission


class Submit(Arguments):
    """A question and how it is to be asked."""

    question: Question
    intent: Annotated[
        Slug | None,
        Field(description="A flow_key or domain that the question is for. Left out, it is found by classification."),
    ] = None
    flow_override: FlowKey | None = None
    reroute_of: Annotated[
        QueryId | None,
        Field(description="The query that went to the wrong flow; with flow_override, routing learns the right one."),
    ] = None
    session_id: SessionId | None = None
    profile: ProfileName | None = None
    config: Annotated[
        Object | None,
        Field(
            description='Overrides of the flow\'s configuration, such as {"temperature": 0.2}; see flowise_configure.'
        ),
    ] = None
    cache: Cache = "use"
    timeout_s: Timeout | None = None


class Ask(Submit):
    """A question that is waited for."""

    wait_s: Wait = USUAL_WAIT


async def submit(call: Call, given: Submit, **fields: Any) -> Submission:
    """Put a question into the queue. ``fields`` are further ones of the query."""
    config = dict(given.config or {})
    if given.reroute_of is not None and given.flow_override is not None:
        right = call.producer.catalog.flow(given.flow_override).key
        await keep_rerouting(call.producer.batch, given.reroute_of, right, owner=call.owner)
        fields = {**fields, "metadata": {"reroute_of": given.reroute_of}}
    if given.session_id is not None:
        config = {**await session_config(call.producer.batch, given.session_id, owner=call.owner), **config}
    asked = {
        "session_id": given.session_id,
        "profile": given.profile,
        "cache": given.cache,
        "timeout": given.timeout_s,
        **_aim(call.producer.catalog, given),
        **fields,
    }
    if config:
        asked["config"] = config
    # Shielded: a call that is cancelled while it submits must know the id, to cancel the query.
    with anyio.CancelScope(shield=True):
        submission = await call.producer.submit(
            given.question, **{name: value for name, value in asked.items() if value is not None}
        )
    return submission


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
    """Return a query's answer, or how far it is after ``wait_s`` seconds."""
    if submission.answer is not None or not wait_s:
        return submission_view(submission)
    try:
        answer = await await_answer(call, submission.query_id, wait_s)
    except anyio.get_cancelled_exc_class():
        # The caller never learned the id, so nobody could use the answer.
        with anyio.CancelScope(shield=True):
            await _give_up(call, submission.query_id)
        raise
    return answer_view(submission.query_id, answer) if answer else await look(call, submission.query_id)


async def look(call: Call, query_id: str) -> QueryView:
    """Return how far a query is; after a clarification, how far the query of the chosen flow is."""
    record = await call.producer.status(query_id)
    if awaits_choice(record) and (successor := await successor_of(call.producer.batch, query_id)) is not None:
        record = await call.producer.status(successor)
    running = record.state is State.RUNNING
    return record_view(record, partial=await partial_answer(call.producer, query_id) if running else None)


async def cancel_query(call: Call, query_id: str) -> dict[str, State]:
    """Cancel a query, and the one that went on for it after a clarification. Returns the state that each was in."""
    states = await call.producer.cancel(query_id)
    successor = await successor_of(call.producer.batch, query_id)
    return states if successor in (None, query_id) else {**states, **await call.producer.cancel(successor)}


async def _give_up(call: Call, query_id: str) -> None:
    try:
        await call.producer.cancel(query_id)
    except FlywheelError:
        return  # the broker is away: the query's own deadline and the cache look after it


@tool("Ask Flowise", ASKS, start=start)
async def flowise_query(call: Call, given: Ask) -> QueryView:
    """Ask a question. It is classified, goes through a durable queue to the Flowise flow that fits, and its answer
    comes back with the flow, the confidence of that choice, and whether it was cached.

    Waits up to wait_s seconds. If `done` is false then, the query goes on: call flowise_poll with its query_id.
    Use flow_override to ask a certain flow, session_id to continue a conversation, and flowise_batch for many
    questions. If `kind` is "clarify", no flow was sure: let the user choose from `choices` and ask again with
    flow_override. Cancelling the waiting call cancels the query.
    """
    return await wait_for(call, await submit(call, given), given.wait_s)


@tool("Submit a question", ASKS)
async def flowise_submit(call: Call, given: Submit) -> QueryView:
    """Put a question into the queue and return its query_id at once, without waiting. Use it for work that may take
    minutes; get the answer later with flowise_poll. The query goes on whatever happens to this connection."""
    return submission_view(await submit(call, given))


class Poll(Arguments):
    """Which query, and how long to wait."""

    query_id: QueryId
    wait_s: Wait = 0.0


@tool("Poll a query", READS)
async def flowise_poll(call: Call, given: Poll) -> QueryView:
    """Return a query's answer, or how far it is: its state, where it was routed, what has been streamed so far.

    With wait_s it waits up to so many seconds for the answer, which is better than polling often. Cancelling this
    call does not cancel the query."""
    view = await look(call, given.query_id)
    if view.done or not given.wait_s:
        return view
    answer = await await_answer(call, view.query_id, given.wait_s)
    return answer_view(view.query_id, answer) if answer else await look(call, given.query_id)


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

    cancelled: Annotated[tuple[str, ...], Field(description="The query_ids that were under way and are cancelled.")]
    ended_before: Annotated[tuple[str, ...], Field(description="Those that had ended; they stay as they were.")]


@tool("Cancel queries", REMOVES)
async def flowise_cancel(call: Call, given: Cancel) -> Cancelled:
    """Cancel one query (query_id), all of a batch (batch_id), or all that are under way in a session (session_id).

    What waits never starts, what runs is cut; identical queries of others go on. What has ended stays as it is."""
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


TOOLS = (flowise_query, flowise_submit, flowise_poll, flowise_cancel)
