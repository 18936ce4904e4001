"""Batches over HTTP: many questions under one id."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field, ValidationError, WithJsonSchema, model_validator
from starlette.responses import Response

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.broker.bundles import Bundle, BundleItem, load_bundle, save_bundle
from agentic_flywheel.errors import (
    ErrorInfo,
    FlywheelError,
    IdempotencyConflict,
    InvalidQuery,
    UnknownBatch,
    UnknownQuery,
)
from agentic_flywheel.given import fault_of
from agentic_flywheel.ids import new_query_id
from agentic_flywheel.models import Model, Priority, Record, State, read_query
from agentic_flywheel.models import Query as AskedQuery
from http_gateway.callers import CallerOf, GatewayCaller
from http_gateway.json_body import BodyOf, values_in
from http_gateway.native.bodies import HttpAsk, IdempotencyKey, Wait
from http_gateway.native.shown import HttpAnswer, answer_shown, links_of, response_of, told_outside
from mcp_bridge.batches import MOST_QUESTIONS, await_batch, cancel_batch, names_of_batch
from mcp_bridge.discretion import outward

router = APIRouter(prefix="/v1/batches", tags=["batches"])
Asker = Annotated[GatewayCaller, Depends(CallerOf(Scope.ASK))]
BatchId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="As it was returned.")]


#: Characters of a question that a batch shows.
_SHOWN = 2000
_QUESTION = {"anyOf": [{"type": "string"}, {"type": "object", "description": "As POST /v1/queries takes it."}]}
#: Values of what all questions of a batch share, times the questions.
_MOST_SHARED = 100_000


class HttpBatchAsk(HttpAsk):
    """Many questions; every other field holds for all of them, unless a question has its own."""

    # Each is judged by itself: one that is refused stops no other.
    questions: Annotated[
        tuple[Annotated[Any, WithJsonSchema(_QUESTION)], ...],
        Field(min_length=1, max_length=MOST_QUESTIONS, description="Texts, or objects as POST /v1/queries takes them."),
    ]

    @model_validator(mode="after")
    def _has_no_question_of_its_own(self) -> HttpBatchAsk:
        if self.question or self.form:
            raise ValueError("a batch has `questions`; `question` and `form` stand in each of them")
        return self

    @model_validator(mode="after")
    def _shares_little(self) -> HttpBatchAsk:
        # Each question is checked and kept with all that it shares.
        shared = values_in([self.metadata, self.config, [[] for _ in self.history or ()]])
        if shared * len(self.questions) > _MOST_SHARED:
            raise ValueError(
                f"`metadata`, `config`, `history` have {shared:,} values, for each of {len(self.questions)} questions; "
                f"at most {_MOST_SHARED:,} are accepted in all"
            )
        return self

    def fields(self) -> dict[str, Any]:
        """Return the fields that hold for all questions."""
        given = super().fields()
        given.pop("questions")
        return given


#: A batch of long questions has more bytes than one query.
MOST_BODY = 4 * 2**20
_BATCH = BodyOf(HttpBatchAsk, MOST_BODY, halves=True)


class HttpBatchItem(Model):
    """One question of a batch, in its place."""

    question: str
    query_id: str | None = None
    state: State | None = None
    answer: HttpAnswer | None = None
    #: Why it was refused, or what it ended with.
    error: ErrorInfo | None = None
    links: dict[str, str] = {}


class HttpBatch(Model):
    """A batch, and how far it is."""

    batch_id: str
    done: bool
    total: int
    succeeded: int
    #: Failed, expired, cancelled or refused.
    failed: int
    under_way: int
    items: tuple[HttpBatchItem, ...]
    links: dict[str, str]


class HttpBatchCancelled(Model):
    """What became of a batch that was to be cancelled."""

    batch_id: str
    #: Ids of its queries; those that had ended before stay as they were.
    cancelled: tuple[str, ...]
    ended_before: tuple[str, ...]


@router.post(
    "",
    summary="Ask many questions",
    status_code=202,
    responses={202: {"model": HttpBatch}},
    openapi_extra=_BATCH.shown,
)
async def begin(
    caller: Asker,
    given: Annotated[HttpBatchAsk, Depends(_BATCH)],
    wait: Wait = 0.0,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Accept many questions, at low priority unless another is given. One that is refused stops no other; where all are
    refused, so is the batch. The same body with the same key is one batch, also when repeated."""
    asking = caller.acting_for(given.user)
    shared = {"priority": Priority.LOW} | given.fields()
    timeout = shared.pop("timeout", None)
    asked = [_query_of(number, each, shared, asking) for number, each in enumerate(given.questions)]
    shown = [_shown_text(each) for each in given.questions]
    batch_id, keys = await _names(asking, idempotency_key, shown)
    sound = {number: each for number, each in enumerate(asked) if not isinstance(each, FlywheelError)}
    accepted = await asking.producer.submit_many(
        sound.values(),
        idempotency_keys=None if keys is None else [keys[number] for number in sound],
        limit_wait=wait,
        timeout=timeout,
    )
    outcomes = iter(accepted)
    settled = [each if isinstance(each, FlywheelError) else next(outcomes) for each in asked]
    if conflict := next((each for each in settled if isinstance(each, IdempotencyConflict)), None):
        raise IdempotencyConflict(idempotency_key or "", conflict.query_id)
    items = [
        BundleItem(question=question, error=outward(each))
        if isinstance(each, FlywheelError)
        else BundleItem(question=question, query_id=each.query_id)
        for question, each in zip(shown, settled, strict=True)
    ]
    refused = [each for each in settled if isinstance(each, FlywheelError)]
    if len(refused) == len(items):
        raise refused[0]
    ttl = caller.gateway.settings.result_ttl
    bundle = await save_bundle(asking.producer.batch, batch_id, asking.asker, items, ttl=ttl)
    return await _response(asking, bundle, wait, answers=True, begun=True)


@router.get("/{batch_id}", summary="Look at a batch", responses={200: {"model": HttpBatch}})
async def look(
    caller: Asker,
    batch_id: BatchId,
    wait: Wait = 0.0,
    answers: Annotated[bool, Query(description="false: only how each item stands.")] = True,
) -> Response:
    """Return how far a batch is; with `wait`, as soon as it is done."""
    bundle = await load_bundle(caller.producer.batch, batch_id, asker=caller.asker)
    return await _response(caller, bundle, wait, answers=answers)


@router.post("/{batch_id}/cancel", summary="Cancel a batch", responses={200: {"model": HttpBatchCancelled}})
async def cancel(caller: Asker, batch_id: BatchId) -> Response:
    """Cancel what is under way in a batch."""
    states = await cancel_batch(caller.call, batch_id)
    return response_of(
        HttpBatchCancelled(
            batch_id=batch_id,
            cancelled=tuple(each for each, state in states.items() if not state.terminal),
            ended_before=tuple(each for each, state in states.items() if state.terminal),
        )
    )


async def _names(caller: GatewayCaller, key: str | None, shown: Sequence[str]) -> tuple[str, list[str] | None]:
    """Return a batch's id and the keys of its questions: new ones, or those that its caller's key means.

    Raises InvalidQuery, IdempotencyConflict.
    """
    if key is None:
        return new_query_id(), None
    batch_id, keys = names_of_batch(caller.asker, key, len(shown))
    with suppress(UnknownBatch):
        known = await load_bundle(caller.producer.batch, batch_id, asker=caller.asker)
        if [item.question for item in known.items] != list(shown):
            raise IdempotencyConflict(key, batch_id)
    return batch_id, keys


def _query_of(number: int, question: Any, shared: dict[str, Any], caller: GatewayCaller) -> AskedQuery | FlywheelError:
    """Return what is asked with one question: its own fields, and those of the batch that it has not."""
    where = f"questions.{number}"
    if not isinstance(question, str | dict):
        return InvalidQuery(where, "it should be a text, or an object as POST /v1/queries takes it")
    try:
        asked = HttpAsk.model_validate({"question": question} if isinstance(question, str) else question)
    except ValidationError as refused:
        name, reason = fault_of(refused)
        return InvalidQuery(where if name == "query" else f"{where}.{name}", reason)
    if asked.user is not None or asked.timeout is not None:
        return InvalidQuery(where, "`user` and `timeout` hold for the whole batch: give them beside `questions`")
    try:
        return read_query({**shared, **asked.fields(), "question": asked.question, "owner": caller.asker.owner})
    except InvalidQuery as refused:
        return InvalidQuery(f"{where}.{refused.field_name}", refused.reason)


def _shown_text(question: Any) -> str:
    """Return the question as a batch shows it, also where it is none that can be asked."""
    text = question.get("question", "") if isinstance(question, dict) else question
    return text[:_SHOWN].encode("utf-8", "replace").decode() if isinstance(text, str) else ""


async def _response(
    caller: GatewayCaller, bundle: Bundle, wait: float, *, answers: bool, begun: bool = False
) -> Response:
    await caller.gateway.under_way.until_stop(await_batch(caller.call, bundle, wait))
    records = await caller.producer.records(bundle.query_ids)
    shown = _shown(bundle, dict(zip(bundle.query_ids, records, strict=True)), answers)
    return response_of(shown, 202 if begun and not shown.done else 200, {"Location": shown.links["self"]})


def _shown(bundle: Bundle, found: dict[str, Record | None], answers: bool) -> HttpBatch:
    items = tuple(_item(each, found.get(each.query_id or ""), answers) for each in bundle.items)
    succeeded = sum(each.state is State.SUCCEEDED for each in items)
    failed = sum(each.error is not None or each.state in (State.CANCELLED, State.EXPIRED) for each in items)
    here = f"/v1/batches/{bundle.batch_id}"
    return HttpBatch(
        batch_id=bundle.batch_id,
        done=succeeded + failed == len(items),
        total=len(items),
        succeeded=succeeded,
        failed=failed,
        under_way=len(items) - succeeded - failed,
        items=items,
        links={"self": here, "cancel": f"{here}/cancel"},
    )


def _item(item: BundleItem, record: Record | None, answers: bool) -> HttpBatchItem:
    links = {} if item.query_id is None else links_of(item.query_id)
    if record is None:
        # It never was accepted; or its record has expired, was removed, or is damaged: no end of it can be waited for.
        error = outward(item.error or UnknownQuery(item.query_id or ""))
        return HttpBatchItem(question=item.question, query_id=item.query_id, error=error, links=links)
    return HttpBatchItem(
        question=item.question,
        query_id=item.query_id,
        state=record.state,
        answer=None if record.answer is None or not answers else answer_shown(record.answer),
        error=told_outside(record.error),
        links=links,
    )
