"""What every test ends with: a broker is audited again once something has moved in it, and only then."""

from __future__ import annotations

from typing import Any

import closing
import pytest
from pipeline.house import House

from agentic_flywheel.broker.audit import Audited, audit
from agentic_flywheel.settings import Settings
from audit.house import ASKED, own, worker_stopped
from producer import AsyncProducer


async def test_a_broker_is_audited_once_something_has_moved_and_what_is_lost_is_told(
    house: House, producer: AsyncProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    async def noted(settings: Settings, **given: Any) -> Audited:
        looked.append(settings.redis_url)
        return await audit(settings, **given)

    monkeypatch.setattr(closing, "audit", noted)
    await producer.ask(own(ASKED), wait=30)
    assert closing.audits() == []
    assert closing.audits() == []
    at_rest = looked.count(house.broker.url)

    async with worker_stopped(house):
        query_id = (await producer.submit(own(ASKED))).query_id
        house.client.delete("classify")
        told = closing.audits()
        await producer.cancel(query_id)

    assert at_rest == 1
    assert looked.count(house.broker.url) == 2
    assert len(told) == 1
    assert query_id in told[0]
