"""Frames and answers in Flowise's form, made of events and answers of ours."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agentic_flywheel.doings import Artifact, FlowStep, ToolUse
from agentic_flywheel.models import Answer, Event, EventKind
from agentic_flywheel.stops import Stop
from http_gateway.flowise.answers import ClientChat, plain_answer, plain_question
from http_gateway.flowise.frames import FrameTeller, frame, refusal

QUERY = "0123456789abcdef0123456789abcdef"
MESSAGE = "01234567-89ab-cdef-0123-456789abcdef"
CHAT = ClientChat("chat-1", "session-1", QUERY, "Why?")
NOW = datetime(2026, 11, 30, tzinfo=UTC)


def told(frames: bytes) -> list[tuple[str, Any]]:
    """Read frames as the widget does."""
    found = []
    for each in frames.decode().split("\n\n")[:-1]:
        head, _, data = each.partition("\n")
        assert head == "message:"
        assert data.startswith("data:")
        event = json.loads(data.removeprefix("data:"))
        found.append((event["event"], event.get("duration", event["data"])))
    return found


def event(kind: EventKind, **data: Any) -> Event:
    return Event(id="1-0", kind=kind, at=NOW, data=data)


def answer(text: str, **more: Any) -> Answer:
    return Answer(query_id=QUERY, text=text, flow="poet", domain="creative", **more)


def stop(**more: Any) -> Stop:
    fields: dict[str, Any] = {
        "flow": "approval", "domain": "approval", "text": "Proceed with it?", "number": 1, "since": NOW,
        "choices": {"proceed": "Go on", "reject": "No"}, "node": "humanInputAgentflow_0", "title": "Human Input 0",
        "until": NOW + timedelta(days=1),
    }  # fmt: skip
    return Stop(**{**fields, **more})


@pytest.fixture
def telling() -> FrameTeller:
    return FrameTeller(CHAT)


def test_a_streamed_answer_has_the_frames_of_a_recorded_chatflow(telling: FrameTeller) -> None:
    frames = telling.told(event(EventKind.ROUTED, flow="poet"))
    frames += telling.told(event(EventKind.STARTED, flow="poet"))
    frames += telling.told(event(EventKind.TOKEN, text="Because "))
    frames += telling.told(event(EventKind.TOKEN, text="of it."))
    frames += telling.answered(answer("Because of it."))

    ids = {"chatId": "chat-1", "chatMessageId": MESSAGE, "question": "Why?", "sessionId": "session-1"}
    assert told(frames) == [
        ("start", ""),
        ("token", "Because "),
        ("token", "of it."),
        ("metadata", ids),
        ("end", "[DONE]"),
    ]


def test_a_frame_is_byte_for_byte_as_it_was_recorded() -> None:
    assert frame("token", "écho: ") == 'message:\ndata:{"event":"token","data":"écho: "}\n\n'.encode()


def test_a_token_keeps_what_the_python_client_would_take_out_of_it() -> None:
    line = frame("token", "see data:image/png;base64,AA and data:x").decode().split("\n")[1]

    said = "see data:image/png;base64,AA and data:x"
    assert json.loads(line.replace("data:", "")) == {"event": "token", "data": said}


def test_what_was_not_streamed_is_told_in_one_token(telling: FrameTeller) -> None:
    assert told(telling.answered(answer("All of it.")))[:2] == [("start", ""), ("token", "All of it.")]


def test_only_the_rest_of_an_answer_is_told(telling: FrameTeller) -> None:
    telling.told(event(EventKind.TOKEN, text="All "))

    assert told(telling.answered(answer("All of it.")))[0] == ("token", "of it.")


def test_another_answer_than_the_streamed_one_gets_a_bubble_of_its_own(telling: FrameTeller) -> None:
    telling.told(event(EventKind.TOKEN, text="Half an ans"))

    assert told(telling.answered(answer("From the fallback.")))[:2] == [("start", ""), ("token", "From the fallback.")]


@pytest.mark.parametrize("again", [event(EventKind.RETRYING), event(EventKind.STARTED, flow="poet", attempt=2)])
def test_what_was_said_before_the_flow_is_asked_again_is_void(telling: FrameTeller, again: Event) -> None:
    telling.told(event(EventKind.STARTED, flow="poet", attempt=1))
    telling.told(event(EventKind.TOKEN, text="Half an ans"))
    frames = telling.told(again)
    frames += telling.told(event(EventKind.TOKEN, text="Whole."))
    frames += telling.answered(answer("Whole."))

    assert [name for name, _ in told(frames)] == ["start", "token", "metadata", "end"]


def test_a_query_that_waits_says_so_and_can_be_stopped() -> None:
    times = iter([0.0, 2.5])
    telling = FrameTeller(CHAT, clock=lambda: next(times))

    frames = telling.waits() + telling.waits()
    frames += telling.told(event(EventKind.WAITING, reason="concurrency")) + telling.waits()
    frames += telling.told(event(EventKind.TOKEN, text="Yes.")) + telling.waits()

    assert [(name, data) for name, data in told(frames) if name != "agentFlowExecutedData"] == [
        ("start", ""),
        ("thinking", "Queued.\n"),
        ("thinking", "Waits: the flow, or its server, has all the calls it may have.\n"),
        ("thinking", 3),
        ("token", "Yes."),
    ]
    assert [name for name, _ in told(frames)].count("agentFlowExecutedData") == 1
    # The sign of a flow that has not begun goes away with the answer.
    assert ("agentFlowExecutedData", []) in told(telling.answered(answer("Yes.")))


def test_visitors_are_not_told_where_a_question_goes() -> None:
    open_words, discreet = FrameTeller(CHAT), FrameTeller(CHAT, discreet=True)
    for telling in (open_words, discreet):
        telling.told(event(EventKind.ROUTED, flow="secret-flow", confidence=0.9))

    assert b"secret-flow" in open_words.waits()
    assert b"secret-flow" not in discreet.waits()


def test_steps_are_told_as_nodes_one_by_one_and_whole_at_the_end(telling: FrameTeller) -> None:
    frames = telling.told(event(EventKind.STEP, id="llm_0", name="LLM 0", status="running"))
    frames += telling.told(event(EventKind.STEP, id="llm_0", name="LLM 0", status="error", error="boom"))
    step = FlowStep(id="llm_0", name="LLM 0", kind="llmAgentflow", status="finished")
    frames += telling.answered(answer("Done.", steps=(step,)))

    found = told(frames)
    assert found[1] == ("nextAgentFlow", {"nodeId": "llm_0", "nodeLabel": "LLM 0", "status": "INPROGRESS"})
    assert found[3][1]["error"] == "boom"
    last = next(data for name, data in reversed(found) if name == "agentFlowExecutedData")
    assert [(node["nodeId"], node["data"]["name"], node["status"]) for node in last] == [
        ("llm_0", "llmAgentflow", "FINISHED")
    ]


def test_parts_of_a_question_to_several_flows_are_not_mixed(telling: FrameTeller) -> None:
    assert telling.told(event(EventKind.TOKEN, text="one", part="poet")) == b""


def test_a_refusal_is_an_error_and_an_end(telling: FrameTeller) -> None:
    assert told(refusal("Full.")) == [("error", "Full."), ("end", "[DONE]")]
    assert told(telling.failed("Full.")) == [("error", "Full."), ("end", "[DONE]")]


def test_what_a_flow_made_is_told_before_the_end(telling: FrameTeller) -> None:
    made = (
        Artifact(type="png", name="plot.png", link="/api/v1/get-upload-file?chatId=ours&fileName=plot.png"),
        Artifact(type="html", text="<b>plot</b>"),
        Artifact(type="png", bytes_left_out=10),
    )
    found = dict(
        told(
            telling.answered(
                answer(
                    "Done.",
                    artifacts=made,
                    sources=({"pageContent": "p", "metadata": {"source": "s"}},),
                    tools=(ToolUse(name="plot", input={"x": 1}), ToolUse(name="sum", error="no")),
                    follow_ups=("And then?",),
                )
            )
        )
    )

    assert found["artifacts"] == [
        {"type": "png", "name": "plot.png", "data": f"FILE-STORAGE::{QUERY}-plot.png"},
        {"type": "html", "data": "<b>plot</b>"},
    ]
    assert found["sourceDocuments"] == [{"pageContent": "p", "metadata": {"source": "s"}}]
    assert found["usedTools"] == [
        {"tool": "plot", "toolInput": {"x": 1}, "toolOutput": ""},
        {"tool": "sum", "toolInput": None, "toolOutput": "", "error": "no"},
    ]
    assert found["metadata"]["followUpPrompts"] == '["And then?"]'


def test_a_question_to_a_person_has_its_buttons(telling: FrameTeller) -> None:
    telling.told(event(EventKind.TOKEN, text="Proceed with it?"))
    found = dict(told(telling.asks(stop(feedback=False))))

    assert [each["label"] for each in found["action"]["elements"]] == ["Go on", "No"]
    assert found["action"]["data"]["nodeId"] == "humanInputAgentflow_0"
    assert found["action"]["data"]["input"] == {"humanInputEnableFeedback": False}
    assert found["metadata"]["action"] == found["action"]
    assert "token" not in found


def test_a_plain_answer_has_the_fields_of_a_recorded_one() -> None:
    assert plain_answer(CHAT, answer("Yes.", follow_ups=("And?",)), streams=False) == {
        "text": "Yes.",
        "chatId": "chat-1",
        "chatMessageId": MESSAGE,
        "question": "Why?",
        "sessionId": "session-1",
        "isStreamValid": False,
        "followUpPrompts": '"[\\"And?\\"]"',
    }


def test_an_object_is_answered_as_json() -> None:
    assert plain_answer(CHAT, answer("", data={"n": 1}), streams=True)["json"] == {"n": 1}


def test_a_plain_question_to_a_person_has_an_action() -> None:
    told_plainly = plain_question(CHAT._replace(question=None), stop())

    assert told_plainly["text"] == "Proceed with it?"
    assert "question" not in told_plainly
    assert told_plainly["action"]["mapping"] == {"approve": "Go on", "reject": "No"}
