"""Make answers from what flows and the cache return, and ends of executions in the form that the scripts store."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime

from agentic_flywheel import errors
from agentic_flywheel.asker import Asker
from agentic_flywheel.backends.models import FlowAnswer
from agentic_flywheel.broker.executions import Execution, ExecutionEnd
from agentic_flywheel.broker.persistence import cache_entry
from agentic_flywheel.broker.records import DeadLetter
from agentic_flywheel.broker.wire import Heard
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    ErrorInfo,
    FlowError,
    FlowTimeout,
    FlywheelError,
    InvalidQuery,
    OwnerLimitReached,
    ServerUnreachable,
    rebuild,
)
from agentic_flywheel.ids import trace_id_of
from agentic_flywheel.models import Answer, Query, RouteDecision, State
from agentic_flywheel.prices import FREE, Prices
from workers.context import Context


def answer_of(
    execution: Execution, query: Query, route: RouteDecision, found: FlowAnswer, context: Context, attempts: int
) -> Answer:
    """Return the answer to a query, made from a flow's."""
    return Answer(
        query_id=execution.query_id,
        # A custom function may answer with an object instead of text.
        text=found.text or (json.dumps(found.data, ensure_ascii=False) if found.data else ""),
        flow=execution.flow_key,
        domain=execution.domain,
        domains=(execution.domain,),
        session_id=query.session_id,
        band=route.band,
        confidence=route.confidence,
        explanation=_explanation(execution, route, execution.flow_key),
        cache_key=execution.cache_key or None,
        elapsed=found.elapsed,
        first_token=found.first_token,
        data=found.data,
        sources=found.sources,
        usage=found.usage,
        cost=found.usage.cost if found.usage else None,
        tools=found.tools,
        steps=found.steps,
        artifacts=found.artifacts,
        follow_ups=found.follow_ups,
        attempts=max(attempts, 1),
        config_used=found.config_used,
        warnings=found.warnings,
        remembered=context.session_id is not None,
        chat_id=found.chat_id,
        message_id=found.message_id,
        profile=context.profile,
        private=context.private,
        trace_id=trace_id_of(execution.query_id),
    )


def _explanation(execution: Execution, route: RouteDecision, flow: str) -> str:
    """Return why the query went where it went, and that another flow has answered where its fallback did."""
    if flow in {target.flow for target in route.targets}:
        return route.reason
    return f"{route.reason} {execution.part or route.best.flow} failed, and its fallback {flow} answered."


def cached_answer(
    execution: Execution, query: Query, route: RouteDecision, kept: Answer, context: Context, *, stale: bool = False
) -> Answer:
    """Return the answer to a query, made from a cached one."""
    return kept.model_copy(
        update={
            "query_id": execution.query_id,
            "flow": kept.flow or execution.flow_key,
            "domain": kept.domain or execution.domain,
            "session_id": query.session_id,
            "band": route.band,
            "confidence": route.confidence,
            "explanation": _explanation(execution, route, kept.flow or execution.flow_key),
            "cached": True,
            "cost": FREE,
            "stale": stale,
            "cache_key": execution.cache_key,
            "remembered": False,
            "chat_id": None,
            "message_id": None,
            "profile": context.profile,
            "private": context.private,
            "trace_id": trace_id_of(execution.query_id),
        }
    )


def success(answer: Answer, keep: tuple[Flow, Asker] | None = None) -> ExecutionEnd:
    """Return the end of an answered execution. ``keep``: the flow that gave the answer, and to whom."""
    written = answer.written()
    value, milliseconds = cache_entry(answer, written, *keep) if keep else ("", 0)
    return ExecutionEnd(State.SUCCEEDED, written, answer.cached, value, milliseconds, heard="up")


def of_call(end: ExecutionEnd, found: FlowAnswer, prices: Prices) -> ExecutionEnd:
    """Return an end with what the call that gave its answer asks for and has cost; without prices it costs nothing."""
    cost = found.usage.cost if found.usage else None
    return end._replace(pause=found.pause, currency=prices.currency, spent="" if cost is None else str(cost.parts))


def failure(error: FlywheelError, execution: Execution, query: Query, attempts: int) -> ExecutionEnd:
    """Return the end of an execution that has failed for good, with its dead letter.

    There is none of a query that is not valid, nor of one whose owner was at a limit: nothing was lost with it.
    ``attempts``: calls of the flow that were made.
    """
    info = error.describe(execution.query_id)
    letter = ""
    if not isinstance(error, InvalidQuery | OwnerLimitReached):
        letter = DeadLetter(
            query_id=execution.query_id,
            query=query,
            flow=execution.flow_key,
            domain=execution.domain,
            attempts=attempts,
            error=info,
            at=datetime.now(UTC),
        ).model_dump_json()
    return ExecutionEnd(
        State.FAILED,
        error=info.model_dump_json(),
        error_type=info.error_type,
        failure=celery_failure(error),
        # Only a permanent failure of the flow itself is cached; a transient one counts for its circuit.
        transient=error.transient or not isinstance(error, FlowError),
        heard=heard_of(error),
        letter=letter,
    )


def heard_of(error: FlywheelError) -> Heard:
    """Return what a call's failure says of its server."""
    if isinstance(error, ServerUnreachable):
        return "down"
    return "up" if isinstance(error, FlowError) and not isinstance(error, FlowTimeout) else ""


def to_remember(error: FlywheelError) -> str:
    """Return a failure as the scripts remember it: the error as JSON, and below it its form in Celery's results."""
    return f"{error.describe().model_dump_json()}\n{celery_failure(error)}"


def remembered_failure(error: str, failure: str) -> tuple[FlywheelError, ExecutionEnd]:
    """Return the error and the end of an execution for which a failure is cached.

    ``error`` is the cached error's JSON, ``failure`` its form in Celery's results.
    """
    info = ErrorInfo.model_validate_json(error)
    end = ExecutionEnd(State.FAILED, error=error, error_type=info.error_type, failure=failure, transient=True)
    return rebuild(info), end


def discreet(error: FlowError) -> FlowError:
    """Return an error without its server's own text, which may quote the profile or the question."""
    said = {"reason": "what its server said is withheld, the query ran under a confidential profile"}
    return replace(error, **said) if any(each.name == "reason" for each in fields(error)) else error


def celery_failure(error: FlywheelError) -> str:
    """Return an error in the JSON form of Celery's results, so that a plain ``AsyncResult.get()`` raises it."""
    return json.dumps(
        {"exc_type": type(error).__name__, "exc_message": list(error.args), "exc_module": errors.__name__}
    )
