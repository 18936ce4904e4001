"""A flow stops and asks a person: the query waits without a place in the queue, and goes on with the decision."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery
from processes import wait_for

from agentic_flywheel.broker import wire
from agentic_flywheel.errors import (
    AlreadyDecided,
    DecisionNotTaken,
    EarlierTurnAsks,
    FlowProtocolError,
    InputRequired,
    InvalidDecision,
    InvalidQuery,
    NothingToDecide,
    QueryCancelled,
    StoppedRunGone,
    UnknownQuery,
)
from agentic_flywheel.models import EventKind, Record, State
from agentic_flywheel.stops import Decision
from agentic_flywheel.uploads import Upload
from pipeline.house import APPROVAL, APPROVAL_PLAIN, BRIEF, House
from producer import AsyncProducer


def fresh(question: str) -> str:
    return f"{question} ({uuid.uuid4().hex[:8]})"


@pytest.fixture
async def producer(house: House) -> AsyncIterator[AsyncProducer]:
    for each in (APPROVAL, APPROVAL_PLAIN):
        house.build(each, style="approval")
    async with AsyncProducer(house.settings) as producer:
        yield producer
        await producer.cancel(everything=True)


async def stopped(producer: AsyncProducer, question: str, flow: str = "approval", session: str | None = None) -> Record:
    """Ask a question whose flow stops; return its record."""
    with pytest.raises(InputRequired) as asked:
        await producer.ask(question, flow=flow, session_id=session, wait=20)
    return await producer.status(asked.value.query_id)


@pytest.mark.parametrize("flow", ["approval", "approval-plain"])
async def test_a_flow_that_stops_goes_on_under_the_same_id_in_the_same_chat(
    producer: AsyncProducer, house: House, flow: str
) -> None:
    question = fresh("Delete the database?")

    waits = await stopped(producer, question, flow)
    (stop,) = waits.stops
    listed = await producer.waiting()
    number = await producer.resume(waits.query_id, "proceed", feedback="be careful")
    answer = await producer.wait(waits.query_id, timeout=20)

    assert (waits.state, waits.reason, waits.answer) == (State.INPUT_REQUIRED, "", None)
    assert (stop.number, stop.text.strip(), stop.flow, stop.title) == (1, "Proceed with it?", flow, "Human Input 0")
    assert stop.choices == {"proceed": "Proceed", "reject": "Reject"}
    assert stop.until - stop.since == timedelta(days=7)
    assert [each.query_id for each in listed] == [waits.query_id]
    assert (answer.query_id, answer.text, number) == (waits.query_id, "approved", 1)
    asked, told = house.latest(2)
    assert told["chatId"] == asked["chatId"]
    assert told["humanInput"] == {
        "type": "proceed",
        "startNodeId": "humanInputAgentflow_0",
        "feedback": "be careful",
    }
    assert (await producer.status(waits.query_id)).state is State.SUCCEEDED
    assert await producer.waiting() == []


@pytest.mark.parametrize(("decision", "used"), [("proceed", ["running", "finished"]), ("reject", [])])
async def test_an_agent_asks_before_it_uses_a_tool_and_does_what_was_decided(
    producer: AsyncProducer, house: House, decision: Decision, used: list[str]
) -> None:
    house.build(APPROVAL, style="careful")

    waits = await stopped(producer, fresh("How much is 6*7?"))
    with pytest.raises(InvalidDecision, match="feedback: the flow 'approval' takes no message here"):
        await producer.resume(waits.query_id, decision, feedback="be careful")
    number = await producer.resume(waits.query_id, decision)
    answer = await producer.wait(waits.query_id, timeout=20)
    events = [each async for each in producer.stream(waits.query_id)]

    (stop,) = waits.stops
    assert stop.text.startswith("\nAttempting to use tool:")
    assert (stop.node, stop.title, stop.feedback, number) == ("agentAgentflow_0", "Agent 0", False, 1)
    assert [each.name for each in answer.tools] == (["calculator"] if used else [])
    decided = next(at for at, each in enumerate(events) if each.kind is EventKind.DECIDED)
    assert [each.data["status"] for each in events[decided:] if each.kind is EventKind.TOOL] == used
    assert house.latest(1)[0]["humanInput"] == {"type": decision, "startNodeId": "agentAgentflow_0"}


async def test_neither_what_is_asked_nor_what_follows_is_given_to_another(
    producer: AsyncProducer, house: House
) -> None:
    question = fresh("Delete the database?")

    first = await stopped(producer, question)
    await producer.resume(first.query_id, "proceed")
    await producer.wait(first.query_id, timeout=20)
    second = await stopped(producer, question)
    await producer.resume(second.query_id, "reject")

    assert (await producer.wait(second.query_id, timeout=20)).text == "rejected"
    assert house.client.keys(wire.answer_key("approval", "*")) == []


async def test_those_that_shared_the_call_ask_for_themselves(producer: AsyncProducer, house: House) -> None:
    house.behave(APPROVAL, latency=0.5)
    question = fresh("Delete the database?")

    waiting = await asyncio.gather(*(stopped(producer, question) for _ in range(4)))

    assert len({record.query_id for record in waiting}) == 4
    assert house.calls(question) == 4
    await producer.resume(waiting[2].query_id, "proceed")
    assert (await producer.wait(waiting[2].query_id, timeout=20)).text == "approved"
    left = {record.query_id for record in await producer.waiting()}
    assert left == {record.query_id for record in waiting} - {waiting[2].query_id}


async def test_a_decision_tells_the_flow_neither_its_form_nor_its_files_nor_the_history_again(
    producer: AsyncProducer, house: House
) -> None:
    house.build(APPROVAL, style="approval", images=True)
    image = Upload.of(b"\x89PNG\r\n\x1a\n" + uuid.uuid4().bytes, "kitten.png")
    with pytest.raises(InputRequired) as asked:
        await producer.ask(fresh("Delete what it shows?"), flow="approval", uploads=[image], wait=20)
    await producer.resume(asked.value.query_id, "proceed", feedback="the copy")
    assert (await producer.wait(asked.value.query_id, timeout=20)).text == "approved"

    first, second = house.latest(2)
    assert first["uploads"]
    assert first["question"]
    assert second["humanInput"]["feedback"] == "the copy"
    assert second["chatId"] == first["chatId"]
    assert not second.keys() & {"question", "form", "uploads", "history"}


async def test_a_flow_may_stop_any_number_of_times(producer: AsyncProducer, house: House) -> None:
    house.behave(APPROVAL, stops=3)
    query_id = (await stopped(producer, fresh("Delete the database?"))).query_id

    assert await producer.resume(query_id, "proceed") == 1
    for number in (2, 3):
        with pytest.raises(InputRequired) as asked:
            await producer.wait(query_id, timeout=20)
        assert asked.value.stop == number
        # The decision at an earlier stop, repeated by whoever lost its reply, is no decision at a later one.
        await producer.resume(query_id, "proceed", stop=1)
        with pytest.raises(InvalidQuery, match=rf"more than once; name the stop that you decide: {number} \(app"):
            await producer.resume(query_id, "proceed")
        assert [stop.number for stop in (await producer.status(query_id)).stops] == [number]
        await producer.resume(query_id, "proceed" if number == 2 else "reject", stop=number)
    assert (await producer.wait(query_id, timeout=20)).text == "rejected"
    kinds = [event.kind async for event in producer.stream(query_id)]
    assert kinds.count(EventKind.INPUT_REQUIRED) == kinds.count(EventKind.DECIDED) == 3


async def test_the_same_decision_twice_is_one_and_another_one_is_refused(producer: AsyncProducer, house: House) -> None:
    query_id = (await stopped(producer, fresh("Delete the database?"))).query_id

    for _ in range(3):
        await producer.resume(query_id, "proceed", feedback="yes")
    with pytest.raises(AlreadyDecided, match="proceed"):
        await producer.resume(query_id, "reject")
    await producer.wait(query_id, timeout=20)
    await producer.resume(query_id, "proceed", feedback="yes")
    with pytest.raises(AlreadyDecided):
        await producer.resume(query_id, "proceed", feedback="no")
    assert sum("humanInput" in each for each in house.latest(20)) == 1


async def test_only_whoever_asked_may_decide(producer: AsyncProducer) -> None:
    query_id = (await stopped(producer, fresh("Delete the database?"))).query_id
    bob = producer.acting_for("bob")

    with pytest.raises(UnknownQuery):
        await bob.resume(query_id, "proceed")
    assert await bob.waiting() == []
    assert (await producer.status(query_id)).state is State.INPUT_REQUIRED


async def test_what_is_no_decision_is_refused_by_name(producer: AsyncProducer) -> None:
    answered = await producer.ask(fresh("Hello?"), flow="narrow", wait=20)
    query_id = (await stopped(producer, fresh("Delete the database?"))).query_id

    with pytest.raises(NothingToDecide, match="succeeded"):
        await producer.resume(answered.query_id, "proceed")
    with pytest.raises(InvalidQuery, match=r"none of this number; it asks for 1 \("):
        await producer.resume(query_id, "proceed", stop=2)
    for wrong in ({"decision": "perhaps"}, {"feedback": "x" * 8001}, {"feedback": "\x00"}, {"stop": 0}):
        with pytest.raises(InvalidQuery, match=next(iter(wrong))):
            await producer.resume(query_id, **{"decision": "proceed", **wrong})  # type: ignore[arg-type]


async def test_a_later_turn_of_the_session_is_refused_and_names_the_query_that_waits(producer: AsyncProducer) -> None:
    session = fresh("s").replace(" ", "")
    waits = await stopped(producer, fresh("Delete the database?"), session=session)

    with pytest.raises(EarlierTurnAsks) as refused:
        await producer.ask("And then?", flow="narrow", session_id=session, wait=20)
    await producer.resume(waits.query_id, "proceed")
    later = await producer.ask("And then?", flow="narrow", session_id=session, wait=20)

    assert refused.value.query_id == waits.query_id
    assert later.session_id == session
    assert (await producer.history(session))[0].answer == "approved"


async def test_it_has_no_place_in_any_limit_while_it_waits(producer: AsyncProducer, house: House) -> None:
    ann = producer.acting_for("ann")
    await stopped(ann, fresh("Delete the database?"))

    assert house.client.zcard(wire.ASKED) == 1
    assert house.client.exists(wire.underway_key("ann"), wire.open_in_key("approval")) == 0
    assert house.client.zcard(wire.running_key("approval")) == 0
    assert house.client.keys(wire.lease_key("*")) == []
    wait_for(lambda: house.client.hlen(wire.UNACKED) == 0, what="acknowledgements")
    await ann.cancel(everything=True)


async def test_a_query_that_is_cancelled_while_it_waits_is_stopped_in_flowise(
    producer: AsyncProducer, house: House
) -> None:
    waits = await stopped(producer, fresh("Delete the database?"))

    await producer.cancel(waits.query_id)

    with pytest.raises(QueryCancelled):
        await producer.wait(waits.query_id, timeout=30)
    with pytest.raises(NothingToDecide, match="cancelled"):
        await producer.resume(waits.query_id, "proceed")
    assert await producer.waiting() == []
    wait_for(lambda: house.aborted(waits.query.question), what="an abort of the chat")
    wait_for(lambda: house.run_in(APPROVAL, waits.stops[0].chat_id)["state"] == "TERMINATED", what="its end")


async def test_a_run_whose_server_is_away_when_its_query_ends_is_ended_once_it_is_back(
    producer: AsyncProducer, house: House
) -> None:
    waits = await stopped(producer, fresh("Delete the database?"))
    house.sandbox.send(signal.SIGSTOP)
    try:
        await producer.cancel(waits.query_id)
        await asyncio.to_thread(wait_for, lambda: house.client.exists(wire.LEFT_RUNS), what="a run that is left")
        await asyncio.sleep(5)  # longer than a server has to take note of an end
    finally:
        house.sandbox.send(signal.SIGCONT)

    chat = waits.stops[0].chat_id
    await asyncio.to_thread(wait_for, lambda: house.run_in(APPROVAL, chat)["state"] == "TERMINATED", what="its end")
    await asyncio.to_thread(wait_for, lambda: not house.client.exists(wire.LEFT_RUNS), what="nothing to be left")


async def test_in_a_fan_out_the_synthesis_waits_for_the_part(producer: AsyncProducer, house: House) -> None:
    question = fresh("Write a poem, and say what the contract covers")
    house.build("7d405a51-968d-4467-9ae6-d49bf182cdf9", style="approval")
    submission = await producer.submit(question, domain=None)
    with pytest.raises(InputRequired) as asked:
        await producer.wait(submission.query_id, timeout=20)
    record = await producer.status(submission.query_id)

    await producer.resume(submission.query_id, "proceed")
    answer = await producer.wait(submission.query_id, timeout=20)

    assert asked.value.flow == "creative-orientation"
    # Another part may ask meanwhile.
    assert "--proceed --stop 1`" in asked.value.describe().recovery_suggestions[0]
    assert record.route is not None
    assert record.route.decision == "fan_out"
    assert record.stops[0].part == "creative-orientation"
    assert [part.text for part in answer.parts if part.flow == "creative-orientation"] == ["approved"]
    assert len(answer.parts) == 2


async def test_figures_hold_no_time_that_a_person_took(producer: AsyncProducer, house: House) -> None:
    waits = await stopped(producer, fresh("Delete the database?"))
    # As if it had been asked ten hours ago.
    long_ago = int((datetime.now(UTC) - timedelta(hours=10)).timestamp() * 1000)
    key = wire.record_key(waits.query_id)
    house.client.hset(key, mapping={"asked": long_ago, "created": long_ago - 50})

    await producer.resume(waits.query_id, "proceed")
    await producer.wait(waits.query_id, timeout=20)

    told = [str(name) for hour in house.client.keys(wire.tally_key("*")) for name in house.client.hkeys(hour)]
    octaves = [int(name.rpartition("|")[2]) for name in told if name.startswith("q|approval|succeeded|")]
    assert octaves
    assert max(octaves) < 60  # 33 s
    assert (await producer.wait(waits.query_id, timeout=20)).elapsed < timedelta(seconds=33)


async def test_a_fallback_is_not_asked_for_what_was_decided(producer: AsyncProducer, house: House) -> None:
    waits = await stopped(producer, fresh("Delete the database?"))
    house.behave(APPROVAL, fault="html")

    await producer.resume(waits.query_id, "proceed")

    with pytest.raises(FlowProtocolError):
        await producer.wait(waits.query_id, timeout=20)


async def test_nobody_is_asked_for_the_renewal_of_a_kept_answer(producer: AsyncProducer, house: House) -> None:
    question = fresh("Delete the database?")
    first = await producer.ask(question, flow="brief", wait=20)
    await asyncio.sleep(0.4)
    house.build(BRIEF, style="approval")

    second = await producer.ask(question, flow="brief", wait=20)
    wait_for(lambda: house.calls(question) == 2, what="the renewal")

    assert (second.text, second.stale) == (first.text, True)
    wait_for(lambda: house.client.zcard(wire.running_key("brief")) == 0, what="the end of the renewal")
    assert await producer.waiting() == []
    assert (await producer.ask(question, flow="brief", wait=20)).text == first.text


async def test_a_plain_clients_later_turn_is_refused_too(producer: AsyncProducer, house: House) -> None:
    session = fresh("s").replace(" ", "")
    waits = await stopped(producer, fresh("Delete the database?"), session=session)
    app = Celery(broker=house.broker.url, backend=house.broker.url)

    sent = app.send_task(
        wire.CLASSIFY, [{"question": "And then?", "session_id": session, "flow": "narrow"}], queue=wire.CLASSIFY_QUEUE
    )

    with pytest.raises(EarlierTurnAsks, match=waits.query_id):
        await asyncio.to_thread(sent.get, timeout=20)


async def test_the_trace_says_for_how_long_a_person_was_waited_for(producer: AsyncProducer, house: House) -> None:
    waits = await stopped(producer, fresh("Delete the database?"))
    await producer.resume(waits.query_id, "proceed", feedback="a secret")
    await producer.wait(waits.query_id, timeout=20)

    seen = await asyncio.to_thread(house.traced, waits.query_id, "person-decision")

    assert seen["output"] == "proceed"
    assert "a secret" not in str(seen)


async def test_the_flow_that_asked_is_told_although_the_registry_has_another_id_for_it_by_now(
    producer: AsyncProducer, house: House
) -> None:
    waits = await stopped(producer, fresh("Delete the database?"))
    before = house.registry.read_text()
    house.change_registry(before.replace(APPROVAL, BRIEF))
    try:
        async with asyncio.timeout(20):
            question = fresh("Are you new?")
            while not (told := house.sent(question)) or told[0]["flow"] != BRIEF:
                question = fresh("Are you new?")
                with suppress(InputRequired):
                    await producer.ask(question, flow="approval", wait=20)
        await producer.resume(waits.query_id, "proceed")
        answer = await producer.wait(waits.query_id, timeout=20)
    finally:
        house.change_registry(before)

    assert answer.text == "approved"
    assert [each["flow"] for each in house.latest(5) if "humanInput" in each] == [APPROVAL]


async def until_served(producer: AsyncProducer, served: bool) -> None:
    """Wait until the workers have said that they have the flows that ask, or that they have not."""
    async with asyncio.timeout(20):
        while any(stop.served is not served for record in await producer.waiting() for stop in record.stops):
            await asyncio.sleep(0.1)


async def test_a_decision_is_refused_while_no_worker_has_the_flow_and_taken_when_one_has_it_again(
    producer: AsyncProducer, house: House
) -> None:
    waits, given_up = [await stopped(producer, fresh("Delete the database?"), "approval-plain") for _ in range(2)]
    before = house.registry.read_text()
    house.change_registry(before.replace("\n  approval-plain:\n", "\n  removed:\n").replace(APPROVAL_PLAIN, BRIEF))
    try:
        await until_served(producer, served=False)
        with pytest.raises(DecisionNotTaken, match="has the flow 'approval-plain' any more"):
            await producer.resume(waits.query_id, "proceed")
        assert (await producer.status(waits.query_id)).state is State.INPUT_REQUIRED
        # Its run is known although the registry has nothing of its flow any more.
        await producer.cancel(given_up.query_id)
        wait_for(
            lambda: house.run_in(APPROVAL_PLAIN, given_up.stops[0].chat_id)["state"] == "TERMINATED",
            what="its end",
        )
    finally:
        house.change_registry(before)
    await until_served(producer, served=True)

    await producer.resume(waits.query_id, "proceed")

    assert (await producer.wait(waits.query_id, timeout=20)).text == "approved"


async def test_a_decision_for_a_run_that_its_server_does_not_know_ends_with_an_error_that_says_so(
    producer: AsyncProducer, house: House
) -> None:
    waits = await stopped(producer, fresh("Delete the database?"))
    house.delete_session(APPROVAL, waits.stops[0].chat_id)

    await producer.resume(waits.query_id, "proceed")

    with pytest.raises(StoppedRunGone, match="its server knows no run that asked"):
        await producer.wait(waits.query_id, timeout=20)
