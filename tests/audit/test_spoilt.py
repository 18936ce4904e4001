"""Keys that another program has written, and entries that are parked for nothing: named, and what waits goes on."""

from __future__ import annotations

import asyncio

import pytest
from pipeline.house import House
from processes import wait_for

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.control import pause
from agentic_flywheel.broker.messages import answer_parcel
from agentic_flywheel.models import Query
from agentic_flywheel.registry import load_catalog
from audit.house import ASKED, audited, in_state, offenders, only_offender, own, worker_stopped
from producer import AsyncProducer


@pytest.mark.provokes("the broker refuses to wait for messages in domain.technical", "WRONGTYPE")
async def test_a_queue_that_another_program_has_written_is_named_and_what_waits_for_it_goes_on(
    house: House, producer: AsyncProducer
) -> None:
    house.client.set("domain.technical", "x")
    waits = (await producer.submit(own(ASKED))).query_id
    key = wire.delayed_key("domain.technical")
    await asyncio.to_thread(wait_for, lambda: house.client.exists(key), what="it waits beside its queue")
    # Other queues are served meanwhile.
    assert (await producer.ask(own("What is case {}?"), flow="narrow", wait=30)).flow == "narrow"
    found = await audited(house, mend=True)

    assert [(each.kind, each.id) for each in found.left] == [("key", "domain.technical")]
    assert "is a string where a list is expected: another program has written it; remove it with DEL" in (
        found.left[0].why
    )
    assert house.client.get("domain.technical") == "x"
    house.client.delete("domain.technical")
    assert (await producer.wait(waits, 30)).text
    assert (await audited(house)).offenders == ()


async def test_keys_that_an_audit_cannot_read_keep_it_from_nothing_else(house: House, producer: AsyncProducer) -> None:
    await pause(producer.batch, flow="technical-analysis")
    query_id = (await producer.submit(own(ASKED))).query_id
    await in_state(producer, query_id, "waiting", "paused")
    house.client.delete("flywheel:parked:technical-analysis")
    assert (await only_offender(house)).id == query_id
    spoilt = [
        "flywheel:query:odd",
        "flywheel:waiting-turns:odd",
        "flywheel:lease:odd",
        "flywheel:delayed:odd",
        "domain.odd.high",
    ]
    for key in spoilt:
        house.client.xadd(key, {"x": "y"})
    found = await offenders(house)
    house.client.delete(*spoilt)
    await producer.cancel(query_id)

    assert {(each.kind, each.id) for each in found.offenders} == {
        ("query", query_id),
        *(("key", key) for key in spoilt),
    }


@pytest.mark.parametrize("of", ["nobody", "a query that has ended"])
async def test_an_entry_that_is_parked_for_nothing_is_named_and_taken_out(
    house: House, producer: AsyncProducer, of: str
) -> None:
    await pause(producer.batch, flow="technical-analysis")
    stays = (await producer.submit(own(ASKED))).query_id
    await in_state(producer, stays, "waiting", "paused")
    query_id = "0" * 32 if of == "nobody" else (await producer.ask(own(ASKED), flow="narrow", wait=30)).query_id
    flow = load_catalog(house.registry).flow("technical-analysis")
    parcel = answer_parcel(query_id, Query(question="Why?"), flow, version=wire.VERSION)
    house.client.zadd("flywheel:parked:technical-analysis", {f"{query_id}\n{parcel.place}": 1})
    found = await offenders(house)

    (only,) = found.offenders
    assert (only.kind, only.id) == ("message", query_id)
    assert ("has ended, and it is still parked" if of != "nobody" else "its record is missing") in only.why
    assert (await offenders(house, mend=True)).left == ()
    assert (await audited(house)).offenders == ()
    (left,) = house.client.zrange("flywheel:parked:technical-analysis", 0, -1)
    assert str(left).startswith(stays)
    await producer.cancel(stays)


@pytest.mark.provokes("its record cannot be read", "ValidationError")
async def test_a_record_that_cannot_be_read_keeps_no_other_end_from_being_traced(
    house: House, producer: AsyncProducer
) -> None:
    async with worker_stopped(house):
        spoilt, well = [(await producer.submit(own(ASKED))).query_id for _ in range(2)]
        assert await producer.cancel(spoilt)
        assert await producer.cancel(well)
        house.client.hset(wire.record_key(spoilt), "query", "{")

    traces = house.folder / "home" / "traces" / "observations.jsonl"
    traced = lambda: traces.exists() and well in traces.read_text()  # noqa: E731
    await asyncio.to_thread(wait_for, traced, what="the trace of the other one")
    assert f"the end of query {spoilt} is not traced: its record cannot be read" in house.workers[-1].log


async def test_a_record_that_is_not_utf8_is_named(house: House, producer: AsyncProducer) -> None:
    query_id = (await producer.ask(own(ASKED), wait=30)).query_id
    house.client.hset(wire.record_key(query_id), "query", b"\xff\xfe")
    found = await offenders(house)
    house.client.delete(wire.record_key(query_id))

    assert [(each.kind, each.id) for each in found.offenders] == [("key", wire.record_key(query_id))]
    assert "not UTF-8" in found.offenders[0].why
