"""A flow of a real Flowise asks a person, and goes on as the person decides."""

from __future__ import annotations

from typing import Any

import pytest

from agentic_flywheel.errors import InputRequired
from agentic_flywheel.models import EventKind, State
from agentic_flywheel.stops import Decision
from flowise_real.conftest import RealHouse
from flowise_real.flows import letters
from producer import AsyncProducer


def runs(house: RealHouse, question: str) -> list[dict[str, Any]]:
    told = house.flowise.call("GET", "executions", agentflowId=house.flows["deciding"], limit="100", page="1")
    return [each for each in told["data"] if question in str(each)]


@pytest.mark.parametrize(("decision", "told"), [("proceed", "deleted"), ("reject", "kept")])
async def test_a_flow_goes_on_as_the_person_decides(
    producer: AsyncProducer, house: RealHouse, decision: Decision, told: str
) -> None:
    question, feedback = letters(), letters()

    with pytest.raises(InputRequired) as asked:
        await producer.ask(question, flow="deciding", wait=60)
    waits = await producer.status(asked.value.query_id)
    (before,) = runs(house, question)
    await producer.resume(waits.query_id, decision, feedback=feedback)
    answer = await producer.wait(waits.query_id, timeout=60)

    assert (waits.state, waits.stops[0].text.strip()) == (State.INPUT_REQUIRED, "Delete it?")
    assert waits.stops[0].choices == {"proceed": "Proceed", "reject": "Reject"}
    assert (answer.query_id, answer.text.strip(), before["state"]) == (waits.query_id, told, "STOPPED")
    # It is the same run that went on, with what the person said.
    (after,) = runs(house, question)
    assert (after["id"], after["state"]) == (before["id"], "FINISHED")
    assert feedback in str(after)


@pytest.mark.parametrize(("decision", "used"), [("proceed", ["running", "finished"]), ("reject", [])])
async def test_an_agent_asks_before_it_uses_a_tool_and_does_what_was_decided(
    producer: AsyncProducer, decision: Decision, used: list[str]
) -> None:
    with pytest.raises(InputRequired) as asked:
        await producer.ask(letters(), flow="careful", wait=60)
    (stop,) = (await producer.status(asked.value.query_id)).stops
    await producer.resume(asked.value.query_id, decision)
    answer = await producer.wait(asked.value.query_id, timeout=60)
    events = [event async for event in producer.stream(asked.value.query_id)]

    assert stop.text.strip().startswith("Attempting to use tool:")
    assert '"name": "find"' in stop.text
    assert not stop.feedback
    assert [each.name for each in answer.tools] == (["find"] if used else [])
    decided = next(at for at, each in enumerate(events) if each.kind is EventKind.DECIDED)
    assert [each.data["status"] for each in events[decided:] if each.kind is EventKind.TOOL] == used


async def test_the_same_question_asks_again(producer: AsyncProducer, house: RealHouse) -> None:
    question = letters()

    for _ in range(2):
        with pytest.raises(InputRequired) as asked:
            await producer.ask(question, flow="deciding", wait=60)
        await producer.resume(asked.value.query_id, "reject")
        await producer.wait(asked.value.query_id, timeout=60)

    assert len(runs(house, question)) == 2
