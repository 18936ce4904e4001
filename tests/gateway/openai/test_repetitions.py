"""A client's own repetition is the same query; the same question asked twice on purpose is two."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from gateway.house import ALICE, BOB, TOKENS, GatewayHouse, gateway_client
from gateway.openai.chat import BROKEN, PATH, PLAIN, TECHNICAL, body, chunks_in, query_of, question, streamed_text

FIRST, AGAIN = {"x-stainless-retry-count": "0"}, {"x-stainless-retry-count": "1"}


async def test_a_repetition_is_the_same_query(alice: httpx2.AsyncClient, openai_house: GatewayHouse) -> None:
    asked = question()

    sent = [await alice.post(PATH, json=body(asked), headers=each) for each in (FIRST, AGAIN, AGAIN)]

    assert len(set(map(query_of, sent))) == 1
    assert openai_house.calls(asked) == 1


async def test_a_repetition_joins_the_query_that_still_runs(
    alice: httpx2.AsyncClient, openai_house: GatewayHouse
) -> None:
    openai_house.behave(PLAIN, latency=0.6)
    asked = question()
    with pytest.raises(httpx2.ReadTimeout):
        await alice.post(PATH, json=body(asked), headers=FIRST, timeout=0.2)

    again = await alice.post(PATH, json=body(asked), headers=AGAIN)

    assert again.status_code == 200
    assert openai_house.calls(asked) == 1


async def test_whoever_asks_the_same_on_purpose_begins_a_new_query(
    alice: httpx2.AsyncClient, openai_house: GatewayHouse
) -> None:
    asked = question()

    sent = [await alice.post(PATH, json=body(asked), headers=each) for each in (FIRST, FIRST, AGAIN, {}, {})]

    first, second, again, *uncounted = map(query_of, sent)
    assert again == second
    assert len({first, second, *uncounted}) == 4
    assert openai_house.calls(asked) == 4


async def test_a_repetition_whose_first_request_never_came_is_a_query(alice: httpx2.AsyncClient) -> None:
    given = body(question())

    sent = [await alice.post(PATH, json=given, headers={"x-stainless-retry-count": n}) for n in ("1", "2")]

    assert len(set(map(query_of, sent))) == 1


async def test_another_owner_another_body_and_another_session_are_other_queries(
    alice: httpx2.AsyncClient, openai_house: GatewayHouse
) -> None:
    asked = question()
    first = await alice.post(PATH, json=body(asked), headers=FIRST)

    other = await alice.post(PATH, json=body(asked, temperature=1), headers=AGAIN)
    elsewhere = await alice.post(PATH, json=body(asked), headers={**AGAIN, "Flywheel-Session": "s"})
    async with gateway_client(openai_house.url, BOB) as bob:
        theirs = await bob.post(PATH, json=body(asked), headers=AGAIN)

    assert len(set(map(query_of, (first, other, elsewhere, theirs)))) == 4


async def test_a_repetition_in_a_session_is_the_same_query_also_when_its_turn_has_ended(
    alice: httpx2.AsyncClient, openai_house: GatewayHouse
) -> None:
    asked, chat = question(), {"Flywheel-Session": "s-1"}

    first = await alice.post(PATH, json=body(asked), headers={**FIRST, **chat})
    again = await alice.post(PATH, json=body(asked), headers={**AGAIN, **chat})

    assert query_of(again) == query_of(first)
    assert openai_house.calls(asked) == 1


async def test_a_query_that_has_failed_is_not_called_again_by_a_repetition(
    alice: httpx2.AsyncClient, openai_house: GatewayHouse
) -> None:
    openai_house.behave(BROKEN, fault="error_500")
    asked = question()

    sent = [await alice.post(PATH, json=body(asked, "broken"), headers=each) for each in (FIRST, AGAIN)]

    assert [each.status_code for each in sent] == [502, 502]
    assert openai_house.calls(asked) == 1


async def test_a_key_of_the_clients_own_stands_before_the_count(alice: httpx2.AsyncClient) -> None:
    asked, key = question(), {"Idempotency-Key": "order-17"}

    sent = [await alice.post(PATH, json=body(asked), headers={**FIRST, **key}) for _ in range(2)]
    other = await alice.post(PATH, json=body(question()), headers=key)

    assert len(set(map(query_of, sent))) == 1
    assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_conflict")


async def test_two_first_requests_at_once_are_answered_both(alice: httpx2.AsyncClient) -> None:
    given = body(question())

    sent = await asyncio.gather(*(alice.post(PATH, json=given, headers=FIRST) for _ in range(2)))

    assert [each.status_code for each in sent] == [200, 200]


async def test_a_repetition_to_another_gateway_is_the_same_query_where_the_first_one_died(
    alice: httpx2.AsyncClient, openai_house: GatewayHouse
) -> None:
    openai_house.behave(PLAIN, latency=2.0)
    asked = question()
    url = openai_house.gateway(FLYWHEEL_MCP_TOKENS=TOKENS)
    async with gateway_client(url, ALICE) as client:
        first = asyncio.create_task(client.post(PATH, json=body(asked), headers=FIRST))
        while not openai_house.calls(asked):
            await asyncio.sleep(0.02)
        openai_house.doors[-1].kill()
        with pytest.raises(httpx2.TransportError):
            await first

    again = await alice.post(PATH, json=body(asked), headers=AGAIN)

    assert again.status_code == 200
    assert openai_house.calls(asked) == 1


async def test_the_same_question_at_the_same_time_is_one_call_and_streamed_to_both(
    alice: httpx2.AsyncClient, openai_house: GatewayHouse
) -> None:
    openai_house.behave(TECHNICAL, token_delay=0.02)
    given = body(question(), "technical-analysis", stream=True)

    streams = [chunks_in(each) for each in await asyncio.gather(*(alice.post(PATH, json=given) for _ in range(3)))]

    (text,) = {streamed_text(each) for each in streams}
    assert text
    assert len({each[0]["id"] for each in streams}) == 3
    assert openai_house.calls(given["messages"][0]["content"]) == 1
