"""What a server was sent in secret is not shown, whatever it answers and wherever the network cuts that."""

from __future__ import annotations

import base64
from datetime import timedelta
from decimal import Decimal

import pytest
from pydantic import JsonValue

from agentic_flywheel.backends import FlowAnswer, FlowNews
from agentic_flywheel.backends.sent_secrets import sent_secrets
from agentic_flywheel.catalog import Flow
from agentic_flywheel.http_flows import RequestTemplate
from agentic_flywheel.models import EventKind, Usage
from agentic_flywheel.prices import Cost
from agentic_flywheel.servers import FlowServer
from agentic_flywheel.settings import Settings
from workers.hiding import SecretHiding

KEY = 'sk-"zebra"/0123456789'
TEXT = f'sk- and sk-"ze, your key is {KEY}, {KEY}; sk-'


@pytest.mark.parametrize("size", [1, 3, 7, len(TEXT)])
def test_a_key_that_a_flow_quotes_is_not_told(size: int) -> None:
    told: list[FlowNews] = []
    hiding = SecretHiding([KEY], told.append)
    assert hiding.tell is not None
    for start in range(0, len(TEXT), size):
        hiding.tell(FlowNews(EventKind.TOKEN, {"text": TEXT[start : start + size]}))
    usage = Usage(input_tokens=1, cost=Cost(amount=Decimal("0.10"), currency="EUR"))
    answer = hiding.answer(FlowAnswer(text=TEXT, data={"sent": [KEY]}, usage=usage, elapsed=timedelta(seconds=1.5)))

    assert "".join(str(each.data["text"]) for each in told) == answer.text == TEXT.replace(KEY, "***")
    assert (answer.data, answer.usage, answer.elapsed) == ({"sent": ["***"]}, usage, timedelta(seconds=1.5))


def test_other_news_keeps_its_place_and_loses_the_key() -> None:
    told: list[FlowNews] = []
    hiding = SecretHiding([KEY], told.append)
    assert hiding.tell is not None
    hiding.tell(FlowNews(EventKind.TOKEN, {"text": "a sk-"}))
    hiding.tell(FlowNews(EventKind.TOOL, {"output": {"headers": [f"Bearer {KEY}"]}}))

    assert [(each.kind, each.data) for each in told] == [
        (EventKind.TOKEN, {"text": "a "}),
        (EventKind.TOKEN, {"text": "sk-"}),
        (EventKind.TOOL, {"output": {"headers": ["Bearer ***"]}}),
    ]


def test_a_stand_in_for_a_key_is_a_word_like_others() -> None:
    told: list[FlowNews] = []
    hiding = SecretHiding(["ollama"], told.append)
    assert hiding.tell is not None
    hiding.tell(FlowNews(EventKind.TOKEN, {"text": "ollama"}))

    assert [each.data for each in told] == [{"text": "ollama"}]
    assert hiding.answer(FlowAnswer(text="ollama runs")).text == "ollama runs"


@pytest.mark.parametrize("size", [1, 5, 100])
def test_of_secrets_within_each_other_all_is_hidden(size: int) -> None:
    told: list[FlowNews] = []
    hiding = SecretHiding([f"Bearer {KEY}", KEY, "tenant-0123456789ab"], told.append)
    assert hiding.tell is not None
    text = f"Bearer, tenant-0123: Bearer {KEY}, tenant-0123456789ab"
    for start in range(0, len(text), size):
        hiding.tell(FlowNews(EventKind.TOKEN, {"text": text[start : start + size]}))

    assert hiding.answer(FlowAnswer(text=text)).text == "Bearer, tenant-0123: ***, ***"
    assert "".join(str(each.data["text"]) for each in told) == "Bearer, tenant-0123: ***, ***"


def test_everything_that_a_call_carries_in_secret_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    # An API key's, a variable's in a header, a header that is a secret by its name, a login, a registry's configuration
    # and a request's header.
    server = FlowServer(
        address="https://someone:p%40ssword@flows.example/v1",
        backend="http",
        api_key_env="SERVER_KEY",
        headers={"X-Tenant": "t-${TENANT}", "X-Auth": "x-auth-value", "Accept-Language": "de"},
    )
    request = RequestTemplate(path="/ask", headers={"X-Signature": "signed-with-this", "X-Kind": "plain"})
    config: dict[str, JsonValue] = {"openAIApiKey": "sk-of-the-registry", "temperature": 0.5}
    flow = Flow(key="f", id="f", domain="d", served_by=server, request=request, config=config)
    monkeypatch.setenv("SERVER_KEY", "key-of-the-server")
    monkeypatch.setenv("TENANT", "blue-tenant")

    assert set(sent_secrets(flow, Settings())) == {
        "key-of-the-server",
        "blue-tenant",
        "x-auth-value",
        "p@ssword",
        base64.b64encode(b"someone:p@ssword").decode(),
        "sk-of-the-registry",
        "signed-with-this",
    }
    monkeypatch.delenv("TENANT")
    assert "x-auth-value" not in sent_secrets(flow, Settings())  # no call is made without it
