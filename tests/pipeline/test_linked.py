"""What a plain Celery client links to a query goes on with its real outcome, once, whoever ends the query and how."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import chain, chord, group
from processes import REPOSITORY, Process, wait_for

from agentic_flywheel.broker import transport_scripts
from agentic_flywheel.errors import DeadlineExceeded, FlowNotServed, InvalidQuery, QueryCancelled
from pipeline.house import TECHNICAL, House
from pipeline.plain import PlainClient, asked
from producer import AsyncProducer
from workers.engine.link import BrokerLink

REFUSED = {"question": "x", "flow": "no-such-flow"}


@pytest.fixture(scope="module")
def their_worker(standing_house: House) -> Iterator[Process]:
    """A stock Celery worker with the user's own tasks, on the same broker."""
    command = [sys.executable, "-m", "celery", "-A", "pipeline.their_app", "worker", "--pool", "solo", "-l", "INFO"]
    env = {"THEIR_BROKER": standing_house.broker.url, "PYTHONPATH": str(REPOSITORY / "tests")}
    worker = Process(command, log=standing_house.folder / "theirs.log", env=env)
    wait_for(lambda: "ready." in worker.log, within=60, what="their worker is ready")
    yield worker
    worker.kill()


@pytest.fixture
def client(house: House, their_worker: Process) -> PlainClient:
    return PlainClient(house)


@pytest.fixture
def place() -> str:
    """Where the user's own tasks of one test leave their notes."""
    return uuid.uuid4().hex[:8]


def in_the_end(client: PlainClient, place: str) -> list[str]:
    """Return what was noted, once nothing more can be on its way."""
    waiting = ("classify", "classify.high", "celery", "flywheel:unacked", "unacked")

    def is_quiet() -> bool:
        broker = client.house.client
        return not any(broker.hlen(each) if "unacked" in each else broker.llen(each) for each in waiting)

    wait_for(is_quiet, within=20, what="nothing is under way")
    return client.notes(place, 0)


def test_a_linked_task_is_given_the_answer(client: PlainClient, house: House, place: str) -> None:
    house.behave(TECHNICAL, latency=0.5)
    result = client.query(asked()).apply_async(link=client.theirs("follow", place))

    answer = result.get(timeout=20)

    assert answer["text"]
    assert client.notes(place) == [answer["text"]]
    assert in_the_end(client, place) == [answer["text"]]


def test_all_linked_tasks_are_given_the_answer(client: PlainClient, place: str) -> None:
    query = client.query(asked())
    query.link(client.theirs("follow", place))
    query.link(client.theirs("follow", f"{place}-2"))

    text = query.apply_async().get(timeout=20)["text"]

    assert client.notes(place) == client.notes(f"{place}-2") == [text]


def test_a_failed_query_calls_the_errback_with_its_id_and_no_callback(client: PlainClient, place: str) -> None:
    result = client.query(REFUSED).apply_async(
        link=client.theirs("follow", place), link_error=client.theirs("regret", place)
    )

    with pytest.raises(FlowNotServed):
        result.get(timeout=20)
    assert client.notes(place) == [result.id]
    assert in_the_end(client, place) == [result.id]


def test_a_query_may_follow_the_failure_of_another_one(client: PlainClient, house: House) -> None:
    again = client.query(asked(), immutable=True).set(task_id=uuid.uuid4().hex)
    client.query(REFUSED).apply_async(link_error=again)

    assert client.app.AsyncResult(again.options["task_id"]).get(timeout=20)["text"]


def test_a_chain_goes_on_with_the_answer(client: PlainClient, place: str) -> None:
    result = chain(client.theirs("add", 1, 2), client.query(asked(), immutable=True), client.theirs("follow", place))

    answer = result.apply_async().get(timeout=20)

    assert client.notes(place) == [answer["text"]]


def test_a_chain_whose_query_fails_fails_with_its_error(client: PlainClient, place: str) -> None:
    result = chain(client.query(REFUSED), client.theirs("follow", place), client.theirs("follow", place)).apply_async()

    with pytest.raises(FlowNotServed):
        result.get(timeout=20)
    assert in_the_end(client, place) == []


def test_a_chord_waits_for_its_queries(client: PlainClient, house: House, place: str) -> None:
    house.behave(TECHNICAL, latency=0.7)
    header = [client.query(asked()), client.query(asked()), client.theirs("add", 1, 2)]

    assert chord(header, client.theirs("gather", place)).apply_async().get(timeout=20) == 3

    first, second, third = client.notes(place, 3)
    assert len(first) > 20
    assert len(second) > 20
    assert third == "3"


@pytest.mark.provokes("Chord .* raised")
def test_a_chord_with_a_failed_query_fails(client: PlainClient, place: str) -> None:
    result = chord([client.query(asked()), client.query(REFUSED)], client.theirs("gather", place)).apply_async()

    with pytest.raises(Exception, match="no-such-flow"):
        result.get(timeout=20)
    assert in_the_end(client, place) == []


def test_a_group_may_follow_a_query(client: PlainClient, place: str) -> None:
    both = group(client.theirs("follow", place), client.theirs("follow", place))

    first, second = chain(client.query(asked()), both).apply_async().get(timeout=20)

    assert first["text"] == second["text"] != ""


def test_the_answer_is_the_same_value_that_get_returns(client: PlainClient, place: str) -> None:
    follows = client.theirs("follow", place).set(task_id=uuid.uuid4().hex)
    answer = client.query(asked()).apply_async(link=follows).get(timeout=20)

    assert client.app.AsyncResult(follows.options["task_id"]).get(timeout=20) == answer


def test_a_cached_answer_goes_on_as_well(client: PlainClient, house: House, place: str) -> None:
    question = asked()
    client.send(question).get(timeout=20)

    answer = client.query(question).apply_async(link=client.theirs("follow", place)).get(timeout=20)

    assert answer["cached"]
    assert client.notes(place) == [answer["text"]]
    assert house.calls(question) == 1


def test_queries_that_share_one_call_go_on_each_for_itself(client: PlainClient, house: House, place: str) -> None:
    house.behave(TECHNICAL, latency=1)
    question = asked()
    results = [client.query(question).apply_async(link=client.theirs("follow", place)) for _ in range(5)]

    texts = [each.get(timeout=20)["text"] for each in results]

    assert client.notes(place, 5) == texts
    assert len(in_the_end(client, place)) == 5
    assert house.calls(question) == 1


async def test_a_cancelled_query_calls_its_errbacks(
    client: PlainClient, house: House, producer: AsyncProducer, place: str
) -> None:
    house.behave(TECHNICAL, latency=20)
    linked = client.query(asked()).apply_async(link_error=client.theirs("regret", place))
    chained = chain(client.query(asked()), client.theirs("follow", place)).apply_async()
    wait_for(lambda: client.record(linked.id).get("state") == "running", within=20)
    wait_for(lambda: client.record(chained.parent.id).get("state") == "running", within=20)
    await producer.cancel(linked.id)
    await producer.cancel(chained.parent.id)

    assert client.notes(place) == [linked.id]
    with pytest.raises(QueryCancelled):
        chained.get(timeout=20)
    assert linked.state == "REVOKED"
    assert in_the_end(client, place) == [linked.id]


def test_an_expired_query_calls_its_errbacks(client: PlainClient, house: House, place: str) -> None:
    house.behave(TECHNICAL, latency=20)
    result = client.query(asked()).apply_async(link_error=client.theirs("regret", place), expires=1)

    with pytest.raises(DeadlineExceeded):
        result.get(timeout=20)
    assert client.notes(place) == [result.id]


def test_what_follows_a_query_with_an_odd_id_hears_of_its_refusal(client: PlainClient, place: str) -> None:
    client.query(asked()).apply_async(task_id="an odd id", link_error=client.theirs("regret", place))

    assert client.notes(place) == ["an odd id"]


def test_what_follows_is_bounded(client: PlainClient, place: str) -> None:
    result = client.query(asked()).apply_async(link=client.theirs("follow", place, "x" * 70_000))

    with pytest.raises(InvalidQuery) as caught:
        result.get(timeout=20)
    assert caught.value.field_name == "link"


@pytest.mark.parametrize("link", [5, ["their.follow"], [{"task": 5}], {"a": "b"}])
def test_what_follows_must_be_a_signature(client: PlainClient, house: House, link: Any) -> None:
    result = client.app.send_task("flywheel.classify", [asked()], queue="parked-here", link=link)
    message = str(house.client.rpop("parked-here")).replace("parked-here", "classify")
    house.client.lpush("classify", message)

    with pytest.raises(Exception, match=r"link|cannot be read"):
        result.get(timeout=20)


async def test_what_follows_survives_the_loss_of_the_worker_that_has_taken_it(
    client: PlainClient, house: House, producer: AsyncProducer, place: str
) -> None:
    house.behave(TECHNICAL, latency=20)
    result = client.query(asked()).apply_async(link_error=client.theirs("regret", place))
    wait_for(lambda: client.record(result.id).get("state") == "running", within=20)
    for worker in house.workers:
        worker.kill()
    await producer.cancel(result.id)
    link = BrokerLink(redis.ConnectionPool.from_url(house.broker.url), visibility_timeout=15)
    taken = link.run(transport_scripts.fetch(limit=10, share=10, list_first=True, bands=[1], queues=["classify.high"]))
    link.close()
    assert isinstance(taken, transport_scripts.FetchTaken)
    assert taken.queues == ("classify.high",)  # as a worker leaves it that is killed

    house.worker(FLYWHEEL_VISIBILITY_TIMEOUT="2s")

    assert client.notes(place) == [result.id]
    assert in_the_end(client, place) == [result.id]


def test_a_users_own_worker_keeps_what_it_has_taken(client: PlainClient, house: House, place: str) -> None:
    """Both use one broker: our workers return messages of lost workers after 15 s, Celery's after an hour."""
    house.worker(FLYWHEEL_VISIBILITY_TIMEOUT="2s")
    for _ in range(2):
        client.theirs("rest", 4, place).apply_async()

    client.notes(place, 2)
    assert in_the_end(client, place) == ["begun", "begun"]
