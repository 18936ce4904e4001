"""Brokers as people have them: every process of ours reaches each kind of address. docs/redis.md has a row for each."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from flower_pages.conftest import start_flower
from flower_pages.test_queues import lengths
from pipeline.house import House
from tls import tls_before

from agentic_flywheel.broker.audit import audit
from agentic_flywheel.models import EventKind
from producer import AsyncProducer
from producer.cli.checkup import check_everything

PASSWORD = "p/w?#@: %+é&=;'\"\\,"


async def everybody_reaches(house: House, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker, a producer, Flower, the check-up and the audit do their work at one address."""
    settings = house.settings.model_copy(update={"redis_url": url})
    worker = await asyncio.to_thread(house.worker, redis_url=url, events=True)
    flower, process = await asyncio.to_thread(start_flower, house, broker=url)
    try:
        async with AsyncProducer(settings) as producer, asyncio.timeout(40):
            answer = await producer.ask("Why does our API time out?", wait=30)
            streamed = (await producer.submit("Which index does this join need?", cache="refresh")).query_id
            kinds = [event.kind async for event in producer.stream(streamed)]
            # Flower may still be connecting, and hears of nothing that was before.
            while not await flower.json("/api/tasks?state=SUCCESS"):
                await producer.ask("Why is the docker build slow?", wait=10, cache="refresh")
        queues = await lengths(flower)
        for name, value in {
            "REDIS_URL": url,
            "FLYWHEEL_REGISTRY": house.registry,
            "FLYWHEEL_HOME": house.folder,
        }.items():
            monkeypatch.setenv(name, str(value))
        checks = {check.name: check for check in await check_everything()}
        audited = await audit(settings)
    finally:
        process.kill()

    assert answer.text
    assert kinds[-1] == EventKind.FINAL
    assert {"classify", "domain.technical", "synthesis.low"} <= set(queues)
    assert checks["broker"].state == "ok", checks["broker"]
    assert checks["workers"].state == "ok", checks["workers"]
    assert not audited.offenders
    for log in (worker.log, process.log):
        assert PASSWORD not in log
        assert quote(PASSWORD, safe="") not in log


@pytest.mark.timeout(120)
async def test_a_password_of_any_characters_and_another_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path)
    house.client.config_set("requirepass", PASSWORD)
    house.client.auth(PASSWORD)
    try:
        url = f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{house.broker.port}/3"
        await everybody_reaches(house, url, monkeypatch)

        assert house.client.dbsize() == 0
    finally:
        house.client.config_set("requirepass", "")
        house.stop()


@pytest.mark.timeout(120)
async def test_a_socket_of_this_machine_with_a_password_and_another_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = tmp_path / "the valkey.sock"
    house = House(tmp_path, broker_options=("--unixsocket", str(socket)))
    house.client.config_set("requirepass", PASSWORD)
    house.client.auth(PASSWORD)
    try:
        login = f"default:{quote(PASSWORD, safe='')}@"
        await everybody_reaches(house, f"unix://{login}{quote(str(socket))}?db=2", monkeypatch)

        assert house.client.dbsize() == 0
    finally:
        house.client.config_set("requirepass", "")
        house.stop()


@pytest.mark.timeout(120)
@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here, which makes the certificates")
async def test_tls_with_a_private_authority_and_a_certificate_of_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path)
    try:
        async with tls_before(house.broker.port, tmp_path, mutual=True) as port:
            files = (
                f"ssl_ca_certs={tmp_path}/ca.pem&ssl_certfile={tmp_path}/client.pem&ssl_keyfile={tmp_path}/client.key"
            )
            await everybody_reaches(house, f"rediss://127.0.0.1:{port}/0?{files}", monkeypatch)
            await asyncio.to_thread(house.workers[-1].terminate)
    finally:
        house.stop()
