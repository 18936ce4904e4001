"""A stream that has ended takes little memory, and its readers find what they found before, wherever they read on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from tracing.lua import put_record, run_lua

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.events import read_events
from agentic_flywheel.models import Answer, Event, EventKind

QUERY = "a" * 32
#: As a worker writes them: tokens of several bytes, some of them of a part, among other events.
TOKENS = ["Größe ", "数据库", '\\"quoted\\" / 😀', "a\\nb", "", "x" * 300]
END = "return finalise(ARGV[1], ARGV[2], {answer = ARGV[3] ~= '' and ARGV[3] or nil, reason = ''}, now_ms()) and 1 or 0"


@pytest.fixture
async def batch(redis_client: Redis) -> AsyncIterator[Batch]:
    batch = Batch(redis_client)
    yield batch
    await batch.close()


async def tell(client: Redis, kind: EventKind, data: str) -> None:
    await client.xadd(wire.events_key(QUERY), {"kind": kind, "data": data})


async def streamed(client: Redis, texts: list[str], parts: tuple[str, ...] = ()) -> None:
    await put_record(client, QUERY, flow="a")
    await tell(client, EventKind.STARTED, '{"flow":"a","attempt":1}')
    for number, text in enumerate(texts * 3):
        part = f',"part":"{parts[number % len(parts)]}"' if parts else ""
        await tell(client, EventKind.TOKEN, f'{{"text":"{text}"{part}}}')
        if number == 7:
            await tell(client, EventKind.STEP, '{"node":"n"}')


async def end(client: Redis, state: str = "succeeded", answer: str = "") -> None:
    assert await run_lua(client, END, QUERY, state, answer) == 1


async def memory_of_events(client: Redis) -> int:
    return await client.memory_usage(wire.events_key(QUERY)) or 0


def text_of(events: list[Event]) -> str:
    return "".join(str(each.data["text"]) for each in events if each.kind is EventKind.TOKEN)


@pytest.mark.parametrize("parts", [(), ("poet", "database")])
@pytest.mark.parametrize("state", ["succeeded", "cancelled"])
async def test_a_reader_finds_the_same_tokens_after_the_end_from_every_place(
    state: str, parts: tuple[str, ...], redis_client: Redis, batch: Batch
) -> None:
    await streamed(redis_client, TOKENS, parts)
    before = await read_events(batch, QUERY)
    await end(redis_client, state, Answer(query_id=QUERY, text="Another.", flow="a", domain="d").written())

    for at, place in enumerate(["-", *(each.id for each in before)]):
        after = await read_events(batch, QUERY, place)
        assert after[:-1] == before[at:]
        assert after[-1].kind is EventKind.FINAL
    assert await redis_client.xlen(wire.events_key(QUERY)) == 5  # started, tokens, step, tokens, final
    assert 0 < await redis_client.ttl(wire.events_key(QUERY)) <= 3600
    assert not await redis_client.exists(wire.events_key(QUERY + wire.PACKED))


async def test_a_text_that_is_the_answers_is_stored_once(redis_client: Redis, batch: Batch) -> None:
    await put_record(redis_client, QUERY, flow="a")
    for _ in range(400):
        await tell(redis_client, EventKind.TOKEN, '{"text":"ten bytes "}')
    before, took = await read_events(batch, QUERY), await memory_of_events(redis_client)
    answer = Answer(query_id=QUERY, text=text_of(before), flow="a", domain="d")
    await end(redis_client, "succeeded", answer.written())

    assert await memory_of_events(redis_client) < took / 4
    assert "ten bytes" not in str(await redis_client.xrange(wire.events_key(QUERY)))
    assert (await read_events(batch, QUERY))[:-1] == before
    assert (await read_events(batch, QUERY, before[-2].id))[0] == before[-1]

    # Without the answer its tokens are no longer there, and the rest is.
    await redis_client.delete(wire.result_key(QUERY))
    assert [each.kind for each in await read_events(batch, QUERY)] == [EventKind.FINAL]


async def test_what_cannot_be_read_as_a_token_stays_as_it_is(redis_client: Redis, batch: Batch) -> None:
    await streamed(redis_client, ["a"] * 3)
    odd = [{"kind": "token", "data": "no JSON"}, {"kind": "token", "data": '{"text":5}'}, {"other": "x"}]
    for fields in odd:
        await redis_client.xadd(wire.events_key(QUERY), fields)  # type: ignore[arg-type]
    await end(redis_client, "cancelled")

    entries: Any = await redis_client.xrange(wire.events_key(QUERY))
    stored = [fields for _, fields in entries]
    assert [each for each in stored if each in odd] == odd
    assert text_of([each for each in await read_events(batch, QUERY) if each.data.get("text") != 5]) == "a" * 9
    joined = [json.loads(each["data"]) for each in stored if each.get("kind") == wire.TOKENS]
    assert [len(each["cuts"].split()) for each in joined] == [8, 1]
