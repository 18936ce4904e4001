"""Completions, chunks, sources and errors in OpenAI's shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentic_flywheel.errors import (
    BrokerUnavailable,
    ContentFiltered,
    ContextTooLong,
    EarlierTurnAsks,
    ErrorInfo,
    FlowFailed,
    FlywheelError,
    InvalidQuery,
    OwnerLimitReached,
    PromptTooLong,
    SideCallRefused,
    TokenNeeded,
    UnknownModel,
    UnsupportedParameter,
)
from agentic_flywheel.models import Answer, Choice, Usage
from http_gateway.openai.failures import refusal
from http_gateway.openai.shapes import Shape, annotations_of, text_of, usage_of
from http_gateway.problems import status_of

ANSWER = Answer(query_id="q", text="Yes.", flow="poet", domain="creative")


def chunks(frames: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(frame[6:]) for frame in frames if frame != b"data: [DONE]\n\n"]


def test_the_usage_stands_on_the_last_chunk_and_once_more_where_it_is_asked_for() -> None:
    used = ANSWER.model_copy(update={"usage": Usage(input_tokens=3, output_tokens=2, total_tokens=5)})
    wanted = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}

    plain = chunks(list(Shape("q", "auto").closing("Yes.", used)))
    asked = list(Shape("q", "auto", include_usage=True).closing("Yes.", used))

    assert [(each["choices"][0]["finish_reason"], each["usage"]) for each in plain] == [("stop", wanted)]
    assert [(len(each["choices"]), each["usage"]) for each in chunks(asked)] == [(1, wanted), (0, wanted)]
    assert asked[-1] == b"data: [DONE]\n\n"


def test_the_usage_is_left_out_where_the_flow_does_not_tell_and_nothing_where_the_answer_was_kept() -> None:
    assert usage_of(ANSWER) is None
    assert "usage" not in Shape("q", "auto").completion("Yes.", ANSWER)
    assert usage_of(ANSWER.model_copy(update={"cached": True})) == {
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "total_tokens": 0,
    }


def test_sources_with_an_address_are_citations_of_the_whole_text() -> None:
    sources = (
        {"pageContent": "a", "metadata": {"source": "https://x.example/a", "title": "A page"}},
        {"pageContent": "a, once more", "metadata": {"source": "https://x.example/a"}},
        {"pageContent": "b", "metadata": {"source": "/srv/files/b.pdf"}},
        {"pageContent": "c", "metadata": {"url": "javascript:alert(1)"}},
        {"pageContent": "d", "metadata": {"url": "http://[broken"}},
        {"pageContent": "e"},
    )

    assert annotations_of(ANSWER.model_copy(update={"sources": sources}), "Yes.") == [
        {
            "type": "url_citation",
            "url_citation": {"url": "https://x.example/a", "title": "A page", "start_index": 0, "end_index": 4},
        }
    ]


def test_a_clarification_says_which_models_to_choose_from() -> None:
    choices = tuple(
        Choice(flow=key, domain="d", name=key.title(), description="", confidence=0.5) for key in ("poet", "coder")
    )
    asked = ANSWER.model_copy(update={"kind": "clarify", "text": "Which of these?", "choices": choices})

    assert text_of(asked) == "Which of these?\n\nAsk again with one of these as the model: `poet`, `coder`."


@pytest.mark.parametrize(
    ("error", "status", "type_", "code", "param", "again"),
    [
        (InvalidQuery("messages", "it is missing"), 400, "invalid_request_error", "invalid_value", "messages", None),
        (UnsupportedParameter("n", "no"), 400, "invalid_request_error", "unsupported_parameter", "n", None),
        (ContextTooLong("It", 9, 8), 400, "invalid_request_error", "context_length_exceeded", "messages", None),
        (SideCallRefused("LibreChat"), 400, "invalid_request_error", "side_call_refused", "messages", None),
        (EarlierTurnAsks("q-1"), 400, "invalid_request_error", "earlier_turn_asks", None, None),
        (TokenNeeded(), 401, "invalid_request_error", "invalid_api_key", None, None),
        (UnknownModel("gpt", ["auto"]), 404, "invalid_request_error", "model_not_found", "model", None),
        (
            OwnerLimitReached("a", "queries_a_minute", 1, 2, 3.2),
            429,
            "rate_limit_error",
            "rate_limit_exceeded",
            None,
            "true",
        ),
        (
            OwnerLimitReached("a", "calls_a_day", 1, 2, 9000),
            429,
            "rate_limit_error",
            "insufficient_quota",
            None,
            "false",
        ),
        (PromptTooLong("f", "it reads 8"), 400, "invalid_request_error", "context_length_exceeded", "messages", None),
        (ContentFiltered("f", "violence"), 400, "invalid_request_error", "content_filter", "messages", None),
        (BrokerUnavailable("redis", "gone"), 503, "server_error", "broker_unavailable", None, "true"),
        (FlowFailed("poet", "it raised"), 502, "server_error", "flow_failed", None, "false"),
    ],
)
def test_an_error_has_the_status_and_the_code_that_clients_know(
    error: FlywheelError, status: int, type_: str, code: str, param: str | None, again: str | None
) -> None:
    info = error.describe()

    shown = refusal(info, status_of(info))

    told = json.loads(bytes(shown.body))["error"]
    assert (shown.status_code, told["type"], told["code"], told["param"]) == (status, type_, code, param)
    assert told["message"] == error.message
    assert shown.headers.get("x-should-retry") == again
    assert ("retry-after" in shown.headers) == (status in (429, 503))


def test_what_a_query_ended_with_is_not_asked_for_again() -> None:
    info = BrokerUnavailable("redis", "gone").describe("q-1")

    shown = refusal(info, 503)

    assert shown.headers["x-should-retry"] == "false"
    assert json.loads(bytes(shown.body))["error"]["query_id"] == "q-1"


def test_an_error_without_a_class_here_is_a_server_error() -> None:
    told = json.loads(bytes(refusal(ErrorInfo(error="Odd", error_type="SomethingNew"), 500).body))["error"]

    assert (told["type"], told["code"]) == ("server_error", "something_new")
