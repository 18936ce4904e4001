"""Other people's clients: answers, streams, errors of the class they should have, and connections that are cut."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from client_rooms import node_with_packages, python_of, said
from faults.proxy import Proxy

from agentic_flywheel.models import Query
from gateway.house import ALICE, GatewayHouse
from gateway.openai.chat import BROKEN, SEEING, question
from producer import AsyncProducer

CLIENTS = Path(__file__).with_name("clients")
#: Each client: its room and its script.
PROGRAMS = {
    "openai": ("openai", "openai_client.py"),
    "langchain": ("langchain-openai", "langchain_client.py"),
    "openai-js": ("npm", "openai_client.mjs"),
    "langchain-js": ("npm", "langchain_client.mjs"),
}
#: It repeats requests by itself, does not count them, and does not read that there is no use in it.
UNCOUNTED = "langchain-js"
STEPS = ("answer", "stream", "failed", "failed_in_stream", "lost", "cut")


class Visit(NamedTuple):
    """What a client told of its visit, how often flows were called for each step, and what its answer was asked as."""

    told: dict[str, Any]
    calls: dict[str, int]
    query: Query
    lost: bool


@pytest.fixture(scope="module")
def visits(standing_openai: GatewayHouse, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Visit]:
    """All clients' visits, at the same time: most of it is the time that they take to start."""
    standing_openai.reset()
    standing_openai.client.flushdb()
    standing_openai.build(SEEING, style="chat", images=True)
    standing_openai.behave(BROKEN, fault="error_500")
    standing_openai.behave(SEEING, latency=1.0)
    commands = {client: _command(client, tmp_path_factory.mktemp(client)) for client in PROGRAMS}

    async def all_of_them() -> list[Visit]:
        return await asyncio.gather(*(_visit(standing_openai, command) for command in commands.values()))

    return dict(zip(commands, asyncio.run(all_of_them()), strict=True))


def _command(client: str, folder: Path) -> list[str]:
    room, script = PROGRAMS[client]
    if room != "npm":
        return [str(python_of(room)), str(CLIENTS / script)]
    node = node_with_packages()
    # Node looks for packages beside the script.
    (folder / script).write_text((CLIENTS / script).read_text())
    (folder / "node_modules").symlink_to(node.modules)
    return [node.program, str(folder / script)]


async def _visit(house: GatewayHouse, command: list[str]) -> Visit:
    asked = {step: question() for step in STEPS}
    port = urlsplit(house.url).port
    assert port is not None
    proxy = Proxy(port)
    proxy.lose_reply(asked["lost"].encode())
    # The first chunk of the stream that is to be cut, and of no other.
    proxy.cut_reply(b'"model":"seeing"')
    try:
        told = await said(*command, house.url, f"http://127.0.0.1:{proxy.port}", ALICE, json.dumps(asked), within=120)
    finally:
        proxy.close()
    async with AsyncProducer(house.settings, owner="alice") as producer:
        records = await producer.recent(limit=200)
    query = next(each.query for each in records if each.query.question == asked["answer"])
    return Visit(told, {step: house.calls(text) for step, text in asked.items()}, query, proxy.has_lost)


@pytest.fixture(params=PROGRAMS)
def client(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def visit(visits: dict[str, Visit], client: str) -> Visit:
    return visits[client]


# The first test that asks for it may install the clients.
@pytest.mark.timeout(600)
def test_a_client_has_its_answer_whole_and_streamed(visit: Visit) -> None:
    assert visit.told["answer"]
    assert visit.told["stream"]["text"]
    assert visit.told["stream"]["finish"] == "stop"
    assert visit.told["stream"]["usage"] > 0


@pytest.mark.parametrize(
    ("step", "status", "code"),
    [
        ("unknown", 404, "model_not_found"),
        ("unsupported", 400, "unsupported_parameter"),
        ("failed", 502, "flow_failed"),
        ("stranger", 401, "invalid_api_key"),
    ],
)
def test_a_client_raises_its_own_error_with_our_code(visit: Visit, step: str, status: int, code: str) -> None:
    assert (visit.told[step]["status"], visit.told[step]["code"]) == (status, code)


def test_a_flow_that_fails_within_a_stream_is_an_error_with_our_sentence(visit: Visit) -> None:
    assert "The flow 'broken' failed" in visit.told["failed_in_stream"]["said"]
    assert visit.calls["failed_in_stream"] == 1


def test_a_client_that_counts_does_not_ask_a_flow_twice(client: str, visit: Visit) -> None:
    calls = 2 if client == UNCOUNTED else 1
    assert visit.calls["failed"] == calls
    assert visit.lost
    assert visit.told["lost"]
    assert visit.calls["lost"] == calls


def test_a_stream_that_is_cut_is_an_error_of_the_client(visit: Visit) -> None:
    assert "returned" not in visit.told["cut"]
    assert visit.calls["cut"] == 1


@pytest.mark.parametrize("name", ["openai", "openai-js"])
def test_openais_clients_list_the_models_and_know_the_query(name: str, visits: dict[str, Visit]) -> None:
    told = visits[name].told

    assert {"auto", "technical", "plain"} <= set(told["models"])
    assert len(told["query"]) == 32
    assert told["embeddings"]["code"] == "embeddings_not_offered"


@pytest.mark.parametrize("name", ["langchain", "langchain-js"])
def test_langchains_messages_are_context_history_and_question(name: str, visits: dict[str, Visit]) -> None:
    query = visits[name].query

    assert query.context == "Be short."
    assert [each.content for each in query.history] == ["Hello", "Hi"]
