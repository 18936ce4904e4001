"""Domain profiles over MCP: whose they are, what is told of them, and how a question is asked under one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from bridge_house import BridgeHouse, error_of
from mcp import Client

from producer import AsyncProducer

SECRET = "Quetzalbrook"


@pytest.fixture(autouse=True)
def profiles(standing_bridge: BridgeHouse) -> Iterator[None]:
    standing_bridge.profiles.mkdir(exist_ok=True)
    (standing_bridge.profiles / "shop.yaml").write_text(
        "title: The Shop\ndescription: Used bicycles.\nkeywords: [python, database]\ntechnical: We run SQLite.\n"
    )
    (standing_bridge.profiles / "vault.yaml").write_text(
        f"title: {SECRET}\ndescription: Of {SECRET}.\nstrategic: Buy {SECRET}.\nprivacy: confidential\nowners: alice\n"
    )
    yield
    for path in standing_bridge.profiles.iterdir():
        path.unlink()


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    return error_of(result) if result.is_error else dict(result.structured_content or {})


async def test_the_domain_templates_list_the_caller_s_profiles_and_no_text_of_a_confidential_one(
    alice: Client, bob: Client
) -> None:
    told = {}
    for name, client in (("alice", alice), ("bob", bob)):
        read = await client.read_resource("flowise://domain-templates")
        told[name] = read.contents[0].text  # type: ignore[union-attr]

    hers = {each["profile"]: each for each in json.loads(told["alice"])["profiles"]}
    assert hers["shop"]["description"] == "Used bicycles."
    assert hers["vault"] == {"profile": "vault", "privacy": "confidential", "contexts": ["strategic"]}
    assert SECRET not in told["alice"]
    assert [each["profile"] for each in json.loads(told["bob"])["profiles"]] == ["shop"]
    kinds = [each["context_type"] for each in json.loads(told["alice"])["templates"]]
    assert kinds == ["technical", "cultural", "strategic", "general"]


async def test_a_question_is_asked_under_a_profile_by_its_owner_only(
    alice: Client, bob: Client, bridge_house: BridgeHouse
) -> None:
    question = "Which database should we buy?"
    answered = await call(alice, "flowise_query", question=question, flow_override="document-qa", profile="vault")
    refused = await call(bob, "flowise_query", question="Should we buy?", profile="vault")

    assert answered["done"]
    async with AsyncProducer(bridge_house.settings, owner="alice") as producer:
        answer = await producer.wait(answered["query_id"], 30)
    assert (answer.profile, answer.private) == ("vault", True)
    assert refused["error_type"] == "UnknownProfile"
    assert refused["details"]["known"] == ["shop"]


@pytest.mark.parametrize("name", ["shop", "the shop", "elsewhere"])
async def test_a_domain_that_is_a_profile_brings_its_context_along(
    alice: Client, bridge_house: BridgeHouse, name: str
) -> None:
    asked = await call(
        alice,
        "flowise_domain_query",
        question="Which index helps?",
        domain_name=name,
        domain_description="Where used bicycles are sold",
        context_type="technical",
    )

    async with AsyncProducer(bridge_house.settings, owner="alice") as producer:
        query = (await producer.status(asked["query_id"])).query
    assert query.profile == (None if name == "elsewhere" else "shop")
    assert query.context_type == "technical"


async def test_a_route_is_shown_as_it_would_be_under_the_profile(alice: Client) -> None:
    plain = await call(alice, "flowise_route", question="Make that quicker")
    under = await call(alice, "flowise_route", question="Make that quicker", profile="shop")

    assert "profile" not in {each["kind"] for each in plain["evidence"]}
    assert {each["flow_key"] for each in under["evidence"] if each["kind"] == "profile"} == {"technical-analysis"}


async def test_a_session_carries_a_profile_from_then_on(alice: Client, bridge_house: BridgeHouse) -> None:
    set_to = await call(alice, "flowise_configure", session_id="talk", profile="shop")
    asked = await call(alice, "flowise_query", question="Which index helps?", session_id="talk")
    unknown = await call(alice, "flowise_configure", session_id="talk", profile="nowhere")
    without_session = await call(alice, "flowise_configure", flow_key="document-qa", profile="shop")
    dropped = await call(alice, "flowise_configure", session_id="talk", profile="-")

    assert (set_to["profile"], set_to["changed"]) == ("shop", True)
    async with AsyncProducer(bridge_house.settings, owner="alice") as producer:
        assert (await producer.status(asked["query_id"])).query.profile == "shop"
    assert unknown["error_type"] == "UnknownProfile"
    assert without_session["error_type"] == "InvalidQuery"
    assert "profile" not in dropped


async def test_a_batch_is_asked_under_a_profile(alice: Client, bridge_house: BridgeHouse) -> None:
    batch = await call(alice, "flowise_batch", questions=["Which index?", "Which clause?"], profile="shop")
    refused = await call(alice, "flowise_batch", questions=["Which index?"], profile="nowhere")

    async with AsyncProducer(bridge_house.settings, owner="alice") as producer:
        asked = [(await producer.status(item["query_id"])).query for item in batch["items"]]
    assert [query.profile for query in asked] == ["shop", "shop"]
    assert refused["error_type"] == "UnknownProfile"
