"""What else an audit finds, what it does not find, and how the command tells it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from celery import Celery
from pipeline.house import TECHNICAL, House
from processes import wait_for
from redis.asyncio import Redis

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.audit import Audited, audit
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.figures.metrics import MetricsServer
from agentic_flywheel.settings import Settings
from audit.house import ASKED, OF_TWO, audited, in_state, offenders, own, worker_stopped
from producer import AsyncProducer
from producer.cli import main
from producer.stack.flower import _WholeQueues


async def test_a_message_in_a_queue_that_nobody_reads_is_no_mover(house: House, producer: AsyncProducer) -> None:
    async with worker_stopped(house):
        query_id = (await producer.submit(own(ASKED))).query_id
        house.client.rename("classify", "elsewhere")
    found = await audited(house, mend=True)

    assert [each.id for each in found.left] == [query_id]
    assert "queue elsewhere, which no living worker reads" in found.left[0].why
    house.client.rename("elsewhere", "classify")
    await producer.wait(query_id, 60)


async def test_a_plain_clients_message_in_a_queue_that_nobody_reads_is_named(house: House) -> None:
    with Celery(broker=house.broker.url, set_as_current=False) as client:
        sent = client.send_task("flywheel.classify", [own(ASKED)], queue="elsewhere")
    found = await offenders(house)
    house.client.delete("elsewhere")

    assert [(each.kind, each.id) for each in found.offenders] == [("message", sent.id)]
    assert "no living worker reads its queue (message 'elsewhere')" in found.offenders[0].why


async def test_a_query_that_is_counted_wrongly_is_named_and_righted(house: House, producer: AsyncProducer) -> None:
    house.behave(TECHNICAL, latency=3)
    query_id = (await producer.submit(own(ASKED))).query_id
    await in_state(producer, query_id, "running")
    house.client.zrem("flywheel:open", query_id)
    house.client.zadd("flywheel:open", {"gone": time.time() * 1000})
    house.client.sadd("flywheel:open-in:creative", query_id)
    found = await offenders(house, mend=True)

    assert {(each.kind, each.id) for each in found.offenders} == {
        ("counter", f" {query_id}"),
        ("counter", " gone"),
        ("counter", f"creative {query_id}"),
    }
    assert (await audited(house)).offenders == ()
    await producer.wait(query_id, 30)


async def test_what_is_left_over_is_named(house: House, producer: AsyncProducer) -> None:
    query_id = (await producer.ask(own(ASKED), wait=30)).query_id
    house.client.persist(f"flywheel:query:{query_id}")
    house.client.zadd("flywheel:running:technical-analysis", {"gone": time.time() * 1000 + 3_600_000})
    house.client.rpush("nowhere", "no JSON \ud83d".encode("utf-8", "surrogatepass") + b"\xff")
    found = await audited(house, mend=True)

    named = {(each.kind, each.id.partition(" ")[0]) for each in found.offenders}
    assert named == {("record", query_id), ("slot", "technical-analysis"), ("message", "no")}
    assert [each.kind for each in found.left] == ["message"]
    assert house.client.ttl(f"flywheel:query:{query_id}") > 0
    house.client.delete("nowhere")


async def test_where_no_worker_lives_nothing_moves(house: House, producer: AsyncProducer) -> None:
    async with worker_stopped(house):
        query_id = (await producer.submit(own(ASKED))).query_id
        house.client.delete("flywheel:workers")
        found = await audited(house)

    assert [each.id for each in found.offenders] == [query_id]
    await producer.wait(query_id, 60)


@pytest.mark.no_cover  # measured, it takes minutes in place of seconds
@pytest.mark.timeout(400)
async def test_a_busy_healthy_stack_has_no_offender_in_thirty_audits(house: House, producer: AsyncProducer) -> None:
    """Flows with limits, retries, identical questions, sessions and fan-outs; everything moves all the time."""
    house.behave(latency=0.05)
    house.behave(TECHNICAL, latency=0.05, fault="gateway_502", fault_share=0.1, seed=3)
    mark, over = uuid.uuid4().hex[:6], asyncio.Event()
    shapes: list[Callable[[int], dict[str, Any]]] = [
        lambda n: {"question": f"How do I connect python to database {mark}-{n}?"},
        lambda n: {"question": f"How do I connect python to database {mark}-group-{n // 20}?"},
        lambda n: {"question": f"narrow {mark}-{n}", "flow": "narrow"},
        lambda n: {"question": f"sparing {mark}-{n}", "flow": "sparing"} if n % 30 == 3 else {"question": f"poem {n}"},
        lambda n: {"question": f"Write a poem {mark}-{n}", "session_id": f"{mark}-{n % 5}"},
        lambda n: {"question": OF_TWO.format(f"{mark}-{n}")},
    ]

    async def flow() -> None:
        number = 0
        while not over.is_set():
            batch = [producer.submit(**shapes[each % len(shapes)](each)) for each in range(number, number + 12)]
            await asyncio.gather(*batch, return_exceptions=True)
            number += 12
            await asyncio.sleep(0.15)
            # A slow machine's backlog would grow, and so would what it keeps: each audit reads all of that.
            while house.client.zcard(wire.OPEN) > 150 or number > 36 * (len(found) + 1):
                if over.is_set():
                    return
                await asyncio.sleep(0.05)

    found = list[Audited]()
    flowing = asyncio.create_task(flow())
    try:
        for _ in range(30):
            found.append(await audited(house))
    finally:
        over.set()
        await flowing

    assert [each for one in found for each in one.offenders] == []
    assert max(one.open for one in found) > 10


def test_the_command_prints_a_line_for_each_offender_and_ends_with_1(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    wait_for(lambda: house.client.zcard("flywheel:open") == 0, within=60, what="the queries of other tests have ended")
    settings = house.settings
    monkeypatch.setenv("REDIS_URL", settings.redis_url)
    monkeypatch.setenv("FLYWHEEL_REGISTRY", str(house.registry))
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path))

    def said(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["flywheel", "audit", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), capsys.readouterr().out

    house.client.sadd("flywheel:open-in:technical", "gone")
    code, text = said()
    assert code == 1
    assert "counter technical gone: it is counted among the open queries of domain technical, and is none" in text
    code, text = said("--json")
    assert code == 1
    assert [each["id"] for each in json.loads(text)["offenders"]] == ["technical gone"]
    assert said("--repair")[0] == 0
    assert said() == (0, "0 queries are open, and each has what moves it.\n")


async def test_what_an_audit_left_is_a_figure_that_a_scrape_only_reads(house: House, producer: AsyncProducer) -> None:
    house.client.sadd("flywheel:open-in:technical", "gone")
    await offenders(house)
    server = MetricsServer(producer.batch, lambda: producer.catalog)
    port = await server.start()
    try:
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as response:
            text = await response.text()
    finally:
        await server.close()

    assert "flywheel_audit_offenders 1.0" in text
    assert "flywheel_audit_timestamp_seconds" in text
    assert (await audited(house, mend=True)).left == ()


async def test_a_broker_that_is_away_is_said(house: House) -> None:
    away = house.settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0"})

    with pytest.raises(FlywheelError):
        await audit(away)


async def test_a_broker_that_takes_no_writes_is_audited_and_its_queues_are_counted(
    redis_client: Redis, settings: Settings
) -> None:
    """Both only read: they were refused with it, just where somebody looks what is wrong."""
    await redis_client.rpush("classify", "waits")
    try:
        for setting in ("maxmemory", "min-replicas-to-write"):
            await redis_client.config_set(setting, 1)
            found = await audit(settings, pause=timedelta(milliseconds=1))
            counted = await _WholeQueues(settings.redis_url, "").queues(["classify"])

            assert found.open == 0
            assert counted == [{"name": "classify", "messages": 1}]
    finally:
        await redis_client.config_set("maxmemory", 0)
        await redis_client.config_set("min-replicas-to-write", 0)
        await redis_client.flushdb()
