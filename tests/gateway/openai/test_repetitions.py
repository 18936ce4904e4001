"""A client's own repetition is the same query; the same question asked twice on purpose is two."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from gateway.house import BOB, GatewayHouse, gateway_client
from gateway.openai.chat import BROKEN, PATH, PLAIN, body, query_of, question

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
