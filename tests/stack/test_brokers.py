"""Brokers as people have them: every process of ours reaches each kind of address."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from pipeline.house import House

from producer import AsyncProducer

PASSWORD = "p/w?#@: %+é&=;'\"\\"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def test_a_password_of_any_characters_and_another_database(house: House) -> None:
    house.client.config_set("requirepass", PASSWORD)
    house.client.auth(PASSWORD)
    url = f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{house.broker.port}/3"
    try:
        house.worker(redis_url=url)
        async with AsyncProducer(house.settings.model_copy(update={"redis_url": url})) as producer:
            answer = await producer.ask("Why does our API time out?", wait=30)

        assert answer.text
        assert house.client.dbsize() == 0
        assert all(
            PASSWORD not in worker.log and quote(PASSWORD, safe="") not in worker.log for worker in house.workers
        )
    finally:
        house.client.config_set("requirepass", "")
        house.stop()
