"""The flows of a registry that are asked over HTTP keep on real servers what their registry says of them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from agentic_flywheel.backends import FlowBackend, FlowCall, FlowNews
from agentic_flywheel.backends.opened import Backends
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowError, FlowTimeout, FlowUnauthorized
from agentic_flywheel.models import EventKind
from agentic_flywheel.registry import load_catalog
from agentic_flywheel.settings import Settings, key_of

SKIPPED = "needs real servers: python3 run.py test --http REGISTRY, with the keys that the registry names"
#: Seconds. n8n keeps an execution a moment after its end.
LATEST = 30.0


@pytest.fixture
def flows(request: pytest.FixtureRequest) -> Sequence[Flow]:
    registry = request.config.getoption("--http")
    if not registry:
        pytest.skip(SKIPPED)
    return [flow for flow in load_catalog(Path(registry)).active.values() if flow.backend == "http"]


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    backends = Backends(Settings())
    yield backends
    await backends.close()


def key(flow: Flow) -> SecretStr | None:
    return key_of(flow, Settings())


def call(flow: Flow) -> FlowCall:
    return FlowCall(
        flow=flow, question="one two three", chat_id=uuid.uuid4().hex, session_id=uuid.uuid4().hex, stream=True
    )


async def test_each_server_is_there(flows: Sequence[Flow], backends: Backends) -> None:
    reports = [await backends.of(flow).examine(flow, api_key=key(flow)) for flow in flows]

    assert [report.problems for report in reports if report.problems] == []


async def test_each_flow_answers_and_tells_what_it_streams(flows: Sequence[Flow], backends: Backends) -> None:
    for flow in flows:
        backend, told = backends.of(flow), list[FlowNews]()
        answer = await backend.ask(call(flow), api_key=key(flow), on_news=told.append)

        assert answer.text.strip(), flow.key
        tokens = "".join(str(news.data["text"]) for news in told if news.kind is EventKind.TOKEN)
        assert tokens == (answer.text if backend.abilities(flow).stream else ""), flow.key


async def test_a_late_answer_is_that_of_its_attempt(flows: Sequence[Flow], backends: Backends) -> None:
    for flow in flows:
        backend, attempt = backends.of(flow), call(flow)
        if not backend.abilities(flow).late_answers:
            continue
        cut = flow.model_copy(update={"timeout": timedelta(milliseconds=300)})
        try:
            answered = await backend.ask(attempt.model_copy(update={"flow": cut}), api_key=key(flow))
        except FlowTimeout:
            answered = None
        found = await asyncio.wait_for(_found(backend, flow, attempt.chat_id or ""), LATEST)

        assert found.strip(), flow.key
        assert answered is None or found == answered.text, flow.key
        assert await backend.find(flow, uuid.uuid4().hex, api_key=key(flow)) is None


async def _found(backend: FlowBackend, flow: Flow, chat_id: str) -> str:
    while (answer := await backend.find(flow, chat_id, api_key=key(flow))) is None:
        await asyncio.sleep(0.5)
    return answer.text


async def test_a_wrong_key_is_refused_and_not_quoted(flows: Sequence[Flow], backends: Backends) -> None:
    for flow in flows:
        if flow.request is None or not any("{{key}}" in value for value in flow.request.headers.values()):
            continue
        with pytest.raises(FlowError) as raised:
            await backends.of(flow).ask(call(flow), api_key=SecretStr("wrong-4711"))

        assert isinstance(raised.value, FlowUnauthorized), flow.key
        assert "wrong-4711" not in str(raised.value)
