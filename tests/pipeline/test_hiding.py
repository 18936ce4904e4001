"""A flow's key is not shown, whatever its server answers and wherever the network cuts that."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from pydantic import SecretStr

from agentic_flywheel.backends import FlowAnswer, FlowNews
from agentic_flywheel.models import EventKind, Usage
from agentic_flywheel.prices import Cost
from workers.hiding import KeyHiding

KEY = 'sk-"zebra"/0123456789'
TEXT = f'sk- and sk-"ze, your key is {KEY}, {KEY}; sk-'


@pytest.mark.parametrize("size", [1, 3, 7, len(TEXT)])
def test_a_key_that_a_flow_quotes_is_not_told(size: int) -> None:
    told: list[FlowNews] = []
    hiding = KeyHiding(SecretStr(KEY), told.append)
    assert hiding.tell is not None
    for start in range(0, len(TEXT), size):
        hiding.tell(FlowNews(EventKind.TOKEN, {"text": TEXT[start : start + size]}))
    usage = Usage(input_tokens=1, cost=Cost(amount=Decimal("0.10"), currency="EUR"))
    answer = hiding.answer(FlowAnswer(text=TEXT, data={"sent": [KEY]}, usage=usage, elapsed=timedelta(seconds=1.5)))

    assert "".join(str(each.data["text"]) for each in told) == answer.text == TEXT.replace(KEY, "***")
    assert (answer.data, answer.usage, answer.elapsed) == ({"sent": ["***"]}, usage, timedelta(seconds=1.5))


def test_other_news_keeps_its_place_and_loses_the_key() -> None:
    told: list[FlowNews] = []
    hiding = KeyHiding(SecretStr(KEY), told.append)
    assert hiding.tell is not None
    hiding.tell(FlowNews(EventKind.TOKEN, {"text": "a sk-"}))
    hiding.tell(FlowNews(EventKind.TOOL, {"output": {"headers": [f"Bearer {KEY}"]}}))

    assert [(each.kind, each.data) for each in told] == [
        (EventKind.TOKEN, {"text": "a "}),
        (EventKind.TOKEN, {"text": "sk-"}),
        (EventKind.TOOL, {"output": {"headers": ["Bearer ***"]}}),
    ]


@pytest.mark.parametrize("key", [None, SecretStr("ollama")])
def test_a_stand_in_for_a_key_is_a_word_like_others(key: SecretStr | None) -> None:
    told: list[FlowNews] = []
    hiding = KeyHiding(key, told.append)
    assert hiding.tell is not None
    hiding.tell(FlowNews(EventKind.TOKEN, {"text": "ollama"}))

    assert [each.data for each in told] == [{"text": "ollama"}]
    assert hiding.answer(FlowAnswer(text="ollama runs")).text == "ollama runs"
