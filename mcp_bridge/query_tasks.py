"""Queries and batches as tasks: a task's id is the query's, or the batch's; a clarification is a task that asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import anyio
from mcp.server.context import HandlerResult
from mcp_types import CallToolRequestParams, ElicitRequest, ElicitRequestFormParams

from agentic_flywheel.broker.bundles import Bundle, load_bundle
from agentic_flywheel.broker.clarifications import awaits_choice, succeed, successor_of
from agentic_flywheel.errors import (
    AlreadyDecided,
    ErrorInfo,
    FlywheelError,
    IdempotencyConflict,
    NothingToDecide,
    RecordUnreadable,
    UnknownBatch,
    UnknownQuery,
    WaitTimeout,
)
from agentic_flywheel.models import Answer, Query, Record, State
from agentic_flywheel.stops import MAX_FEEDBACK, Decision, Stop
from mcp_bridge.asking import cancel_query
from mcp_bridge.batches import batch_view, cancel_batch
from mcp_bridge.bridge import Bridge
from mcp_bridge.calling import Context, call_of, perform
from mcp_bridge.discretion import told
from mcp_bridge.failure import failure_result
from mcp_bridge.results import success_result
from mcp_bridge.task_shapes import TaskState
from mcp_bridge.tool import Call, Tool
from mcp_bridge.views import record_view, shortened

#: Seconds between two looks at what tells nothing by itself.
_LOOK_EVERY = 0.5
#: Seconds after which a task is looked at again although nothing was heard.
_SILENCE = 5.0
#: An answer that the cache had at submission is known by its query's id for this long, or for less.
_CACHED_TTL = timedelta(hours=1)

#: The key of the one thing that a query asks, and the form's one field.
CHOICE = "flow_key"


class QueryTasks:
    """The tasks that stand for the calls of those tools that can run as one."""

    required: frozenset[str] = frozenset()

    def __init__(self, bridge: Bridge, tools: Mapping[str, Tool]) -> None:
        self._bridge = bridge
        self._tools = {name: tool for name, tool in tools.items() if tool.start is not None}
        self.tools = frozenset(self._tools)

    async def start(self, ctx: Context, params: CallToolRequestParams, *, always: bool) -> TaskState | HandlerResult:
        """Begin a query or a batch. An answer that is there already is the result."""
        tool = self._tools[params.name]
        assert tool.start is not None
        begun = await perform(tool, tool.start, self._bridge, ctx, params.arguments)
        if isinstance(begun, ErrorInfo):
            return failure_result(begun)
        if begun.result is not None and not always:
            return success_result(begun.result, self._bridge.settings.mcp_result_limit)
        return await self.find(ctx, begun.task_id) or failure_result(UnknownQuery(begun.task_id))

    async def find(self, ctx: Context, task_id: str) -> TaskState | None:
        """Return how a query or batch of this client stands."""
        call = call_of(self._bridge, ctx)
        try:
            with suppress(UnknownQuery):
                return await _query_task(call, await call.producer.status(task_id), asks=_can_ask(ctx))
            with suppress(UnknownBatch):
                return await _batch_task(call, await load_bundle(call.producer.batch, task_id, asker=call.asker))
        except RecordUnreadable as damaged:
            now, ttl = datetime.now(UTC), call.bridge.settings.result_ttl
            about = {"created": now, "updated": now, "ttl": ttl, "message": damaged.message}
            return TaskState(task_id=task_id, status="completed", result=failure_result(damaged), **about)
        return None

    async def cancel(self, ctx: Context, task_id: str) -> None:
        """Cancel a query, with the one that went on in its place, or what is under way in a batch."""
        call = call_of(self._bridge, ctx)
        try:
            await cancel_query(call, task_id)
        except UnknownQuery:
            await cancel_batch(call, task_id)
            return
        # Asked and not answered: from now on nobody will be asked.
        await succeed(call.producer.batch, task_id, task_id, ttl=self._bridge.settings.result_ttl)

    async def answer(self, ctx: Context, task_id: str, answers: Mapping[str, Any]) -> None:
        """Let the query go on with the flow that was chosen, or with what a person has decided.

        Where no flow was chosen, the question is the result; where nothing was decided, the query waits on.
        """
        call = call_of(self._bridge, ctx)
        with suppress(UnknownQuery):
            record = await call.producer.status(task_id)
            for stop in record.stops:
                if (decided := _decided(answers.get(stop_key(stop)))) is not None:
                    with suppress(AlreadyDecided, NothingToDecide):  # somebody else was quicker
                        decision, feedback = decided
                        await call.producer.resume(
                            task_id, decision, feedback=feedback if stop.feedback else None, stop=stop.number
                        )
            if CHOICE not in answers or not awaits_choice(record):
                return
            if await successor_of(call.producer.batch, task_id) is None:
                await _go_on(call, record, _chosen(record.answer, answers[CHOICE]))

    async def follow(self, ctx: Context, task_id: str) -> AsyncIterator[TaskState]:
        """Yield how a task stands, whenever its status or its message has changed."""
        told: tuple[str, str | None] | None = None
        while (state := await self.find(ctx, task_id)) is not None:
            if told != (state.status, state.message):
                told = (state.status, state.message)
                yield state
            if state.ended:
                return
            await self._something(ctx, state)

    async def _something(self, ctx: Context, state: TaskState) -> None:
        """Return when a task may stand otherwise than before."""
        call = call_of(self._bridge, ctx)
        record = None
        if state.status != "input_required":
            with suppress(UnknownQuery):
                record = await call.producer.status(state.task_id)
        if record is None:
            await asyncio.sleep(_LOOK_EVERY)
            return
        try:
            current = await successor_of(call.producer.batch, state.task_id) if awaits_choice(record) else None
            await call.producer.wait(current or state.task_id, _SILENCE)
        except WaitTimeout:
            return
        except FlywheelError:  # the query's own end, or the broker is away
            await asyncio.sleep(_LOOK_EVERY / 10)


def _can_ask(ctx: Context) -> bool:
    declared = ctx.session.client_capabilities
    able = declared.elicitation if declared is not None else None
    # One that names no mode knows forms.
    return able is not None and (able.form is not None or able.url is None)


async def _query_task(call: Call, record: Record, *, asks: bool, task_id: str | None = None) -> TaskState:
    """Return the task that a query is. ``asks``: whether its client can ask its user."""
    task_id = task_id or record.query_id
    requests: dict[str, ElicitRequest] = {}
    if awaits_choice(record):
        successor = await successor_of(call.producer.batch, record.query_id)
        if successor is not None and successor != record.query_id:
            return await _query_task(call, await call.producer.status(successor), asks=asks, task_id=task_id)
        # Its files are gone with its end: whoever has them asks again.
        files = any(each.digest for each in record.query.uploads)
        if successor is None and asks and record.answer is not None and not files:
            requests = {CHOICE: _question(record.answer)}
    about: dict[str, Any] = {
        "task_id": task_id,
        "created": record.created,
        "updated": record.finished or record.started or record.routed or record.created,
        "ttl": min(_CACHED_TTL, call.bridge.settings.result_ttl)
        if record.answer is not None and record.answer.cached
        else call.bridge.settings.result_ttl,
    }
    if record.stops and asks:
        requests = {stop_key(stop): _decision(stop, record.query) for stop in record.stops}
        about["ttl"] = max(about["ttl"], record.stops[0].until - record.created)
    if requests:
        message = record.answer.text if record.answer is not None else record.stops[0].text.strip()
        return TaskState(status="input_required", message=message, requests=requests, **about)
    if record.stops:  # its client cannot ask, so its model is told how
        result = success_result(record_view(record), call.bridge.settings.mcp_result_limit)
        return TaskState(status="completed", result=result, **about)
    if record.state is State.CANCELLED:
        return TaskState(status="cancelled", message=told(record.error).error if record.error else None, **about)
    if record.error is not None:
        info = told(record.error)
        return TaskState(status="completed", message=info.error, result=failure_result(info), **about)
    if record.answer is not None:
        result = success_result(record_view(record), call.bridge.settings.mcp_result_limit)
        return TaskState(status="completed", result=result, **about)
    return TaskState(status="working", message=_doing(record), **about)


async def _batch_task(call: Call, bundle: Bundle) -> TaskState:
    records = await call.producer.records(bundle.query_ids)
    view = batch_view(bundle, records)
    limit = call.bridge.settings.mcp_result_limit
    ended = [record.finished for record in records if record is not None and record.finished is not None]
    cut = any(item.state is State.CANCELLED for item in view.items)
    return TaskState(
        task_id=bundle.batch_id,
        status="working" if not view.done else "cancelled" if cut else "completed",
        created=bundle.created,
        updated=max(ended, default=bundle.created),
        ttl=call.bridge.settings.result_ttl,
        message=f"{view.total - view.under_way} of {view.total} have ended",
        result=success_result(view.page(0, limit), limit) if view.done and not cut else None,
    )


def _doing(record: Record) -> str:
    where = f" for {record.flow}" if record.flow else ""
    why = f": {record.reason}" if record.reason else ""
    return f"{record.state}{where}{why}"


def _question(answer: Answer) -> ElicitRequest:
    """Return the form in which a user chooses a flow."""
    names = {choice.flow: f"{choice.name} ({choice.confidence:.0%})" for choice in answer.choices}
    field = {
        "type": "string",
        "title": "Flow",
        "description": answer.explanation or "Which flow the question is for",
        "oneOf": [{"const": flow, "title": name} for flow, name in names.items()],
    }
    schema = {"type": "object", "properties": {CHOICE: field}, "required": [CHOICE]}
    return ElicitRequest(params=ElicitRequestFormParams(message=answer.text, requested_schema=schema))


def stop_key(stop: Stop) -> str:
    """Return the key under which a person is asked to decide at a stop."""
    return f"stop_{stop.number}"


def _decision(stop: Stop, query: Query) -> ElicitRequest:
    """Return the form in which a user decides. It tells of which query: a user may be asked for several at once."""
    asked = f"your question “{shortened(query.question)}”" if query.question else "your form"
    field = {
        "type": "string",
        "title": stop.title or stop.flow,
        "description": f"{stop.flow} asks this for {asked}",
        "oneOf": [{"const": decision, "title": label} for decision, label in stop.choices.items()],
    }
    fields: dict[str, Any] = {"decision": field}
    if stop.feedback:
        fields["feedback"] = {
            "type": "string",
            "title": "Your message to the flow (optional)",
            "maxLength": MAX_FEEDBACK,
        }
    schema = {"type": "object", "properties": fields, "required": ["decision"]}
    return ElicitRequest(params=ElicitRequestFormParams(message=stop.text.strip(), requested_schema=schema))


def _decided(response: Any) -> tuple[Decision, str | None] | None:
    """Return what a user decided and said; None for whatever else was answered."""
    content = _accepted(response)
    feedback = content.get("feedback")
    said = feedback if isinstance(feedback, str) and feedback else None
    return next(((each, said) for each in get_args(Decision) if each == content.get("decision")), None)


def _accepted(response: Any) -> dict[str, Any]:
    """Return what a user filled in; nothing where the user has not accepted."""
    if not isinstance(response, dict) or response.get("action") != "accept":
        return {}
    content = response.get("content")
    return content if isinstance(content, dict) else {}


def _chosen(answer: Answer | None, response: Any) -> str | None:
    """Return the flow that a user chose among those that were offered; None for whatever else was answered."""
    flow = _accepted(response).get(CHOICE)
    offered = {choice.flow for choice in answer.choices} if answer is not None else set()
    return flow if isinstance(flow, str) and flow in offered else None


async def _go_on(call: Call, record: Record, flow: str | None) -> None:
    """Submit a query again for the chosen flow, once; without one, let the question be the result."""
    ttl, batch = call.bridge.settings.result_ttl, call.producer.batch
    if flow is None:
        await succeed(batch, record.query_id, record.query_id, ttl=ttl)
        return
    with anyio.CancelScope(shield=True):
        try:
            # Named by the query: an answer that is sent again, or another one at the same time, begins no second query.
            again = await call.producer.reroute(record.query_id, flow, idempotency_key=f"choice-{record.query_id}")
            chosen = again.query_id
        except IdempotencyConflict as earlier:
            chosen = earlier.query_id
        if await succeed(batch, record.query_id, chosen, ttl=ttl) != chosen:  # declined meanwhile
            await call.producer.cancel(chosen)
