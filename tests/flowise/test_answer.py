"""Answers of every shape become one kind of answer."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from agentic_flywheel.backends.flowise.answer import (
    decode_follow_ups,
    plain_answer,
    refuse_empty,
    stored_answer,
)
from agentic_flywheel.backends.flowise.frames import StreamEvent
from agentic_flywheel.backends.flowise.listing import read_chatflow, read_chatflows
from agentic_flywheel.backends.flowise.streamed import StreamedAnswer
from agentic_flywheel.backends.models import FlowAnswer
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowFailed, FlowProtocolError, ServerUnreachable
from agentic_flywheel.models import Usage

FLOW = Flow(key="f", id="f-1", domain="tests")


def plain(**fields: Any) -> FlowAnswer:
    return plain_answer(FLOW, json.dumps(fields).encode())


def streamed(*events: tuple[str, Any]) -> StreamedAnswer:
    collected = StreamedAnswer(FLOW, "c")
    for name, data in events:
        collected.add(StreamEvent(name, data))
    return collected


def test_a_custom_functions_text_that_is_no_text_is_data() -> None:
    assert plain(chatId="c", text=5, question="q").data == {"text": 5}


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"status":"ok"}', b"{" * 5, b"[" * 100_000])
def test_other_servers_json_is_no_answer(body: bytes) -> None:
    with pytest.raises(FlowProtocolError):
        plain_answer(FLOW, body)


def test_half_a_character_does_not_break_an_answer() -> None:
    assert plain_answer(FLOW, rb'{"text":"cut \ud83d","chatId":"c"}').text == "cut \ufffd"


def test_the_usage_of_all_nodes_is_added_up() -> None:
    def node(tokens: int) -> dict[str, Any]:
        usage = {"input_tokens": tokens, "output_tokens": 1, "total_tokens": tokens + 1}
        return {"data": {"output": {"usageMetadata": usage, "responseMetadata": {"model_name": f"m{tokens}"}}}}

    answer = plain(text="t", chatId="c", agentFlowExecutedData=[node(2), {"data": {}}, node(3)])

    assert answer.usage == Usage(input_tokens=5, output_tokens=2, total_tokens=7, model="m3")


def test_usage_is_taken_from_the_streams_own_event_where_no_node_tells() -> None:
    told = {"input_tokens": 2, "output_tokens": 3, "total_tokens": 5}

    answer = streamed(("token", "hi"), ("usageMetadata", told), ("metadata", {"chatId": "c"})).answer()

    assert answer.usage == Usage(input_tokens=2, output_tokens=3, total_tokens=5)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ('["a","b"]', ("a", "b")),
        (json.dumps(json.dumps(["a"])), ("a",)),
        ('{"questions":["a"]}', ("a",)),
        (["a", 5], ("a",)),
        ("not json", ()),
        (None, ()),
        ("5", ()),
    ],
)
def test_follow_up_questions_are_decoded(told: Any, expected: tuple[str, ...]) -> None:
    assert decode_follow_ups(told) == expected


def test_a_stream_that_broke_off_is_no_answer() -> None:
    with pytest.raises(ServerUnreachable):
        streamed(("start", ""), ("token", "half an ans")).answer()


def test_a_stream_that_ended_without_metadata_is_no_answer() -> None:
    with pytest.raises(FlowProtocolError):
        streamed(("token", "text"), ("end", "[DONE]")).answer()


def test_a_cancelled_stream_says_so() -> None:
    assert streamed(("abort", "[DONE]")).failure == "the run was cancelled in Flowise"


@pytest.mark.parametrize("answer", [FlowAnswer(), FlowAnswer(text=" \n"), FlowAnswer(data={})])
def test_an_answer_of_nothing_is_a_failure_of_the_flow(answer: FlowAnswer) -> None:
    with pytest.raises(FlowFailed, match="nothing"):
        refuse_empty("f", answer)


def test_a_stopped_flow_waits_for_a_person_and_is_not_empty() -> None:
    answer = FlowAnswer(action={"id": "a"})

    assert refuse_empty("f", answer) is answer


def test_a_chat_without_an_answer_yet_has_none() -> None:
    asked = {"role": "userMessage", "chatId": "c", "content": "q", "createdDate": "2026-11-23T08:21:28.471Z"}
    other = {"role": "apiMessage", "chatId": "other", "content": "not ours"}

    assert stored_answer(FLOW, [asked, other], "c") is None
    assert stored_answer(FLOW, {}, "c") is None


def test_a_stored_answer_keeps_lists_as_text() -> None:
    message = {
        "id": "m",
        "role": "apiMessage",
        "chatId": "c",
        "content": "late",
        "sourceDocuments": '[{"pageContent":"p"}]',
        "action": '{"id":"a"}',
        "artifacts": "oops",
    }

    found = stored_answer(FLOW, [message], "c")

    assert found == FlowAnswer(
        text="late",
        chat_id="c",
        message_id="m",
        sources=({"pageContent": "p"},),
        action={"id": "a"},
        elapsed=timedelta(),
    )


def test_a_listed_flow_tells_what_its_owner_allows() -> None:
    settings = {
        "overrideConfig": {
            "status": True,
            "nodes": {
                "ChatOpenAI": [{"name": "temperature", "enabled": True}, {"name": "modelName", "enabled": False}]
            },
            "variables": [{"name": "tone", "enabled": True}],
        },
        "rateLimit": {"status": True, "limitMax": "5", "limitDuration": 60},
    }

    flow = read_chatflow({"id": "x", "name": "n", "apiConfig": json.dumps(settings), "updatedDate": "yesterday"})

    assert flow.overrides
    assert flow.overridable == ("temperature", "vars")
    assert flow.variables == ("tone",)
    assert flow.rate is not None
    assert (flow.rate.calls, flow.rate.period) == (5, timedelta(minutes=1))


@pytest.mark.parametrize("settings", [None, "{oops", "[]", {"overrideConfig": 5, "rateLimit": {"status": True}}])
def test_settings_that_cannot_be_read_allow_nothing(settings: Any) -> None:
    flow = read_chatflow({"id": "x", "apiConfig": settings})

    assert (flow.overrides, flow.overridable, flow.rate) == (False, (), None)


def test_flows_come_as_a_list_or_as_a_page() -> None:
    listed = [{"id": "a"}, {"id": "b"}]

    assert read_chatflows(listed) == read_chatflows({"data": listed, "total": 2})
    with pytest.raises(ValueError, match="list"):
        read_chatflows("<html>")
