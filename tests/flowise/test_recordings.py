"""The client against every exchange recorded with a real Flowise."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError, FlowNotFound, FlowTimeout, FlowUnauthorized
from agentic_flywheel.flowise import FlowAnswer, FlowCall, FlowiseClient
from agentic_flywheel.flowise.models import Chatflow, Feedback, HumanInput, Upload
from agentic_flywheel.flowise.request import prediction_body
from agentic_flywheel.models import Message
from flowise.outcomes import ANSWERS, FAILURES, NO_FLOW, NOT_BUILT, OTHER_CALLS, SILENT
from flowise.recordings import NAMES, RECORDINGS, Recording, replaying

KEY = SecretStr("lGPq1HH-not-a-real-key")
PREDICTIONS = sorted(set(NAMES) - OTHER_CALLS)


def flow_of(recording: Recording) -> Flow:
    return Flow(key="recorded", id=recording.flow_id, domain="tests")


def call_of(recording: Recording) -> FlowCall:
    """The call that leads to the recorded request, or for an unbuildable one a plain question."""
    flow = flow_of(recording)
    if recording.name in NOT_BUILT:
        return FlowCall(flow=flow, question="x")
    body: dict[str, Any] = recording.body
    config = dict(body.get("overrideConfig", {}))
    human = body.get("humanInput")
    return FlowCall(
        flow=flow,
        question=body.get("question", ""),
        chat_id=body.get("chatId"),
        session_id=config.pop("sessionId", None),
        config=config,
        history=tuple(Message(**each) for each in body.get("history", ())),
        form=body.get("form"),
        uploads=tuple(Upload(**each) for each in body.get("uploads", ())),
        human_input=human
        and HumanInput(type=human["type"], start_node_id=human.get("startNodeId"), feedback=human.get("feedback")),
        stream=body.get("streaming", False),
    )


def test_every_recording_has_exactly_one_expectation() -> None:
    expected = [*ANSWERS, *FAILURES, *SILENT, *OTHER_CALLS]

    assert sorted(expected) == NAMES
    assert set(CALLS) == OTHER_CALLS


@pytest.mark.parametrize("name", sorted(ANSWERS))
async def test_a_recorded_answer_is_understood(name: str) -> None:
    recording = RECORDINGS[name]
    tokens: list[str] = []

    async with replaying(recording) as replay, FlowiseClient(replay.url) as client:
        answer = await client.predict(call_of(recording), on_token=tokens.append, timeout=20)

    expected = FlowAnswer(
        chat_id=recording.told("chatId"),
        message_id=recording.told("chatMessageId"),
        session_id=recording.told("sessionId"),
        execution_id=recording.told("executionId"),
        first_token=answer.first_token,
        elapsed=answer.elapsed,
        **ANSWERS[name],
    )
    assert answer == expected
    assert answer.message_id
    assert "".join(tokens) == (answer.text if recording.streams else "")
    assert (answer.first_token is not None) == recording.streams
    assert timedelta() < (answer.first_token or answer.elapsed) <= answer.elapsed


@pytest.mark.parametrize("name", sorted(FAILURES))
async def test_a_recorded_failure_gets_its_name(name: str) -> None:
    recording, expected = RECORDINGS[name], FAILURES[name]

    async with replaying(recording) as replay, FlowiseClient(replay.url) as client:
        with pytest.raises(FlowError) as caught:
            await client.predict(call_of(recording), api_key=KEY, timeout=20)

    assert type(caught.value) is type(expected)
    assert asdict(caught.value) == asdict(expected)
    assert len(caught.value.recovery_suggestions) >= 3


@pytest.mark.parametrize("name", sorted(SILENT))
async def test_a_recorded_silence_is_cut_by_the_timeout(name: str) -> None:
    recording = RECORDINGS[name]

    async with replaying(recording) as replay, FlowiseClient(replay.url) as client:
        with pytest.raises(FlowTimeout) as caught:
            await asyncio.wait_for(client.predict(call_of(recording), timeout=0.2), timeout=5)

    assert caught.value.seconds >= 0.2


@pytest.mark.parametrize("name", [name for name in PREDICTIONS if name not in NOT_BUILT])
async def test_a_recorded_request_is_built_and_sent(name: str) -> None:
    recording = RECORDINGS[name]
    call = call_of(recording)
    # An empty question says nothing and is left out; `"streaming": false` is the default.
    expected = {key: value for key, value in recording.body.items() if value not in ("", False)}

    assert prediction_body(call) == expected

    async with replaying(recording) as replay, FlowiseClient(replay.url) as client:
        with contextlib.suppress(FlowError):
            await client.predict(call, api_key=KEY, timeout=0.5 if name in SILENT else 20)
    assert replay.method == "POST"
    assert replay.json == expected
    assert replay.authorization == "Bearer lGPq1HH-not-a-real-key"
    if name not in ("err_no_id", "err_wrong_case"):
        assert replay.path == recording.path


# The calls: what is asked of the client, and what comes of it

JS = "9422cefc-3008-4d1a-aed0-1186d5a2c740"
MESSAGE = "804ee161-a9f8-486d-9ace-300ae2147e2f"
LIKED = Feedback(
    id="079caaa9-0fee-4837-b261-563f273c7581",
    chat_id="chat-1",
    message_id=MESSAGE,
    rating="THUMBS_UP",
    content="good",
    created=datetime(2026, 11, 23, 8, 22, 7, tzinfo=UTC),
)
DISLIKED = LIKED.model_copy(
    update={"id": "11c8890f-327b-4fc8-b812-d2f4ccb70253", "rating": "THUMBS_DOWN", "content": ""}
)
KEYED = Chatflow(
    id="a35c4af8-528a-4513-ba2d-1aff6a54fd42",
    name="keyed",
    kind="AGENTFLOW",
    keyed=True,
    updated=datetime(2026, 11, 23, 8, 21, 25, tzinfo=UTC),
)

Call = Callable[[FlowiseClient, Flow], Awaitable[Any]]


def aborting(chat_id: str) -> tuple[Call, Any]:
    return lambda client, flow: client.abort(flow, chat_id), None


def probing(outcome: Any) -> tuple[Call, Any]:
    return lambda client, flow: client.can_stream(flow), outcome


def liking(key: SecretStr | None) -> Call:
    return lambda client, flow: client.feedback(
        flow.model_copy(update={"id": JS}),
        chat_id="chat-1",
        message_id=MESSAGE,
        rating="THUMBS_UP" if key else "THUMBS_DOWN",
        content="good" if key else "",
        api_key=key,
    )


CALLS: dict[str, tuple[Call, Any]] = {
    "abort_chat_call": aborting("ab-5"),
    "abort_chat_stream_call": aborting("ab-6"),
    "abort_llm_call": aborting("ab-3"),
    "abort_llm_stream_call": aborting("ab-4"),
    "abort_slow_js_call": aborting("ab-1"),
    "abort_slow_js_stream_call": aborting("ab-2"),
    "abort_unknown": aborting("no-such-chat"),
    "chatflow_one_404": (lambda client, flow: client.chatflow(flow, api_key=KEY), FlowNotFound("recorded", NO_FLOW)),
    "chatflows_badkey": (
        lambda client, flow: client.chatflows(api_key=KEY),
        FlowUnauthorized("*", "Unauthorized Access"),
    ),
    "chatflows_by_apikey_keyonly": (
        lambda client, flow: client.chatflows_of_key(SecretStr("lGPq1HH-roOYRX1gf-RSACYKUujzC0Jub_OqZoDvB3I")),
        (KEYED,),
    ),
    "chatflows_by_bad_apikey": (
        lambda client, flow: client.chatflows_of_key(SecretStr("nope")),
        FlowUnauthorized("*", "Unauthorized"),
    ),
    "feedback_create": (liking(KEY), LIKED),
    "feedback_create_nokey": (liking(None), DISLIKED),
    "feedback_list": (lambda client, flow: client.feedbacks(flow, api_key=KEY), (LIKED, DISLIKED)),
    "feedback_update": (
        lambda client, flow: client.revise_feedback(flow, LIKED.id, rating="THUMBS_DOWN", content="meh", api_key=KEY),
        None,
    ),
    "messages": (
        lambda client, flow: client.find_answer(flow, "mem-1", api_key=KEY),
        FlowAnswer(
            text="echo: again",
            chat_id="mem-1",
            session_id="mem-1",
            message_id="891fa701-644d-437d-8c92-5517ccbab2b3",
            elapsed=timedelta(milliseconds=32),
        ),
    ),
    "messages_js": (
        lambda client, flow: client.find_answer(flow, "chat-1", api_key=KEY),
        FlowAnswer(
            text="js: hello",
            chat_id="chat-1",
            session_id="chat-1",
            message_id=MESSAGE,
            execution_id="752cd578-1bf2-41ab-b1a8-511dd3cd983d",
            elapsed=timedelta(milliseconds=65),
        ),
    ),
    "messages_nokey": (
        lambda client, flow: client.find_answer(flow, "mem-1"),
        FlowUnauthorized("recorded", "Unauthorized Access"),
    ),
    "messages_delete": (lambda client, flow: client.forget(flow, "chat-1", api_key=KEY), 2),
    "messages_delete_all": (lambda client, flow: client.forget(flow, api_key=KEY), 22),
    "streaming_probe_404": probing(FlowNotFound("recorded", NO_FLOW)),
    "streaming_probe_no": probing(False),
    "streaming_probe_yes": probing(True),
    "version": (lambda client, flow: client.version(), "3.1.4"),
    "ping": (lambda client, flow: client.ping(), timedelta),
}


ASKED_OTHERWISE = {"messages", "messages_js", "messages_nokey", "chatflows_by_bad_apikey"}


@pytest.mark.parametrize("name", sorted(CALLS))
async def test_another_recorded_call_is_made_and_understood(name: str) -> None:
    recording = RECORDINGS[name]
    call, expected = CALLS[name]
    outcome: Any
    async with replaying(recording) as replay, FlowiseClient(replay.url) as client:
        try:
            outcome = await call(client, flow_of(recording))
        except FlowError as failure:
            outcome = failure

    if isinstance(expected, FlowError):
        assert (type(outcome), asdict(outcome)) == (type(expected), asdict(expected))
    elif isinstance(expected, type):
        assert isinstance(outcome, expected)
    else:
        assert outcome == expected
    assert replay.method == recording.method
    asked, _, query = recording.path.partition("?")
    assert replay.path.partition("?")[0] == asked
    # Messages are looked up by chat, in order; the bad key was tried without `keyonly`.
    assert name in ASKED_OTHERWISE or replay.path.partition("?")[2] == query
    assert recording.body is None or replay.json == recording.body
    assert (replay.authorization is None) == ("Authorization" not in recording.request["headers"])
