"""The steps of a query whose tracing is measured: recorded by our tracer, and live by the langfuse SDK."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from agentic_flywheel.ids import new_query_id
from agentic_flywheel.models import Answer, Query, Record, Route, State, Target, Usage
from agentic_flywheel.tracing import Tracer, derive_span_id

#: The keys of the Langfuse server that the benchmark starts.
PUBLIC_KEY, SECRET_KEY = "pk-lf-test", "sk-lf-test"
QUESTION = "How do I connect PostgreSQL with Python, keep the connections in a pool and retry after a failover?"
ANSWER = "Use psycopg 3 with its pool. " * 30
CONFIG = {"temperature": 0.2, "maxOutputTokens": 2048, "rephrasePrompt": "…", "vars": {"tone": "plain"}}
SCORES = {"creative-orientation": 0.04, "technical-analysis": 0.91, "document-qa": 0.05}

QUERY = Query(question=QUESTION, session_id="s-1", owner="ada")
ROUTE = Route(
    targets=(Target(flow="technical-analysis", domain="technical", confidence=0.91),),
    decision="single",
    band="high",
    confidence=0.91,
    scores=SCORES,
)

Steps = Callable[[Record], None]


def ended_query() -> Record:
    """Return a record as the winner of the final write has it."""
    query_id, moment = new_query_id(), datetime.now(UTC)
    return Record.model_construct(
        query_id=query_id,
        owner="ada",
        state=State.SUCCEEDED,
        query=QUERY.model_copy(update={"question": f"{QUESTION} ({query_id})"}),
        route=ROUTE,
        answer=Answer.model_construct(
            query_id=query_id, text=f"{ANSWER} ({query_id})", flow="technical-analysis", domain="technical"
        ),
        flow="technical-analysis",
        domain="technical",
        created=moment,
        finished=moment,
    )


def with_our_tracer(tracer: Tracer) -> tuple[Steps, Steps]:
    """Return what records the first and the second half of a query's steps."""
    route = ROUTE

    def first(record: Record) -> None:
        now, query = time.time_ns(), record.query
        trace = tracer.trace(record.query_id, session=query.session_id, user=query.asker.name)
        trace.observe("queue-wait", start=now, end=now, metadata={"queue": "classify"})
        trace.observe(
            "intent-classification",
            "chain",
            start=now,
            end=time.time_ns(),
            input=query.question,
            output={"flow": "technical-analysis", "confidence": 0.91, "scores": route.scores},
            metadata={"reason": "five words of its examples"},
        )
        trace.observe("flow-selection", start=now, end=time.time_ns(), output={"flow": "technical-analysis"})
        trace.observe("queue-wait", start=now, end=time.time_ns(), metadata={"queue": "domain.technical"})
        trace.observe("cache-check", "retriever", start=now, end=now, metadata={"hit": False, "key": "flywheel:answer"})

    def second(record: Record) -> None:
        now, query = time.time_ns(), record.query
        answer = record.answer.text if record.answer else ""
        trace = tracer.trace(record.query_id, session=query.session_id, user=query.asker.name)
        trace.observe("context", start=now, end=now, metadata={"turns": 3, "profile": "team"})
        attempt = derive_span_id(record.query_id, "attempt", 1)
        trace.observe(
            "flow-execution",
            "generation",
            start=now,
            end=time.time_ns(),
            span_id=attempt,
            input=query.question,
            output=answer,
            metadata={"flow_id": "896f7eed", "flow": "technical-analysis", "config": CONFIG},
            model="a-model",
            usage=Usage(input_tokens=120, output_tokens=300, total_tokens=420),
            first_token=now,
        )
        trace.observe("first-token", "event", start=now, end=now, parent=attempt)
        trace.observe("response-formatting", start=now, end=time.time_ns(), output={"characters": len(answer)})
        trace.root(record, title="Technical Analysis")

    return first, second


def with_the_sdk(url: str) -> tuple[Steps, Steps, Callable[[], None]]:
    """Return the same steps recorded live with the langfuse SDK, and what shuts it down."""
    from langfuse import Langfuse, propagate_attributes

    client = Langfuse(base_url=url, public_key=PUBLIC_KEY, secret_key=SECRET_KEY)
    roots: dict[str, Any] = {}

    def first(record: Record) -> None:
        with propagate_attributes(session_id="s-1", user_id="ada", tags=["domain:technical"], trace_name="Technical"):
            question = record.query.question
            root = roots[record.query_id] = client.start_observation(
                name="Technical Analysis", as_type="agent", input=question, trace_context={"trace_id": record.query_id}
            )
            root.start_observation(name="queue-wait", as_type="span", metadata={"queue": "classify"}).end()
            root.start_observation(
                name="intent-classification", as_type="chain", input=question, output={"scores": SCORES}
            ).end()
            root.start_observation(name="flow-selection", as_type="span", output={"flow": "technical-analysis"}).end()
            root.start_observation(name="queue-wait", as_type="span", metadata={"queue": "domain.technical"}).end()
            root.start_observation(name="cache-check", as_type="retriever", metadata={"hit": False}).end()

    def second(record: Record) -> None:
        root = roots.pop(record.query_id)
        answer = record.answer.text if record.answer else ""
        root.start_observation(name="context", as_type="span", metadata={"turns": 3, "profile": "team"}).end()
        attempt = root.start_observation(
            name="flow-execution",
            as_type="generation",
            input=record.query.question,
            output=answer,
            metadata={"flow_id": "896f7eed", "flow": "technical-analysis", "config": CONFIG},
            model="a-model",
            usage_details={"input": 120, "output": 300, "total": 420},
        )
        attempt.start_observation(name="first-token", as_type="span").end()
        attempt.end()
        root.start_observation(name="response-formatting", as_type="span", output={"characters": len(answer)}).end()
        root.update(output=answer)
        root.end()

    return first, second, client.shutdown
