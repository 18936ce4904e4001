"""The rest of the native API: batches, sessions, flows, routes, figures, dead letters."""

from __future__ import annotations

import asyncio
import json
import shutil
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from bridge_house import BROKEN, SLOW, client_of
from processes import wait_for

from gateway.house import GatewayHouse, gateway_client, served


async def test_a_batch_is_answered_and_one_that_is_refused_stops_no_other(alice: httpx2.AsyncClient) -> None:
    body = {
        "questions": ["Write a poem about ice", {"question": "Which clause covers liability?"}, " ", {"question": ""}],
        "session_id": None,
    }
    begun = await alice.post("/v1/batches", json=body)
    found = (await alice.get(begun.headers["location"], params={"wait": 30})).json()
    brief = (await alice.get(begun.headers["location"], params={"answers": False})).json()

    assert begun.status_code == 202
    assert (found["done"], found["total"], found["succeeded"], found["failed"]) == (True, 4, 2, 2)
    assert [each.get("state") for each in found["items"]] == ["succeeded", "succeeded", None, None]
    assert found["items"][1]["answer"]["flow"] == "document-qa"
    assert found["items"][2]["error"]["error_type"] == "InvalidQuery"
    assert not any("answer" in each for each in brief["items"])


async def test_a_batch_with_a_damaged_record_comes_to_its_end(
    alice: httpx2.AsyncClient, gateway_house: GatewayHouse
) -> None:
    begun = (await alice.post("/v1/batches", params={"wait": 30}, json={"questions": ["How?", "Why not?"]})).json()
    gateway_house.client.hset(f"flywheel:query:{begun['items'][1]['query_id']}", "query", "{")

    told = (await alice.get(f"/v1/batches/{begun['batch_id']}")).json()
    alone = await alice.get(f"/v1/queries/{begun['items'][1]['query_id']}")

    assert (told["done"], told["succeeded"], told["failed"]) == (True, 1, 1)
    assert (alone.status_code, alone.json()["error"]["error_type"]) == (500, "RecordUnreadable")


async def test_a_question_of_a_batch_may_have_fields_of_its_own(alice: httpx2.AsyncClient) -> None:
    body = {
        "questions": ["How are you?", {"question": "And you?", "flow": "document-qa"}],
        "flow": "technical-analysis",
        "timeout": 60,
        "user": "ann",
    }
    told = (await alice.post("/v1/batches", params={"wait": 30}, json=body)).json()

    assert [each["answer"]["flow"] for each in told["items"]] == ["technical-analysis", "document-qa"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"questions": []},
        {"questions": ["x"] * 201},
        {"questions": [17]},
        {"questions": ["?"], "question": "?"},
        {"questions": [{"question": "?", "user": "ann"}]},
        {"questions": ["", " "]},
    ],
)
async def test_a_batch_that_is_none_is_refused(alice: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    told = await alice.post("/v1/batches", json=body)

    assert (told.status_code, told.json()["error"]["error_type"]) == (422, "InvalidQuery")


async def test_no_question_of_a_batch_refuses_another(alice: httpx2.AsyncClient) -> None:
    odd = ["a\ud800", 7, None, {"question": "x", "flaw": 1}, {"question": "x", "history": 3}, {"question": ["x"]}]
    odd += [{"question": "x", "a\ud800": 1}, {"question": "x", "metadata": {"a\ud800": "b\ud800"}}]
    questions = ", ".join(json.dumps(each) for each in [*odd, "Write a poem about the lee"])
    headers = {"Content-Type": "application/json"}
    told = await alice.post(
        "/v1/batches", params={"wait": 30}, content=f'{{"questions": [{questions}]}}', headers=headers
    )
    items = told.json()["items"]

    assert (told.status_code, told.json()["succeeded"], told.json()["failed"]) == (200, 1, len(odd)), told.text
    named = ["0.question", "1", "2", "3.flaw", "4.history", "5.question", "6", "7.metadata"]
    assert [each["error"]["details"]["field_name"] for each in items[:-1]] == [f"questions.{each}" for each in named]
    assert "function-before" not in told.text


async def test_the_same_key_is_the_same_batch_and_no_other(
    alice: httpx2.AsyncClient, bob: httpx2.AsyncClient, gateway_house: GatewayHouse
) -> None:
    headers = {"Idempotency-Key": "night-17"}
    body: dict[str, Any] = {"questions": ["Once in a batch", "", {"question": "Twice", "flow": "slow"}], "timeout": 60}
    first, again = [await alice.post("/v1/batches", json=body, headers=headers) for _ in range(2)]
    others = await bob.post("/v1/batches", json=body, headers=headers)
    conflicts = [
        await alice.post("/v1/batches", json={**body, "questions": questions}, headers=headers)
        for questions in (["Once in a batch"], ["Once in a batch", "", "Twice"], ["Once in another", "", "Twice"])
    ]
    listed = (await alice.get("/v1/queries")).json()["queries"]

    assert first.json()["batch_id"] == again.json()["batch_id"] != others.json()["batch_id"]
    ids = [[each.get("query_id") for each in told.json()["items"]] for told in (first, again)]
    assert ids[0] == ids[1]
    assert len(listed) == 2
    assert [each.status_code for each in conflicts] == [422] * 3
    assert {each.json()["error"]["error_type"] for each in conflicts} == {"IdempotencyConflict"}


async def test_a_batch_is_cancelled_and_is_nobody_elses(
    alice: httpx2.AsyncClient, bob: httpx2.AsyncClient, gateway_house: GatewayHouse
) -> None:
    gateway_house.behave(SLOW, latency=20)
    begun = (await alice.post("/v1/batches", json={"questions": ["a", "b"], "flow": "slow"})).json()
    theirs = [await bob.get(begun["links"]["self"]), await bob.post(begun["links"]["cancel"])]
    told = (await alice.post(begun["links"]["cancel"])).json()
    found = (await alice.get(begun["links"]["self"])).json()

    assert [each.status_code for each in theirs] == [404, 404]
    assert len(told["cancelled"]) == 2
    assert (found["done"], found["failed"]) == (True, 2)


async def test_a_session_is_shown_with_what_was_said_in_it(alice: httpx2.AsyncClient) -> None:
    name = "Größe:1/2"
    where = "/v1/sessions/Gr%C3%B6%C3%9Fe%3A1%2F2"
    for question in ("Write a poem about the sea", "And one about the shore"):
        await alice.post("/v1/queries", params={"wait": 30}, json={"question": question, "session_id": name})
    listed, one, turns = [(await alice.get(path)).json() for path in ("/v1/sessions", where, f"{where}/turns")]

    assert [each["session_id"] for each in listed["sessions"]] == [name]
    assert (one["session_id"], one["turns"]) == (name, 2)
    assert [each["question"] for each in turns["turns"]] == ["Write a poem about the sea", "And one about the shore"]


async def test_a_session_carries_no_unknown_profile_and_its_queries_are_cancelled(
    alice: httpx2.AsyncClient, gateway_house: GatewayHouse
) -> None:
    gateway_house.behave(SLOW, latency=20)
    none = await alice.put("/v1/sessions/s1/profile", json={"profile": None})
    unknown = await alice.get("/v1/sessions/nowhere")
    asked = (await alice.post("/v1/queries", json={"question": "x", "flow": "slow", "session_id": "s1"})).json()
    told = (await alice.post("/v1/sessions/s1/cancel")).json()

    assert (none.status_code, none.json()["session_id"]) == (200, "s1")
    assert (unknown.status_code, unknown.json()["error"]["error_type"]) == (404, "UnknownSession")
    assert told["cancelled"] == [asked["query_id"]]


@pytest.mark.parametrize(
    "name", ["ab/turns", "a/cancel", "a/b/profile", "ab/cd", "ab%2Fturns", "100%", "/", "../turns"]
)
async def test_a_session_is_found_whatever_its_name_looks_like(alice: httpx2.AsyncClient, name: str) -> None:
    """A slash in a name is no end of it: `ab/turns` is not the turns of `ab`."""
    path = f"/v1/sessions/{quote(name, safe='')}"
    body = {"question": "Write a poem about rain", "session_id": name}
    asked = (await alice.post("/v1/queries", params={"wait": 30}, json=body)).json()

    looked = (await alice.get(path)).json()
    turns = (await alice.get(f"{path}/turns")).json()
    carried = (await alice.put(f"{path}/profile", json={"profile": None})).json()
    cancelled = (await alice.post(f"{path}/cancel")).json()
    stopped = await alice.put(f"/api/v1/chatmessage/abort/auto/{quote(name, safe='')}")
    others = await alice.get("/v1/sessions/ab")

    assert (looked["session_id"], looked["turns"]) == (name, 1)
    assert [each["query_id"] for each in turns["turns"]] == [asked["query_id"]]
    assert carried["session_id"] == cancelled["session_id"] == name
    assert stopped.status_code == 200, stopped.text
    assert others.json()["error"]["error_type"] == "UnknownSession"


async def test_a_session_takes_a_profile_that_workers_have_and_no_other(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gateway_house.profiles.mkdir()
    gateway_house.profiles.joinpath("payments.yaml").write_text("description: Payments.\ntechnical: [Python]\n")
    theirs = "description: A takeover.\ntechnical: [Python]\nowners: [somebody]\n"
    gateway_house.profiles.joinpath("vault.yaml").write_text(theirs)
    # Here no profiles are kept.
    given = {"profiles": tmp_path / "nowhere"}
    try:
        await asyncio.to_thread(wait_for, lambda: _known(gateway_house), within=30, what="a worker that tells")
        serving = served(gateway_house, monkeypatch, settings=given)
        async with serving as port, gateway_client(f"http://127.0.0.1:{port}", None) as http:
            told = [
                await http.put("/v1/sessions/s2/profile", json={"profile": name})
                for name in ("nope", "vault", "payments", None)
            ]
    finally:
        shutil.rmtree(gateway_house.profiles)

    assert [each.status_code for each in told] == [422, 422, 200, 200]
    assert told[0].json()["error"]["error_type"] == "UnknownProfile"
    assert "known: payments" in told[0].json()["detail"]
    assert told[2].json()["profile"] == "payments"


def _known(house: GatewayHouse) -> bool:
    return any(house.client.sismember(key, "profile payments") for key in house.client.keys("flywheel:knows:*"))


async def test_flows_are_listed_without_what_they_are_configured_with(alice: httpx2.AsyncClient) -> None:
    found = (await alice.get("/v1/flows")).json()
    technical = (await alice.get("/v1/flows", params={"domain": "technical"})).json()
    slow, unknown = await alice.get("/v1/flows/slow"), await alice.get("/v1/flows/no-such")

    assert {each["flow"] for each in found["flows"]} >= {"slow", "technical-analysis"}
    assert [each["flow"] for each in technical["flows"]] == ["technical-analysis"]
    assert slow.json()["config"] == ["temperature"]
    assert (unknown.status_code, unknown.json()["error"]["error_type"]) == (404, "UnknownFlow")


async def test_a_route_is_previewed(alice: httpx2.AsyncClient) -> None:
    found = (await alice.post("/v1/route", json={"question": "How do I connect PostgreSQL to Python?"})).json()

    assert found["targets"][0]["flow"] == "technical-analysis"
    assert found["evidence"][0]["flow"] == "technical-analysis"


async def test_figures_are_shown_and_of_users_only_ones_own(alice: httpx2.AsyncClient, bob: httpx2.AsyncClient) -> None:
    for client, question in ((alice, "How do I index this in python?"), (bob, "Write a story about a whale")):
        await client.post("/v1/queries", params={"wait": 30}, json={"question": question})
    health = (await alice.get("/v1/health", params={"hours": 2})).json()
    by_flow = (await alice.get("/v1/usage", params={"days": 1})).json()
    by_user = (await alice.get("/v1/usage", params={"by": "user"})).json()

    asked = {each["flow"]: each["queries"] for each in health["flows"]}
    assert asked["technical-analysis"] == asked["creative-orientation"] == 1
    assert {each["name"] for each in by_flow["rows"]} == {"technical-analysis", "creative-orientation"}
    assert [each["name"] for each in by_user["rows"]] == ["alice"]


async def _fail(client: httpx2.AsyncClient, house: GatewayHouse) -> str:
    house.behave(BROKEN, fault="error_500")
    body = {"question": f"This breaks {uuid.uuid4().hex}", "flow": "broken"}
    told = (await client.post("/v1/queries", params={"wait": 30}, json=body)).json()
    assert told["state"] == "failed"
    return str(told["query_id"])


async def test_dead_letters_are_listed_asked_again_and_removed(
    alice: httpx2.AsyncClient, bob: httpx2.AsyncClient, gateway_house: GatewayHouse
) -> None:
    ids = [await _fail(alice, gateway_house) for _ in range(3)]
    page = (await alice.get("/v1/dead-letters", params={"limit": 2, "flow": "broken"})).json()
    rest = (await alice.get("/v1/dead-letters", params={"limit": 2, "after": page["next"]})).json()
    theirs = [
        (await bob.get("/v1/dead-letters")).json()["letters"],
        *[
            (await bob.request(method, f"/v1/dead-letters/{ids[0]}{path}")).status_code
            for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/retry"))
        ],
    ]
    gateway_house.reset()
    again = await alice.post(page["letters"][0]["links"]["retry"])
    answered = (await alice.get(again.headers["location"], params={"wait": 30})).json()
    gone = await alice.get(page["letters"][0]["links"]["self"])
    removed = await alice.delete(f"/v1/dead-letters/{ids[0]}")

    assert [each["query_id"] for each in page["letters"] + rest["letters"]] == ids[::-1]
    assert "next" not in rest
    assert theirs == [[], 404, 404, 404]
    assert (answered["state"], answered["query"]["metadata"]) == ("succeeded", {"redrive_of": ids[2]})
    assert (gone.status_code, gone.json()["error"]["error_type"]) == (404, "UnknownDeadLetter")
    assert removed.json() == {"query_id": ids[0], "removed": True}


async def test_letters_of_everyone_need_the_scope_admin(
    alice: httpx2.AsyncClient, gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    query_id = await _fail(alice, gateway_house)
    refused = await alice.get("/v1/dead-letters", params={"everyone": True})
    async with served(gateway_house, monkeypatch) as port, gateway_client(f"http://127.0.0.1:{port}", None) as local:
        own = (await local.get("/v1/dead-letters")).json()["letters"]
        everyones = (await local.get("/v1/dead-letters", params={"everyone": True})).json()["letters"]
        gateway_house.reset()
        again = await local.post(f"/v1/dead-letters/{query_id}/retry", params={"everyone": True})
    asked_again = await alice.get(again.headers["location"])

    assert (refused.status_code, refused.json()["error"]["error_type"]) == (403, "MissingScope")
    assert "insufficient_scope" in refused.headers["www-authenticate"]
    assert own == []
    assert [each["query_id"] for each in everyones] == [query_id]
    assert asked_again.json()["query"]["metadata"] == {"redrive_of": query_id}


async def test_the_bridge_serves_on_the_same_port(gateway_house: GatewayHouse) -> None:
    async with client_of(f"{gateway_house.url}/mcp") as client:
        told = await client.call_tool("flowise_query", {"question": "Write a poem about the moon"})

    assert told.structured_content is not None
    assert told.structured_content["flow_key"] == "creative-orientation"
