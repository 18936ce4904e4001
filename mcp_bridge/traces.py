"""The tools that look back at single queries: one trace with its steps, a search, and what an answer was worth."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.broker.scores import RATING, Score, give_score
from agentic_flywheel.ids import trace_id_of
from agentic_flywheel.models import Model, Record, Slug
from agentic_flywheel.tracing.archive import Wish
from agentic_flywheel.tracing.reading import read_trace, search_traces
from agentic_flywheel.tracing.view import FoundTrace, TraceStep, TraceView, steps_of
from mcp_bridge.arguments import Arguments, FlowKey, Object, QueryId, SessionId, TraceId
from mcp_bridge.tool import READS_OUTSIDE, SETS, Call, tool
from mcp_bridge.views import shortened

#: Langfuse shows a trace some seconds after its end.
_PATIENCE = timedelta(seconds=5)
#: Longer texts are cut in steps and lists: an answer is whole in flowise_poll.
_LONGEST = 1_000
#: How many of the latest queries are looked through for those under way.
_LATEST = 200

ScoreValue = StrictInt | StrictFloat | StrictBool | StrictStr


class WhichTrace(Arguments):
    """A trace."""

    trace_id: TraceId


class StepView(Model):
    """One step of a query's way."""

    name: str
    depth: Annotated[int, Field(description="0 is the whole query.")]
    type: str
    at_ms: Annotated[float, Field(description="When it began, from the start of the query.")]
    took_ms: float
    level: str | None = None
    message: str | None = None
    input: str | None = None
    output: str | None = None
    metadata: Object | None = None
    model: str | None = None
    total_tokens: int | None = None


class ScoreView(Model):
    """One judgement of an answer."""

    query_id: str
    name: str
    value: ScoreValue
    comment: str | None = None
    by: str | None = None
    at: AwareDatetime


class TraceTree(Model):
    """One query's way, step by step."""

    trace_id: str
    query_id: str
    ended: Annotated[bool, Field(description="Whether the query has ended; if not, these are its steps so far.")]
    name: str | None = None
    session_id: str | None = None
    steps: Annotated[tuple[StepView, ...], Field(description="In the order of the tree; depth tells what is in what.")]
    scores: tuple[ScoreView, ...]
    source: Annotated[str, Field(description="Where it was read: Langfuse, the trace file, or the query's record.")]
    note: Annotated[str | None, Field(description="What could not be read.")] = None


@tool("View a trace", READS_OUTSIDE, Scope.READ)
async def flowise_trace_view(call: Call, given: WhichTrace) -> TraceTree:
    """Show how one of your queries came to its answer: waiting, classification with its reasons, cache, each call of a
    flow with its configuration and tokens, errors and times. Read from Langfuse, or without it from local traces and
    the query's record."""
    batch, settings = call.producer.batch, call.bridge.settings
    view = await read_trace(batch, settings, given.trace_id, asker=call.asker, within=_PATIENCE)
    return _tree(view)


def _tree(view: TraceView) -> TraceTree:
    began = min((seen.start for seen in view.observations), default=0)
    return TraceTree(
        trace_id=trace_id_of(view.query_id),
        query_id=view.query_id,
        ended=view.root is not None,
        name=view.root.name if view.root is not None else None,
        session_id=view.root.session if view.root is not None else None,
        steps=tuple(_step(step, began) for step in steps_of(view.observations)),
        scores=tuple(map(score_view, view.scores)),
        source=view.source,
        note=view.note or None,
    )


def _step(step: TraceStep, began: int) -> StepView:
    seen = step.seen
    return StepView(
        name=seen.name,
        depth=step.depth,
        type=seen.type,
        at_ms=round((seen.start - began) / 1e6, 2),
        took_ms=round((seen.end - seen.start) / 1e6, 2),
        level=seen.level,
        message=seen.message or None,
        input=_cut(seen.input),
        output=_cut(seen.output),
        metadata=dict(seen.metadata) if seen.metadata else None,
        model=seen.model,
        total_tokens=seen.usage.total_tokens if seen.usage is not None else None,
    )


def _cut(value: Any) -> str | None:
    if value is None:
        return None
    text = str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


class Search(Arguments):
    """Which traces are wanted; what is left out does not matter."""

    text: Annotated[str, Field(max_length=500, description="Words of the question or the answer.")] = ""
    flow_key: FlowKey | None = None
    session_id: SessionId | None = None
    since_hours: Annotated[float, Field(ge=0, le=24 * 90, description="Of the last so many hours; 0: any.")] = 0.0
    min_score: Annotated[float, Field(ge=0, le=10, description="1 to 10; 0: any.")] = 0.0
    max_score: Annotated[float, Field(ge=0, le=10, description="5 finds what was judged badly; 0: any.")] = 0.0
    limit: Annotated[int, Field(ge=1, le=100, description="At most so many.")] = 20


class TraceLine(Model):
    """One query in a list."""

    trace_id: str
    query_id: str
    name: str
    at: AwareDatetime
    elapsed_ms: float | None = None
    question: str
    answer: str | None = None
    flow_key: str | None = None
    session_id: str | None = None
    tags: tuple[str, ...]
    problem: Annotated[str | None, Field(description="What went wrong, where something did.")] = None
    rating: float | None = None
    running: Annotated[bool | None, Field(description="true: it has not ended yet.")] = None


class TraceList(Model):
    """Queries of the caller: those under way first, then the latest."""

    traces: tuple[TraceLine, ...]


@tool("Search traces", READS_OUTSIDE, Scope.READ)
async def flowise_trace_search(call: Call, given: Search) -> TraceList:
    """Find your queries by words, flow, session, age or score: those under way first, then the latest. Each has the
    trace_id for flowise_trace_view and the query_id for everything else."""
    since = datetime.now(UTC) - timedelta(hours=given.since_hours) if given.since_hours else None
    return await find_traces(
        call,
        Wish(
            text=given.text,
            flow=given.flow_key,
            session=given.session_id,
            since=since,
            min_score=given.min_score or None,
            max_score=given.max_score or None,
            limit=given.limit,
        ),
    )


async def find_traces(call: Call, wish: Wish) -> TraceList:
    """Return the caller's traces that are wanted, whoever the wish names; those under way first."""
    own = wish.model_copy(update={"asker": call.asker})
    running = [] if wish.by_score else await _under_way(call, wish)
    found = await search_traces(call.producer.batch, call.bridge.settings, own)
    known = {line.query_id for line in running}
    return TraceList(traces=(*running, *(_line(each) for each in found if each.query_id not in known))[: wish.limit])


async def _under_way(call: Call, wish: Wish) -> list[TraceLine]:
    """Return the caller's queries that have not ended, which no trace tells of yet."""
    records = await call.producer.recent(limit=_LATEST)
    return [_running(record) for record in records if not record.state.terminal and _wanted(record, wish)]


def _wanted(record: Record, wish: Wish) -> bool:
    return (
        wish.text.casefold() in record.query.question.casefold()
        and wish.flow in (None, record.flow)
        and wish.session in (None, record.query.session_id)
        and (wish.since is None or record.created >= wish.since)
    )


def _running(record: Record) -> TraceLine:
    return TraceLine(
        trace_id=trace_id_of(record.query_id),
        query_id=record.query_id,
        name=f"{record.state}: {shortened(record.query.question, 80)}",
        at=record.created,
        question=_cut(record.query.question) or "",
        flow_key=record.flow,
        session_id=record.query.session_id,
        tags=(),
        running=True,
    )


def _line(found: FoundTrace) -> TraceLine:
    return TraceLine(
        trace_id=trace_id_of(found.query_id),
        query_id=found.query_id,
        name=found.name,
        at=found.at,
        elapsed_ms=round(found.elapsed / timedelta(milliseconds=1), 1),
        question=_cut(found.question) or "",
        answer=_cut(found.answer or None),
        flow_key=found.flow,
        session_id=found.session_id,
        tags=found.tags,
        problem=found.problem or None,
        rating=found.rating,
    )


class Judgement(Arguments):
    """What an answer was worth."""

    query_id: QueryId
    value: Annotated[ScoreValue, Field(description="1 (useless) to 10 (perfect), or true/false, or a short category.")]
    comment: Annotated[str, Field(max_length=2000, description="Why.")] = ""
    name: Annotated[Slug, Field(description="What is judged; `rating` is the one that flow health shows.")] = RATING


@tool("Score an answer", SETS, Scope.ASK)
async def flowise_quality_score(call: Call, given: Judgement) -> ScoreView:
    """Record how good an answer of yours was. It shows in its trace, in Langfuse and in the flow's health, and teaches
    the routing. Scoring again under the same name corrects the score."""
    score = await give_score(
        call.producer.batch,
        given.query_id,
        given.value,
        name=given.name,
        comment=given.comment,
        asker=call.asker,
    )
    return score_view(score)


def score_view(score: Score) -> ScoreView:
    """Return the view of a score."""
    return ScoreView(
        query_id=score.query_id,
        name=score.name,
        value=score.value,
        comment=score.comment or None,
        by=score.by or None,
        at=score.at,
    )
