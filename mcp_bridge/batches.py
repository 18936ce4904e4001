"""Many questions in one call, under one handle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated

import anyio
from pydantic import Field, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.asker import Asker
from agentic_flywheel.broker.bundles import Bundle, BundleItem, load_bundle, save_bundle
from agentic_flywheel.errors import ErrorInfo, FlywheelError, IdempotencyConflict, UnknownBatch, UnknownQuery
from agentic_flywheel.idempotency import query_id_of, read_key
from agentic_flywheel.ids import new_query_id
from agentic_flywheel.models import Model, Record, State
from mcp_bridge.arguments import (
    USUAL_WAIT,
    Arguments,
    BatchId,
    Cache,
    FlowOverride,
    Key,
    ProfileName,
    SessionId,
    Timeout,
    Wait,
)
from mcp_bridge.discretion import told
from mcp_bridge.files import Files, uploads_of
from mcp_bridge.following import LONGEST_PAUSE
from mcp_bridge.tool import ASKS, Call, Started, tool
from mcp_bridge.views import BATCH, POLL_AFTER, StateName, address, shortened
from producer.connections import SUBMIT_PATIENCE

MOST_QUESTIONS = 200
#: Submissions of batches that go on when their clients have given up.
_SUBMITTING: set[asyncio.Task[Bundle]] = set()
#: Characters of a batch's view beside its items.
_OUTSIDE_ITEMS = 600


class ManyQuestions(Arguments):
    """Questions to ask together, or the batch that they became."""

    # Each is judged when it is submitted: one that is refused stops no other.
    questions: Annotated[
        tuple[str, ...] | None,
        Field(min_length=1, max_length=MOST_QUESTIONS, description="At most 200."),
    ] = None
    uploads: Annotated[Files | None, Field(description="With each question.")] = None
    batch_id: BatchId | None = None
    cursor: Annotated[int, Field(ge=0, description="next_cursor: go on with the items there.")] = 0
    flow_override: FlowOverride | None = None
    profile: ProfileName | None = None
    session_id: SessionId | None = None
    cache: Cache = "use"
    timeout_s: Timeout = 0.0
    wait_s: Wait = USUAL_WAIT
    include_answers: Annotated[bool, Field(description="false: states only.")] = True
    idempotency_key: Key | None = None

    @model_validator(mode="after")
    def _one(self) -> ManyQuestions:
        if (self.questions is None) == (self.batch_id is None):
            raise ValueError("give questions to start a batch, or a batch_id to follow one")
        return self


class BatchItem(Model):
    """One question of a batch."""

    question: str
    query_id: str | None = None
    state: StateName | None = None
    answer: str | None = None
    flow_key: str | None = None
    confidence: SkipJsonSchema[float | None] = None
    cached: SkipJsonSchema[bool | None] = None
    #: Why it was refused or failed.
    error: Annotated[ErrorInfo | None, WithJsonSchema({"type": "object"})] = None


class BatchView(Model):
    """A batch, how far it is, and as many of its items as a result has room for."""

    batch_id: str
    done: bool
    next_step: str | None = None
    total: int
    succeeded: int
    #: Failed, expired, cancelled or refused.
    failed: int
    under_way: int
    items: tuple[BatchItem, ...]
    next_cursor: int | None = None
    poll_after_s: SkipJsonSchema[float | None] = None

    @property
    def rest(self) -> str:
        """Where the whole is, if this has to be cut."""
        return f"{address('batch', self.batch_id)} has all; flowise_poll has one answer."

    def page(self, cursor: int, limit: int) -> BatchView:
        """Return the view with its items from ``cursor`` on, one at least, as ``limit`` characters have room for."""
        room, end = limit - _OUTSIDE_ITEMS, cursor
        while end < len(self.items) and (end == cursor or room > 0):
            room -= len(self.items[end].model_dump_json(exclude_none=True))
            end += 1
        if room < 0 and end > cursor + 1:
            end -= 1
        more = end if end < len(self.items) else None
        told = [self.next_step] if self.next_step else []
        if more is not None:
            told.append(f"Items from {more} on: call flowise_batch with this batch_id, cursor={more} and wait_s=0.")
        return self.model_copy(
            update={"items": self.items[cursor:end], "next_cursor": more, "next_step": " ".join(told) or None}
        )


async def start(call: Call, given: ManyQuestions) -> Started:
    """Submit the questions of a new batch, or take up a batch that is known."""
    if given.batch_id is not None:
        await load_bundle(call.producer.batch, given.batch_id, asker=call.asker)
        return Started(given.batch_id)
    # Not cut by a client that gives up meanwhile: what was accepted then belongs to a batch that can be found.
    submitting = asyncio.create_task(_submit(call, given))
    _SUBMITTING.add(submitting)
    submitting.add_done_callback(_SUBMITTING.discard)
    return Started((await asyncio.shield(submitting)).batch_id)


def names_of_batch(asker: Asker, key: str, number: int) -> tuple[str, list[str]]:
    """Return the id of the batch that this asker begins under this key, and the keys of so many questions of it.

    Raises InvalidQuery.
    """
    # No key that a caller chooses means the same: of a query's own, 200 characters count.
    digest = query_id_of(asker, f"batch\n{read_key(key)}")
    return digest, [f"batch-{digest}-{each}" for each in range(number)]


async def _submit(call: Call, given: ManyQuestions) -> Bundle:
    questions, key = given.questions or (), given.idempotency_key
    batch_id, keys = new_query_id(), None
    if key is not None:
        batch_id, keys = names_of_batch(call.asker, key, len(questions))
        with suppress(UnknownBatch):
            known = await load_bundle(call.producer.batch, batch_id, asker=call.asker)
            if tuple(item.question for item in known.items) != questions:
                raise IdempotencyConflict(key, batch_id)
    uploads = await uploads_of(given.uploads, call.bridge.files) if given.uploads else []
    accepted = await call.producer.submit_many(
        questions,
        idempotency_keys=keys,
        metadata={BATCH: batch_id},
        flow=given.flow_override,
        session_id=given.session_id,
        profile=given.profile,
        uploads=uploads,
        cache=given.cache,
        timeout=given.timeout_s or None,
        priority="low",
        limit_wait=min(given.wait_s, SUBMIT_PATIENCE),
    )
    items = [
        BundleItem(question=question, error=each.describe())
        if isinstance(each, FlywheelError)
        else BundleItem(question=question, query_id=each.query_id)
        for question, each in zip(questions, accepted, strict=True)
    ]
    if conflict := next((each for each in accepted if isinstance(each, IdempotencyConflict)), None):
        raise IdempotencyConflict(key or "", conflict.query_id)
    refused = [item.error for item in items if item.error is not None]
    if len(refused) == len(items):
        error = next(each for each in accepted if isinstance(each, FlywheelError))
        raise error
    ttl = call.producer.settings.result_ttl
    return await save_bundle(call.producer.batch, batch_id, call.asker, items, ttl=ttl)


@tool("Ask many questions", ASKS, Scope.ASK, start=start)
async def flowise_batch(call: Call, given: ManyQuestions) -> BatchView:
    """Ask many questions, at low priority. Give `questions` to start; the items have a query_id each and, later, the
    answer. While `done` is false, call again with the batch_id. One that fails stops no other. With session_id they
    are one conversation. flowise_cancel ends it."""
    began = time.monotonic()
    begun = await start(call, given)
    bundle = await load_bundle(call.producer.batch, begun.task_id, asker=call.asker)
    # It may have waited for room: the owner was at a limit.
    await await_batch(call, bundle, max(0.0, given.wait_s - (time.monotonic() - began)))
    view = await view_of(call, bundle, include_answers=given.include_answers)
    return view.page(given.cursor, call.bridge.settings.mcp_result_limit)


async def view_of(call: Call, bundle: Bundle, *, include_answers: bool = True) -> BatchView:
    """Return how far a batch is, with all of its items."""
    records = await call.producer.records(bundle.query_ids)
    return batch_view(bundle, records, include_answers=include_answers)


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
        next_step=_next_step(items) if under_way else None,
        total=len(items),
        succeeded=succeeded,
        failed=failed,
        under_way=under_way,
        items=items,
        poll_after_s=POLL_AFTER if under_way else None,
    )


def _next_step(items: Sequence[BatchItem]) -> str:
    on = "Call flowise_batch with this batch_id to wait on."
    if any(item.state is State.INPUT_REQUIRED for item in items):
        return f"{on} Items in the state input_required wait for the user: flowise_poll says what is asked."
    return on


def _item(item: BundleItem, found: Mapping[str, Record | None], include_answers: bool) -> BatchItem:
    record = found.get(item.query_id or "")
    if record is None:
        # Its record was removed, or is damaged: it has no end that could be waited for.
        error = told(item.error or UnknownQuery(item.query_id or ""))
        return BatchItem(question=shortened(item.question), query_id=item.query_id, error=error)
    answer = record.answer
    return BatchItem(
        question=shortened(item.question),
        query_id=item.query_id,
        state=record.state,
        answer=answer.text if answer is not None and include_answers else None,
        flow_key=record.flow,
        confidence=round(answer.confidence, 4) if answer is not None else None,
        cached=answer.cached if answer is not None else None,
        error=told(record.error) if record.error is not None else None,
    )


async def cancel_batch(call: Call, batch_id: str) -> dict[str, State]:
    """Cancel what is under way in a batch. Returns the state that each query was in."""
    bundle = await load_bundle(call.producer.batch, batch_id, asker=call.asker)
    states: dict[str, State] = {}
    for query_id in bundle.query_ids:
        states |= await call.producer.cancel(query_id)
    return states


async def await_batch(call: Call, bundle: Bundle, wait_s: float) -> None:
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
