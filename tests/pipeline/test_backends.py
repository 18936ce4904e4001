"""What the queue promises holds for flows of every backend: one house, in which two servers' protocols are spoken."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.storm import storm

from agentic_flywheel.errors import (
    FlowFailed,
    FlowProtocolError,
    FlowRefused,
    FlowTimeout,
    FlowUnable,
    FlowUnauthorized,
    FlywheelError,
)
from agentic_flywheel.models import EventKind, State
from agentic_flywheel.uploads import Upload
from pipeline.house import House, at_work
from producer import AsyncProducer

#: Each pair of flows differs in its backend alone.
REGISTRY = """
intent_classification:
  fallback_flow: creative-orientation
operational_flows:
  creative-orientation:
    id: 7d405a51-968d-4467-9ae6-d49bf182cdf9
    domain: creative
    intent_keywords: [poem, story, painting]
    examples: [Write a poem about the sea, Help me imagine a story, What should this painting show?]
  technical-analysis:
    id: 896f7eed-342e-4596-9429-6fb9b5fbd91b
    domain: technical
    intent_keywords: [python, database, docker]
    examples: [How do I connect PostgreSQL to Python?, Which index does this join need?, Why is the docker build slow?]
  document-qa:
    id: 2f6c2f0e-6f0b-4c52-9a51-6f1f0a3f7c11
    domain: documents
    intent_keywords: [contract, clause, pdf]
    examples: [What does the contract say about notice?, Which clause covers liability?, Summarise this PDF]
  asked-flowise:
    id: 00000000-0000-4000-8000-000000000101
    domain: pair
    failure_ttl: 0
  asked-openai:
    id: 00000000-0000-4000-8000-000000000102
    domain: pair
    failure_ttl: 0
  hasty-flowise:
    id: 00000000-0000-4000-8000-000000000103
    domain: pair
    timeout: 400ms
    failure_ttl: 0
  hasty-openai:
    id: 00000000-0000-4000-8000-000000000104
    domain: pair
    timeout: 400ms
    failure_ttl: 0
"""
IDS = {name: f"00000000-0000-4000-8000-0000000001{n:02}" for n, name in enumerate(
    ("asked-flowise", "asked-openai", "hasty-flowise", "hasty-openai"), 1
)}  # fmt: skip
#: Flows of that sandbox that are asked with a template: one remembers by its session alone, of one the answer is
#: looked for where none stands.
TEMPLATES = """
  templated:
    server: plain
    domain: pair
    cache: off
    request: &request
      path: /api/v1/prediction/00000000-0000-4000-8000-000000000101
      body: {question: "{{question}}", overrideConfig: {sessionId: "{{session_id}}"}}
    answer: {text: /text}
  misread:
    server: plain
    domain: pair
    memory: none
    failure_ttl: 0
    request: *request
    answer: {text: /answer}
    api_key_env: NOT_SET_KEY
"""
SPOKEN = "sk-spoken-0123456789"
BOTH = pytest.mark.parametrize("flow", ["asked-flowise", "asked-openai"])


class PairHouse(House):
    """A house whose sandbox is Flowise to some flows and a server of chat completions to others."""

    def __init__(self, folder: Path, *, workers: dict[str, str]) -> None:
        of_spoken = ", api_key_env: SPOKEN_KEY, concurrency: 3"
        spoken = ("technical-analysis", "asked-openai", "hasty-openai")
        super().__init__(folder, registry=REGISTRY, workers=workers, spoken=spoken, of_spoken=of_spoken)
        self.registry.write_text(f"{self.registry.read_text()}{TEMPLATES}")


@pytest.fixture(scope="module")
def standing_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PairHouse]:
    with at_work(PairHouse(tmp_path_factory.mktemp("pair"), workers={"SPOKEN_KEY": SPOKEN})) as house:
        yield house


def fresh(question: str) -> str:
    return f"{question} ({uuid.uuid4().hex[:8]})"


async def failed(producer: AsyncProducer, question: str, flow: str) -> FlywheelError:
    with pytest.raises(FlywheelError) as told:
        await producer.ask(question, flow=flow, wait=30)
    return told.value


@BOTH
async def test_an_answer_is_told_while_it_is_made_and_says_what_it_used(
    producer: AsyncProducer, house: House, flow: str
) -> None:
    house.behave(IDS[flow], token_delay=0.02)
    submission = await producer.submit(fresh("Why?"), flow=flow)
    events = [event async for event in producer.stream(submission.query_id)]
    answer = await producer.wait(submission.query_id, 20)

    tokens = [str(event.data["text"]) for event in events if event.kind == EventKind.TOKEN]
    assert len(tokens) > 3
    assert "".join(tokens) == answer.text
    assert answer.first_token is not None
    # A chatflow of Flowise says nothing of tokens.
    assert bool(answer.usage and answer.usage.total_tokens) == (flow == "asked-openai")


@BOTH
async def test_the_same_question_is_asked_once_and_then_served(
    producer: AsyncProducer, house: House, flow: str
) -> None:
    house.behave(IDS[flow], latency=0.4)
    question = fresh("Why?")
    together = await asyncio.gather(*(producer.ask(question, flow=flow, wait=20) for _ in range(10)))
    later = await producer.ask(question, flow=flow, wait=20)

    assert house.calls(question) == 1
    assert sum(answer.attached_to is None and not answer.cached for answer in together) == 1
    assert later.cached


@BOTH
async def test_a_session_is_remembered_by_whoever_can(producer: AsyncProducer, house: House, flow: str) -> None:
    session, first, second = uuid.uuid4().hex, fresh("My name is Ada."), fresh("What is my name?")
    answers = [await producer.ask(each, flow=flow, session_id=session, wait=20) for each in (first, second)]

    (sent,) = house.sent(second)
    if flow == "asked-flowise":
        assert sent["overrideConfig"]["sessionId"]
        assert "history" not in sent
    else:
        said = [(each["role"], each["content"]) for each in sent["messages"]]
        assert said == [("user", first), ("assistant", answers[0].text), ("user", second)]


async def test_a_server_that_remembers_and_takes_no_history_goes_on_after_another_flows_turn(
    producer: AsyncProducer, house: House
) -> None:
    session, first, second = uuid.uuid4().hex, fresh("My name is Ada."), fresh("What is my name?")
    before = await producer.ask(first, flow="templated", session_id=session, wait=20)
    await producer.ask(fresh("Meanwhile?"), flow="asked-openai", session_id=session, wait=20)
    after = await producer.ask(second, flow="templated", session_id=session, wait=20)

    ((told,), (later,)) = house.sent(first), house.sent(second)
    assert later["overrideConfig"]["sessionId"] == told["overrideConfig"]["sessionId"]
    assert before.warnings == ()
    assert "was not told all that was said" in after.warnings[0]


async def test_an_answer_that_cannot_be_read_is_paid_for_once_more_at_most(
    producer: AsyncProducer, house: House
) -> None:
    question = fresh("Why?")
    error = await failed(producer, question, "misread")

    assert "NOT_SET_KEY is not set here" in house.workers[0].log
    assert isinstance(error, FlowProtocolError)
    assert "at '/answer' stands nothing, not a text" in error.message
    assert house.calls(question) == 2


async def test_what_a_backend_refuses_before_it_asks_is_no_business_of_flowises(
    producer: AsyncProducer, house: House
) -> None:
    question = fresh("Why?")
    with pytest.raises(FlowRefused) as told:
        await producer.ask(question, flow="asked-openai", config={"temperature": 9}, wait=20)

    assert "`temperature` should be a number from 0 to 2" in told.value.message
    assert "Check what the flow is sent: `sampling`" in told.value.recovery_suggestions[0]
    assert house.calls(question) == 0


@BOTH
@pytest.mark.parametrize(
    ("fault", "kinds", "calls"),
    [
        ("error_500", (FlowFailed, FlowRefused), 1),
        ("provider_401", (FlowUnauthorized,), 1),
        ("html", (FlowProtocolError,), 4),
        ("empty", (FlowFailed,), 1),
    ],
)
async def test_a_failure_is_named_and_repeated_only_where_that_may_help(
    producer: AsyncProducer, house: House, flow: str, fault: str, kinds: tuple[type[FlywheelError], ...], calls: int
) -> None:
    house.behave(IDS[flow], fault=fault)
    question = fresh("Why?")
    error = await failed(producer, question, flow)

    assert isinstance(error, kinds), error
    assert flow in error.message
    # Of an answer that was not read nothing is found later where the server keeps none.
    assert house.calls(question) == (2 if calls > 1 and flow == "asked-openai" else calls)
    if flow == "asked-openai":
        told = " ".join((error.message, *error.recovery_suggestions))
        assert "Flowise" not in told
        assert "FLOWISE" not in told
        assert "sk-spoken" not in told


@pytest.mark.parametrize(
    ("flow", "fault"),
    [
        ("asked-flowise", "provider_429"),
        ("asked-flowise", "drop"),
        ("asked-openai", "provider_429"),
        ("asked-openai", "provider_500"),
        ("asked-openai", "drop"),
    ],
)
async def test_what_passes_is_tried_again(producer: AsyncProducer, house: House, flow: str, fault: str) -> None:
    house.behave(IDS[flow], fault=fault, fault_first=1)
    question = fresh("Why?")
    answer = await producer.ask(question, flow=flow, wait=40)

    assert answer.attempts <= 2
    assert house.calls(question) == 2


async def test_a_call_that_was_cut_is_found_late_or_repeated_once_and_said_to_be_lost(
    producer: AsyncProducer, house: House
) -> None:
    for flow, calls in (("hasty-flowise", 4), ("hasty-openai", 2)):
        house.behave(IDS[flow], fault="hang")
        question = fresh("Why?")
        error = await failed(producer, question, flow)

        assert isinstance(error, FlowTimeout)
        assert house.calls(question) == calls
        assert ("its answer is lost" in error.message) == (flow == "hasty-openai")


async def test_a_late_answer_is_looked_for_only_where_the_server_keeps_one(
    producer: AsyncProducer, house: House
) -> None:
    question = fresh("Why?")
    house.behave(IDS["hasty-flowise"], latency=0.7)
    answer = await producer.ask(question, flow="hasty-flowise", wait=30)

    assert answer.text
    assert house.calls(question) <= 3


async def test_what_a_server_cannot_do_is_said_before_it_is_asked(producer: AsyncProducer, house: House) -> None:
    question = fresh("What does it say?")
    document = Upload.of(b"%PDF-1.4", "a.pdf")
    with pytest.raises((FlowUnable, FlowRefused)) as told:
        await producer.ask(question, flow="asked-openai", uploads=[document], wait=20)

    assert house.calls(question) == 0
    assert "asked-openai" in told.value.message
    assert "Flowise" not in " ".join((told.value.message, *told.value.recovery_suggestions))


@BOTH
async def test_a_query_that_is_cancelled_gives_its_place_back(producer: AsyncProducer, house: House, flow: str) -> None:
    house.behave(IDS[flow], latency=30)
    submissions = [await producer.submit(fresh("Why?"), flow=flow) for _ in range(3)]
    for each in submissions:
        while (await producer.status(each.query_id)).state != State.RUNNING:
            await asyncio.sleep(0.02)
    for each in submissions:
        await producer.cancel(each.query_id)
    house.behave(IDS[flow])

    answer = await producer.ask(fresh("And now?"), flow=flow, wait=20)
    assert answer.text
    assert {(await producer.status(each.query_id)).state for each in submissions} == {State.CANCELLED}


async def test_a_question_for_two_domains_is_asked_of_both_backends(producer: AsyncProducer) -> None:
    question = fresh("Which python database index helps, and which clause of the contract covers liability?")
    answer = await producer.ask(question, wait=20)

    assert {part.domain for part in answer.parts} == {"technical", "documents"}
    assert all(part.text in answer.text and not part.error for part in answer.parts)


async def test_a_named_server_has_as_many_calls_at_once_as_the_registry_says(
    producer: AsyncProducer, house: House
) -> None:
    house.behave(IDS["asked-openai"], latency=0.3)
    serving, most = f"flywheel:serving:{house.flowise_url}/v1", 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, house.client.zcard(serving))
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(producer.ask(fresh("q"), flow="asked-openai", wait=30) for _ in range(9)))
    watching.cancel()

    assert most == 3


async def test_nothing_is_lost_or_answered_twice_whoever_answers(house: House) -> None:
    house.behave(latency=0.05)

    async def fault() -> None:
        house.workers[-1].kill()
        await asyncio.to_thread(house.worker)

    tally = await storm(house, fault, count=40)

    assert (tally.lost, tally.twice, tally.outcomes) == ([], [], {"answered": 40})


async def test_a_server_that_goes_away_and_comes_back_loses_nothing(house: PairHouse) -> None:
    async def fault() -> None:
        house.sandbox.kill()
        await asyncio.sleep(1)
        await asyncio.to_thread(house.serve_again)

    tally = await storm(house, fault, count=30)

    assert (tally.lost, tally.twice, tally.outcomes) == ([], [], {"answered": 30})


async def test_a_key_that_a_flow_quotes_is_shown_to_nobody(producer: AsyncProducer, house: House) -> None:
    house.behave(IDS["asked-openai"], token_delay=0.01)
    submission = await producer.submit(f"Why is the database of {SPOKEN} so slow?", flow="asked-openai")
    events = [each async for each in producer.stream(submission.query_id)]
    told = "".join(str(each.data["text"]) for each in events if each.kind is EventKind.TOKEN)
    answer = await producer.wait(submission.query_id, 30)

    assert "***" in answer.text
    assert SPOKEN not in answer.model_dump_json() + told
