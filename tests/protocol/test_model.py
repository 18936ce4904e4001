"""The record and lease protocol under every interleaving that hypothesis finds: workers that die, come back late, are
given a message twice; queries that are cancelled amid it all. On a real Valkey, through the real scripts."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from processes import Valkey

from agentic_flywheel import wire
from agentic_flywheel.batch import Batch, connect
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import FlowFailed, FlowRateLimited
from agentic_flywheel.models import TERMINAL, Answer, Query, Route, Target, new_query_id
from agentic_flywheel.settings import Settings
from agentic_flywheel.transitions import Execution, Outcome, Transitions
from workers.messages import answer_message, place
from workers.outcomes import celery_failure, failure

T = TypeVar("T")

FLOW = Flow(key="t", id="t-1", domain="technical", concurrency=2)
CATALOG = Catalog(flows={"t": FLOW})
ROUTE = Route(
    targets=(Target(flow="t", domain="technical", confidence=0.9),), decision="single", band="high", confidence=0.9
).model_dump_json()
QUEUES = ("classify", "domain.technical")


@dataclass(frozen=True)
class Delivery:
    """A message in a worker's hands, not acknowledged."""

    queue: str
    message: str


@dataclass(frozen=True)
class Call:
    """A flow that is being called; its worker may have died meanwhile without knowing."""

    execution: Execution
    delivery: Delivery
    query: Query


class Protocol(RuleBasedStateMachine):
    """Workers are whoever holds a delivery; the model remembers what was accepted and which lease is the last."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.batch = Batch(connect(self.url))
        self.run(self.batch.call("FLUSHDB"))
        self.transitions = Transitions(self.batch, Settings(redis_url=self.url))
        self.accepted: list[str] = []
        self.in_hand: list[Delivery] = []
        self.calls: list[Call] = []
        self.ended: dict[str, str] = {}
        #: The last fence that was given for each lease.
        self.last_fence: dict[str, str] = {}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    # What callers do

    @rule(number=st.integers(0, 2), session=st.sampled_from([None, None, "a", "b"]))
    def submit(self, number: int, session: str | None) -> None:
        query = Query(question=f"question {number}", session_id=session)
        query_id, written = new_query_id(), query.written()
        message = wire.classify_message(query_id, query, written)
        submitted = self.run(
            self.transitions.submit(query_id, query, written, message, front=f"front-{number}", domain=None)
        )
        again = self.run(
            self.transitions.submit(query_id, query, written, message, front=f"front-{number}", domain=None)
        )
        assert submitted.outcome in ("accepted", "attached", "hit")
        assert again.outcome == "exists"
        self.accepted.append(query_id)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.accepted:
            query_id = data.draw(st.sampled_from(self.accepted))
            self.run(self.transitions.cancel([query_id], owner="local", reason="model"))

    # What workers do

    @rule(queue=st.sampled_from(QUEUES))
    def take(self, queue: str) -> None:
        message = self.run(self.batch.call("RPOP", queue))
        if message:
            self.in_hand.append(Delivery(queue, message))

    @rule(data=st.data())
    def deliver_again(self, data: st.DataObject) -> None:
        if self.in_hand:
            delivery = data.draw(st.sampled_from(self.in_hand))
            self.run(self.batch.call("LPUSH", delivery.queue, delivery.message))

    @rule(data=st.data())
    def work(self, data: st.DataObject) -> None:
        if self.in_hand:
            call = self.carry_out(self.one(data, self.in_hand))
            if call is not None:
                self.calls.append(call)

    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        if self.calls:
            call = self.one(data, self.calls)
            self.end(call, Outcome("succeeded", answer=_answer(call)))

    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        if self.calls:
            call = self.one(data, self.calls)
            self.end(call, failure(FlowFailed("t", "model"), call.execution, call.query, 1))

    @rule(data=st.data())
    def put_off(self, data: st.DataObject) -> None:
        if self.calls:
            call = self.one(data, self.calls)
            again = place(answer_message(call.execution.query_id, call.query, FLOW))
            self.run(
                self.transitions.defer(
                    call.execution, again, queue="domain.technical", delay_ms=0, reason="retry", transient=True
                )
            )

    @rule(data=st.data())
    def hand_back(self, data: st.DataObject) -> None:
        if self.calls:
            call = self.one(data, self.calls)
            self.run(self.transitions.release(call.execution))
            self.run(self.batch.call("RPUSH", call.delivery.queue, call.delivery.message))

    @rule(data=st.data())
    def let_the_lease_run_out(self, data: st.DataObject) -> None:
        """Its message comes back to others; the worker may still be there and end its call late."""
        if self.calls:
            call = data.draw(st.sampled_from(self.calls))
            self.expire(call)

    @rule(data=st.data())
    def lose_the_worker(self, data: st.DataObject) -> None:
        if self.calls:
            self.expire(self.one(data, self.calls))

    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        if self.calls:
            call = data.draw(st.sampled_from(self.calls))
            self.run(self.transitions.renew([call.execution]))

    @rule()
    def sweep(self) -> None:
        self.run(self.transitions.sweep(CATALOG))

    # What must always hold

    @invariant()
    def a_terminal_state_is_never_left(self) -> None:
        for query_id, state in zip(self.accepted, self.run(self.states()), strict=True):
            if query_id in self.ended:
                assert state == self.ended[query_id]
            elif state in TERMINAL:
                self.ended[query_id] = state

    async def states(self) -> list[str]:
        keys = map(wire.record_key, self.accepted)
        return list(await asyncio.gather(*(self.batch.call("HGET", key, "state") for key in keys)))

    def teardown(self) -> None:
        try:
            self.drain()
            self.nothing_is_left()
        finally:
            self.run(self.batch.close())
            self.loop.close()

    def drain(self) -> None:
        """Whatever happened: healthy workers bring every query to its end."""
        for call in self.calls:
            self.expire(call)
        for delivery in self.in_hand:
            self.run(self.batch.call("RPUSH", delivery.queue, delivery.message))
        self.run(self.batch.call("DEL", f"{wire.PREFIX}running:t", f"{wire.PREFIX}circuit:t", f"{wire.PREFIX}probe:t"))
        for _ in range(200):
            self.sweep()
            took = False
            for queue in QUEUES:
                while message := self.run(self.batch.call("RPOP", queue)):
                    took = True
                    call = self.carry_out(Delivery(queue, message))
                    if call is not None:
                        self.end(call, Outcome("succeeded", answer=_answer(call)))
            if not took and not self.run(self.batch.call("KEYS", f"{wire.PREFIX}delayed:*")):
                return

    def nothing_is_left(self) -> None:
        for query_id in self.accepted:
            record = self.run(self.batch.call("HGETALL", wire.record_key(query_id)))
            assert record["state"] in TERMINAL, (query_id, record)
            if "cache_key" in record:
                continue
            events = self.run(self.batch.call("XRANGE", wire.events_key(query_id), "-", "+"))
            finals = [fields for _, fields in events if "final" in fields]
            assert len(finals) == 1, (query_id, events)
        assert int(self.run(self.batch.call("HGET", f"{wire.PREFIX}load", "*")) or 0) == 0
        for pattern in ("followers:*", "lease:*", "held:*", "line:*", "parked:*", "flight:*", "parts:*"):
            assert self.run(self.batch.call("KEYS", f"{wire.PREFIX}{pattern}")) == [], pattern

    def one(self, data: st.DataObject, some: list[T]) -> T:
        chosen = data.draw(st.integers(0, len(some) - 1))
        return some.pop(chosen)

    def expire(self, call: Call) -> None:
        lease = f"{wire.PREFIX}lease:{call.execution.lease}"
        if self.run(self.batch.call("GET", lease)) == f"{call.execution.name}#{call.execution.fence}":
            self.run(self.batch.call("DEL", lease))
        self.run(self.batch.call("RPUSH", call.delivery.queue, call.delivery.message))

    def carry_out(self, delivery: Delivery) -> Call | None:
        headers = json.loads(delivery.message)["headers"]
        arguments = json.loads(base64.b64decode(json.loads(delivery.message)["body"]))[0]
        if headers["task"] == wire.CLASSIFY:
            query = Query.model_validate(arguments[0])
            self.run(
                self.transitions.route(
                    headers["id"],
                    route=ROUTE,
                    flow=FLOW,
                    event="{}",
                    messages=[answer_message(headers["id"], query, FLOW)],
                )
            )
            return None
        query_id, query = arguments[0], Query.model_validate(arguments[1])
        key = wire.answer_key("t", query.question[-1])
        execution = Execution(query_id, "", FLOW, key, key)
        for _ in range(3):
            begun = self.run(self.transitions.begin(execution, policy="use", attempts_max=1000))
            again = place(answer_message(query_id, query, FLOW))
            match begun.verdict:
                case "run":
                    self.last_fence[key] = begun.fence
                    return Call(execution.fenced(begun.fence), delivery, query)
                case "hit":
                    self.run(self.transitions.finish(execution, Outcome("succeeded", answer=begun.stored), queue="q"))
                case "failed":
                    outcome = Outcome("failed", error=begun.stored, failure=begun.failure, transient=True)
                    self.run(self.transitions.finish(execution, outcome, queue="q"))
                case "attach":
                    if self.run(self.transitions.attach(execution, again)) == "again":
                        continue
                case "busy":
                    self.run(self.transitions.defer(execution, again, queue="domain.technical", delay_ms=0))
                case "park":
                    self.run(self.transitions.park(execution, again, reason=begun.reason, priority=query.priority))
            return None
        return None

    def end(self, call: Call, outcome: Outcome) -> None:
        key = call.execution.lease
        before = self.run(self.batch.call("GET", call.execution.cache_key))
        finished = self.run(self.transitions.finish(call.execution, outcome, queue="domain.technical"))
        if self.last_fence[key] != call.execution.fence:
            holder = self.run(self.batch.call("GET", f"{wire.PREFIX}lease:{key}"))
            if holder is not None:
                assert not finished.won, "a late worker has overwritten"
                assert self.run(self.batch.call("GET", call.execution.cache_key)) == before
        if finished.late:  # as the worker does
            self.run(self.batch.call("LPUSH", call.delivery.queue, call.delivery.message))


def _answer(call: Call) -> str:
    return Answer(query_id=call.execution.query_id, text="a", flow="t", domain="technical").model_dump_json()


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("model")).start()
    yield server
    server.stop()


@pytest.mark.timeout(1200)
def test_every_interleaving_ends_each_query_once(own_broker: Valkey, full_storm: bool) -> None:
    Protocol.url = own_broker.url
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Protocol,
        settings=settings(
            max_examples=1000 if full_storm else 12,
            stateful_step_count=40,
            deadline=None,
            derandomize=not full_storm,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate,),
        ),
    )


def test_celery_reads_our_failures() -> None:
    from celery.backends.redis import RedisBackend

    from workers.app import app  # it reads the environment

    stored = json.loads(celery_failure(FlowRateLimited("t", 3.0)))
    rebuilt = RedisBackend(app=app, url="redis://127.0.0.1:1/0").exception_to_python(stored)

    assert isinstance(rebuilt, FlowRateLimited)
    assert rebuilt.seconds == 3.0
