"""What is kept of a query when it has ended: its record, its answer for Celery's clients, and the cached one."""

from __future__ import annotations

import json
import uuid

from agentic_flywheel.broker import wire
from pipeline.house import House
from producer import AsyncProducer

#: Fields of a record that something reads after the end.
READ_LATER = {
    "v", "state", "reason", "owner", "query", "priority", "created", "ttl", "domain", "flow", "route", "routed",
    "started", "attempts", "fence", "calls", "finished",
}  # fmt: skip
#: Fields that an answer has for every reader, though they may say nothing.
ALWAYS = {"query_id", "kind", "text", "flow", "domain", "domains", "session_id", "band", "confidence", "explanation"}


async def test_nothing_is_kept_that_nobody_reads_and_no_field_that_says_nothing(
    producer: AsyncProducer, house: House
) -> None:
    answer = await producer.ask(
        f"Wie verbinde ich Python mit 数据库? ({uuid.uuid4().hex})", wait=20, flow="technical-analysis"
    )
    record = house.client.hgetall(wire.record_key(answer.query_id))
    result = str(house.client.get(wire.result_key(answer.query_id)))
    cached = str(house.client.get(answer.cache_key or ""))

    assert set(record) == READ_LATER
    assert "数据库" in record["query"]
    for stored in (json.loads(result)["result"], json.loads(cached)):
        assert set(stored) >= ALWAYS
        empty = {name for name, value in stored.items() if name not in ALWAYS and value in (None, [], {}, "")}
        assert empty == set()
