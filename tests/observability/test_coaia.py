"""coaiapy's ``fetch`` and ``tash`` under our cache keys, and ours under its values.

coaiapy 0.6.2 pins redis 4.3 and cannot be installed beside us. These are the commands that its ``fetch_key_val`` and
``tash`` send, read from its source; docs/tracing.md shows the program itself.
"""

from __future__ import annotations

import json
import uuid

import pytest
import redis

from agentic_flywheel.broker.persistence import check_cache
from observability.conftest import Observed
from producer import AsyncProducer

#: Minutes; its default.
COAIA_TTL = 5555


def coaia_fetch(client: redis.Redis, key: str) -> str | None:
    return client.get(key)  # type: ignore[return-value]


def coaia_tash(client: redis.Redis, key: str, value: str, ttl: int = COAIA_TTL) -> None:
    client.set(key, value, ex=ttl * 60 if ttl > 0 else None)


async def test_coaia_fetches_an_answer_that_we_cached(observed: Observed, producer: AsyncProducer) -> None:
    answer = await producer.ask(f"How do I connect python to a database? ({uuid.uuid4().hex})", wait=20)

    value = json.loads(coaia_fetch(observed.house.client, answer.cache_key or "") or "")

    assert value["text"] == answer.text
    assert value["trace_id"] == answer.query_id
    told = value["_mcp_metadata"]
    assert (told["flow_key"], told["intent_detected"]) == ("technical-analysis", "technical")
    assert {"flow_used", "flow_id", "session_id", "confidence", "config_used"} <= set(told)


@pytest.mark.parametrize("ttl", [COAIA_TTL, 0])
@pytest.mark.parametrize("value", ["Use asyncpg.", '{"text": "Use asyncpg."}', '{"response": "Use asyncpg."}'])
async def test_what_coaia_stashes_is_the_answer_from_then_on(
    observed: Observed, producer: AsyncProducer, value: str, ttl: int
) -> None:
    question = f"How do I connect python to a database? ({uuid.uuid4().hex})"
    key = (await producer.ask(question, wait=20)).cache_key or ""

    coaia_tash(observed.house.client, key, value, ttl)
    kept = await check_cache(producer.batch, key)
    at_the_front = await producer.ask(question, wait=20)
    by_a_worker = await producer.ask(question, wait=20, flow="technical-analysis")

    assert kept is not None
    for answer in (kept, at_the_front, by_a_worker):
        assert (answer.text, answer.cached, answer.flow) == ("Use asyncpg.", True, "technical-analysis")
    assert at_the_front.domain == by_a_worker.domain == "technical"
