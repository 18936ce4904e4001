"""What is sent: values in their places, with their types, and never more than values."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from agentic_flywheel.backends.bodies import FileContent, FlowUpload
from agentic_flywheel.backends.http import HttpBackend
from agentic_flywheel.backends.models import FlowCall, HumanInput
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError, FlowRefused, FlowUnauthorized
from agentic_flywheel.http_flows import AnswerPlace, HttpRequest, LateAnswer, RequestTemplate
from agentic_flywheel.models import Message
from agentic_flywheel.servers import FlowServer
from backends.scenes import Asked, Scene, serving

#: What somebody may write who wants to be more than text.
ODD = '{{key}} {{config.secret}} "}]}\\ \r\nX-Injected: 1\r\n\r\n../..//?a=b&c=d#e %2e%2e%2f 中文 \u2028 😀'


def flow_with(
    body: Any = None, *, config: Mapping[str, Any] | None = None, late: LateAnswer | None = None, **request: Any
) -> Flow:
    return Flow(
        key="f",
        id="flow-7",
        domain="d",
        backend="http",
        config=dict(config or {}),
        timeout=timedelta(seconds=20),
        request=RequestTemplate(body=body, **request),
        answer=AnswerPlace(text="/a", late=late),
    )


async def sent(call: FlowCall, *, key: str | None = None, server: Mapping[str, Any] | None = None) -> Asked:
    """Return the request that a call becomes."""
    async with serving(Scene([b'{"a": "yes"}'])) as listening:
        path = dict(server or {}).pop("path", "")
        about = {name: each for name, each in (server or {}).items() if name != "path"}
        backend = HttpBackend(FlowServer(address=listening.address + path, backend="http", **about))
        try:
            await backend.ask(call, api_key=SecretStr(key) if key else None)
        finally:
            await backend.close()
        (asked,) = listening.asked
        return asked


async def body_of(template: Any, call: Mapping[str, Any], **flow: Any) -> Any:
    request = await sent(FlowCall(flow=flow_with(template, **flow), **call))
    assert request.headers["content-type"] == "application/json"
    return json.loads(request.body)


async def test_a_text_that_is_a_placeholder_alone_becomes_the_value_with_its_type() -> None:
    said = (Message(role="userMessage", content="Hi"), Message(role="apiMessage", content="Hello"))
    call = {"question": "Why?", "chat_id": "c-1", "session_id": "s-1", "history": said, "config": {"n": 3, "on": True}}

    body = await body_of(
        {
            "q": "{{question}}",
            "all": ["{{ session_id }}", "{{chat_id}}", "{{flow_id}}"],
            "messages": "{{history}}",
            "n": "{{config.n}}",
            "on": "{{config.on}}",
            "config": "{{config}}",
            "fixed": [1, None, 2.5, "plain"],
        },
        call,
        config={"t": 0.5, "n": 1},
    )

    assert body == {
        "q": "Why?",
        "all": ["s-1", "c-1", "flow-7"],
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
        "n": 3,
        "on": True,
        "config": {"t": 0.5, "n": 3, "on": True},
        "fixed": [1, None, 2.5, "plain"],
    }


async def test_within_a_text_values_are_text() -> None:
    call = {"question": "Why?", "config": {"n": 3, "l": ["a"]}}

    body = await body_of({"q": "{{config.n}}× {{question}} {{config.l}}{{config.none}}{{history}}."}, call)

    assert body == {"q": '3× Why? ["a"][].'}


async def test_what_has_no_value_is_left_out() -> None:
    body = await body_of({"q": "{{question}}", "t": "{{config.t}}", "l": ["{{config.t}}", 1]}, {"question": "Why?"})

    assert body == {"q": "Why?", "l": [1]}


async def test_no_session_is_not_the_session_of_all_who_have_none() -> None:
    body = await body_of({"s": "{{session_id}}", "c": "{{chat_id}}"}, {"question": "Why?", "chat_id": "c-1"})
    other = await body_of({"s": "{{session_id}}", "c": "{{chat_id}}"}, {"question": "Why?"})

    assert body == {"s": "c-1", "c": "c-1"}
    assert re.fullmatch("[0-9a-f]{32}", other["s"])


async def test_what_a_user_writes_stays_a_value() -> None:
    call = FlowCall(
        flow=flow_with(
            {"q": "{{question}}", "in": "<{{question}}>", "key": "x"},
            path="/ask/{{question}}?q={{question}}",
            headers={"X-Chat": "{{chat_id}}", "X-Key": "{{key}}"},
            config={"secret": "hidden"},
        ),
        question=ODD.replace("/", " "),
        chat_id="c:\u00e9:{{key}}",
    )
    request = await sent(call, key="k-1")

    assert json.loads(request.body) == {"q": call.question, "in": f"<{call.question}>", "key": "x"}
    assert request.headers["x-chat"] == "c%3A%C3%A9%3A%7B%7Bkey%7D%7D"
    assert request.headers["x-key"] == "k-1"
    assert "x-injected" not in request.headers
    assert re.fullmatch(r"/ask/[A-Za-z0-9%_.~-]+\?q=[A-Za-z0-9%_.~-]+", request.path)
    assert "hidden" not in request.path


async def test_a_value_cannot_lead_out_of_its_place_in_a_path() -> None:
    for value in ("..", ".", "../admin", "a/../../admin", "..\\admin", ""):
        flow = flow_with(path="/flows/{{config.name}}/run")
        with pytest.raises(FlowRefused, match=r"has no place for this value of config\.name"):
            await sent(FlowCall(flow=flow, question="Why?", config={"name": value}))

    request = await sent(FlowCall(flow=flow, question="Why?", config={"name": "a/b c?d"}))
    assert request.path == "/flows/a%2Fb%20c%3Fd/run"


async def test_the_path_is_put_behind_the_address() -> None:
    request = await sent(
        FlowCall(flow=flow_with(path="/run?x=1", method="GET"), question="?"), server={"path": "/api/"}
    )

    assert (request.method, request.path, request.body) == ("GET", "/api/run?x=1", b"")


async def test_a_key_is_a_bearers_where_the_registry_does_not_place_it() -> None:
    asked = {"flow": flow_with({}, headers={"X-Mine": "1"}), "question": "?"}

    assert (await sent(FlowCall(**asked), key="k-1")).headers["authorization"] == "Bearer k-1"
    assert "authorization" not in (await sent(FlowCall(**asked))).headers


async def test_a_key_that_the_registry_places_goes_nowhere_else() -> None:
    late = LateAnswer(request=HttpRequest(path="/late", headers={"X-Key": "{{key}}"}), where={"/c": "{{chat_id}}"})
    placed = await sent(FlowCall(flow=flow_with({}, headers={"X-Key": "Token {{key}}"}), question="?"), key="k-1")
    elsewhere = await sent(FlowCall(flow=flow_with({}, late=late), question="?"), key="k-1")

    assert placed.headers["x-key"] == "Token k-1"
    assert "authorization" not in placed.headers
    assert "k-1" not in str(elsewhere)


async def test_a_key_that_is_needed_and_not_there_is_said_before_anything_is_sent() -> None:
    with pytest.raises(FlowUnauthorized, match="its request sends a key, and the variable that `api_key_env` names"):
        await sent(FlowCall(flow=flow_with({}, headers={"X-Key": "{{key}}"}), question="?"))
    with pytest.raises(FlowUnauthorized, match="no header can carry") as refused:
        await sent(FlowCall(flow=flow_with({}, headers={"X-Key": "{{key}}"}), question="?"), key="k-1\r\nX: 1")
    assert "k-1" not in str(refused.value)


async def test_headers_of_the_server_go_with_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANT_KEY", "t-9")
    request = await sent(FlowCall(flow=flow_with({}), question="?"), server={"headers": {"X-Tenant": "${TENANT_KEY}"}})

    assert request.headers["x-tenant"] == "t-9"


async def test_files_are_sent_where_the_registry_wants_them() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"AAAA"
        yield b"QUJD"

    uploads = (
        FlowUpload("file", 'a"b.png', "image/png", content=FileContent(6, pieces)),
        FlowUpload("url", "page", "", "https://example.org/{{key}}"),
    )
    body = await body_of(
        {"q": "{{question}}", "in": {"files": "{{uploads}}"}, "again": ["{{uploads}}"]},
        {"question": "What is this?", "uploads": uploads},
    )

    files = [
        {"type": "file", "name": 'a"b.png', "mime": "image/png", "data": "data:image/png;base64,AAAAQUJD"},
        {"type": "url", "name": "page", "mime": "", "data": "https://example.org/{{key}}"},
    ]
    assert body == {"q": "What is this?", "in": {"files": files}, "again": [files]}
    assert await body_of({"f": "{{uploads}}"}, {"question": "Without?"}) == {"f": []}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"question": " "}, "the question is blank"),
        ({"uploads": (FlowUpload("url", "a", "", "https://example.org"),)}, "has no place for uploads"),
        ({"form": {"name": "Ada"}}, "has no place for form"),
        ({"human_input": HumanInput(type="proceed")}, "does not stop to ask a person"),
        ({"config": {"t": float("nan")}}, "is not finite"),
    ],
)
async def test_what_cannot_be_sent_is_refused_and_not_left_out(given: dict[str, Any], reason: str) -> None:
    call = FlowCall(flow=flow_with({"c": "{{config}}"}), question="?").model_copy(update=given)
    with pytest.raises(FlowError, match=reason):
        await sent(call)


async def test_a_form_goes_where_the_registry_wants_it() -> None:
    body = await body_of({"who": "{{form.name}}", "all": "{{form}}"}, {"form": {"name": "Ada", "age": 36}})

    assert body == {"who": "Ada", "all": {"name": "Ada", "age": 36}}
