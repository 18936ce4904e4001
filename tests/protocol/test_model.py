"""The record and lease protocol under every interleaving that hypothesis finds: workers that die, come back late, are
given a message twice, lose a reply, acknowledge late; queries that are cancelled amid it all. On a real Valkey, through
the real scripts: those of the queries and those of the engine. Every change of a query, with its reason and its events,
must be steps of the table, one behind the other.

A second machine also loses what moves queries, straight from Redis; there the reconciliation must bring all to an end.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, ClassVar, Literal, TypeVar, assert_never

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from processes import Valkey
from redis import ConnectionPool

from agentic_flywheel.asker import LOCAL, Asker
from agentic_flywheel.broker import parcels, scripts, transport_scripts, wire
from agentic_flywheel.broker.batch import Batch, connect
from agentic_flywheel.broker.blobs import Blobs, blob_name
from agentic_flywheel.broker.executions import Execution, ExecutionEnd, of_no_cache, without_flow
from agentic_flywheel.broker.messages import answer_parcel, classify_parcel, parcel_of, synthesis_parcel
from agentic_flywheel.broker.parcels import Parcel
from agentic_flywheel.broker.persistence import cache_entry
from agentic_flywheel.broker.stops import Stops
from agentic_flywheel.broker.transitions import Transitions
from agentic_flywheel.broker.upkeep import Upkeep
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import EarlierTurnAsks, FlowFailed, FlowRateLimited, UnexpectedFault
from agentic_flywheel.ids import new_query_id
from agentic_flywheel.models import TERMINAL, Answer, EventKind, Query, Route, State, Target, WaitReason
from agentic_flywheel.settings import Settings
from agentic_flywheel.stops import AskedPerson
from agentic_flywheel.uploads import Upload
from protocol.paths import Shown, explained
from workers.engine.envelope import redelivery
from workers.engine.ledger import Ledger
from workers.engine.link import BrokerLink
from workers.engine.queues import list_first
from workers.engine.settler import Settler
from workers.outcomes import celery_failure, failure, to_remember

T = TypeVar("T")

FLOW = Flow(key="t", id="t-1", domain="technical", concurrency=2, fallback="b")
OTHER = Flow(key="u", id="u-1", domain="other", concurrency=2)
BACKUP = Flow(key="b", id="b-1", domain="backup")
FLOWS = {flow.key: flow for flow in (FLOW, OTHER, BACKUP)}
CATALOG = Catalog(flows=FLOWS)
QUEUES = ("classify", "domain.technical", "domain.other", "domain.backup", "synthesis")
#: Owners and their weights.
WEIGHTS = {LOCAL: 1, "alice": 1, "bob": 3}
#: The question that concerns two flows.
FAN_OUT = 2
#: Queries that may wait for a person.
PEOPLE = 2
#: Unexpected faults of one execution that are borne.
FAULTS = 3


def route_to(*flows: Flow) -> str:
    targets = tuple(Target(flow=flow.key, domain=flow.domain, confidence=0.9) for flow in flows)
    decision: Literal["single", "fan_out"] = "single" if len(flows) == 1 else "fan_out"
    return Route(targets=targets, decision=decision, band="high", confidence=0.9).model_dump_json()


@dataclass(frozen=True)
class Delivery:
    """A message in a worker's hands, not acknowledged."""

    queue: str
    tag: str
    raw: str

    @property
    def message(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.raw)
        return found

    @property
    def arguments(self) -> list[Any]:
        found: list[Any] = json.loads(base64.b64decode(self.message["body"]))[0]
        return found

    @property
    def about(self) -> tuple[str, str, Query]:
        """The query's id, the part, and the query itself."""
        if self.message["headers"]["task"] == wire.CLASSIFY:
            return self.message["headers"]["id"], "", Query.model_validate(self.arguments[0])
        return self.arguments[0], "".join(self.arguments[3:]), Query.model_validate(self.arguments[1])


@dataclass(frozen=True)
class Call:
    """A flow that is being called; its worker may have died meanwhile without knowing."""

    execution: Execution
    delivery: Delivery
    query: Query
    flow: Flow
    #: The message to send again.
    parcel: Parcel


#: Which of several things a rule takes. What is drawn never depends on what the broker says: some scripts choose at
#: random, so that would be another thing each time.
PICKS = st.integers(0, 999)


def chosen(pick: int, some: Sequence[T]) -> T:
    return some[pick % len(some)]


def needs(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Have a rule do what workers do most of the time where the machine has nothing under this name for it."""

    def wrap(act: Callable[..., None]) -> Callable[..., None]:
        @wraps(act)
        def act_or_advance(self: Protocol, **drawn: Any) -> None:
            if getattr(self, name):
                act(self, **drawn)
            else:
                self.advance(drawn["pick"])

        return act_or_advance

    return wrap


class Protocol(RuleBasedStateMachine):
    """Workers are whoever holds a delivery; the model remembers what was accepted and which lease is the last."""

    url: ClassVar[str]
    #: Whether nothing keeps owners from their turns.
    turns_are_kept: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.batch = Batch(connect(self.url))
        self.run(self.batch.call("FLUSHDB"))
        self.transitions = Transitions(self.batch, Settings(redis_url=self.url, owner_weights=WEIGHTS))
        self.stops = Stops(self.batch, Settings(redis_url=self.url, person_limit=PEOPLE))
        self.upkeep = Upkeep(self.batch, Settings(redis_url=self.url), worker="model", traces=False)
        self.accepted: list[str] = []
        self.in_hand: list[Delivery] = []
        self.calls: list[Call] = []
        #: Tags of deliveries that their workers are done with, or that were given to others.
        self.past: list[str] = []
        #: Queues that have messages.
        self.ready: list[str] = []
        self.seen: dict[str, Shown] = {}
        #: The id of the last event that was read of each query.
        self.read_up_to: dict[str, str] = {}
        #: Queries of plain clients, and when they are to begin. Before one is recorded, only its message knows it.
        self.plain: dict[str, datetime | None] = {}
        #: Queries that came with a file, and the file's name.
        self.files: dict[str, str] = {}
        #: Queries that wait for a person.
        self.asking: list[str] = []
        #: The last fence that was given for each lease.
        self.last_fence: dict[str, str] = {}
        self.link = BrokerLink(ConnectionPool.from_url(self.url), visibility_timeout=15)
        self.ledger = Ledger()
        self.settler = Settler(self.link, self.ledger)
        #: Number of times that messages were taken.
        self.fetched = 0

    @property
    def calls_with_a_fallback(self) -> list[Call]:
        return [call for call in self.calls if call.flow.fallback]

    @property
    def in_hands(self) -> list[Delivery]:
        """The deliveries in the hands of workers, before or within a call."""
        return [*self.in_hand, *(call.delivery for call in self.calls)]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    # What callers do

    @rule(
        number=st.integers(0, 5),
        session=st.sampled_from([None, None, "a", "b"]),
        owner=st.sampled_from(sorted(WEIGHTS)),
    )
    def submit(self, number: int, session: str | None, owner: str) -> None:
        self.submit_one(number, session, owner)

    @rule(owner=st.sampled_from(sorted(WEIGHTS)), queries=st.integers(2, 9))
    def submit_many(self, owner: str, queries: int) -> None:
        """Different questions: each is put into the queue."""
        for _ in range(queries):
            self.submit_one(100 + len(self.accepted), None, owner)

    @rule(number=st.integers(0, 2), owner=st.sampled_from(sorted(WEIGHTS)))
    def submit_with_a_file(self, number: int, owner: str) -> None:
        upload = Upload.of(b"x" * (number + 1), "x.txt")
        blobs, name, before = Blobs(self.batch, Settings()), blob_name(Asker(owner), upload), len(self.accepted)
        self.run(blobs.keep(Asker(owner), upload))
        self.submit_one(200 + number, None, owner, upload)
        # As producers do: where the cache had the answer, nothing needs the file.
        self.run(blobs.spare([name]))
        self.files |= dict.fromkeys(self.accepted[before:], name)

    def submit_one(self, number: int, session: str | None, owner: str = LOCAL, *uploads: Upload) -> None:
        query = Query(question=f"question {number}", session_id=session, owner=owner, uploads=uploads)
        query_id, written = new_query_id(), query.written()
        message = classify_parcel(query_id, query, written)

        def submission() -> Coroutine[Any, Any, scripts.SubmitReply]:
            return self.transitions.submit(query_id, query, written, message, front=f"front-{number}", domain=None)

        submitted, again = self.run(submission()), self.run(submission())
        if isinstance(submitted, scripts.SubmitAsks):
            assert submitted.query_id in self.asking
            return
        assert isinstance(submitted, scripts.SubmitAccepted | scripts.SubmitAttached | scripts.SubmitHit)
        assert isinstance(again, scripts.SubmitExists)
        self.accepted.append(query_id)

    @rule(number=st.integers(0, 5), session=st.sampled_from([None, None, "a"]), later=st.booleans())
    def send_as_a_plain_client(self, number: int, session: str | None, later: bool) -> None:
        query, query_id = Query(question=f"question {number}", session_id=session), new_query_id()
        message = classify_parcel(query_id, query, query.written())
        self.run(self.batch.call("LPUSH", message.queue, message.message))
        self.accepted.append(query_id)
        self.plain[query_id] = datetime.now(UTC) + timedelta(seconds=0.01) if later else None

    @rule(pick=PICKS)
    @needs("accepted")
    def cancel(self, pick: int) -> None:
        query_id = chosen(pick, self.accepted)
        owner = self.run(self.batch.call("HGET", wire.record_key(query_id), "owner"))
        self.run(self.transitions.cancel([query_id], asker=Asker(owner or LOCAL), reason="model"))

    # What workers do

    @rule(pick=PICKS)
    @needs("ready")
    def take(self, pick: int) -> None:
        self.in_hand.append(self.taken(pick))

    @rule(pick=PICKS)
    def advance(self, pick: int) -> None:
        """Take a message and begin with it; where there is none, submit a query."""
        if self.ready:
            self.carry_on(self.taken(pick))
        else:
            self.submit_one(pick % 6, None)

    @rule(pick=PICKS)
    @needs("in_hand")
    def deliver_again(self, pick: int) -> None:
        """A message is there twice, as after a network that repeats."""
        delivery = chosen(pick, self.in_hand)
        self.run(self.batch.call("LPUSH", delivery.queue, redelivery(delivery.message)))

    @rule(pick=PICKS, reply_is_lost=st.booleans())
    @needs("in_hand")
    def work(self, pick: int, reply_is_lost: bool) -> None:
        self.carry_on(self.one(pick, self.in_hand), twice=reply_is_lost)

    def carry_on(self, delivery: Delivery, *, twice: bool = False) -> None:
        call = self.carry_out(delivery, twice=twice)
        if call is None:
            self.acknowledge(delivery)
        else:
            self.calls.append(call)

    @rule(pick=PICKS, reply_is_lost=st.booleans())
    @needs("in_hand")
    def hand_on(self, pick: int, reply_is_lost: bool) -> None:
        """Its worker does not know the flow, or the wish, of what it was given."""
        delivery = self.one(pick, self.in_hand)
        task = delivery.message["headers"]["task"]
        if task == wire.SYNTHESIZE:
            self.carry_on(delivery)
            return
        query_id, part, query = delivery.about
        parcel = classify_parcel(query_id, query, query.written())
        if task == wire.ANSWER:
            parcel = answer_parcel(query_id, query, FLOWS[delivery.arguments[2]], part, version=wire.VERSION)

        def handing_on() -> Coroutine[Any, Any, scripts.HandOnReply]:
            return self.upkeep.hand_on(
                query_id,
                part,
                parcel,
                flow=delivery.arguments[2] if task == wire.ANSWER else "",
                stage=wire.QueryStage.ANSWER if task == wire.ANSWER else wire.QueryStage.CLASSIFY,
                reason=WaitReason.REGISTRY,
                names=["flow elsewhere"],
                version=wire.VERSION,
            )

        replies = [self.run(handing_on()) for _ in range(1 + reply_is_lost)]
        if isinstance(replies[-1], scripts.HandOnUnknown):
            adopted = self.run(self.transitions.adopt(query_id, query, parcel, due=self.plain[query_id]))
            if isinstance(adopted, scripts.AdoptAdopted):
                self.run(handing_on())
        self.acknowledge(delivery)

    @rule(pick=PICKS)
    @needs("in_hand")
    def put_back_unread(self, pick: int) -> None:
        """Its worker takes it for a message of a later version. Those of plain clients have none."""
        delivery = self.one(pick, self.in_hand)
        query_id, part, _ = delivery.about
        if query_id in self.plain:
            self.carry_on(delivery)
            return
        message, tag = delivery.message, os.urandom(16).hex()
        message["properties"]["delivery_tag"] = tag
        parcel = Parcel(delivery.queue, json.dumps(message), tag)
        self.run(self.upkeep.hand_back(query_id, part, parcel, delivery=delivery.tag, version=wire.VERSION))
        self.past.append(delivery.tag)

    @rule(pick=PICKS, reply_is_lost=st.booleans())
    @needs("calls")
    def succeed(self, pick: int, reply_is_lost: bool) -> None:
        call = self.one(pick, self.calls)
        self.end(call, _answered(call), twice=reply_is_lost)

    @rule(pick=PICKS, reply_is_lost=st.booleans())
    @needs("calls")
    def fail(self, pick: int, reply_is_lost: bool) -> None:
        call = self.one(pick, self.calls)
        failed = failure(FlowFailed(call.flow.key, "model"), call.execution, call.query, 1)
        self.end(call, failed, twice=reply_is_lost)

    @rule(pick=PICKS, reply_is_lost=st.booleans(), narrower=st.booleans())
    @needs("calls_with_a_fallback")
    def fall_back(self, pick: int, reply_is_lost: bool, narrower: bool) -> None:
        call = chosen(pick, self.calls_with_a_fallback)
        self.calls.remove(call)
        self.go_to_the_fallback(call, twice=reply_is_lost, narrower=narrower)
        self.acknowledge(call.delivery)

    def go_to_the_fallback(self, call: Call, *, twice: bool, narrower: bool) -> None:
        parcel = answer_parcel(call.execution.query_id, call.query, BACKUP, call.execution.part, version=wire.VERSION)
        gave_up = to_remember(FlowFailed(call.flow.key, "model")) if narrower else ""
        for _ in range(1 + twice):
            rerouted = self.run(
                self.transitions.reroute(
                    call.execution,
                    call.flow,
                    BACKUP,
                    parcel,
                    event="{}",
                    error_type="FlowFailed",
                    transient=True,
                    gave_up=gave_up,
                )
            )
        match rerouted:
            case scripts.RerouteLate():
                self.come_back(call)
            case scripts.RerouteRerouted() | scripts.RerouteGone():
                pass
            case _:
                assert_never(rerouted)

    @rule(pick=PICKS, reply_is_lost=st.booleans())
    @needs("calls")
    def stop(self, pick: int, reply_is_lost: bool) -> None:
        """A flow asks a person. What waits for its call goes on by itself."""
        call = self.one(pick, self.calls)
        execution = call.execution
        asked = AskedPerson(flow=call.flow.key, domain=call.flow.domain, text="May I?", choices={})
        queue = wire.base_of(call.parcel.queue)
        for _ in range(1 + reply_is_lost):
            stopped = self.run(self.stops.stop(execution, call.flow, call.parcel, asked, queue=queue))
        match stopped:
            case scripts.StopStopped():
                for name in (execution.name, execution.query_id):
                    followers = self.run(self.batch.call("EXISTS", wire.followers_key(name), wire.inherits_key(name)))
                    assert not followers, "somebody waits for a call that waits for a person"
                assert self.run(self.batch.call("ZSCORE", wire.running_key(call.flow.key), execution.name)) is None
            case scripts.StopFull():
                assert len(self.asking) >= PEOPLE
                self.calls.append(call)
                return
            case scripts.StopLate():
                self.come_back(call)
            case scripts.StopGone():
                pass
            case _:
                assert_never(stopped)
        self.acknowledge(call.delivery)

    @rule(pick=PICKS, number=st.integers(1, 3), reply_is_lost=st.booleans())
    @needs("asking")
    def decide(self, pick: int, number: int, reply_is_lost: bool) -> None:
        self.run(self.decide_one(chosen(pick, self.asking), number, twice=reply_is_lost))

    async def decide_one(self, query_id: str, number: int, *, twice: bool = False) -> None:
        asker = Asker(await self.batch.call("HGET", wire.record_key(query_id), "owner"))
        decided = await self.stops.resume(query_id, number, "proceed", "", asker=asker)
        assert not isinstance(decided, scripts.ResumeUnknown)
        if isinstance(decided, scripts.ResumeResumed | scripts.ResumeAlready):
            other = await self.stops.resume(query_id, number, "reject", "", asker=asker)
            assert isinstance(other, scripts.ResumeDecided), "it was decided twice"
        if twice:
            again = await self.stops.resume(query_id, number, "proceed", "", asker=asker)
            assert not isinstance(again, scripts.ResumeResumed), "it was resumed twice"

    @rule(pick=PICKS)
    @needs("calls")
    def stream_tokens(self, pick: int) -> None:
        call = chosen(pick, self.calls)
        written = self.run(self.transitions.tell(call.execution, [EventKind.TOKEN], ['{"text":"a"}']))
        if isinstance(written, scripts.TellWritten) and self.is_overtaken(call):
            raise AssertionError("a late worker has streamed")

    @rule(pick=PICKS, reply_is_lost=st.booleans())
    @needs("in_hands")
    def stumble(self, pick: int, reply_is_lost: bool) -> None:
        """A task meets a fault that nobody foresaw, before its call or in the middle of it."""
        if self.in_hand:
            delivery = self.one(pick, self.in_hand)
            for _ in range(1 + reply_is_lost):
                self.survive(delivery)
            self.acknowledge(delivery)
        else:
            call = self.one(pick, self.calls)
            self.survive(call.delivery)
            self.acknowledge(call.delivery)

    @rule(pick=PICKS, reply_is_lost=st.booleans())
    @needs("calls")
    def put_off(self, pick: int, reply_is_lost: bool) -> None:
        call = self.one(pick, self.calls)

        def putting_off() -> Coroutine[Any, Any, scripts.DeferReply]:
            return self.transitions.defer(
                call.execution,
                call.flow,
                call.parcel,
                queue=wire.base_of(call.parcel.queue),
                delay_ms=0,
                event="{}",
                throttled_ms=0,
                counted=True,
                heard="down" if reply_is_lost else "",
            )

        deferred = self.run(putting_off())
        if reply_is_lost:
            deferred = self.run(putting_off())
        if isinstance(deferred, scripts.DeferLate):
            self.come_back(call)
        self.acknowledge(call.delivery)

    @rule(pick=PICKS)
    @needs("calls")
    def hand_back(self, pick: int) -> None:
        call = self.one(pick, self.calls)
        self.run(self.transitions.release(call.execution, call.flow))
        self.give_back(call.delivery)

    @rule(pick=PICKS)
    @needs("calls")
    def let_the_lease_run_out(self, pick: int) -> None:
        """Its message comes back to others; the worker may still be there and end its call late."""
        call = chosen(pick, self.calls)
        self.expire(call)
        self.give_back(call.delivery)

    @rule(pick=PICKS)
    @needs("calls")
    def let_the_lease_lapse_without_a_redelivery(self, pick: int) -> None:
        self.expire(chosen(pick, self.calls))

    @rule(pick=PICKS)
    @needs("calls")
    def lose_the_worker(self, pick: int) -> None:
        call = self.one(pick, self.calls)
        self.expire(call)
        self.give_back(call.delivery)

    @rule(pick=PICKS)
    @needs("in_hand")
    def lose_the_worker_before_it_began(self, pick: int) -> None:
        self.give_back(self.one(pick, self.in_hand))

    @rule(pick=PICKS)
    @needs("past")
    def acknowledge_again_or_late(self, pick: int) -> None:
        """A worker that was stopped wakes up and acknowledges what others have taken over."""
        self.ledger.acknowledge(chosen(pick, self.past))
        self.settle()

    @rule(pick=PICKS)
    @needs("calls")
    def renew(self, pick: int) -> None:
        call = chosen(pick, self.calls)
        self.run(self.transitions.renew([call.execution]))

    @rule()
    def sweep(self) -> None:
        self.run(self.upkeep.sweep(CATALOG, QUEUES))

    # What must always hold

    @invariant()
    def queries_change_only_by_steps_of_the_table(self) -> None:
        for query_id, (after, in_parts, events) in zip(self.accepted, self.run(self.shown()), strict=True):
            before = self.seen.get(query_id, Shown(None, ""))
            kinds = tuple(kind for _, kind in events if kind != EventKind.TOKEN)
            assert explained(before, kinds, after, in_parts=in_parts), (query_id, before, kinds, after)
            self.seen[query_id] = after
            if events:
                self.read_up_to[query_id] = events[-1][0]

    async def shown(self) -> list[tuple[Shown, bool, list[tuple[str, str]]]]:
        return list(await asyncio.gather(*map(self.shown_of, self.accepted)))

    async def shown_of(self, query_id: str) -> tuple[Shown, bool, list[tuple[str, str]]]:
        after = f"({self.read_up_to[query_id]}" if query_id in self.read_up_to else "-"
        (state, reason, parts), events = await asyncio.gather(
            self.batch.call("HMGET", wire.record_key(query_id), "state", "reason", "parts"),
            self.batch.call("XRANGE", wire.events_key(query_id), after, "+"),
        )
        shown = Shown(None if state is None else State(state), reason or "")
        return shown, parts is not None, [(event, fields[fields.index("kind") + 1]) for event, fields in events]

    @invariant()
    def some_queues_have_messages(self) -> None:
        """No claim: it is noted what the next rule can take."""
        self.ready = [queue for queue in QUEUES if self.run(self.batch.call("EXISTS", queue, wire.backlog_key(queue)))]

    @invariant()
    def owners_take_turns(self) -> None:
        """Each owner's next message is at most a turn behind the first one of all, and its others follow in turns."""
        for key, messages in self.run(self.waiting()).items() if self.turns_are_kept else ():
            # From a backlog nothing is taken but in its order.
            most = messages[0][1] if key.startswith(wire.backlog_key("")) else math.inf
            last: dict[str, float] = {}
            for owner, number in messages:
                turn = 120 // WEIGHTS[owner]
                assert number >= last[owner] + turn if owner in last else number <= most + turn, (key, messages)
                last[owner] = number

    @invariant()
    def what_waits_behind_a_list_is_announced_in_it(self) -> None:
        for queue in QUEUES:
            lists, behind = self.run(self.lengths(queue))
            assert lists or not behind or not self.turns_are_kept, queue

    async def lengths(self, queue: str) -> tuple[int, int]:
        return await self.batch.call("LLEN", queue), await self.batch.call("ZCARD", wire.backlog_key(queue))

    async def owner_of(self, entry: str) -> str:
        """Return whose message this is, or this entry with a message."""
        name: str = json.loads(entry.rpartition("\n")[2])["properties"]["execution"]
        return str(await self.batch.call("HGET", wire.record_key(name.split("|")[0]), "owner"))

    async def waiting(self) -> dict[str, list[tuple[str, float]]]:
        """Return whose messages wait where owners take turns, each with its number."""
        found = {}
        for pattern in (wire.backlog_key("*"), wire.parked_key("*")):
            for key in await self.batch.call("KEYS", pattern):
                found[key] = [
                    (await self.owner_of(entry), number)
                    for entry, number in await self.batch.call("ZRANGE", key, 0, -1, "WITHSCORES")
                ]
        return found

    @invariant()
    def who_waits_for_a_person_is_counted_nowhere_else(self) -> None:
        self.asking = self.run(self.batch.call("ZRANGE", wire.ASKED, 0, -1))
        for query_id in self.accepted:
            record = self.run(self.batch.call("HGETALL", wire.record_key(query_id)))
            state, domain = record.get("state"), record.get("domain")
            asking = [name for name in record if name.partition("|")[0] == "asks"]
            for each in asking:
                at = record[each.replace("asks", "at")]
                assert at.startswith("a\n"), f"{query_id} asks a person, and {at!r} moves it"
            waits = query_id in self.asking
            assert bool(asking) == waits
            assert (state == State.INPUT_REQUIRED) == waits, (query_id, state)
            if domain:
                counted = self.run(self.batch.call("SISMEMBER", wire.open_in_key(domain), query_id))
                assert bool(counted) == (state not in TERMINAL and not waits), (query_id, state, counted)

    @invariant()
    def a_file_is_kept_while_an_open_query_needs_it_and_no_longer(self) -> None:
        needed: dict[str, set[str]] = {name: set() for name in self.files.values()}
        for query_id, name in self.files.items():
            if self.run(self.batch.call("HGET", wire.record_key(query_id), "state")) not in TERMINAL:
                needed[name].add(query_id)
        for name, by in needed.items():
            assert set(self.run(self.batch.call("SMEMBERS", wire.blob_users_key(name)))) == by
            assert bool(self.run(self.batch.call("EXISTS", wire.blob_key(name)))) == bool(by), name

    @invariant()
    def a_part_is_done_once_and_the_synthesis_follows_the_last(self) -> None:
        for query_id in self.accepted:
            stage, parts = self.run(self.batch.call("HMGET", wire.record_key(query_id), "stage", "parts"))
            done = self.run(self.batch.call("HLEN", wire.parts_key(query_id)))
            if parts is not None and done:
                assert (stage == wire.QueryStage.SYNTHESIZE) == (done == int(parts)), (query_id, stage, done)

    def teardown(self) -> None:
        try:
            self.drain()
            self.nothing_is_left()
        finally:
            self.link.close()
            self.run(self.batch.close())
            self.loop.close()

    def idle(self) -> bool:
        """Whether nothing is left to do when no queue has a message."""
        return not self.run(self.batch.call("KEYS", wire.delayed_key("*")))

    def drain(self) -> None:
        """Whatever happened: healthy workers bring every query to its end."""
        for lease in self.run(self.batch.call("KEYS", wire.lease_key("*"))):
            self.run(self.batch.call("DEL", lease))
        for delivery in [*(call.delivery for call in self.calls), *self.in_hand]:
            self.give_back(delivery)
        for flow in FLOWS:
            self.run(self.batch.call("DEL", wire.running_key(flow), wire.circuit_key(flow), wire.probe_key(flow)))
        for family in (wire.serving_key, wire.outage_key, wire.unreached_key):
            for key in self.run(self.batch.call("KEYS", family("*"))):
                self.run(self.batch.call("DEL", key))
        for _ in range(200):
            self.run(self.make_due())
            self.sweep()
            self.run(self.decide_all())
            took = False
            for queue in QUEUES:
                while (fetched := self.fetch(queue)) is not None:
                    took = True
                    under_way = self.carry_out(fetched)
                    if under_way is None:
                        self.acknowledge(fetched)
                    else:
                        self.end(under_way, _answered(under_way))
                    self.queries_change_only_by_steps_of_the_table()
            if not took and self.idle():
                return

    async def decide_all(self) -> None:
        for query_id in await self.batch.call("ZRANGE", wire.ASKED, 0, -1):
            for number in range(1, int(await self.batch.call("HGET", wire.record_key(query_id), "stops")) + 1):
                await self.decide_one(query_id, number)

    async def make_due(self) -> None:
        """Let the time come for which faults and retries wait."""
        for key in await self.batch.call("KEYS", wire.delayed_key("*")):
            for entry in await self.batch.call("ZRANGE", key, 0, -1):
                await self.batch.call("ZADD", key, "XX", 0, entry)

    def nothing_is_left(self) -> None:
        for query_id in self.accepted:
            record = self.run(self.batch.call("HGETALL", wire.record_key(query_id)))
            assert record["state"] in TERMINAL, (query_id, record)
            if "cache_key" in record:
                continue
            events = self.run(self.batch.call("XRANGE", wire.events_key(query_id), "-", "+"))
            finals = [fields for _, fields in events if "final" in fields]
            assert len(finals) == 1, (query_id, events)
        assert self.run(self.batch.call("ZCARD", wire.OPEN)) == 0
        assert self.run(self.batch.call("ZCARD", wire.ASKED)) == 0
        families = (
            "followers",
            "lease",
            "waiting-turns",
            "line",
            "parked",
            "flight",
            "parts",
            "open-in",
            "backlog",
            "rotation",
        )
        for family in families:
            assert self.run(self.batch.call("KEYS", f"{wire.PREFIX}{family}:*")) == [], family
        assert self.run(self.batch.call("HLEN", wire.UNACKED)) == 0

    def taken(self, pick: int) -> Delivery:
        delivery = self.fetch(chosen(pick, self.ready))
        assert delivery is not None
        return delivery

    def one(self, pick: int, some: list[T]) -> T:
        return some.pop(pick % len(some))

    # The engine's part: deliveries and acknowledgements

    def fetch(self, queue: str) -> Delivery | None:
        self.fetched += 1
        call = transport_scripts.fetch(limit=1, share=1, list_first=list_first(self.fetched), bands=[1], queues=[queue])
        fetched = self.link.run(call)
        assert isinstance(fetched, transport_scripts.FetchTaken)
        found = zip(fetched.queues, fetched.tags, fetched.messages, strict=True)
        return next((Delivery(of, tag, raw.decode()) for of, tag, raw in found), None)

    def acknowledge(self, delivery: Delivery) -> None:
        self.ledger.acknowledge(delivery.tag)
        self.settle()
        self.past.append(delivery.tag)

    def give_back(self, delivery: Delivery) -> None:
        self.ledger.give_back(delivery.tag, delivery.queue, redelivery(delivery.message))
        self.settle()
        self.past.append(delivery.tag)

    def settle(self) -> None:
        self.settler.settle()
        assert not self.ledger.has_entries

    # The worker's part

    def expire(self, call: Call) -> None:
        lease = wire.lease_key(call.execution.lease)
        if self.run(self.batch.call("GET", lease)) == f"{call.execution.name}#{call.execution.fence}":
            self.run(self.batch.call("DEL", lease))

    def come_back(self, call: Call) -> None:
        queue = wire.base_of(call.parcel.queue)
        self.run(self.transitions.come_back(call.execution, call.parcel, queue=queue, delay_ms=0))

    def is_overtaken(self, call: Call) -> bool:
        """Whether another execution has begun under the lease of this one, and still has it."""
        lease = call.execution.lease
        holder = self.run(self.batch.call("GET", wire.lease_key(lease)))
        return holder is not None and self.last_fence[lease] != call.execution.fence

    def survive(self, delivery: Delivery) -> None:
        """Do what a worker does after a fault that nobody foresaw."""
        query_id, part, query = delivery.about
        queue = wire.base_of(delivery.queue)
        place = parcels.Parcel(delivery.queue, redelivery(delivery.message), "again").place
        stumbled = self.run(scripts.stumble(self.batch, id=query_id, part=part, queue=queue, place=place, most=FAULTS))
        match stumbled:
            case scripts.StumbleAgain() | scripts.StumbleGone():
                return
            case scripts.StumbleUnknown():
                parcel = classify_parcel(query_id, query, query.written())
                self.run(self.transitions.adopt(query_id, query.model_copy(update={"session_id": None}), parcel))
            case scripts.StumbleExhausted():
                pass
            case _:
                assert_never(stumbled)
        execution = without_flow(query_id, part)
        fault = failure(UnexpectedFault(query_id, "model", "fault"), execution, query, 0)
        self.run(self.transitions.finish(execution, fault, queue=queue))

    def classify(self, query_id: str, query: Query) -> scripts.RouteReply:
        flows = [FLOW, OTHER] if query.question == f"question {FAN_OUT}" else [FLOW]
        parts = {flow.key if len(flows) > 1 else "": flow for flow in flows}
        return self.run(
            self.transitions.route(
                query_id,
                version=wire.VERSION,
                route=route_to(*flows),
                flow=FLOW,
                intent="",
                event="{}",
                parcels={
                    part: answer_parcel(query_id, query, flow, part, version=wire.VERSION)
                    for part, flow in parts.items()
                },
                synthesis=synthesis_parcel(query_id, query, version=wire.VERSION) if len(flows) > 1 else None,
            )
        )

    def adopt(self, query_id: str, query: Query, *, twice: bool) -> None:
        """Record what a plain client has sent."""
        parcel, due = classify_parcel(query_id, query, query.written()), self.plain[query_id]
        for _ in range(1 + twice):
            adopted = self.run(self.transitions.adopt(query_id, query, parcel, due=due))
        match adopted:
            case scripts.AdoptAdopted() | scripts.AdoptExists():
                self.classify(query_id, query)
            case scripts.AdoptWaits():
                pass
            case scripts.AdoptAsks():
                self.refuse(query_id, query)
            case scripts.AdoptOver() | scripts.AdoptLimited():
                raise AssertionError(adopted)
            case _:
                assert_never(adopted)

    def refuse(self, query_id: str, query: Query) -> None:
        """End a plain client's turn, because the one before it waits for a person."""
        error = failure(EarlierTurnAsks("model"), without_flow(query_id), query, 0)
        self.run(self.transitions.finish(without_flow(query_id), error, queue="classify"))

    def carry_out(self, delivery: Delivery, *, twice: bool = False) -> Call | None:
        """Do what a worker does with a message; ``twice``: the reply of each first step is lost, so it is repeated."""
        query_id, part, query = delivery.about
        task = delivery.message["headers"]["task"]
        if task == wire.CLASSIFY:
            for _ in range(1 + twice):
                routed = self.classify(query_id, query)
            if isinstance(routed, scripts.RouteUnknown):
                self.adopt(query_id, query, twice=twice)
            return None
        if task == wire.SYNTHESIZE:
            answer = Answer(query_id=query_id, text="both", flow="t", domain="technical").model_dump_json()
            for _ in range(1 + twice):
                end = ExecutionEnd(State.SUCCEEDED, answer=answer)
                self.run(self.transitions.finish(of_no_cache(query_id, FLOW), end, queue="synthesis"))
            return None
        flow = FLOWS[delivery.arguments[2]]
        key = wire.answer_key(flow.key, query.question[-1])
        parcel = answer_parcel(query_id, query, flow, part, version=wire.VERSION)
        call = Call(Execution(query_id, part, flow, key, key), delivery, query, flow, parcel)
        execution = call.execution
        for _ in range(4):
            for _ in range(1 + twice):
                begun = self.run(self.transitions.begin(execution, flow, policy="use", attempts_max=1000))
            match begun:
                case scripts.BeginFallback():
                    execution = execution._replace(asked=begun.asked)
                    continue
                case scripts.BeginGaveUp():
                    self.go_to_the_fallback(call, twice=twice, narrower=True)
                case scripts.BeginRun():
                    self.last_fence[begun.lease] = begun.fence
                    own = execution.fenced(begun.fence, begun.lease)
                    return replace(call, execution=own._replace(cache_key="") if begun.decided else own)
                case scripts.BeginHit():
                    end = ExecutionEnd(State.SUCCEEDED, answer=begun.answer, cached=True)
                    self.run(self.transitions.finish(execution, end, queue="q"))
                case scripts.BeginFailed():
                    end = ExecutionEnd(State.FAILED, error=begun.error, failure=begun.failure, transient=True)
                    self.run(self.transitions.finish(execution, end, queue="q"))
                case scripts.BeginAttach():
                    attached = self.run(self.transitions.attach(execution, parcel))
                    if isinstance(attached, scripts.AttachAgain):
                        continue
                case scripts.BeginBusy():
                    self.come_back(call)
                case scripts.BeginPark():
                    self.run(
                        self.transitions.park(execution, flow, parcel, reason=begun.reason, priority=query.priority)
                    )
                case scripts.BeginGone():
                    pass
                case _:
                    raise AssertionError(begun)
            return None
        # The leader ended each time between the two steps: as a worker that dies, it leaves the message to others.
        self.come_back(call)
        return None

    def end(self, call: Call, end: ExecutionEnd, *, twice: bool = False) -> None:
        key = call.execution.lease
        before = self.run(self.batch.call("GET", call.execution.cache_key))
        finished = self.run(self.transitions.finish(call.execution, end, queue=wire.base_of(call.parcel.queue)))
        if self.last_fence[key] != call.execution.fence:
            holder = self.run(self.batch.call("GET", wire.lease_key(key)))
            if holder is not None:
                assert not isinstance(finished, scripts.FinishWon), "a late worker has overwritten"
                assert self.run(self.batch.call("GET", call.execution.cache_key)) == before
        if twice:
            again = self.run(self.transitions.finish(call.execution, end, queue=wire.base_of(call.parcel.queue)))
            assert not isinstance(again, scripts.FinishWon)
            finished = again
        if isinstance(finished, scripts.FinishLate):  # as the worker does
            self.come_back(call)
        self.acknowledge(call.delivery)


class Losses(Protocol):
    """Also, what moves a query vanishes: a message, a delivery, an entry of a waiting place, a lease, a counter."""

    # With what vanishes an owner may lose a turn, or a backlog its announcement, until the next sweep.
    turns_are_kept = False

    @rule(pick=PICKS)
    def lose_an_entry(self, pick: int) -> None:
        found = self.run(self.entries())
        if found:
            kind, key, entry = chosen(pick, found)
            match kind:
                case "list":
                    self.run(self.batch.call("LREM", key, 1, entry))
                case "zset":
                    self.run(self.batch.call("ZREM", key, entry))
                case _:
                    self.run(self.batch.call("HDEL", key, entry))

    @rule()
    def lose_the_numbers(self) -> None:
        self.run(self.batch.call("DEL", wire.NUMBERS))

    async def entries(self) -> list[tuple[str, str, str]]:
        found: list[tuple[str, str, str]] = []
        for queue in QUEUES:
            found += [("list", queue, each) for each in await self.batch.call("LRANGE", queue, 0, -1)]
        for family in (wire.backlog_key, wire.delayed_key, wire.parked_key):
            for key in await self.batch.call("KEYS", family("*")):
                found += [("zset", key, each) for each in await self.batch.call("ZRANGE", key, 0, -1)]
        for family in (wire.followers_key, wire.waiting_turns_key):
            for key in await self.batch.call("KEYS", family("*")):
                found += [("hash", key, each) for each in await self.batch.call("HKEYS", key)]
        unacked = await self.batch.call("HGETALL", wire.UNACKED)
        found += [("hash", wire.UNACKED, tag) for tag, entry in unacked.items() if not self.only_there(entry)]
        return [(kind, key, entry) for kind, key, entry in found if kind != "list" or not self.only_there(entry)]

    def only_there(self, entry: str) -> bool:
        """Whether a query of a plain client may be known by this message alone."""
        return any(
            query_id in entry and self.seen[query_id].state is None for query_id in self.plain.keys() & self.seen.keys()
        )

    def idle(self) -> bool:
        """Rebuild what nothing moves. Returns whether no query is open."""
        self.run(self.reconcile())
        return bool(self.run(self.batch.call("ZCARD", wire.OPEN)) == 0)

    async def reconcile(self) -> None:
        for _ in range(2):  # what seems lost is looked at twice
            for place in (wire.OPEN, wire.SUSPECTS):
                for query_id in await self.batch.call("ZRANGE", place, 0, -1):
                    await self.batch.call("ZADD", place, "XX", 0, query_id)
            examined = await scripts.examine(
                self.batch, limit=1000, confirm_ms=0, longest_ms=600_000, age_ms=10**9, patience_ms=60_000, settle_ms=0
            )
            assert isinstance(examined, scripts.ExamineExamined)
            for query_id, part, mover, flow, stage in zip(
                examined.ids, examined.parts, examined.movers, examined.flows, examined.stages, strict=True
            ):
                stored = await self.batch.call("HGET", wire.record_key(query_id), "query")
                query = Query.model_validate_json(stored)
                parcel = parcel_of(CATALOG, stage, query_id, query, flow, part, version=wire.VERSION)
                rebuilt = await self.upkeep.rebuild(query_id, part, mover, parcel)
                assert isinstance(rebuilt, scripts.RebuildRebuilt | scripts.RebuildLinedUp | scripts.RebuildMoved)


def _answered(call: Call) -> ExecutionEnd:
    flow = call.flow
    answer = Answer(query_id=call.execution.query_id, text="a", flow=flow.key, domain=flow.domain)
    written = answer.model_dump_json()
    value, milliseconds = cache_entry(answer, written, flow, Asker())
    return ExecutionEnd(State.SUCCEEDED, answer=written, cached_value=value, cache_ms=milliseconds)


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("model")).start()
    yield server
    server.stop()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("machine", [Protocol, Losses])
def test_every_interleaving_ends_each_query_once(own_broker: Valkey, full_storm: bool, machine: type[Protocol]) -> None:
    machine.url = own_broker.url
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=1000 if full_storm else 25,
            stateful_step_count=40,
            deadline=None,
            derandomize=not full_storm,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate,),
        ),
    )


def test_celery_reads_our_failures() -> None:
    from celery import Celery
    from celery.backends.redis import RedisBackend

    stored = json.loads(celery_failure(FlowRateLimited("t", 3.0)))
    rebuilt = RedisBackend(app=Celery(), url="redis://127.0.0.1:1/0").exception_to_python(stored)

    assert isinstance(rebuilt, FlowRateLimited)
    assert rebuilt.seconds == 3.0
