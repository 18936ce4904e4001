"""The client against every exchange recorded with a real Flowise."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from agentic_flywheel.backends.bodies import FileContent, FlowUpload, form_of_files
from agentic_flywheel.backends.flowise import FlowiseClient
from agentic_flywheel.backends.flowise.about import FlowPurpose
from agentic_flywheel.backends.flowise.models import Chatflow, Feedback, UploadsAccepted
from agentic_flywheel.backends.flowise.request import prediction_body
from agentic_flywheel.backends.models import FlowAnswer, FlowCall, FlowNews, HumanInput
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError, FlowNotFound, FlowRefused, FlowTimeout, FlowUnauthorized
from agentic_flywheel.models import EventKind, FlowStep, Message
from flowise.outcomes import ANSWERS, FAILURES, NO_FLOW, NOT_BUILT, OTHER_CALLS, SILENT, STEPS
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
        form=body.get("form", {}),
        uploads=tuple(FlowUpload(**each) for each in body.get("uploads", ())),
        human_input=human
        and HumanInput(type=human["type"], start_node_id=human.get("startNodeId"), feedback=human.get("feedback")),
        stream=body.get("streaming", False),
    )


def test_every_recording_has_exactly_one_expectation() -> None:
    expected = [*ANSWERS, *FAILURES, *SILENT, *OTHER_CALLS]

    assert sorted(expected) == NAMES
    assert set(CALLS) == OTHER_CALLS - NOT_MADE


@pytest.mark.parametrize("name", sorted(ANSWERS))
async def test_a_recorded_answer_is_understood(name: str) -> None:
    recording = RECORDINGS[name]
    news: list[FlowNews] = []

    async with replaying(recording) as replay, FlowiseClient(replay.url) as client:
        answer = await client.predict(call_of(recording), on_news=news.append, timeout=20)

    expected = FlowAnswer(
        chat_id=recording.told("chatId"),
        message_id=recording.told("chatMessageId"),
        session_id=recording.told("sessionId"),
        execution_id=recording.told("executionId"),
        first_token=answer.first_token,
        elapsed=answer.elapsed,
        steps=answer.steps,
        **ANSWERS[name],
    )
    assert answer == expected
    assert [f"{step.name} {step.status}" for step in answer.steps] == list(STEPS.get(name, ()))
    assert answer.message_id
    tokens = [str(each.data["text"]) for each in news if each.kind is EventKind.TOKEN]
    assert "".join(tokens) == (answer.text if recording.streams else "")
    assert (answer.first_token is not None) == recording.streams
    assert timedelta() < (answer.first_token or answer.elapsed) <= answer.elapsed


@pytest.mark.parametrize(("name", "told"), [("proceed", ["running", "finished"]), ("reject", [])])
async def test_a_tool_that_a_person_has_refused_is_not_told_of(name: str, told: list[str]) -> None:
    recording = RECORDINGS[f"agent_asks_{name}_stream"]
    news: list[FlowNews] = []

    async with replaying(recording) as replay, FlowiseClient(replay.url) as client:
        await client.predict(call_of(recording), on_news=news.append, timeout=20)

    assert [each.data["status"] for each in news if each.kind is EventKind.TOOL] == told


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

    assert prediction_body(call) == {key: value for key, value in expected.items() if key != "uploads"}

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
    about=FlowPurpose(remembers=False),
)

Call = Callable[[FlowiseClient, Flow], Awaitable[Any]]


def aborting(chat_id: str) -> tuple[Call, Any]:
    return lambda client, flow: client.abort(flow, chat_id), None


def probing(outcome: Any) -> tuple[Call, Any]:
    return lambda client, flow: client.chatflows.can_stream(flow), outcome


def accepting(outcome: Any) -> tuple[Call, Any]:
    return lambda client, flow: client.chatflows.accepts(flow), outcome


def attaching(outcome: Any, name: str = "n.txt", mime: str = "text/plain") -> tuple[Call, Any]:
    async def pieces() -> AsyncIterator[bytes]:
        yield base64.b64encode(b"hello")

    async def attach(client: FlowiseClient, flow: Flow) -> Any:
        return await client.attach(flow, "rec-1", form_of_files([(name, mime, FileContent(5, pieces))]), timeout=5)

    return attach, outcome


def liking(key: SecretStr | None) -> Call:
    return lambda client, flow: client.verdicts.give(
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
    "attach": attaching([FlowUpload("file:full", "n.txt", "text/plain", "hello")]),
    "attach_refused": attaching(FlowRefused("recorded", "File upload is not enabled for this chatflow")),
    "attach_wrong_type": attaching(
        FlowRefused(
            "recorded",
            "File type 'text/html' is not allowed. "
            "Allowed types: text/plain, application/pdf, text/csv, application/json",
        ),
        "n.html",
        "text/html",
    ),
    "chatflow_one_404": (
        lambda client, flow: client.chatflows.one(flow, api_key=KEY),
        FlowNotFound("recorded", NO_FLOW),
    ),
    "chatflows_badkey": (
        lambda client, flow: client.chatflows.all(api_key=KEY),
        FlowUnauthorized("*", "Unauthorized Access"),
    ),
    "chatflows_by_apikey_keyonly": (
        lambda client, flow: client.chatflows.of_key(SecretStr("lGPq1HH-roOYRX1gf-RSACYKUujzC0Jub_OqZoDvB3I")),
        (KEYED,),
    ),
    "chatflows_by_bad_apikey": (
        lambda client, flow: client.chatflows.of_key(SecretStr("nope")),
        FlowUnauthorized("*", "Unauthorized"),
    ),
    "feedback_create": (liking(KEY), LIKED),
    "feedback_create_nokey": (liking(None), DISLIKED),
    "feedback_update": (
        lambda client, flow: client.verdicts.revise(flow, LIKED.id, rating="THUMBS_DOWN", content="meh", api_key=KEY),
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
            steps=(
                FlowStep(id="startAgentflow_0", name="Start", kind="startAgentflow", status="finished"),
                FlowStep(
                    id="customFunctionAgentflow_0",
                    name="Custom Function 0",
                    kind="customFunctionAgentflow",
                    status="finished",
                ),
                FlowStep(
                    id="directReplyAgentflow_0", name="Direct Reply 0", kind="directReplyAgentflow", status="finished"
                ),
            ),
            elapsed=timedelta(milliseconds=65),
        ),
    ),
    "messages_nokey": (
        lambda client, flow: client.find_answer(flow, "mem-1"),
        FlowUnauthorized("recorded", "Unauthorized Access"),
    ),
    "streaming_probe_404": probing(FlowNotFound("recorded", NO_FLOW)),
    "streaming_probe_no": probing(False),
    "streaming_probe_yes": probing(True),
    "uploads_probe_404": accepting(FlowNotFound("recorded", NO_FLOW)),
    "uploads_probe_images": accepting(
        UploadsAccepted(images=frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"}), image_bytes=5 * 2**20)
    ),
    "uploads_probe_none": accepting(UploadsAccepted()),
    "version": (lambda client, flow: client.version(), "3.1.4"),
    "ping": (lambda client, flow: client.ping(), timedelta),
}


#: Calls that other programs make and the sandbox answers; our client has no use for them.
NOT_MADE = {"feedback_list", "messages_delete", "messages_delete_all"}
ASKED_OTHERWISE = {"messages", "messages_js", "messages_nokey", "chatflows_by_bad_apikey", "chatflows_badkey"}


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
    # Messages are looked up by chat, in order; the bad key was tried without `keyonly`; flows are listed by pages.
    assert name in ASKED_OTHERWISE or replay.path.partition("?")[2] == query
    if name.startswith("attach"):
        # The boundary is another one each time.
        boundary = replay.body.partition(b"\r\n")[0].removeprefix(b"--").decode()
        assert replay.body.decode().replace(boundary, "X") == recording.body
    else:
        assert recording.body is None or replay.json == recording.body
    assert (replay.authorization is None) == ("Authorization" not in recording.request["headers"])
