"""The task ``flywheel.synthesize``: make one answer of a query's parts, by a synthesis flow or by joining them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any, TypedDict

from pydantic import JsonValue

from agentic_flywheel.backends.models import FlowAnswer
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.executions import Execution, of_no_cache, without_flow
from agentic_flywheel.broker.messages import synthesis_parcel
from agentic_flywheel.broker.parcels import Parcel
from agentic_flywheel.broker.records import attempts_of, load_records
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import ErrorInfo, FlywheelError, rebuild
from agentic_flywheel.ids import trace_id_of
from agentic_flywheel.models import (
    Answer,
    AnswerPart,
    Artifact,
    Cost,
    FlowStep,
    Query,
    RouteDecision,
    Target,
    ToolUse,
    Usage,
)
from agentic_flywheel.prices import together
from workers.assignment import Assignment
from workers.context import Context
from workers.delivery import Delivery
from workers.ending import end_with_answer, end_with_error
from workers.journal import TraceJournal
from workers.runtime import Runtime

_INSTRUCTION = (
    "Several specialists answered one question. Write one answer that uses all of them, keeps what only one of them "
    "says, and names them where they disagree."
)


async def synthesize_query(runtime: Runtime, query_id: str, given: Any, version: int) -> FlywheelError | None:
    """End a query whose parts have all ended. Returns the error with which it ended, if any.

    ``version``: that of its message.
    """
    query = Query.model_validate(given)
    stored, record = await asyncio.gather(
        runtime.batch.call("HGETALL", wire.parts_key(query_id)), load_records(runtime.batch, [query_id])
    )
    if record[0] is None or record[0].route is None:
        return None  # the query has ended meanwhile
    route = record[0].route
    if any(target.flow not in stored for target in route.targets):
        return None  # it has ended, or the broker has lost the end of its file and asks for the part again
    parts = tuple(_part(target, json.loads(stored[target.flow])) for target in route.targets)
    answered = [part for part in parts if part.error is None]
    policy = runtime.catalog.policy
    if len(answered) > 1 and policy.synthesis_flow in runtime.catalog.active:
        flow = runtime.catalog.flow(policy.synthesis_flow)
        synthesis = Synthesis(runtime, query_id, query, flow, parts, version=version)
        return await Delivery(runtime, synthesis).run()
    journal = TraceJournal(runtime, query_id, query)
    journal.continued(record[0])
    best = runtime.catalog.active.get(route.best.flow)
    execution = of_no_cache(query_id, best) if best else without_flow(query_id, missing=route.best.flow)
    queue = wire.SYNTHESIS_QUEUE
    if answered:
        answer = _merged_answer(runtime, execution, query, route, parts)
        await end_with_answer(runtime, execution, answer, journal, queue=queue)
        return None
    error = next(rebuild(part.error) for part in parts if part.error is not None)
    attempts = await attempts_of(runtime.batch, query_id, parts[0].flow)
    # Each part has counted its failure on its own flow.
    nobody = without_flow(query_id)
    return await end_with_error(runtime, nobody, query, error, journal, attempts=attempts, queue=queue, asked=execution)


class Synthesis(Assignment):
    """Ask a flow to make one answer of several. Where it fails, the joined parts are the answer."""

    def __init__(
        self, runtime: Runtime, query_id: str, query: Query, flow: Flow, parts: tuple[AnswerPart, ...], *, version: int
    ) -> None:
        super().__init__(runtime, query_id, query, flow, version=version)
        self.parts = parts

    @property
    def queue(self) -> str:
        return wire.SYNTHESIS_QUEUE

    @property
    def parcel(self) -> Parcel:
        return synthesis_parcel(self.query_id, self.query, version=self.version)

    async def compose(self) -> Context:
        said = merged(self.parts, self.runtime.catalog)
        question = f"{_INSTRUCTION}\n\nThe question:\n{self.query.question}\n\nThe answers:\n{said}"
        # The parts may contain the profile's text, so the synthesis is as private as they are.
        return Context(question=question, profile=self.query.profile, private=self.runtime.private(self.query))

    def execution(self, context: Context) -> Execution:
        return of_no_cache(self.query_id, self.flow)

    def answer(
        self, execution: Execution, route: RouteDecision, found: FlowAnswer, context: Context, attempts: int
    ) -> Answer:
        answer = super().answer(execution, route, found, context, attempts)
        return answer.model_copy(
            update={
                "parts": self.parts,
                "domains": tuple(part.domain for part in self.parts),
                "remembered": False,
                **_together(answer, *self.parts),
                "usage": total_usage([answer.usage, *(part.usage for part in self.parts)]),
                "cost": together([answer.cost, *_costs(self.parts)]),
                "warnings": (*answer.warnings, *warnings_of(self.parts)),
            }
        )

    def substitute(self, execution: Execution, route: RouteDecision) -> Answer | None:
        return _merged_answer(self.runtime, execution, self.query, route, self.parts)


def _merged_answer(
    runtime: Runtime, execution: Execution, query: Query, route: RouteDecision, parts: tuple[AnswerPart, ...]
) -> Answer:
    return Answer(
        query_id=execution.query_id,
        text=merged(parts, runtime.catalog),
        flow=route.best.flow,
        domain=route.best.domain,
        domains=tuple(part.domain for part in parts),
        session_id=query.session_id,
        band=route.band,
        confidence=route.confidence,
        explanation=route.reason,
        cached=all(part.cached for part in parts if part.error is None),
        parts=parts,
        **_together(*parts),
        usage=total_usage(part.usage for part in parts),
        cost=together(_costs(parts)),
        warnings=warnings_of(parts),
        profile=query.profile,
        private=runtime.private(query),
        trace_id=trace_id_of(execution.query_id),
    )


class _Contents(TypedDict):
    """What answers and parts of them have beside their text."""

    sources: tuple[dict[str, JsonValue], ...]
    tools: tuple[ToolUse, ...]
    steps: tuple[FlowStep, ...]
    artifacts: tuple[Artifact, ...]
    follow_ups: tuple[str, ...]


def _together(*given: Answer | AnswerPart) -> _Contents:
    """Return what these have beside their text, in their order; a question that two propose, once."""
    return {
        "sources": tuple(source for each in given for source in each.sources),
        "tools": tuple(tool for each in given for tool in each.tools),
        "steps": tuple(step for each in given for step in each.steps),
        "artifacts": tuple(artifact for each in given for artifact in each.artifacts),
        "follow_ups": tuple(dict.fromkeys(asked for each in given for asked in each.follow_ups)),
    }


def total_usage(usages: Iterable[Usage | None]) -> Usage | None:
    """Return what several calls used together; None where none of them tells. ``model``: where all have the same."""
    told = [each for each in usages if each is not None]
    if not told:
        return None
    models = {each.model for each in told}
    return Usage(
        input_tokens=sum(each.input_tokens for each in told),
        cached_input_tokens=sum(each.cached_input_tokens for each in told),
        output_tokens=sum(each.output_tokens for each in told),
        total_tokens=sum(each.total_tokens for each in told),
        model=models.pop() if len(models) == 1 else None,
        cost=together(each.cost for each in told),
    )


def _costs(parts: Iterable[AnswerPart]) -> list[Cost | None]:
    """Return what the parts that have an answer cost."""
    return [part.cost for part in parts if part.error is None]


def warnings_of(parts: tuple[AnswerPart, ...]) -> tuple[str, ...]:
    """Return what is to be said of each part, with its flow."""
    return tuple(f"{part.flow}: {warning}" for part in parts for warning in part.warnings)


def merged(parts: tuple[AnswerPart, ...], catalog: Catalog) -> str:
    """Return one text with each part below the name of its flow, and the reason for each part that is missing."""
    sections = []
    for part in parts:
        flow = catalog.flows.get(part.flow)
        said = part.text if part.error is None else f"No answer from this domain: {part.error.error}"
        sections.append(f"## {flow.title if flow else part.flow} ({part.domain})\n\n{said}")
    return "\n\n".join(sections)


def _part(target: Target, value: Any) -> AnswerPart:
    if "error" in value:
        return AnswerPart(flow=target.flow, domain=target.domain, error=ErrorInfo.model_validate(value["error"]))
    answer = Answer.model_validate(value["answer"], extra="ignore")
    return AnswerPart(
        flow=answer.flow,
        domain=answer.domain,
        text=answer.text,
        cached=answer.cached,
        sources=answer.sources,
        usage=answer.usage,
        cost=answer.cost,
        tools=answer.tools,
        steps=answer.steps,
        artifacts=answer.artifacts,
        follow_ups=answer.follow_ups,
        warnings=answer.warnings,
    )
