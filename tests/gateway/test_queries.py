"""Queries over HTTP."""

from __future__ import annotations

import asyncio

import httpx2
from bridge_house import SLOW

from gateway.house import GatewayHouse, frames_of


async def test_a_question_is_accepted_and_its_answer_found_where_the_links_say(alice: httpx2.AsyncClient) -> None:
    asked = await alice.post("/v1/queries", json={"question": "Write a poem about the sea"})
    assert asked.status_code == 202, asked.text
    found = await alice.get(asked.headers["location"], params={"wait": 30})

    assert asked.json()["links"]["self"] == asked.headers["location"]
    assert (found.status_code, found.json()["state"], found.json()["done"]) == (200, "succeeded", True)
    assert found.json()["answer"]["flow"] == "creative-orientation"
    assert found.json()["answer"]["text"]


async def test_a_question_may_wait_for_its_answer_and_the_second_time_it_is_there_at_once(
    alice: httpx2.AsyncClient,
) -> None:
    body = {"question": "How do I connect PostgreSQL to Python?"}
    first = await alice.post("/v1/queries", params={"wait": 30}, json=body)
    second = await alice.post("/v1/queries", json=body)

    assert (first.status_code, first.json()["answer"]["cached"]) == (200, False)
    assert (second.status_code, second.json()["answer"]["cached"]) == (200, True)


async def test_the_same_key_is_the_same_query_and_no_other(alice: httpx2.AsyncClient) -> None:
    headers = {"Idempotency-Key": "order-17"}
    first, again = [await alice.post("/v1/queries", json={"question": "Once"}, headers=headers) for _ in range(2)]
    other = await alice.post("/v1/queries", json={"question": "Something else"}, headers=headers)

    assert first.json()["query_id"] == again.json()["query_id"]
    assert (other.status_code, other.headers["content-type"]) == (422, "application/problem+json")
    assert other.json()["error"]["error_type"] == "IdempotencyConflict"


async def test_events_go_on_behind_the_last_one_that_was_seen(
    alice: httpx2.AsyncClient, gateway_house: GatewayHouse
) -> None:
    gateway_house.behave(SLOW, token_delay=0.05)
    asked = (await alice.post("/v1/queries", json={"question": "Tell me slowly", "flow": "slow"})).json()
    first, rest = [], []
    async with alice.stream("GET", asked["links"]["events"]) as stream:
        async for frame in frames_of(stream):
            first.append(frame)
            if frame.get("event") == "token":
                break
    headers = {"Last-Event-ID": first[-1]["id"]}
    async with asyncio.timeout(30), alice.stream("GET", asked["links"]["events"], headers=headers) as stream:
        rest = [frame async for frame in frames_of(stream)]

    assert first[0] == {"retry": "1000"}
    assert not {each.get("id") for each in first} & {each.get("id") for each in rest[1:]}
    assert rest[-1]["event"] == "final"
    assert '"state":"succeeded"' in rest[-1]["data"]


async def test_nobody_comes_in_without_a_token_or_with_a_wrong_one(gateway_house: GatewayHouse) -> None:
    async with httpx2.AsyncClient(base_url=gateway_house.url) as http:
        told = [
            await http.post("/v1/queries", json={"question": "?"}, headers=headers)
            for headers in ({}, {"Authorization": "Bearer nothing-that-anybody-has"})
        ]

    assert [each.status_code for each in told] == [401, 401]
    assert told[0].headers["www-authenticate"].startswith("Bearer")
    assert told[0].json()["error"]["error_type"] == "TokenNeeded"


async def test_another_owners_query_is_not_there(alice: httpx2.AsyncClient, bob: httpx2.AsyncClient) -> None:
    asked = (await alice.post("/v1/queries", json={"question": "Whose?"})).json()
    found = [await bob.get(asked["links"][each]) for each in ("self", "events")]

    assert [each.status_code for each in found] == [404, 404]
    assert found[0].json()["error"]["error_type"] == "UnknownQuery"
