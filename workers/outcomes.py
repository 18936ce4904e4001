"""How an execution ends, in the words of the scripts: answers and errors as JSON."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime

from agentic_flywheel import errors
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError, FlywheelError, InvalidQuery
from agentic_flywheel.flowise import FlowAnswer
from agentic_flywheel.models import Answer, DeadLetter, Decision, Query, trace_id_of
from agentic_flywheel.persistence import cache_metadata
from agentic_flywheel.transitions import Execution, Outcome
from workers.context import Context


def answer_of(
    execution: Execution, query: Query, route: Decision, found: FlowAnswer, context: Context, attempts: int
) -> Answer:
    """Return the answer that a flow's call gives to a query."""
    flow = execution.flow
    return Answer(
        query_id=execution.query_id,
        # A custom function may answer with an object instead of text.
        text=found.text or (json.dumps(found.data, ensure_ascii=False) if found.data else ""),
        flow=flow.key,
        domain=flow.domain,
        domains=(flow.domain,),
        session_id=query.session_id,
        band=route.band,
        confidence=route.confidence,
        explanation=route.reason,
        cache_key=execution.cache_key or None,
        elapsed=found.elapsed,
        first_token=found.first_token,
        data=found.data,
        sources=found.sources,
        usage=found.usage,
        attempts=max(attempts, 1),
        remembered=context.session_id is not None,
        chat_id=found.chat_id,
        message_id=found.message_id,
        profile=context.profile,
        private=context.private,
        trace_id=trace_id_of(execution.query_id),
    )


def cached_answer(
    execution: Execution, query: Query, route: Decision, kept: Answer, context: Context, *, stale: bool = False
) -> Answer:
    """Return a kept answer as the answer to this query."""
    return kept.model_copy(
        update={
            "query_id": execution.query_id,
            "flow": kept.flow or execution.flow.key,
            "domain": kept.domain or execution.flow.domain,
            "session_id": query.session_id,
            "band": route.band,
            "confidence": route.confidence,
            "explanation": route.reason,
            "cached": True,
            "stale": stale,
            "cache_key": execution.cache_key,
            "remembered": False,
            "profile": context.profile,
            "private": context.private,
            "trace_id": trace_id_of(execution.query_id),
        }
    )


def success(answer: Answer, flow: Flow, context: Context | None = None) -> Outcome:
    """Return the outcome of an answered execution."""
    metadata = cache_metadata(answer, flow, context.config if context else None)
    return Outcome("succeeded", answer=answer.model_dump_json(), cache_metadata=metadata)


def failure(error: FlywheelError, execution: Execution, query: Query, attempts: int) -> Outcome:
    """Return the outcome of an execution that has failed for good, with its dead letter."""
    info = error.describe(execution.query_id)
    letter = ""
    if not isinstance(error, InvalidQuery):
        letter = DeadLetter(
            query_id=execution.query_id,
            query=query,
            flow=execution.flow.key,
            domain=execution.flow.domain,
            attempts=attempts,
            error=info,
            at=datetime.now(UTC),
        ).model_dump_json()
    return Outcome(
        "failed",
        error=info.model_dump_json(),
        failure=celery_failure(error),
        # Only what is wrong with this question and flow is remembered; and a flow that is down counts for its circuit.
        transient=error.transient or not isinstance(error, FlowError),
        letter=letter,
    )


def discreet(error: FlowError) -> FlowError:
    """Return an error without what Flowise said of it: that may quote the profile or the question."""
    said = {"reason": "what Flowise said is withheld, the query ran under a confidential profile"}
    return replace(error, **said) if any(each.name == "reason" for each in fields(error)) else error


def celery_failure(error: FlywheelError) -> str:
    """Return an error as Celery's JSON results hold one, so that a plain ``AsyncResult.get()`` raises it."""
    return json.dumps(
        {"exc_type": type(error).__name__, "exc_message": list(error.args), "exc_module": errors.__name__}
    )
