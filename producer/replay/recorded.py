"""The outcome of a question: answer or error, route, times. The same model before and after."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from agentic_flywheel.models import Band, Cost, Model, State

#: `classified`: a dry run stopped after the route, or a baseline that tells no more than a route.
RecordedState = Literal[State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED, "classified"]
#: The states in which queries end, by their names.
ENDED: dict[str, RecordedState] = {
    State.SUCCEEDED: State.SUCCEEDED,
    State.FAILED: State.FAILED,
    State.CANCELLED: State.CANCELLED,
    State.EXPIRED: State.EXPIRED,
}


class Recorded(Model):
    """One outcome of one question, of a replay or from before it. None: not known."""

    #: The query that had this outcome; empty where a file tells the outcome.
    query_id: str = ""
    trace_id: str = ""
    state: RecordedState = State.SUCCEEDED
    #: `clarify`: the answer asks which flow the question is for.
    kind: Literal["answer", "clarify"] = "answer"
    text: str = ""
    #: The flows that answered, the best first; several where the question was fanned out.
    flow_keys: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    confidence: float | None = None
    band: Band | None = None
    #: The router's sentence on why.
    reason: str = ""
    cached: bool = False
    #: Calls of the flow that it took.
    attempts: int = 0
    error_type: str | None = None
    error: str = ""
    #: From submission to the end: with the wait in the queues.
    latency_ms: float | None = None
    #: From the first call of a flow to the end: without the wait for a worker. None where no flow was called.
    flow_ms: float | None = None
    #: From the flow's call to its first token; None where it does not stream.
    first_token_ms: float | None = None
    tokens: int | None = None
    #: Nothing where it came from the cache or shared another query's call.
    cost: Cost | None = None
    #: The tools that were called, in their order, and the sources that were cited, by name.
    tools: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    #: Whether the flow stopped to ask a person.
    stopped: bool | None = None
    #: The latest score that a person or an evaluator gave, on its own scale.
    score: float | None = None
    at: AwareDatetime | None = None
