"""What a flow did for its answer: in the answer, in the stream, in the cache, for those attached, and in the trace."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from agentic_flywheel.models import TOLD_BY_FLOW, Event, EventKind, ToolUse, Usage
from pipeline.house import DOCUMENTS, TECHNICAL, House
from producer import AsyncProducer


def fresh(question: str) -> str:
    return f"{question} ({uuid.uuid4().hex[:8]})"


async def told(producer: AsyncProducer, query_id: str, after: str = "-") -> list[Event]:
    return [event async for event in producer.stream(query_id, after=after)]


def doings(events: list[Event]) -> list[tuple[EventKind, Any, Any]]:
    """The events of what a flow does, without its words."""
    kinds = TOLD_BY_FLOW - {EventKind.TOKEN}
    return [(each.kind, each.data.get("name"), each.data.get("status")) for each in events if each.kind in kinds]


DONE_BY_MAKER = [
    (EventKind.STEP, "Start", "running"),
    (EventKind.STEP, "Start", "finished"),
    (EventKind.STEP, "Agent 0", "running"),
    (EventKind.TOOL, "plot", "running"),
    (EventKind.TOOL, "plot", "finished"),
    (EventKind.ARTIFACT, None, None),
    (EventKind.ARTIFACT, "plot.png", None),
    (EventKind.USAGE, None, None),
    (EventKind.STEP, "Agent 0", "finished"),
]


async def test_an_answer_carries_what_the_flow_did_also_from_the_cache(producer: AsyncProducer, house: House) -> None:
    house.build(TECHNICAL, style="maker")
    house.behave(TECHNICAL, follow_ups=True)
    question = fresh("Which python database index should I plot?")

    first = await producer.ask(question, wait=20)
    again = await producer.ask(question, wait=20)

    assert first.tools == (ToolUse(name="plot", input={"input": "6*7"}, output="plotted 6*7", step="agentAgentflow_0"),)
    assert [(step.name, step.kind, step.status) for step in first.steps] == [
        ("Start", "startAgentflow", "finished"),
        ("Agent 0", "agentAgentflow", "finished"),
    ]
    assert first.steps[1].usage == first.usage
    assert [(each.type, each.text) for each in first.artifacts] == [("html", "<b>plot</b>"), ("png", "")]
    link = f"/api/v1/get-upload-file?chatflowId={TECHNICAL}&chatId={first.chat_id}&fileName=plot.png"
    assert first.artifacts[1].link == link
    assert first.follow_ups
    assert again.cached
    for name in ("tools", "steps", "artifacts", "follow_ups", "usage"):
        assert getattr(again, name) == getattr(first, name)
    assert (await producer.status(first.query_id)).answer == first


async def test_a_stream_tells_what_the_flow_does_and_resumes_amid_it(producer: AsyncProducer, house: House) -> None:
    house.build(TECHNICAL, style="maker")
    house.behave(TECHNICAL, token_delay=0.01)
    submitted = await producer.submit(fresh("Which python database index should I plot?"))

    events = await told(producer, submitted.query_id)
    using = next(number for number, event in enumerate(events) if event.kind == EventKind.TOOL)
    rest = await told(producer, submitted.query_id, after=events[using].id)

    assert doings(events) == DONE_BY_MAKER
    assert rest == events[using + 1 :]
    answer = await producer.wait(submitted.query_id, 30)
    assert "".join(str(each.data["text"]) for each in events if each.kind == EventKind.TOKEN) == answer.text
    assert events[-1].kind == EventKind.FINAL


async def test_those_attached_to_a_call_read_what_its_flow_does(producer: AsyncProducer, house: House) -> None:
    house.build(TECHNICAL, style="maker")
    house.behave(TECHNICAL, latency=0.5)
    question = fresh("Which python database index should I plot?")

    first = await producer.submit(question)
    second = await producer.submit(question)
    events = await told(producer, second.query_id)

    assert second.attached_to == first.query_id
    assert doings(events) == DONE_BY_MAKER


async def test_a_reader_that_does_not_read_slows_no_flow(producer: AsyncProducer, house: House) -> None:
    house.build(TECHNICAL, style="maker")
    submitted = await producer.submit(fresh("Which python database index should I plot?"))

    stream = producer.stream(submitted.query_id)
    first = await anext(stream)
    answer = await producer.wait(submitted.query_id, 30)  # while the reader stands at the first event
    rest = [event async for event in stream]

    assert answer.tools
    assert doings([first, *rest]) == DONE_BY_MAKER


async def test_the_parts_of_an_answer_keep_theirs_and_the_whole_has_all(producer: AsyncProducer, house: House) -> None:
    house.build(TECHNICAL, style="maker")
    house.build(DOCUMENTS, style="finder")
    for flow in (TECHNICAL, DOCUMENTS):
        house.behave(flow, follow_ups=True)
    question = fresh("Which python database index helps, and which clause of the contract covers liability?")

    submitted = await producer.submit(question)
    events = await told(producer, submitted.query_id)
    answer = await producer.wait(submitted.query_id, 20)

    by_flow = {part.flow: part for part in answer.parts}
    maker, finder = by_flow["technical-analysis"], by_flow["document-qa"]
    assert [each.name for each in maker.tools] == ["plot"]
    assert [each.name for each in finder.tools] == ["find"]
    assert sorted(each.name for each in answer.tools) == ["find", "plot"]
    assert len(answer.steps) == len(maker.steps) + len(finder.steps) == 4
    assert answer.artifacts == maker.artifacts
    assert answer.sources == finder.sources != ()
    # Both propose the same questions.
    assert answer.follow_ups == maker.follow_ups == finder.follow_ups != ()
    assert {str(each.data["part"]) for each in events if each.kind == EventKind.TOOL} == set(by_flow)


async def test_a_trace_has_a_span_for_each_step_and_tool(producer: AsyncProducer, house: House) -> None:
    house.build(TECHNICAL, style="maker")

    answer = await producer.ask(fresh("Which python database index should I plot?"), wait=20)

    call = house.traced(answer.query_id, "flow-execution")
    step = house.traced(answer.query_id, "step Agent 0")
    tool = house.traced(answer.query_id, "tool plot")
    assert (step["type"], step["parent"], step["model"]) == ("generation", call["span_id"], "sandbox")
    assert Usage.model_validate({**step["usage"], "model": "sandbox"}) == answer.usage
    assert "usage" not in call, "Langfuse would count the tokens twice"
    assert (tool["type"], tool["parent"], tool["output"]) == ("tool", step["span_id"], "plotted 6*7")
    assert call["start"] <= step["start"] <= step["end"] <= call["end"]


async def test_the_news_of_a_call_that_failed_is_followed_by_that_of_the_next(
    producer: AsyncProducer, house: House
) -> None:
    house.build(TECHNICAL, style="agent")
    house.behave(TECHNICAL, fault="drop", fault_first=1)

    submitted = await producer.submit(fresh("Which python database index should I plot?"))
    events = await asyncio.wait_for(told(producer, submitted.query_id), 30)

    kinds = [event.kind for event in events if event.kind in (EventKind.TOOL, EventKind.RETRYING)]
    assert EventKind.RETRYING in kinds
    after = kinds[kinds.index(EventKind.RETRYING) :]
    assert after == [EventKind.RETRYING, EventKind.TOOL, EventKind.TOOL]
