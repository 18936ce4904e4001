"""A plain call asks its client's user what a flow asks a person, and goes on with the decision."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bridge_house import BOB, FOREIGN, SLOW, BridgeHouse, Raw, client_of, error_of
from client_rooms import node_with_packages, python_of, said
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp_types import ElicitRequestParams, ElicitResult

from agentic_flywheel.errors import InputRequired
from agentic_flywheel.models import State
from mcp_bridge import elicitation
from mcp_bridge.bridge import Bridge
from mcp_bridge.server import build_server
from producer import AsyncProducer

CLIENTS = Path(__file__).with_name("clients")
MODES = pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])


@pytest.fixture
async def producer(bridge_house: BridgeHouse) -> AsyncIterator[AsyncProducer]:
    """The flow `slow` stops and asks a person; its asker is alice."""
    bridge_house.build(SLOW, style="approval")
    async with AsyncProducer(bridge_house.settings, owner="alice") as producer:
        yield producer
        await producer.cancel(everything=True)


class User:
    """A client's user, who answers in turn; what was asked is kept."""

    def __init__(self, *answers: dict[str, Any] | str) -> None:
        self.asked: list[ElicitRequestParams] = []
        self._answers = list(answers)

    def say(self, *answers: dict[str, Any] | str) -> None:
        self._answers += answers

    async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        self.asked.append(params)
        answer = self._answers.pop(0)
        if answer == "away":
            await asyncio.sleep(60)
        if isinstance(answer, str):
            return ElicitResult(action=answer)
        return ElicitResult(action="accept", content=answer)


def asking(**arguments: Any) -> dict[str, Any]:
    return {"question": f"Delete the database? ({uuid.uuid4().hex[:8]})", "flow_override": "slow", **arguments}


@MODES
async def test_the_user_decides_as_often_as_the_flow_asks(
    mode: str, bridge_house: BridgeHouse, producer: AsyncProducer
) -> None:
    bridge_house.behave(SLOW, stops=2)
    user = User({"decision": "proceed", "feedback": "go"}, {"decision": "reject"})

    async with client_of(bridge_house.url, mode=mode, elicitation_callback=user) as client:
        view = (await client.call_tool("flowise_query", asking())).structured_content or {}

    assert (view["state"], view["answer"]) == ("succeeded", "rejected")
    assert [each.message for each in user.asked] == ["Proceed with it?"] * 2
    assert [each["humanInput"]["type"] for each in bridge_house.latest(3)[1:]] == ["proceed", "reject"]
    assert bridge_house.latest(3)[1]["humanInput"]["feedback"] == "go"


@MODES
@pytest.mark.parametrize("answer", ["decline", "cancel", {"decision": "perhaps"}])
async def test_where_the_user_does_not_decide_the_call_says_what_is_asked_and_is_not_asked_again(
    mode: str, answer: dict[str, Any] | str, bridge_house: BridgeHouse, producer: AsyncProducer
) -> None:
    user = User(answer)

    async with client_of(bridge_house.url, mode=mode, elicitation_callback=user) as client:
        view = (await client.call_tool("flowise_query", asking())).structured_content or {}

    assert (view["state"], view["done"], len(user.asked)) == ("input_required", False, 1)
    assert "flowise_resume" in view["next_step"]


@MODES
async def test_the_tools_that_look_and_resume_ask_too(
    mode: str, bridge_house: BridgeHouse, producer: AsyncProducer
) -> None:
    bridge_house.behave(SLOW, stops=2)
    user = User(*[{"decision": "proceed"}] * 3)
    looked, resumed = [await producer.submit(asking()["question"], flow="slow") for _ in range(2)]
    with pytest.raises(InputRequired):
        await producer.wait(resumed.query_id, timeout=20)

    async with client_of(bridge_house.url, mode=mode, elicitation_callback=user) as client:
        polled = await client.call_tool("flowise_poll", {"query_id": looked.query_id, "wait_s": 20})
        told = await client.call_tool("flowise_resume", {"query_id": resumed.query_id, "decision": "proceed"})

    assert [(each.structured_content or {})["answer"] for each in (polled, told)] == ["approved"] * 2
    assert len(user.asked) == 3


@MODES
async def test_somebody_else_may_decide_meanwhile(
    mode: str, bridge_house: BridgeHouse, producer: AsyncProducer
) -> None:
    user = User({"decision": "reject"})

    async def decided(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        (record,) = await producer.waiting()
        await producer.resume(record.query_id, "proceed")
        if mode == "legacy":  # the form stays open, and the call goes on all the same
            await asyncio.sleep(60)
        return await user(context, params)

    async with client_of(bridge_house.url, mode=mode, elicitation_callback=decided) as client:
        view = (await client.call_tool("flowise_query", asking())).structured_content or {}

    assert (view["state"], view["answer"]) == ("succeeded", "approved")


def foreign(**arguments: Any) -> dict[str, Any]:
    """The arguments of a call whose route is unsure."""
    return {"question": FOREIGN, "cache": "refresh", **arguments}


@MODES
async def test_the_user_chooses_the_flow_of_an_unsure_question(
    mode: str, bridge_house: BridgeHouse, producer: AsyncProducer
) -> None:
    user = User({"flow_key": "document-qa"})

    async with client_of(bridge_house.url, mode=mode, elicitation_callback=user) as client:
        view = (await client.call_tool("flowise_query", foreign())).structured_content or {}
        submitted = await producer.submit(FOREIGN)
        user.say({"flow_key": "slow"}, {"decision": "proceed"})  # the flow that was chosen asks, too
        polled = (
            await client.call_tool("flowise_poll", {"query_id": submitted.query_id, "wait_s": 20})
        ).structured_content

    assert (view["kind"], view["flow_key"], view["done"]) == ("answer", "document-qa", True)
    assert (polled or {})["answer"] == "approved"
    assert "document-qa" in str(user.asked[0])
    assert len(user.asked) == 3
    assert (await producer.status(view["query_id"])).query.question == FOREIGN


@MODES
@pytest.mark.parametrize("answer", ["decline", "cancel", {"flow_key": "nowhere"}])
async def test_where_the_user_chooses_no_flow_the_choices_are_the_result(
    mode: str, answer: dict[str, Any] | str, bridge_house: BridgeHouse, producer: AsyncProducer
) -> None:
    user = User(answer)

    async with client_of(bridge_house.url, mode=mode, elicitation_callback=user) as client:
        view = (await client.call_tool("flowise_query", foreign())).structured_content or {}
        polled = await client.call_tool("flowise_poll", {"query_id": view["query_id"]})
    async with client_of(bridge_house.url) as unasked:
        plain = (await unasked.call_tool("flowise_poll", {"query_id": view["query_id"]})).structured_content

    assert (view["kind"], view["done"], len(user.asked)) == ("clarify", True, 1)
    assert len(view["choices"]) > 1
    assert polled.structured_content == plain == view


async def test_a_choice_that_is_sent_twice_or_with_another_one_begins_one_query(
    raw: Raw, bridge_house: BridgeHouse, producer: AsyncProducer
) -> None:
    able: dict[str, Any] = {"elicitation": {}}
    call: dict[str, Any] = {"name": "flowise_query", "arguments": foreign()}
    before = bridge_house.calls(FOREIGN)
    asks = (await raw.modern("tools/call", call, capabilities=able))["result"]

    def choosing(flow: str) -> dict[str, Any]:
        answer = {"action": "accept", "content": {"flow_key": flow}}
        return {**call, "requestState": asks["requestState"], "inputResponses": {"flow_key": answer}}

    flows = ("document-qa", "document-qa", "creative-orientation", "technical-analysis")
    told = await asyncio.gather(*(raw.modern("tools/call", choosing(flow), capabilities=able) for flow in flows))
    ids = {each["result"]["structuredContent"]["query_id"] for each in told}
    again = (await raw.modern("tools/call", choosing("document-qa"), capabilities=able))["result"]["structuredContent"]

    assert ids == {again["query_id"]}
    assert again["kind"] == "answer"
    assert bridge_house.calls(FOREIGN) == before + 1


async def test_a_question_with_a_file_is_not_asked_of_the_user_since_the_file_is_gone(
    bridge_house: BridgeHouse, producer: AsyncProducer
) -> None:
    user, file = User(), "data:text/plain;name=a.txt;base64,Y2FsbSBzZWE="

    async with client_of(bridge_house.url, elicitation_callback=user) as client:
        told = await client.call_tool("flowise_query", foreign(uploads=[file]))

    assert (told.structured_content or {})["kind"] == "clarify"
    assert not user.asked


async def test_a_call_does_not_wait_for_its_user_for_ever(
    bridge_house: BridgeHouse, producer: AsyncProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elicitation, "PATIENCE", 0.05)
    monkeypatch.setattr(elicitation, "_LOOK_EVERY", 0.02)
    server = build_server(Bridge(bridge_house.settings))

    async with Client(server, mode="legacy", elicitation_callback=User("away")) as client:
        view = (await client.call_tool("flowise_query", asking())).structured_content or {}
        await client.call_tool("flowise_cancel", {"query_id": view["query_id"]})

    assert (view["state"], view["asks"][0]["asks"]) == ("input_required", "Proceed with it?")


@pytest.mark.parametrize("capabilities", [{}, {"elicitation": {"url": {}}}])
async def test_a_client_that_shows_no_forms_is_told_as_before(
    capabilities: dict[str, Any], raw: Raw, producer: AsyncProducer
) -> None:
    call = {"name": "flowise_query", "arguments": asking()}

    told = (await raw.modern("tools/call", call, capabilities=capabilities))["result"]

    assert told["structuredContent"]["state"] == "input_required"


async def test_nobody_decides_by_the_name_of_anothers_query(
    raw: Raw, bridge_house: BridgeHouse, producer: AsyncProducer
) -> None:
    call = {"name": "flowise_query", "arguments": asking()}
    asks = (await raw.modern("tools/call", call, capabilities={"elicitation": {}}))["result"]
    assert asks["resultType"] == "input_required"
    accepted = {"action": "accept", "content": {"decision": "proceed"}}
    again = {
        **call,
        "requestState": asks["requestState"],
        "inputResponses": dict.fromkeys(asks["inputRequests"], accepted),
    }
    async with Raw(bridge_house.url, BOB) as bob:
        refused = (await bob.modern("tools/call", again, capabilities={"elicitation": {}}))["result"]
    nameless = (await raw.modern("tools/call", {**again, "requestState": "x y"}))["result"]

    assert error_of(refused)["error_type"] == error_of(nameless)["error_type"] == "UnknownQuery"
    assert (await producer.status(asks["requestState"])).state is State.INPUT_REQUIRED


@pytest.fixture
async def asked_of_local(bridge_house: BridgeHouse) -> AsyncIterator[str]:
    """A bridge without tokens, whose flow `slow` stops and asks a person."""
    bridge_house.build(SLOW, style="approval")
    yield await asyncio.to_thread(bridge_house.door)
    async with AsyncProducer(bridge_house.settings) as producer:
        await producer.cancel(everything=True)


async def test_the_first_python_sdk_asks_its_user(asked_of_local: str) -> None:
    python = await asyncio.to_thread(python_of, "python-sdk-1")

    told = await said(python, CLIENTS / "python_sdk_1_deciding.py", asked_of_local, asking()["question"])

    assert told == {"asked": ["Proceed with it?"], "answer": "approved"}


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_second_typescript_sdk_asks_its_user(mode: str, asked_of_local: str, tmp_path: Path) -> None:
    node = await asyncio.to_thread(node_with_packages)
    # Node looks for packages beside the script.
    script = tmp_path / "typescript_sdk_2_deciding.mjs"
    script.write_text((CLIENTS / script.name).read_text())
    (tmp_path / "node_modules").symlink_to(node.modules)

    told = await said(node.program, script, asked_of_local, asking()["question"], mode)

    assert told == {"asked": ["Proceed with it?"], "answer": "approved"}
