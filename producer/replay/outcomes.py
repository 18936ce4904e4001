"""Read the outcome of a query from its record, also of one that was asked before the replay."""

from __future__ import annotations

from agentic_flywheel.errors import ErrorInfo, FlywheelError
from agentic_flywheel.ids import trace_id_of
from agentic_flywheel.models import Answer, Record, Route, State
from producer.replay.doings import source_names
from producer.replay.recorded import ENDED, Recorded


def of_record(record: Record, *, score: float | None = None) -> Recorded:
    """Return the outcome of a query that has ended. A success whose answer is not kept any more tells its route."""
    answer, error, route = record.answer, record.error, record.route
    state = ENDED[record.state]
    if state == State.SUCCEEDED and answer is None:
        state = "classified"
    return Recorded(
        query_id=record.query_id,
        trace_id=trace_id_of(record.query_id),
        state=state,
        kind=answer.kind if answer else "answer",
        text=answer.text if answer else "",
        flow_keys=_flows(record),
        domains=_domains(record),
        confidence=_confidence(answer, route),
        band=answer.band if answer else route.band if route else None,
        reason=(answer.explanation if answer else "") or (route.reason if route else ""),
        cached=answer.cached if answer else False,
        attempts=record.attempts,
        error_type=error.error_type if error else None,
        error=error.error if error else "",
        latency_ms=_milliseconds(record, "created"),
        flow_ms=_milliseconds(record, "started"),
        first_token_ms=_rounded(answer.first_token.total_seconds() * 1000) if answer and answer.first_token else None,
        tokens=answer.usage.total_tokens if answer and answer.usage else None,
        cost=answer.cost if answer else None,
        tools=tuple(use.name for use in answer.tools) if answer else None,
        sources=source_names(answer.sources) if answer else None,
        stopped=bool(record.last_stop) if answer or record.last_stop else None,
        score=score,
        at=record.finished or record.created,
    )


def of_route(route: Route) -> Recorded:
    """Return the outcome of a question that was classified and no more."""
    return Recorded(
        state="classified",
        kind="clarify" if route.decision == "clarify" else "answer",
        flow_keys=tuple(target.flow for target in route.targets),
        domains=tuple(target.domain for target in route.targets),
        confidence=_rounded(route.confidence),
        band=route.band,
        reason=route.reason,
    )


def of_refusal(refused: FlywheelError | ErrorInfo) -> Recorded:
    """Return the outcome of a question that was not accepted."""
    info = refused if isinstance(refused, ErrorInfo) else refused.describe()
    return Recorded(state=State.FAILED, error_type=info.error_type, error=info.error)


def _flows(record: Record) -> tuple[str, ...]:
    if record.answer is not None:
        return tuple(part.flow for part in record.answer.parts) or (record.answer.flow,)
    if record.route is not None:
        return tuple(target.flow for target in record.route.targets)
    return (record.flow,) if record.flow else ()


def _domains(record: Record) -> tuple[str, ...]:
    if record.answer is not None:
        return record.answer.domains or (record.answer.domain,)
    if record.route is not None:
        return tuple(target.domain for target in record.route.targets)
    return (record.domain,) if record.domain else ()


def _confidence(answer: Answer | None, route: Route | None) -> float | None:
    found = answer.confidence if answer else route.confidence if route else None
    return None if found is None else _rounded(found)


def _milliseconds(record: Record, since: str) -> float | None:
    began = getattr(record, since)
    if began is None or record.finished is None:
        return None
    return _rounded((record.finished - began).total_seconds() * 1000)


def _rounded(value: float) -> float:
    return round(value, 4)
