"""The recipes of docs/backends.md do what they promise with what real servers answered."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agentic_flywheel.backends.http import HttpBackend
from agentic_flywheel.backends.models import FlowAnswer, FlowCall, FlowNews
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    FlowError,
    FlowFailed,
    FlowNotFound,
    FlowProtocolError,
    FlowRateLimited,
    FlowUnauthorized,
    ProviderUnavailable,
    QuotaUsedUp,
)
from agentic_flywheel.models import EventKind
from agentic_flywheel.registry.document import document_of
from agentic_flywheel.registry.reading import RegistryReading, reading_of
from agentic_flywheel.servers import FlowServer
from backends.scenes import Scene, SceneServer, serving

PAGE = Path(__file__).parents[3] / "docs" / "backends.md"
#: Behind them the page adds a backend that is not there.
_RECIPES = PAGE.read_text().partition("\n## Add a backend\n")[0]
RECORDINGS = Path(__file__).parent / "recordings"
KEY = "k-4711"


def recipes() -> Iterator[RegistryReading]:
    """Yield each registry of the page, as it is read."""
    for text in re.findall(r"^```yaml\n(.*?)^```", _RECIPES, re.MULTILINE | re.DOTALL):
        yield reading_of(document_of(PAGE, text.encode()))


def flow_of(recipe: str) -> Flow:
    return next(each.catalog.flows[recipe] for each in recipes() if each.catalog and recipe in each.catalog.flows)


def test_the_registry_takes_every_recipe() -> None:
    assert [reading.faults for reading in recipes() if reading.faults] == []


def recorded(server: str, name: str) -> Scene:
    """Return what a real server answered; a stream line by line, as the network may cut it."""
    response = json.loads((RECORDINGS / server / f"{name}.json").read_text())["response"]
    kept = ("Retry-After", "WWW-Authenticate")
    headers = {each: value for each, value in response["headers"].items() if each in kept}
    if "chunks" in response:
        parts = [text.encode() for _, text in response["chunks"]]
    else:
        parts = [(response["text"] if "text" in response else json.dumps(response["json"])).encode()]
    return Scene(parts, response["headers"].get("Content-Type", "text/plain"), response["status"], headers)


async def ask(recipe: str, server: SceneServer, told: list[FlowNews] | None = None) -> FlowAnswer:
    backend = HttpBackend(FlowServer(address=server.address, backend="http"))
    call = FlowCall(flow=flow_of(recipe), question="one two three", chat_id="c-1", session_id="s-1", stream=True)
    try:
        return await backend.ask(call, api_key=SecretStr(KEY), on_news=None if told is None else told.append)
    finally:
        await backend.close()


@pytest.mark.parametrize(
    ("recipe", "server", "recording", "path", "body"),
    [
        (
            "n8n",
            "n8n",
            "agent",
            "/webhook/agent",
            {"question": "one two three", "sessionId": "s-1", "chatId": "c-1"},
        ),
        (
            "langflow",
            "langflow",
            "openai",
            "/api/v1/run/7ce0d8e9-442b-427b-9c8e-9265015ca6dd",
            {"input_value": "one two three", "input_type": "chat", "output_type": "chat", "session_id": "c-1"},
        ),
    ],
)
async def test_an_answer_is_found(recipe: str, server: str, recording: str, path: str, body: Any) -> None:
    async with serving(recorded(server, recording)) as listening:
        answer = await ask(recipe, listening)

    (asked,) = listening.asked
    assert answer.text == "echo: one two three"
    assert (asked.method, asked.path, json.loads(asked.body)) == ("POST", path, body)
    assert asked.headers.get("x-api-key") == (KEY if server == "langflow" else None)
    assert "authorization" not in asked.headers


@pytest.mark.parametrize(
    ("recipe", "server", "recording", "tokens"),
    [
        ("n8n-stream", "n8n", "agent_stream", ["echo: ", "one ", "two ", "three"]),
        ("langflow-stream", "langflow", "openai_stream", ["echo: ", "one ", "two ", "three"]),
    ],
)
async def test_a_stream_is_told_and_its_answer_is_whole(
    recipe: str, server: str, recording: str, tokens: list[str]
) -> None:
    told: list[FlowNews] = []
    async with serving(recorded(server, recording)) as listening:
        answer = await ask(recipe, listening, told)

    assert [news.data["text"] for news in told if news.kind is EventKind.TOKEN] == tokens
    assert answer.text == "echo: one two three"


async def test_langflow_tells_the_tokens_used() -> None:
    for recipe, recording in (("langflow", "openai"), ("langflow-stream", "openai_stream")):
        async with serving(recorded("langflow", recording)) as listening:
            usage = (await ask(recipe, listening)).usage

        assert usage is not None
        assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (3, 4, 7)
        assert usage.model == "fake"


@pytest.mark.parametrize(
    ("recipe", "server", "recording", "kind", "reason"),
    [
        ("n8n", "n8n", "fail", FlowFailed, "Error in workflow"),
        ("n8n", "n8n", "agent_429", FlowFailed, "Error in workflow"),
        ("n8n", "n8n", "respond_429", FlowRateLimited, "wait 7 s"),
        ("n8n", "n8n", "header_wrong", FlowUnauthorized, "Authorization data is wrong!"),
        ("n8n", "n8n", "basic_none", FlowUnauthorized, "Authorization is required!"),
        ("n8n", "n8n", "err_unknown", FlowNotFound, "m7CBKZQ0UIY7Y0ZG"),
        ("n8n", "n8n", "immediate", FlowFailed, "Workflow was started"),
        ("n8n", "n8n", "respond_never", FlowFailed, "No Respond to Webhook node found"),
        ("n8n", "n8n", "respond_text", FlowProtocolError, "it is not JSON: echo: one two three"),
        ("n8n-stream", "n8n", "agent_stream_429", ProviderUnavailable, "Rate limit reached for fake"),
        ("n8n-stream", "n8n", "agent_stream_drop", FlowFailed, "Original error: TypeError"),
        ("langflow", "langflow", "fail", FlowFailed, "deliberate failure: one two three"),
        ("langflow", "langflow", "openai_429", ProviderUnavailable, "Error code: 429"),
        ("langflow", "langflow", "openai_quota", QuotaUsedUp, "You exceeded your current quota"),
        ("langflow", "langflow", "openai_401", FlowUnauthorized, "Error code: 401"),
        ("langflow", "langflow", "key_wrong", FlowUnauthorized, "Invalid or missing API key"),
        ("langflow", "langflow", "err_unknown_flow", FlowNotFound, "7ce0d8e9"),
        ("langflow-stream", "langflow", "fail_stream", FlowFailed, "deliberate failure: one two three"),
        ("langflow-stream", "langflow", "openai_429_stream", ProviderUnavailable, "Rate limit reached for fake"),
        ("langflow-stream", "langflow", "openai_drop_stream", ProviderUnavailable, "peer closed connection"),
    ],
)
async def test_a_failure_says_what_happened(
    recipe: str, server: str, recording: str, kind: type[FlowError], reason: str
) -> None:
    async with serving(recorded(server, recording)) as listening:
        with pytest.raises(kind) as raised:
            await ask(recipe, listening)

    assert reason in str(raised.value)


async def found(recipe: str, server: str, recording: str, chat_id: str) -> tuple[FlowAnswer | None, SceneServer]:
    async with serving(recorded(server, recording)) as listening:
        backend = HttpBackend(FlowServer(address=listening.address, backend="http"))
        try:
            return await backend.find(flow_of(recipe), chat_id, api_key=SecretStr(KEY)), listening
        finally:
            await backend.close()


async def test_a_late_answer_of_langflow_is_found_once_it_is_there() -> None:
    answer, server = await found("langflow", "langflow", "gone_llm_plain_messages_later", "gone-3")
    assert answer is not None
    assert (answer.text, answer.chat_id) == ("echo: gone a b c d", "gone-3")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 11
    assert server.asked[0].path == "/api/v1/monitor/messages?session_id=gone-3"
    assert server.asked[0].headers["x-api-key"] == KEY

    for recording, chat_id in (("gone_llm_plain_messages_at_once", "gone-3"), ("gone_stream_messages_later", "gone-2")):
        assert (await found("langflow", "langflow", recording, chat_id))[0] is None


async def test_the_answer_of_another_attempt_is_not_taken() -> None:
    answer, _ = await found("langflow", "langflow", "gone_llm_plain_messages_later", "gone-4")
    assert answer is None


async def test_a_late_answer_of_n8n_is_found_among_its_executions() -> None:
    scene = recorded("n8n", "gone_agent_execution_later")
    (body,) = scene.parts
    kept = body.replace(b'"sessionId": "gone_agent"', b'"chatId": "c-9", "sessionId": "gone_agent"')
    assert kept != body
    async with serving(Scene([kept])) as listening:
        backend = HttpBackend(FlowServer(address=listening.address, backend="http"))
        answer = await backend.find(flow_of("n8n"), "c-9", api_key=SecretStr(KEY))
        other = await backend.find(flow_of("n8n"), "c-10", api_key=SecretStr(KEY))
        await backend.close()

    assert answer is not None
    assert answer.text == "echo: gone_agent a b c d e f"
    assert other is None
    assert listening.asked[0].headers["x-n8n-api-key"] == KEY
    assert listening.asked[0].path.endswith("workflowId=m7CBKZQ0UIY7Y0ZG")


async def test_dify_is_read_as_its_documentation_says() -> None:
    events = [
        {"event": "workflow_started", "task_id": "t"},
        {"event": "message", "answer": "Hel"},
        {"event": "agent_message", "answer": "lo"},
        {
            "event": "message_end",
            "metadata": {
                "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
                "retriever_resources": [{"document_name": "a.pdf", "content": "…"}],
            },
        },
    ]
    lines = [b"event: ping\n\n", *(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events)]
    async with serving(Scene(lines, "text/event-stream")) as listening:
        answer = await ask("dify", listening)
    moderated = [lines[1], lines[2], b'data: {"event": "message_replace", "answer": "(removed)"}\n\n', lines[4]]
    async with serving(Scene(moderated, "text/event-stream")) as replaced:
        other = await ask("dify", replaced)
    wrong = [lines[2], b'data: {"event": "error", "status": 400, "message": "the app is away"}\n\n']
    async with serving(Scene(wrong, "text/event-stream")) as failing:
        with pytest.raises(FlowFailed, match="the app is away"):
            await ask("dify", failing)

    assert (answer.text, answer.sources) == ("Hello", ({"document_name": "a.pdf", "content": "…"},))
    assert answer.usage is not None
    assert answer.usage.total_tokens == 7
    assert other.text == "(removed)"
    assert listening.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert json.loads(listening.asked[0].body)["inputs"] == {"earlier": "So far: []"}


async def test_a_service_of_ones_own_needs_little() -> None:
    async with serving(Scene([b'{"answer": "Because."}'])) as listening:
        assert (await ask("mine", listening)).text == "Because."
