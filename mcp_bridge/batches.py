"""Many questions in one call, under one handle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated

import anyio
from pydantic import Field, model_validator

from agentic_flywheel.bundles import Bundle, Item, load_bundle, save_bundle
from agentic_flywheel.errors import ErrorInfo, FlywheelError
from agentic_flywheel.models import Model, Record, State, new_query_id
from mcp_bridge.arguments import USUAL_WAIT, BatchId, Cache, FlowKey, ProfileName, Question, SessionId, Timeout, Wait
from mcp_bridge.following import LONGEST_PAUSE
from mcp_bridge.tool import ASKS, Arguments, Call, Started, tool
from mcp_bridge.views import POLL_AFTER, FlowKeyOut, QueryIdOut

MOST_QUESTIONS = 200


class ManyQuestions(Arguments):
    """Questions to ask together, or the batch that they became."""

    questions: Annotated[
        tuple[Question, ...] | None,
        Field(min_length=1, max_length=MOST_QUESTIONS, description="The questions, at most 200. Starts a batch."),
    ] = None
    batch_id: BatchId | None = None
    flow_override: FlowKey | None = None
    session_id: SessionId | None = None
    profile: ProfileName | None = None
    cache: Cache = "use"
    timeout_s: Timeout | None = None
    wait_s: Wait = USUAL_WAIT
    include_answers: Annotated[bool, Field(description="Whether the answers' texts come with the items.")] = True

    @model_validator(mode="after")
    def _one(self) -> ManyQuestions:
        if (self.questions is None) == (self.batch_id is None):
            raise ValueError("give questions to start a batch, or a batch_id to follow one")
        return self


class BatchItem(Model):
    """One question of a batch."""

    question: str
    query_id: QueryIdOut | None = None
    state: State | None = None
    answer: str | None = None
    flow_key: FlowKeyOut | None = None
    confidence: float | None = None
    cached: bool | None = None
    error: Annotated[ErrorInfo | None, Field(description="Why it was refused or failed.")] = None


class BatchView(Model):
    """A batch and how far it is."""

    batch_id: Annotated[str, Field(description="Follow it with flowise_batch, cancel it with flowise_cancel.")]
    done: Annotated[bool, Field(description="Whether every item has ended.")]
    next_step: str | None = None
    total: int
    succeeded: int
    failed: Annotated[int, Field(description="Failed, expired, cancelled or refused.")]
    under_way: int
    items: tuple[BatchItem, ...]
    poll_after_s: float | None = None


async def start(call: Call, given: ManyQuestions) -> Started:
    """Submit the questions of a new batch, or take up a batch that is known."""
    if given.batch_id is not None:
        await load_bundle(call.producer.batch, given.batch_id, owner=call.owner)
        return Started(given.batch_id)
    return Started((await _submit(call, given)).batch_id)


async def _submit(call: Call, given: ManyQuestions) -> Bundle:
    fields = {
        "flow": given.flow_override,
        "session_id": given.session_id,
        "profile": given.profile,
        "cache": given.cache,
        "timeout": given.timeout_s,
        "priority": "low",
    }
    questions = given.questions or ()
    accepted = await call.producer.submit_many(
        questions, **{name: value for name, value in fields.items() if value is not None}
    )
    items = [
        Item(question=question, error=each.describe())
        if isinstance(each, FlywheelError)
        else Item(question=question, query_id=each.query_id)
        for question, each in zip(questions, accepted, strict=True)
    ]
    refused = [item.error for item in items if item.error is not None]
    if len(refused) == len(items):
        error = next(each for each in accepted if isinstance(each, FlywheelError))
        raise error
    ttl = call.producer.settings.result_ttl
    return await save_bundle(call.producer.batch, new_query_id(), call.owner, items, ttl=ttl)


@tool("Ask many questions", ASKS, start=start)
async def flowise_batch(call: Call, given: ManyQuestions) -> BatchView:
    """Ask up to 200 questions in one call. Give `questions` to start; the result has a batch_id and, per question, its
    query_id and, once there, its answer. Waits up to wait_s seconds for all of them and reports progress.

    If `done` is false then, call flowise_batch again with that batch_id to wait on. One question that is refused or
    fails never stops the others. A batch runs at low priority, so that it does not delay other questions. With
    session_id the questions are turns of one conversation, answered one after another. Cancelling the call that
    started the batch cancels its queries."""
    begun = await start(call, given)
    batch_id = begun.task_id
    bundle = await load_bundle(call.producer.batch, batch_id, owner=call.owner)
    try:
        await _wait(call, bundle, given.wait_s)
    except anyio.get_cancelled_exc_class():
        if given.batch_id is None:
            with anyio.CancelScope(shield=True), suppress(FlywheelError):
                await cancel_batch(call, batch_id)
        raise
    records = await call.producer.records(bundle.query_ids)
    return batch_view(bundle, records, include_answers=given.include_answers)


def batch_view(bundle: Bundle, records: Sequence[Record | None], *, include_answers: bool = True) -> BatchView:
    """Return how far a batch is. ``records`` are those of its queries, in their order."""
    found = dict(zip(bundle.query_ids, records, strict=True))
    items = tuple(_item(item, found, include_answers) for item in bundle.items)
    succeeded = sum(item.state is State.SUCCEEDED for item in items)
    failed = sum(item.error is not None for item in items)
    under_way = len(items) - succeeded - failed
    return BatchView(
        batch_id=bundle.batch_id,
        done=not under_way,
        next_step="Call flowise_batch with this batch_id to wait for the rest." if under_way else None,
        total=len(items),
        succeeded=succeeded,
        failed=failed,
        under_way=under_way,
        items=items,
        poll_after_s=POLL_AFTER if under_way else None,
    )


def _item(item: Item, found: Mapping[str, Record | None], include_answers: bool) -> BatchItem:
    record = found.get(item.query_id or "")
    if record is None:
        return BatchItem(question=item.question, query_id=item.query_id, error=item.error)
    answer = record.answer
    return BatchItem(
        question=item.question,
        query_id=item.query_id,
        state=record.state,
        answer=answer.text if answer is not None and include_answers else None,
        flow_key=record.flow,
        confidence=round(answer.confidence, 4) if answer is not None else None,
        cached=answer.cached if answer is not None else None,
        error=record.error,
    )


async def cancel_batch(call: Call, batch_id: str) -> dict[str, State]:
    """Cancel what is under way in a batch. Returns the state that each query was in."""
    bundle = await load_bundle(call.producer.batch, batch_id, owner=call.owner)
    states: dict[str, State] = {}
    for query_id in bundle.query_ids:
        states |= await call.producer.cancel(query_id)
    return states


async def _wait(call: Call, bundle: Bundle, wait_s: float) -> None:
    """Wait until every query of a batch has ended, or for ``wait_s`` seconds."""
    if not wait_s:
        return
    waits = [asyncio.ensure_future(_ended(call, query_id)) for query_id in bundle.query_ids]
    refused = len(bundle.items) - len(waits)
    began, pending = time.monotonic(), set(waits)
    try:
        while pending and (left := began + wait_s - time.monotonic()) > 0:
            passed = time.monotonic() - began
            if call.progress is not None:
                done = len(bundle.items) - len(pending) - refused
                # The thousandths are seconds passed: progress has to increase with every report.
                told = f"{done} of {len(waits)} answered"
                await call.progress(round(done + passed / 1000, 4), len(waits), told)
            pause = min(left, LONGEST_PAUSE if passed > 1 else 0.5)
            _, pending = await asyncio.wait(pending, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*waits, return_exceptions=True)


async def _ended(call: Call, query_id: str) -> None:
    with suppress(FlywheelError):  # how it ended is read from its record
        await call.producer.wait(query_id)
