"""What a flow of a real Flowise does: its tools, steps and sources are in the answer, and in the events meanwhile."""

from __future__ import annotations

import pytest

from agentic_flywheel.models import EventKind
from flowise_real.flows import letters
from producer import AsyncProducer


@pytest.mark.parametrize("flow", ["finding", "finding-plain"])
async def test_an_answer_says_what_the_flow_did(producer: AsyncProducer, flow: str) -> None:
    question = letters()

    answer = await producer.ask(question, flow=flow, wait=60)

    assert answer.text.strip() == question
    (tool,) = answer.tools
    assert (tool.name, tool.input, tool.error) == ("find", {"input": "6*7"}, None)
    assert str(tool.output).startswith("found 6*7")
    assert [step.kind for step in answer.steps] == ["startAgentflow", "agentAgentflow"]
    assert [step.status for step in answer.steps] == ["finished", "finished"]
    assert tool.step == answer.steps[-1].id
    assert [source["pageContent"] for source in answer.sources] == ["Oslo is the capital of Norway."]
    assert answer.usage is not None
    assert answer.usage.total_tokens >= 14


async def test_it_is_told_while_the_flow_runs(producer: AsyncProducer) -> None:
    submission = await producer.submit(letters(), flow="finding")

    told = [event async for event in producer.stream(submission.query_id)]

    of = {kind: [event.data for event in told if event.kind is kind] for kind in EventKind}
    assert [each["status"] for each in of[EventKind.STEP] if str(each["id"]).startswith("agent")] == [
        "running",
        "finished",
    ]
    assert "find" in {each["name"] for each in of[EventKind.TOOL]}
    assert of[EventKind.SOURCE]
    assert of[EventKind.USAGE]
    assert told[-1].kind is EventKind.FINAL
