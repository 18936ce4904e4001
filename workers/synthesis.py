"""Put the parts of a fanned-out query together: by a synthesis flow, else as one answer that keeps every source."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from agentic_flywheel import wire
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import ErrorInfo, FlowError, FlywheelError, rebuild
from agentic_flywheel.flowise import FlowAnswer
from agentic_flywheel.models import Answer, Decision, Part, Query, Target, trace_id_of
from agentic_flywheel.records import load_records
from agentic_flywheel.transitions import Execution
from workers.answering import Answering
from workers.context import Context
from workers.journal import Journal
from workers.messages import place, synthesis_message
from workers.outcomes import failure, success
from workers.runtime import Runtime

logger = logging.getLogger(__name__)

_INSTRUCTION = (
    "Several specialists answered one question. Write one answer that uses all of them, keeps what only one of them "
    "says, and names them where they disagree."
)
_NOT_ASKED = ErrorInfo(error="The flow was not asked", error_type="QueryFailed")


async def synthesize_query(runtime: Runtime, query_id: str, given: Any) -> FlywheelError | None:
    """End a fanned-out query whose parts are all there. Returns the error that it ended with."""
    query = Query.model_validate(given)
    stored, record = await asyncio.gather(
        runtime.batch.call("HGETALL", wire.parts_key(query_id)), load_records(runtime.batch, [query_id])
    )
    if record[0] is None or record[0].route is None or not stored:
        return None  # it has ended meanwhile
    route = record[0].route
    parts = tuple(_part(target, stored.get(target.flow)) for target in route.targets)
    answered = [part for part in parts if part.error is None]
    policy = runtime.catalog.policy
    if len(answered) > 1 and policy.synthesis_flow in runtime.catalog.active:
        return await Synthesis(runtime, query_id, query, runtime.catalog.flow(policy.synthesis_flow), parts).run()
    flow = runtime.catalog.active.get(route.best.flow, runtime.catalog.default)
    execution = Execution(query_id, "", flow, "", query_id)
    if answered:
        answer, error = _merged_answer(runtime, execution, query, route, parts), None
        outcome = success(answer, flow)
    else:
        answer, error = None, rebuild(parts[0].error or _NOT_ASKED)
        outcome = failure(error, execution, query, 1)
    finished = await runtime.transitions.finish(execution, outcome, queue=wire.SYNTHESIS_QUEUE)
    journal = Journal(runtime, query_id, query)
    journal.continued(record[0])
    journal.ended(finished, execution, answer, error)
    return error


class Synthesis(Answering):
    """The call of the flow that makes one answer of several. Where it fails, the parts themselves are the answer."""

    def __init__(self, runtime: Runtime, query_id: str, query: Query, flow: Flow, parts: tuple[Part, ...]) -> None:
        super().__init__(runtime, query_id, query, flow, "")
        self.parts = parts
        self.queue = wire.SYNTHESIS_QUEUE

    async def _compose(self) -> Context:
        said = merged(self.parts, self.runtime.catalog)
        question = f"{_INSTRUCTION}\n\nThe question:\n{self.query.question}\n\nThe answers:\n{said}"
        # The parts were answered under the profile; what they say is as private as it is.
        return Context(question=question, profile=self.query.profile, private=self.runtime.private(self.query))

    def _execution(self) -> Execution:
        return Execution(self.query_id, "", self.flow, "", self.query_id)

    def _answer(self, found: FlowAnswer, attempts: int) -> Answer:
        answer = super()._answer(found, attempts)
        return answer.model_copy(
            update={"parts": self.parts, "domains": tuple(part.domain for part in self.parts), "remembered": False}
        )

    async def _give_up(self, error: FlowError, attempts: int) -> FlywheelError | None:
        logger.warning("the synthesis of query %s failed, its parts are merged: %s", self.query_id, error.message)
        answer = _merged_answer(self.runtime, self.execution, self.query, self.journal.route, self.parts)
        await self._end(success(answer, self.flow), answer=answer)
        return None

    def _place(self) -> str:
        return place(synthesis_message(self.query_id, self.query))


def _merged_answer(
    runtime: Runtime, execution: Execution, query: Query, route: Decision, parts: tuple[Part, ...]
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
        profile=query.profile,
        private=runtime.private(query),
        trace_id=trace_id_of(execution.query_id),
    )


def merged(parts: tuple[Part, ...], catalog: Catalog) -> str:
    """Return one text that keeps each part beneath its source, and says which part is missing and why."""
    sections = []
    for part in parts:
        flow = catalog.flows.get(part.flow)
        said = part.text if part.error is None else f"No answer from this domain: {part.error.error}"
        sections.append(f"## {flow.title if flow else part.flow} ({part.domain})\n\n{said}")
    return "\n\n".join(sections)


def _part(target: Target, stored: str | None) -> Part:
    value = json.loads(stored) if stored else {"error": _NOT_ASKED.model_dump()}
    if "error" in value:
        return Part(flow=target.flow, domain=target.domain, error=ErrorInfo.model_validate(value["error"]))
    answer = Answer.model_validate(value["answer"])
    return Part(flow=answer.flow, domain=answer.domain, text=answer.text, cached=answer.cached)
