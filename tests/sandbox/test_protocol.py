"""The sandbox against the recordings: to the recorded request it answers with the recorded shape."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import aiohttp
import pytest
from flowise.recordings import NAMES, RECORDINGS, Recording

from agentic_flywheel.backends.flowise.failure import failure_of_message
from flowise_sandbox import Behaviour, Fault, RateLimit, SandboxFlow, Style
from flowise_sandbox.server import Sandbox

MANAGEMENT_KEY = "lGPq1HH-management"
FLOW_KEY = "lGPq1HH-roOYRX1gf-RSACYKUujzC0Jub_OqZoDvB3I"

#: The recorded flows, as the sandbox builds them.
FLOWS: dict[str, tuple[Style, Behaviour]] = {
    "9422cefc-3008-4d1a-aed0-1186d5a2c740": (Style.CODE, Behaviour()),
    "f5147c5c-2d60-4bc8-9a2d-494eeedac0b4": (Style.SCRIPT, Behaviour()),
    "9a52f2a1-cb93-4a4a-9472-024d71aedee8": (Style.LLM, Behaviour()),
    "89bef009-3eca-462b-88d3-26f5baddc7e5": (Style.LLM, Behaviour(token_delay=0.001)),
    "58fce8b2-3b7f-413a-81a1-0660d4cb45dd": (Style.AGENT, Behaviour()),
    "d2b29e20-fe02-48c4-984f-a13c86dee678": (Style.CHAT, Behaviour()),
    "85b2f94f-40c0-4404-ab7d-092ba2eb60c1": (Style.CHAT, Behaviour(overrides=True, latency=0.1)),
    "4ad8848c-b93e-4952-905c-17b4aad53c15": (Style.FUNCTION, Behaviour()),
    "15a66c92-9ff8-46c6-8ac9-88dc3d543a4f": (Style.OBJECT, Behaviour()),
    "52e96ea5-34e2-49e3-99cd-201681596bc1": (Style.CHAT, Behaviour(fault=Fault.PROVIDER_KEY)),
    "6975e37e-e8e9-424b-8895-f4aa0997ca83": (Style.CHAT, Behaviour(fault=Fault.PROVIDER_LIMIT)),
    "144f6272-ce41-4b36-b8ab-06d0fca0bda2": (Style.CHAT, Behaviour(fault=Fault.PROVIDER_DOWN)),
    "5dfc6393-42d0-4e97-8690-5bb89ba6105d": (Style.DOCUMENTS, Behaviour()),
    "79b191de-71f0-49cb-bebb-8c699db76229": (Style.FORM, Behaviour()),
    "30b73cd1-ca0b-4727-b8bf-e01a37479115": (Style.APPROVAL, Behaviour()),
    "8f3c8a83-9daf-48aa-ba89-093501bb49ae": (Style.CAREFUL, Behaviour()),
    "17a14243-bd3e-4d1d-a748-aec167fa7053": (Style.CODE, Behaviour(fault=Fault.ERROR)),
    "a35c4af8-528a-4513-ba2d-1aff6a54fd42": (Style.CODE, Behaviour(key=FLOW_KEY)),
    "0efc4fe1-6f2f-465a-8164-bc3b49e998e9": (Style.CODE, Behaviour(rate_limit=RateLimit(calls=2, seconds=60))),
    "72b3e40d-2cc7-4755-92f6-954f5050a413": (Style.LLM, Behaviour(fault=Fault.PROVIDER_KEY)),
    "c68410a3-8ffa-49b3-99e1-7f5c81a36657": (Style.LLM, Behaviour(fault=Fault.PROVIDER_LIMIT)),
    "5c6abd66-9544-43c2-a015-3a6b29953dbd": (Style.LLM, Behaviour(fault=Fault.PROVIDER_DOWN)),
    "c4c672a6-851e-4f4c-b83a-b6c6e13715f4": (Style.LLM, Behaviour(fault=Fault.PROVIDER_CUT)),
    "904acf79-e230-4372-bf67-9f8224fe6ff4": (Style.LLM, Behaviour(latency=5)),
    "ffbb6ce2-5911-4393-a761-37b4f54346a6": (Style.CODE, Behaviour(latency=0.3)),
    "cfff17cc-c8f5-4d62-a028-ea3d3dbfa0a1": (Style.TOOLS, Behaviour()),
    "897e3446-6108-4cbb-b173-0b5ace55a9cf": (Style.TOOLS, Behaviour(fault=Fault.TOOL)),
    "be154da8-760e-4ae5-a488-6dc718e7c22f": (Style.MAKER, Behaviour()),
    "53b714f5-57c1-48ca-990e-a5bb80dc5807": (Style.AGENT, Behaviour(fault=Fault.TOOL)),
    "a8d2cff8-b2fd-45c4-a5b2-ac5cfe8dd2ff": (Style.FINDER, Behaviour()),
    "21d2a097-e73c-4c32-919f-7b58b3ff20ac": (Style.CREW, Behaviour()),
    "c0723fa9-1e3a-42a8-ba7c-31c37cb05be0": (Style.FORM, Behaviour()),
    "918d22bb-7ae9-4fc1-9f52-560fa777c1a3": (Style.CODE, Behaviour()),
    "4a2f77b7-43d0-4764-9b65-96747db2e14c": (Style.CHAT, Behaviour()),
    "b84a0cc6-3d61-4caa-bef4-37eb0aeee757": (Style.CHAT, Behaviour()),
    "38d1f263-43a6-4187-b833-624a35e3ad21": (Style.LLM, Behaviour()),
}

#: What flows take beside a question.
TAKES: dict[str, dict[str, Any]] = {
    "4a2f77b7-43d0-4764-9b65-96747db2e14c": {"images": True},
    "b84a0cc6-3d61-4caa-bef4-37eb0aeee757": {"images": True},
    "38d1f263-43a6-4187-b833-624a35e3ad21": {
        "files": ("text/plain", "application/pdf", "text/csv", "application/json")
    },
}

#: Requests that only make sense one after the other.
SEQUENCES = [
    ["hitl_4_unknown_session", "hitl_1", "hitl_2_proceed", "hitl_3_again"],
    ["hitl_5_stream", "hitl_6_reject_stream"],
    ["agent_asks", "agent_asks_proceed"],
    ["agent_asks_stream", "agent_asks_proceed_stream"],
    ["agent_asks_again", "agent_asks_reject"],
    ["agent_asks_again_stream", "agent_asks_reject_stream"],
    ["limited_0", "limited_1", "limited_2", "limited_3", "limited_stream"],
    ["chat", "chat_second_turn", "messages"],
    ["js_chatid", "messages_js", "messages_delete", "js_both_ids", "messages_delete_all"],
    ["feedback_create", "feedback_create_nokey", "feedback_list", "feedback_update"],
]
#: A call, and the abort that reaches it amid its run.
ABORTED = {
    "abort_chat": "abort_chat_call",
    "abort_chat_stream": "abort_chat_stream_call",
    "abort_llm": "abort_llm_call",
    "abort_llm_stream": "abort_llm_stream_call",
    "abort_slow_js": "abort_slow_js_call",
    "abort_slow_js_stream": "abort_slow_js_stream_call",
}
TOGETHER = ["same_chatid_stream_a", "same_chatid_stream_b"]
SILENT = ["err_bad_uuid_stream", "err_unknown_flow_stream"]
SINGLE = sorted(
    set(NAMES)
    - {name for sequence in SEQUENCES for name in sequence}
    - set(ABORTED)
    - set(ABORTED.values())
    - set(TOGETHER)
    - set(SILENT)
)


@dataclass
class Answered:
    status: int
    headers: dict[str, str]
    body: str


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    flows = [
        SandboxFlow(id=flow_id, name=style, style=style, **TAKES.get(flow_id, {}))
        for flow_id, (style, _) in FLOWS.items()
    ]
    async with Sandbox(flows, api_key=MANAGEMENT_KEY) as running:
        for flow_id, (_, behaviour) in FLOWS.items():
            running.behave(flow_id, behaviour)
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def key_of(name: str) -> str:
    """Recordings do not keep keys; their names say which it was."""
    if name in ("key_ok", "key_nobearer"):
        return FLOW_KEY
    return "wrong" if name in ("key_wrong", "key_wrong_stream", "chatflows_badkey") else MANAGEMENT_KEY


async def ask(session: aiohttp.ClientSession, sandbox: Sandbox, name: str, **substitute: str) -> Answered:
    """Send the recorded request."""
    recording = RECORDINGS[name]
    headers = dict(recording.request["headers"])
    if "Authorization" in headers:
        headers["Authorization"] = key_of(name) if name == "key_nobearer" else f"Bearer {key_of(name)}"
    body = recording.body if isinstance(recording.body, str) else json.dumps(recording.body)
    path = recording.path
    for old, new in substitute.items():
        path = path.replace(old, new)
    async with session.request(
        recording.method, sandbox.url + path, headers=headers, data=None if recording.body is None else body
    ) as response:
        return Answered(response.status, dict(response.headers), await response.text())


async def reached(sandbox: Sandbox) -> None:
    """Wait until a call has reached a flow."""
    async with asyncio.timeout(30):
        while sandbox.counts.total == 0:
            await asyncio.sleep(0.005)


# What is compared

#: A model's own particulars, of which the sandbox gives some.
PARTIAL = {"input", "responseMetadata", "availableTools", "followUpPrompts"}
#: Data of the flow's own, or empty in one of the two.
OPAQUE = {"flowData", "metadata", "stack", "state", "executionData", "updatedDate", "question", "content", "apiConfig"}


def shape(value: Any, *, key: str = "") -> Any:
    """A value's form without its contents."""
    if key in OPAQUE:
        return "…"
    if isinstance(value, dict):
        return {name: shape(each, key=name) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value).__name__


def assert_same_shape(ours: Any, theirs: Any, *, partial: bool = False, where: str = "answer") -> None:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        assert set(ours) <= set(theirs), f"{where}: invented {set(ours) - set(theirs)}"
        if not partial:
            assert set(ours) == set(theirs), f"{where}: missing {set(theirs) - set(ours)}"
        for name in ours:
            inside = partial or name in PARTIAL
            assert_same_shape(ours[name], theirs[name], partial=inside, where=f"{where}.{name}")
    elif isinstance(theirs, list) and isinstance(ours, list):
        if not partial:
            assert bool(ours) == bool(theirs), f"{where}: {len(ours)} instead of {len(theirs)}"
        for mine, other in zip(ours, theirs, strict=False):
            assert_same_shape(mine, other, partial=partial, where=f"{where}[]")
    elif not partial:
        assert ours == theirs, where


def events(stream: str) -> list[dict[str, Any]]:
    """The events of a stream; a run of tokens counts once, however many they are."""
    assert all(frame.startswith(("message:\ndata:", ":heartbeat")) for frame in stream.split("\n\n") if frame)
    frames = [frame for frame in stream.split("\n\n") if frame.startswith("message:\ndata:")]
    told = [json.loads(frame.removeprefix("message:\ndata:")) for frame in frames]
    return [next(group) for _, group in groupby(told, key=lambda each: each if each["event"] != "token" else "token")]


def assert_like(answered: Answered, recording: Recording) -> None:
    """The same status, content type, headers, and shape."""
    theirs = recording.response
    assert answered.status == theirs["status"]
    assert answered.headers["Content-Type"] == theirs["headers"]["Content-Type"]
    assert set(theirs["headers"]) <= set(answered.headers)
    if recording.streams:
        ours, told = events(answered.body), events(recording.stream.decode())
        assert [each["event"] for each in ours] == [each["event"] for each in told]
        for mine, other in zip(ours, told, strict=True):
            assert_same_shape(shape(mine["data"]), shape(other["data"]), where=mine["event"])
            if mine["event"] in ("agentFlowEvent", "error", "end"):
                assert_same_meaning(mine["data"], other["data"])
            if mine["event"] == "nextAgentFlow":
                assert mine["data"]["status"] == other["data"]["status"]
    elif "json" in theirs:
        ours_json = json.loads(answered.body)
        if recording.name == "chat_fn_json":
            # The object is the function's own; around it everything is Flowise's.
            envelope = set(theirs["json"]) - {"a", "q"}
            assert envelope < set(ours_json)
            assert "text" not in ours_json
            return
        assert_same_shape(shape(ours_json), shape(theirs["json"]))
        if "message" in theirs["json"]:
            assert_same_meaning(ours_json["message"], theirs["json"]["message"])
    else:
        assert answered.body == theirs["text"]


def assert_same_meaning(ours: str, theirs: str) -> None:
    def named(message: str) -> type[Exception]:
        return type(failure_of_message("f", "id", message))

    assert named(ours) is named(theirs)
    assert ours[:50] == theirs[:50] or len({ours[:20], theirs[:20]}) == 1


# The tests


def test_every_recording_is_compared() -> None:
    assert set(FLOWS) >= {each.flow_id for each in RECORDINGS.values() if each.body and each.status == 200} - {
        "none",
        "079caaa9-0fee-4837-b261-563f273c7581",
    }
    assert len(SINGLE) > 50


@pytest.mark.parametrize("name", SINGLE)
async def test_a_recorded_request_gets_the_recorded_shape(
    name: str, sandbox: Sandbox, session: aiohttp.ClientSession
) -> None:
    assert_like(await ask(session, sandbox, name), RECORDINGS[name])


@pytest.mark.parametrize("names", SEQUENCES, ids=lambda names: names[0])
async def test_recorded_requests_in_a_row_get_the_recorded_shapes(
    names: list[str], sandbox: Sandbox, session: aiohttp.ClientSession
) -> None:
    feedback: dict[str, Any] = {}
    for name in names:
        answered = await ask(session, sandbox, name, **feedback)
        assert_like(answered, RECORDINGS[name])
        if name == "feedback_create":
            feedback = {RECORDINGS[name].response["json"]["id"]: json.loads(answered.body)["id"]}


@pytest.mark.parametrize(("name", "abort"), ABORTED.items(), ids=list(ABORTED))
async def test_an_abort_does_what_was_recorded(
    name: str, abort: str, sandbox: Sandbox, session: aiohttp.ClientSession
) -> None:
    call = asyncio.create_task(ask(session, sandbox, name))
    await reached(sandbox)

    assert_like(await ask(session, sandbox, abort), RECORDINGS[abort])
    assert_like(await asyncio.wait_for(call, timeout=3), RECORDINGS[name])


async def test_the_first_of_two_streams_on_one_chat_falls_silent(
    sandbox: Sandbox, session: aiohttp.ClientSession
) -> None:
    first = asyncio.create_task(ask(session, sandbox, TOGETHER[0]))
    await reached(sandbox)

    assert_like(await ask(session, sandbox, TOGETHER[1]), RECORDINGS[TOGETHER[1]])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(first, timeout=0.3)


@pytest.mark.parametrize("name", SILENT)
async def test_a_stream_of_an_unknown_flow_never_answers(
    name: str, sandbox: Sandbox, session: aiohttp.ClientSession
) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(session, sandbox, name), timeout=0.3)
