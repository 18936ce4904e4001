"""The cache has a bound in bytes: who was used last stays, and no record loses the answer that it was given."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.executions import Execution, ExecutionEnd
from agentic_flywheel.broker.messages import answer_parcel, classify_parcel
from agentic_flywheel.broker.persistence import check_cache, clear_cache, write_to_cache
from agentic_flywheel.broker.records import load_outcome
from agentic_flywheel.broker.scripts import BeginRun, SubmitHit
from agentic_flywheel.broker.transitions import Transitions
from agentic_flywheel.catalog import Flow
from agentic_flywheel.ids import new_query_id
from agentic_flywheel.models import Answer, Query, Route, State, Target
from agentic_flywheel.settings import Settings

FLOW, OTHER = Flow(key="t", id="t-1", domain="technical"), Flow(key="u", id="u-1", domain="other")
#: Bytes of an answer here, without what counts beside it.
TEXT = 4000
#: Room for three answers, not for four.
THREE = 3 * (TEXT + 1700)
DAY_MS = 86_400_000
#: For how long records are kept here.
KEPT = timedelta(hours=2)
LIST = wire.cached_key(wire.answer_key(FLOW.key, "").removesuffix(":"))


def with_room(batch: Batch, *, cache_bytes: int = 0, cache_flow_bytes: int = 0) -> Transitions:
    return Transitions(batch, Settings(cache_bytes=cache_bytes, cache_flow_bytes=cache_flow_bytes, result_ttl=KEPT))


async def asked(transitions: Transitions, flow: Flow, name: str, size: int = TEXT) -> str | None:
    """Ask a question and, where the cache does not, answer it with so many bytes.

    Returns the query's id; None where a flow was asked.
    """
    query, query_id = Query(question=name), new_query_id()
    written, front = query.written(), f"front-{flow.key}-{name}"
    parcel = classify_parcel(query_id, query, written)
    if isinstance(await transitions.submit(query_id, query, written, parcel, front=front, domain=None), SubmitHit):
        return query_id
    route = Route(
        targets=(Target(flow=flow.key, domain=flow.domain, confidence=0.9),),
        decision="single",
        band="high",
        confidence=0.9,
    )
    parcels = {"": answer_parcel(query_id, query, flow, "", version=wire.VERSION)}
    await transitions.route(
        query_id,
        version=wire.VERSION,
        route=route.model_dump_json(),
        flow=flow,
        intent="",
        event="{}",
        parcels=parcels,
    )
    execution = Execution(query_id, "", flow, key_of(flow, name), f"lease-{query_id}")
    begun = await transitions.begin(execution, flow, policy=query.cache, attempts_max=9)
    assert isinstance(begun, BeginRun)
    answer = Answer(query_id=query_id, text="x" * size, flow=flow.key, domain=flow.domain)
    end = ExecutionEnd(State.SUCCEEDED, answer.model_dump_json(), False, answer.model_dump_json(), DAY_MS, heard="up")
    await transitions.finish(execution.fenced(begun.fence), end, queue=wire.domain_queue(flow.domain))
    await asyncio.sleep(0.002)  # the broker orders answers by milliseconds
    return None


def key_of(flow: Flow, name: str) -> str:
    return wire.answer_key(flow.key, name)


async def kept(batch: Batch, flow: Flow = FLOW) -> set[str]:
    found: list[str] = await batch.call("KEYS", wire.answer_key(flow.key, "*"))
    return {key.rpartition(":")[2] for key in found}


async def counted(batch: Batch) -> int:
    return int(await batch.call("HGET", wire.CACHED_BYTES, "") or 0)


async def test_the_answers_that_were_used_last_stay(batch: Batch) -> None:
    transitions = with_room(batch, cache_bytes=THREE)
    for name in ("a", "b", "c", "d", "e"):
        await asked(transitions, FLOW, name)

    assert await kept(batch) == {"c", "d", "e"}
    assert 0 < await counted(batch) <= THREE


async def test_each_flow_has_its_room_and_all_together_have_theirs(batch: Batch) -> None:
    transitions = with_room(batch, cache_flow_bytes=THREE, cache_bytes=2 * THREE)
    for name in ("a", "b", "c", "d"):
        await asked(transitions, FLOW, name)
        await asked(transitions, OTHER, name)
    assert await kept(batch) == await kept(batch, OTHER) == {"b", "c", "d"}

    small = with_room(batch, cache_bytes=THREE)
    await asked(small, OTHER, "e")

    # The oldest of all go, whichever flow gave them.
    assert (await kept(batch), await kept(batch, OTHER)) == ({"d"}, {"d", "e"})
    assert await counted(batch) <= THREE


async def test_the_answer_of_a_record_that_has_it_from_the_cache_alone_stays(batch: Batch) -> None:
    transitions = with_room(batch, cache_bytes=THREE)
    await asked(transitions, FLOW, "a")
    hit = await asked(transitions, FLOW, "a")
    for name in ("b", "c", "d", "e", "f"):
        await asked(transitions, FLOW, name)

    assert hit is not None
    outcome = await load_outcome(batch, hit)
    assert outcome is not None
    assert len(outcome.text) == TEXT
    assert await kept(batch) == {"a", "e", "f"}
    # An hour after its use, its record has gone.
    (entry,) = [each for each in await batch.call("ZRANGE", LIST, 0, -1) if each.endswith(":a")]
    await batch.call("ZINCRBY", LIST, -3_700_000, entry)
    await asked(transitions, FLOW, "g")

    assert await kept(batch) == {"e", "f", "g"}


async def test_an_answer_that_is_larger_than_its_room_is_not_kept_and_drives_out_no_other(batch: Batch) -> None:
    for transitions in (with_room(batch, cache_bytes=THREE), with_room(batch, cache_flow_bytes=THREE)):
        await asked(transitions, FLOW, "a")
        await asked(transitions, FLOW, "large", size=THREE)

        assert await kept(batch) == {"a"}
        assert 0 < await counted(batch) <= THREE


async def test_a_new_answer_to_the_same_question_counts_once(batch: Batch) -> None:
    transitions = with_room(batch, cache_bytes=THREE)
    await asked(transitions, FLOW, "a")
    before = await counted(batch)
    answer = Answer(query_id="", text="y" * TEXT, flow=FLOW.key, domain=FLOW.domain)
    for text in (answer.text, "shorter", answer.text):
        await write_to_cache(
            batch, key_of(FLOW, "a"), answer.model_copy(update={"text": text}), FLOW, Asker(owner="local")
        )

    found = await check_cache(batch, key_of(FLOW, "a"))
    assert found is not None
    assert found.text == answer.text
    assert abs(await counted(batch) - before) < 1000
    assert await batch.call("ZCARD", LIST) == 1


async def test_what_was_deleted_or_has_expired_is_counted_no_more(batch: Batch) -> None:
    transitions = with_room(batch, cache_bytes=THREE)
    for name in ("a", "b", "c"):
        await asked(transitions, FLOW, name)
    await clear_cache(batch)
    for name in ("d", "e", "f"):
        await asked(transitions, FLOW, name)
    assert await kept(batch) == {"d", "e", "f"}

    await batch.call("PEXPIRE", LIST, 1)
    for name in ("d", "e", "f"):
        await batch.call("PEXPIRE", key_of(FLOW, name), 1)
    await asyncio.sleep(0.05)
    await asked(transitions, FLOW, "g")

    assert await counted(batch) < THREE / 2
    assert 0 < await batch.call("PTTL", wire.CACHED_BYTES) <= 1.1 * DAY_MS


async def test_without_a_limit_all_stay_and_the_list_does_not_keep_what_has_expired(batch: Batch) -> None:
    transitions = with_room(batch)
    for number in range(20):
        await asked(transitions, FLOW, str(number))
    assert len(await kept(batch)) == 20

    await clear_cache(batch)
    await asked(transitions, FLOW, "last")

    assert await batch.call("ZCARD", LIST) == 1


async def test_a_question_is_remembered_as_long_as_a_record_and_again_when_it_comes_back(batch: Batch) -> None:
    """The bound of the cache counts the memo, and cannot find it when the answer goes."""
    transitions, memo = with_room(batch), wire.front_key(f"front-{FLOW.key}-a")
    await asked(transitions, FLOW, "a")
    assert 0 < await batch.call("PTTL", memo) <= KEPT.total_seconds() * 1000

    await batch.call("PEXPIRE", memo, 1000)
    assert await asked(transitions, FLOW, "a") is not None

    assert 1000 < await batch.call("PTTL", memo) <= KEPT.total_seconds() * 1000
