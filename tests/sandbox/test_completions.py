"""The sandbox answers chat completions as OpenAI documents them, and behaves in them as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from agentic_flywheel.backends import FlowAnswer, FlowCall, FlowNews
from agentic_flywheel.backends.bodies import FileContent, FlowUpload
from agentic_flywheel.backends.openai import OpenAIBackend
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    ContentFiltered,
    FlowError,
    FlowFailed,
    FlowNotFound,
    FlowProtocolError,
    FlowRateLimited,
    FlowRefused,
    FlowTimeout,
    FlowUnauthorized,
    PromptTooLong,
    ProviderUnavailable,
    QuotaUsedUp,
    ServerUnreachable,
)
from agentic_flywheel.models import EventKind, Message
from agentic_flywheel.servers import FlowServer
from flowise_sandbox import Behaviour, Fault, RateLimit, SandboxFlow
from flowise_sandbox.flows import BUNDLED, MODELS, read_flows
from flowise_sandbox.server import Sandbox

MODEL = "sandbox-1"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


@pytest.fixture
async def backend(sandbox: Sandbox) -> AsyncIterator[OpenAIBackend]:
    opened = OpenAIBackend(FlowServer(address=sandbox.url, backend="openai"))
    yield opened
    await opened.close()


def flow(**fields: Any) -> Flow:
    return Flow(**{"key": "f", "id": "f", "domain": "d", "backend": "openai", "model": MODEL, "timeout": 5, **fields})


async def outcome(backend: OpenAIBackend, *, key: str | None = None, **call: Any) -> FlowAnswer | FlowError:
    try:
        asked = FlowCall(**{"flow": flow(), "question": "Why is the sky blue?", **call})
        return await backend.ask(asked, api_key=SecretStr(key) if key else None)
    except FlowError as failed:
        return failed


async def answer(backend: OpenAIBackend, **call: Any) -> FlowAnswer:
    found = await outcome(backend, **call)
    assert isinstance(found, FlowAnswer), found
    return found


async def test_plain_and_streamed_answers_agree(backend: OpenAIBackend) -> None:
    told: list[FlowNews] = []

    plain = await answer(backend)
    streamed = await backend.ask(
        FlowCall(flow=flow(), question="Why is the sky blue?", stream=True), on_news=told.append
    )

    assert plain.text == streamed.text
    assert plain.usage == streamed.usage
    assert plain.usage is not None
    assert plain.usage.input_tokens == 5
    tokens = [str(news.data["text"]) for news in told if news.kind is EventKind.TOKEN]
    assert len(tokens) == plain.usage.output_tokens
    assert "".join(tokens) == plain.text


async def test_all_flows_are_models_and_two_are_nothing_else(sandbox: Sandbox, backend: OpenAIBackend) -> None:
    listed = [each.id for each in await backend.list_flows()]
    async with aiohttp.ClientSession(sandbox.url) as session:
        chatflows = [each["id"] for each in await (await session.get("/api/v1/chatflows")).json()]

    assert listed == [*(each.id for each in BUNDLED), *(each.id for each in MODELS)]
    assert chatflows == [each.id for each in BUNDLED]
    assert (await answer(backend, flow=flow(model=BUNDLED[0].id))).text
    assert isinstance(await outcome(backend, flow=flow(model="nope")), FlowNotFound)


def test_the_models_of_a_registry_are_served(tmp_path: Path) -> None:
    registry = tmp_path / "flow-registry.yaml"
    registry.write_text("operational_flows:\n  a: {server: s, model: m-1}\n")

    assert read_flows(registry) == (SandboxFlow(id="m-1", name="a", style=BUNDLED[1].style, model=True),)


async def test_history_system_text_and_limits_show_in_the_answer(backend: OpenAIBackend) -> None:
    history = (Message(role="userMessage", content="Who built it?"), Message(role="apiMessage", content="Ada."))

    said = await answer(backend, history=history, flow=flow(system="Be brief and kind."))
    cut = await answer(backend, flow=flow(sampling={"max_tokens": 3}), stream=True)

    assert said.text.startswith("With “Be brief and kind.” in mind: Following up on “Who built it?”: ")
    assert len(cut.text.split()) == 3
    assert cut.warnings == ("The answer is cut: the flow's limit of tokens was reached.",)


FAILURES: dict[Fault, type[FlowError]] = {
    Fault.ERROR: FlowRefused,
    Fault.UNAUTHORIZED: FlowUnauthorized,
    Fault.PROVIDER_KEY: FlowUnauthorized,
    Fault.PROVIDER_LIMIT: FlowRateLimited,
    Fault.PROVIDER_DOWN: ProviderUnavailable,
    Fault.PROVIDER_CUT: ProviderUnavailable,
    Fault.HANG: FlowTimeout,
    Fault.DROP: ServerUnreachable,
    Fault.PAGE: FlowProtocolError,
    Fault.GATEWAY: ServerUnreachable,
    Fault.EMPTY: FlowFailed,
    Fault.QUOTA: QuotaUsedUp,
    Fault.CONTEXT: PromptTooLong,
    Fault.FILTER: ContentFiltered,
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", FAILURES)
async def test_a_fault_is_met_under_its_name(
    sandbox: Sandbox, backend: OpenAIBackend, fault: Fault, stream: bool
) -> None:
    sandbox.behave(MODEL, Behaviour(fault=fault, fault_first=1))

    failed = await outcome(backend, stream=stream, flow=flow(timeout=0.5 if fault is Fault.HANG else 5))
    after = await outcome(backend, stream=stream)

    assert type(failed) is FAILURES[fault]
    assert isinstance(after, FlowAnswer)


async def test_a_stream_may_end_without_a_reason(sandbox: Sandbox, backend: OpenAIBackend) -> None:
    sandbox.behave(MODEL, Behaviour(fault=Fault.UNFINISHED))

    failed = await outcome(backend, stream=True)

    assert isinstance(failed, FlowProtocolError)
    assert "ended without a `finish_reason`" in failed.message


async def test_a_rate_limit_says_how_many_calls_are_left_and_when_there_are_more(
    sandbox: Sandbox, backend: OpenAIBackend
) -> None:
    sandbox.behave(MODEL, Behaviour(rate_limit=RateLimit(calls=2, seconds=20)))

    first, second, third = [await outcome(backend) for _ in range(3)]

    assert isinstance(first, FlowAnswer)
    assert first.pause == timedelta()
    assert isinstance(second, FlowAnswer)
    assert timedelta(seconds=9) < second.pause <= timedelta(seconds=10)
    assert isinstance(third, FlowRateLimited)
    assert 18 < third.seconds <= 20


async def test_a_key_is_needed_where_it_was_set(sandbox: Sandbox, backend: OpenAIBackend) -> None:
    sandbox.behave(MODEL, Behaviour(key="sk-right"))

    assert isinstance(await outcome(backend), FlowUnauthorized)
    assert isinstance(await outcome(backend, key="sk-wrong"), FlowUnauthorized)
    assert isinstance(await outcome(backend, key="sk-right"), FlowAnswer)


async def test_what_was_asked_is_counted_without_its_images(sandbox: Sandbox, backend: OpenAIBackend) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"aGVsbG8="

    image = FlowUpload("file", "a.png", "image/png", content=FileContent(5, pieces))
    await answer(backend, uploads=(image,))

    assert sandbox.counts.questions == {"Why is the sky blue?": 1}
    (recent,) = sandbox.counts.recent
    shown = json.dumps(recent)
    assert '"size": 5' in shown
    assert "aGVsbG8=" not in shown
    assert recent["model"] == MODEL


async def test_who_leaves_a_stream_ends_it(sandbox: Sandbox, backend: OpenAIBackend) -> None:
    sandbox.behave(MODEL, Behaviour(token_delay=0.02))
    heard = asyncio.Event()
    call = FlowCall(flow=flow(), question="Why?", stream=True)

    asking = asyncio.create_task(backend.ask(call, on_news=lambda _: heard.set()))
    await asyncio.wait_for(heard.wait(), 10)
    asking.cancel()

    async with asyncio.timeout(30):
        while list(sandbox.counts.aborted) != ["Why?"]:
            await asyncio.sleep(0.02)
