"""A house whose workers ask a real OpenAI-compatible server. Without ``--openai URL`` its tests are skipped."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pipeline.house import House

from producer import AsyncProducer

SKIPPED = "needs a real server: OPENAI_API_KEY=… OPENAI_MODEL=… python3 run.py test --openai URL"
REGISTRY = """
servers:
  real:
    address: {url}
    backend: openai
    api_key_env: OPENAI_API_KEY
operational_flows:
  streamed:
    server: real
    model: {model}
    system: Answer in one sentence.
    sampling: {{temperature: 0, max_tokens: 200}}
    domain: streamed
  plain:
    server: real
    model: {model}
    domain: plain
    streaming: false
    history_turns: 5
  hurried:
    server: real
    model: {model}
    domain: hurried
    timeout: 1ms
    attempts: 1
  missing:
    server: real
    model: there-is-no-such-model
    domain: missing
  locked:
    server: real
    model: {model}
    domain: locked
    api_key_env: A_KEY_OF_NOBODY
"""


@pytest.fixture(scope="session")
def model(request: pytest.FixtureRequest) -> str:
    if not (request.config.getoption("--openai") and os.environ.get("OPENAI_MODEL")):
        pytest.skip(SKIPPED)
    return os.environ["OPENAI_MODEL"]


@pytest.fixture(scope="session")
def house(request: pytest.FixtureRequest, model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    url = request.config.getoption("--openai")
    house = House(tmp_path_factory.mktemp("openai_real"), registry=REGISTRY.format(url=url, model=model))
    try:
        house.worker(OPENAI_API_KEY=os.environ.get("OPENAI_API_KEY", ""), A_KEY_OF_NOBODY="sk-nobody")
        yield house
    finally:
        house.stop()


@pytest.fixture
async def producer(house: House) -> AsyncIterator[AsyncProducer]:
    async with AsyncProducer(house.settings) as producer:
        yield producer


@pytest.fixture
def environment(house: House) -> dict[str, str]:
    """What a command in this house reads."""
    return {
        "REDIS_URL": house.broker.url,
        "FLYWHEEL_REGISTRY": str(house.registry),
        "FLYWHEEL_HOME": str(Path(house.folder) / "home"),
        "A_KEY_OF_NOBODY": "sk-nobody",
    }
