"""Queries over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from typing import Any

import httpx2
import pytest
from bridge_house import BROKEN, SLOW
from celery import Celery
from processes import free_port

from agentic_flywheel.broker import wire
from gateway.house import CREATIVE, TOKENS, GatewayHouse, frames_of, gateway_client


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


async def test_events_go_on_across_a_restart_of_the_gateway(gateway_house: GatewayHouse) -> None:
    gateway_house.behave(SLOW, token_delay=0.1)
    port = free_port()
    url = gateway_house.gateway(port=port, FLYWHEEL_MCP_TOKENS=TOKENS)
    seen: list[dict[str, str]] = []
    async with gateway_client(url) as http:
        asked = (await http.post("/v1/queries", json={"question": "Tell me across", "flow": "slow"})).json()
        with contextlib.suppress(httpx2.TransportError):
            async with http.stream("GET", asked["links"]["events"]) as stream:
                async for frame in frames_of(stream):
                    seen.append(frame)
                    if frame.get("event") == "token" and len(seen) < 8:
                        gateway_house.doors[-1].send(signal.SIGKILL)
    gateway_house.doors[-1].wait()
    gateway_house.gateway(port=port, FLYWHEEL_MCP_TOKENS=TOKENS)
    async with asyncio.timeout(30), gateway_client(url) as http:
        place = {"Last-Event-ID": seen[-1]["id"]}
        async with http.stream("GET", asked["links"]["events"], headers=place) as stream:
            seen += [frame async for frame in frames_of(stream)]
        answer = (await http.get(asked["links"]["self"])).json()["answer"]["text"]
    told = [json.loads(each["data"]) for each in seen if each.get("event") == "token"]

    assert "".join(each["text"] for each in told) == answer
    assert seen[-1]["event"] == "final"


async def test_a_stream_says_what_becomes_of_a_query_that_the_broker_has_lost(
    alice: httpx2.AsyncClient, gateway_house: GatewayHouse
) -> None:
    gateway_house.behave(SLOW, latency=3)
    asked = (await alice.post("/v1/queries", json={"question": "Lost?", "flow": "slow"})).json()
    told = list[dict[str, str]]()
    async with asyncio.timeout(60), alice.stream("GET", asked["links"]["events"]) as stream:
        async for frame in frames_of(stream):
            told.append(frame)
            if frame.get("event") == "started":
                gateway_house.client.flushdb()
                gateway_house.client.publish(wire.news_channel(asked["query_id"]), "")

    assert told[-1]["event"] == "error"
    assert json.loads(told[-1]["data"])["error_type"] in ("QueryRemoved", "QueryLost")


async def test_a_reader_that_has_seen_the_last_event_is_told_not_to_come_back(alice: httpx2.AsyncClient) -> None:
    body = {"question": "Write a poem about the end", "session_id": "ends"}
    for path in ["answered", "from the cache"]:
        asked = (await alice.post("/v1/queries", params={"wait": 30}, json=body)).json()
        async with alice.stream("GET", asked["links"]["events"]) as stream:
            seen = [each async for each in frames_of(stream) if "id" in each]
        again = await alice.get(asked["links"]["events"], headers={"Last-Event-ID": seen[-1]["id"]})

        assert (seen[-1]["event"], again.status_code, again.content) == ("final", 204, b""), path
        if len(seen) > 1:
            before = await alice.get(asked["links"]["events"], headers={"Last-Event-ID": seen[-2]["id"]})
            assert "event: final" in before.text
        body = {"question": body["question"]}


@pytest.mark.parametrize(
    "place",
    [
        "nonsense",
        "1-1\u00e9",
        "9" * 90,
        "\u0661-\u0661",
        "99999999999999999999-0",
        "0-18446744073709551616",
        "18446744073709551615-18446744073709551615",
        "1-0~18446744073709551615-18446744073709551615",
    ],
)
async def test_a_place_that_is_none_is_refused(alice: httpx2.AsyncClient, place: str) -> None:
    asked = (await alice.post("/v1/queries", json={"question": "Where?"})).json()
    told = await alice.get(asked["links"]["events"], params={"after": place})

    assert (told.status_code, told.json()["error"]["error_type"]) == (422, "InvalidRequest")


async def test_a_list_has_filters_and_goes_on_with_its_cursor(
    alice: httpx2.AsyncClient, bob: httpx2.AsyncClient
) -> None:
    for number in range(5):
        body = {"question": f"Write a poem, number {number}", "session_id": "poems" if number % 2 else None}
        await alice.post("/v1/queries", params={"wait": 30}, json=body)
    await bob.post("/v1/queries", json={"question": "Bob's own"})
    pages, cursor = list[list[str]](), None
    for _ in range(10):
        page = (await alice.get("/v1/queries", params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
        pages.append([each["query"]["question"][-1] for each in page["queries"]])
        cursor = page.get("cursor")
        if cursor is None:
            break
    filters: dict[str, dict[str, Any]] = {
        "session": {"session_id": "poems"},
        "state": {"state": ["failed", "succeeded"]},
        "none": {"state": "failed"},
        "flow": {"flow": "creative-orientation"},
        "domain": {"domain": "technical"},
        "later": {"since": "2999-01-01T00:00:00Z"},
    }
    found = {
        name: len((await alice.get("/v1/queries", params=wanted)).json()["queries"]) for name, wanted in filters.items()
    }
    refused = await alice.get("/v1/queries", params={"cursor": "%%%"})

    assert pages == [["4", "3"], ["2", "1"], ["0"]]
    assert found == {"session": 2, "state": 5, "none": 0, "flow": 5, "domain": 0, "later": 0}
    assert (refused.status_code, refused.json()["error"]["details"]["field_name"]) == (422, "cursor")


async def test_a_query_is_cancelled(alice: httpx2.AsyncClient, gateway_house: GatewayHouse) -> None:
    gateway_house.behave(SLOW, latency=20)
    asked = (await alice.post("/v1/queries", json={"question": "Too long", "flow": "slow"})).json()
    told = [await alice.post(asked["links"]["cancel"]) for _ in range(2)]
    found = (await alice.get(asked["links"]["self"])).json()

    assert [each.json()["cancelled"] for each in told] == [True, False]
    assert (found["state"], found["error"]["error_type"]) == ("cancelled", "QueryCancelled")


async def test_a_person_decides(alice: httpx2.AsyncClient, gateway_house: GatewayHouse) -> None:
    gateway_house.build(SLOW, style="approval")
    body = {"question": "Delete the database?", "flow": "slow"}
    asked = (await alice.post("/v1/queries", params={"wait": 30}, json=body)).json()
    decided = {"decision": "proceed", "feedback": "go"}
    done = await alice.post(asked["links"]["resume"], params={"wait": 30}, json=decided)
    other = await alice.post(asked["links"]["resume"], json={"decision": "reject"})

    assert (asked["state"], asked["done"]) == ("input_required", False)
    assert asked["asks"][0]["choices"] == {"proceed": "Proceed", "reject": "Reject"}
    assert (done.status_code, done.json()["state"]) == (200, "succeeded")
    assert (other.status_code, other.json()["error"]["error_type"]) == (409, "AlreadyDecided")


async def test_a_query_is_found_and_decided_by_the_name_that_a_plain_client_gave_it(
    alice: httpx2.AsyncClient, gateway_house: GatewayHouse
) -> None:
    gateway_house.build(SLOW, style="approval")
    client = Celery(broker=gateway_house.broker.url, backend=gateway_house.broker.url)
    named, asked = "order:17.a", {"question": "Delete the order?", "flow": "slow", "owner": "alice"}
    sent = client.send_task(wire.CLASSIFY, [asked], queue=wire.CLASSIFY_QUEUE, task_id=named)
    async with asyncio.timeout(20):
        while (found := (await alice.get(f"/v1/queries/{named}")).json()).get("state") != "input_required":
            assert found.get("state") or found["error"]["error_type"] == "UnknownQuery"
            await asyncio.sleep(0.05)
    decided = await alice.post(found["links"]["resume"], json={"decision": "proceed"})

    assert decided.status_code == 202
    assert (await asyncio.to_thread(sent.get, timeout=20))["text"] == "approved"
    assert (await alice.get("/v1/queries/a b")).json()["error"]["details"]["field_name"] == "query_id"


async def test_a_query_is_asked_again_elsewhere_and_rated(alice: httpx2.AsyncClient) -> None:
    asked = (await alice.post("/v1/queries", params={"wait": 30}, json={"question": "Write a poem about rain"})).json()
    again = await alice.post(asked["links"]["reroute"], json={"flow": "document-qa"})
    found = (await alice.get(again.headers["location"], params={"wait": 30})).json()
    rated = await alice.post(asked["links"]["scores"], json={"value": 7, "comment": "good"})
    wrong = await alice.post(asked["links"]["scores"], json={"value": 70})
    nowhere = await alice.post(asked["links"]["reroute"], json={"flow": "no-such"})

    assert (again.status_code, found["answer"]["flow"]) == (202, "document-qa")
    assert (rated.status_code, rated.json()["value"]) == (201, 7)
    assert (wrong.status_code, wrong.json()["error"]["error_type"]) == (422, "InvalidScore")
    assert (nowhere.status_code, nowhere.json()["error"]["error_type"]) == (422, "UnknownFlow")


@pytest.mark.parametrize(
    ("score", "field"),
    [
        ({"value": 5, "comment": "a\0b"}, "comment"),
        ({"value": "a\x1bb"}, "value"),
        ({"value": 5, "name": "a\0"}, "name"),
    ],
)
async def test_a_score_has_texts_that_can_be_kept_and_shown(
    alice: httpx2.AsyncClient, score: dict[str, Any], field: str
) -> None:
    asked = (await alice.post("/v1/queries", params={"wait": 30}, json={"question": "How good?"})).json()
    told = await alice.post(asked["links"]["scores"], json=score)

    assert (told.status_code, told.json()["error"]["error_type"]) == (422, "InvalidScore"), told.text
    assert told.json()["error"]["details"]["field_name"] == field


async def test_an_answer_tells_how_long_each_step_took_as_everywhere(
    alice: httpx2.AsyncClient, gateway_house: GatewayHouse
) -> None:
    gateway_house.build(SLOW, style="agent")
    body = {"question": "What is 6*7?", "flow": "slow"}
    told = (await alice.post("/v1/queries", params={"wait": 30}, json=body)).json()

    steps = told["answer"]["steps"]
    assert [type(each["elapsed_ms"]) for each in steps] == [float] * len(steps)
    assert steps


async def test_a_failed_query_tells_its_error(alice: httpx2.AsyncClient, gateway_house: GatewayHouse) -> None:
    gateway_house.behave(BROKEN, fault="error_500")
    body = {"question": "This breaks", "flow": "broken"}
    told = (await alice.post("/v1/queries", params={"wait": 30}, json=body)).json()

    assert (told["state"], told["done"]) == ("failed", True)
    assert told["error"]["recovery_suggestions"]


async def test_a_question_may_carry_all_its_fields(alice: httpx2.AsyncClient, gateway_house: GatewayHouse) -> None:
    gateway_house.build(CREATIVE, style="chat", images=True)
    body = {
        "question": "What about it?",
        "session_id": "Größe:1/2",
        "user": "ann",
        "flow": "creative-orientation",
        "context": "We speak of the sea.",
        "history": [{"role": "userMessage", "content": "The sea?"}],
        "config": {"temperature": 0.1},
        "uploads": ["https://example.com/picture.png"],
        "cache": "bypass",
        "priority": "high",
        "timeout": 60,
        "metadata": {"ticket": 17},
    }
    told = (await alice.post("/v1/queries", params={"wait": 30}, json=body)).json()
    asked = (await alice.get(told["links"]["self"])).json()["query"]

    assert told["state"] == "succeeded", told
    assert asked["user"] == "ann"
    assert asked["metadata"] == {"ticket": 17}
    assert asked["history"] == body["history"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 422, "body"),
        (b"[]", 422, "body"),
        (b'"text"', 422, "body"),
        (b"{}", 422, "question"),
        (b'{"question": "  "}', 422, "question"),
        (b'{"question": "?", "colour": 1}', 422, "colour"),
        (b'{"question": "?", "timeout": -1}', 422, "timeout"),
        (b'{"question": "?", "user": "two words"}', 422, "user"),
        (b'{"question": "?", "flow": "a b"}', 422, "flow"),
        (b'{"question": "?", "uploads": ["ftp://x/y.png"]}', 422, "uploads.0.url"),
        (b'{"question": "\\u0000"}', 422, "question"),
        (b'{"question": "?", "metadata": ' + b"[" * 100_000, 422, "body"),
        (b"\xff\xfe", 422, "body"),
    ],
)
async def test_what_does_not_fit_is_named(alice: httpx2.AsyncClient, body: bytes, status: int, field: str) -> None:
    told = await alice.post("/v1/queries", content=body, headers={"Content-Type": "application/json"})

    assert told.headers["content-type"] == "application/problem+json"
    assert (told.status_code, told.json()["error"]["details"]["field_name"]) == (status, field), told.text


@pytest.mark.parametrize("path", ["/v1/queries", "/v1/chat/completions", "/api/v1/prediction/auto", "/mcp"])
@pytest.mark.parametrize("name", ["Flywheel-User", "Idempotency-Key", "Authorization", "X-OpenWebUI-User-Id"])
async def test_no_header_that_says_who_asks_comes_twice(alice: httpx2.AsyncClient, path: str, name: str) -> None:
    told = await alice.post(path, headers=[(name, "ann"), (name, "ben")], json={"question": "Whose?"})

    assert told.status_code == 400, told.text
    assert f"it has the header {name.lower()} more than once" in told.text


async def test_headers_are_in_utf_8(alice: httpx2.AsyncClient, gateway_house: GatewayHouse) -> None:
    asked = [
        await alice.post(
            "/v1/queries",
            headers=[(b"Idempotency-Key", "ключ".encode()), (b"Flywheel-User", "Zoë".encode())],
            json={"question": "Whose?", "user": "Zoë"},
        )
        for _ in range(2)
    ]

    assert asked[0].status_code == 202, asked[0].text
    assert asked[0].json()["query_id"] == asked[1].json()["query_id"]
    for path in ("/v1/queries", "/v1/chat/completions", "/api/v1/prediction/auto", "/mcp"):
        told = await alice.post(
            path, headers=[(b"Flywheel-User", "Zoë".encode("latin-1"))], json={"question": "Whose?"}
        )
        assert told.status_code == 400, told.text
        assert "its header flywheel-user is not in UTF-8" in told.text


async def test_a_user_of_the_header_is_the_only_one(gateway_house: GatewayHouse) -> None:
    async with (
        gateway_client(gateway_house.url, user="ann") as ann,
        gateway_client(gateway_house.url, user="ben") as ben,
    ):
        asked = (await ann.post("/v1/queries", json={"question": "Whose?"})).json()
        refused = await ann.post("/v1/queries", json={"question": "Whose?", "user": "ben"})
        unseen = await ben.get(asked["links"]["self"])
    async with gateway_client(gateway_house.url) as owner:
        seen = await owner.get(asked["links"]["self"])

    assert (refused.status_code, refused.json()["error"]["details"]["field_name"]) == (422, "user")
    assert (unseen.status_code, seen.status_code) == (404, 200)
