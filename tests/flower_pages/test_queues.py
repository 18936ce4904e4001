"""Flower's page of the broker: every queue with its length, whatever runs, and also over TLS."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest
from pipeline.house import House
from tls import tls_before

from agentic_flywheel.broker import wire
from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import StackInfo
from flower_pages.conftest import PASSWORD, Flower, start_flower
from producer import AsyncProducer
from producer.stack import start_stack

DOMAINS = ("creative", "documents", "technical")


def queues_of(domains: tuple[str, ...]) -> set[str]:
    bases = (wire.CLASSIFY_QUEUE, *map(wire.domain_queue, domains), wire.SYNTHESIS_QUEUE)
    return {band for base in bases for band in wire.bands(base)}


async def lengths(flower: Flower) -> dict[str, int]:
    return {queue["name"]: queue["messages"] for queue in (await flower.json("/api/queues/length"))["active_queues"]}


@pytest.mark.timeout(60)
async def test_all_queues_are_there_within_five_seconds_of_up(tmp_path: Path) -> None:
    async with start_stack(Settings(home=tmp_path / "home"), private=True, on_line=lambda _: None) as stack:
        began, info = time.monotonic(), stack.info
        flower = started(info)
        found = await lengths(flower)
        page = await flower.text("/broker")

    assert time.monotonic() - began < 5
    assert set(found) == queues_of(DOMAINS)
    assert all(f"<td>{name}</td>" in page for name in found)


def started(info: StackInfo) -> Flower:
    assert info.flower_url
    assert info.flower_password
    return Flower(info.flower_url, Path(), info.flower_password)


async def test_the_page_has_the_lengths_without_any_worker(tmp_path: Path) -> None:
    house = House(tmp_path)
    try:
        async with AsyncProducer(house.settings) as producer:
            for number in range(3):
                await producer.submit(f"question {number}")
            await producer.submit("urgent", priority="high")
        flower, process = await asyncio.to_thread(start_flower, house)
        try:
            found = await lengths(flower)
        finally:
            process.kill()
        await asyncio.to_thread(house.worker)  # ends what was asked
    finally:
        house.stop()

    assert (found["classify"], found["classify.high"], found["classify.low"]) == (3, 1, 0)


async def test_the_queues_of_a_new_domain_appear(house: House, flower: Flower) -> None:
    before = house.registry.read_text()
    house.change_registry(f"{before}  newcomer:\n    id: 00000000-0000-4000-8000-000000000011\n    domain: fresh\n")
    try:
        async with asyncio.timeout(30):
            while "domain.fresh" not in await lengths(flower):
                await asyncio.sleep(0.1)
    finally:
        house.change_registry(before)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here, which makes the certificates")
async def test_the_queues_are_there_over_tls_with_a_private_authority(tmp_path: Path) -> None:
    house = House(tmp_path)
    try:
        async with tls_before(house.broker.port, tmp_path) as port:
            broker = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
            settings = house.settings.model_copy(update={"redis_url": broker})
            worker = await asyncio.to_thread(house.worker, redis_url=broker, events=True)
            flower, process = await asyncio.to_thread(start_flower, house, broker=broker)
            try:
                found = await lengths(flower)
                page = await flower.text("/broker")
                # Flower may still be connecting, and hears of nothing that was before.
                async with AsyncProducer(settings) as producer, asyncio.timeout(20):
                    while not await flower.json("/api/tasks?state=SUCCESS"):
                        await producer.ask("Which index does this join need?", wait=30, cache="refresh")
            finally:
                process.kill()
            await asyncio.to_thread(worker.terminate)
    finally:
        house.stop()

    assert {"classify", "domain.technical", "synthesis.low"} <= set(found)
    assert "domain.technical" in page
    assert PASSWORD not in page
