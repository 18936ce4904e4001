"""What Flowise would swallow without a word is refused before it is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from agentic_flywheel.backends.flowise import request as building
from agentic_flywheel.backends.flowise.request import encoded, prediction_body
from agentic_flywheel.backends.models import FlowCall, HumanInput
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowRefused
from agentic_flywheel.models import Message

FLOW = Flow(
    key="echo", id="9422cefc-3008-4d1a-aed0-1186d5a2c740", domain="tests", config={"temperature": 0.2, "topP": 1}
)


def test_the_whole_request() -> None:
    call = FlowCall(
        flow=FLOW,
        question="why?",
        chat_id="attempt-1",
        session_id="s-1",
        config={"temperature": 0.9},
        history=(Message(role="userMessage", content="hi"),),
        stream=True,
    )

    body = encoded(call)

    assert isinstance(body, bytes)
    assert json.loads(body) == {
        "question": "why?",
        "streaming": True,
        "chatId": "attempt-1",
        "overrideConfig": {"temperature": 0.9, "topP": 1, "sessionId": "s-1"},
        "history": [{"role": "userMessage", "content": "hi"}],
    }


@pytest.mark.parametrize(
    "given",
    [
        {"question": " \n"},
        {"question": "x" * 50_000},
        {"question": "x", "config": {"sessionId": "somebody-elses"}},
        {"question": "x", "config": {"temperature": float("nan")}},
    ],
)
def test_an_unusable_request_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(FlowRefused):
        encoded(FlowCall(flow=FLOW, **given))


def test_a_request_larger_than_flowise_takes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "MAX_BODY", 1000)

    with pytest.raises(FlowRefused, match="MB"):
        encoded(FlowCall(flow=FLOW, question="x", config={"context": "y" * 1000}))


@pytest.mark.parametrize(
    "given",
    [{"form": {"name": "Kari"}}, {"human_input": HumanInput(type="reject")}],
)
def test_a_form_or_a_decision_needs_no_question(given: dict[str, Any]) -> None:
    body = prediction_body(FlowCall(flow=FLOW, **given))

    assert "question" not in body


@pytest.mark.parametrize("role", ["user", "assistant", "apimessage"])
def test_a_role_that_flowise_refuses_cannot_be_written(role: str) -> None:
    with pytest.raises(ValidationError):
        Message(role=role, content="hi")


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 2**53 - 1, 7])
def test_a_whole_number_of_a_form_arrives_as_it_is_whatever_its_size(number: int) -> None:
    form = prediction_body(FlowCall(flow=FLOW, form={"amount": number, "sure": True}))["form"]

    # Flowise reads numbers as IEEE 754 doubles, and makes a text of them.
    read = json.loads(json.dumps(form), parse_int=lambda text: int(float(text)))
    assert str(read["amount"]) == str(number)
    assert read["sure"] is True
