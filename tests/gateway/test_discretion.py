"""What callers are told of a house that does not work: nothing of where its parts are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bridge_house import ALICE, TOKENS, client_of
from mcp import MCPError
from processes import free_port
from pydantic import SecretStr

import http_gateway
from agentic_flywheel.errors import (
    BrokerRefused,
    BrokerUnavailable,
    FlywheelError,
    InvalidProfile,
    InvalidRegistry,
    ServerUnreachable,
    UnknownQuery,
)
from gateway.house import GatewayHouse, gateway_client, served
from mcp_bridge.discretion import outward, outward_event

CHAT = {"model": "slow", "messages": [{"role": "user", "content": "?"}]}


async def test_no_api_says_where_the_broker_is(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away = free_port()
    given = {"redis_url": f"redis://127.0.0.1:{away}/0"}
    serving = served(gateway_house, monkeypatch, settings=given)
    async with serving as port, gateway_client(f"http://127.0.0.1:{port}", None) as http:
        told = [
            await http.post("/v1/queries", json={"question": "?"}),
            await http.post("/v1/batches", json={"questions": ["?"]}),
            await http.post("/v1/chat/completions", json=CHAT),
            await http.post("/api/v1/prediction/slow", json={"question": "?"}),
            await http.post("/api/v1/prediction/slow", json={"question": "?", "streaming": True}),
            await http.get("/v1/sessions"),
        ]

    for each in told:
        assert "The queue is away; try again in 30 s" in each.text
        assert not re.search(rf"{away}|redis://|flywheel up|doctor", each.text)
    assert f"127.0.0.1:{away}" in caplog.text
    assert told[0].json()["error"]["error_id"] in caplog.text


async def test_mcp_with_a_token_does_not_either(
    gateway_house: GatewayHouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away = free_port()
    given = {"redis_url": f"redis://127.0.0.1:{away}/0", "mcp_tokens": SecretStr(TOKENS)}
    async with (
        served(gateway_house, monkeypatch, settings=given) as port,
        client_of(f"http://127.0.0.1:{port}/mcp", ALICE) as client,
    ):
        asked = await client.call_tool("flowise_query", {"question": "?"})
        with pytest.raises(MCPError) as refused:
            await client.read_resource("flowise://sessions")

    for text in (asked.model_dump_json(), f"{refused.value} {refused.value.error}"):
        assert "The queue is away; try again in 30 s" in text
        assert not re.search(rf"{away}|redis://|doctor", text)
    assert f"127.0.0.1:{away}" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        BrokerUnavailable("redis://10.1.2.3/0", "10.1.2.3 is deaf"),
        BrokerRefused("redis://10.1.2.3/0", "OOM", "10.1.2.3 is full"),
        ServerUnreachable("poet", "Cannot connect to host 10.1.2.3:3000"),
        InvalidRegistry("/home/10.1.2.3/registry.yaml", 3, "flows", "no"),
        InvalidProfile("/home/10.1.2.3/profile.yaml", 3, "name", "no"),
    ],
)
def test_an_error_of_the_house_is_told_without_its_places(error: FlywheelError) -> None:
    told = outward(error, "q-1")

    assert "10.1.2.3" not in told.model_dump_json()
    assert (told.error_type, told.retry_after, told.query_id) == (type(error).__name__, error.retry_after, "q-1")
    assert len(told.recovery_suggestions) >= 3
    assert outward(told) == outward(error.describe("q-1")).model_copy(update={"error_id": told.error_id}) == told


def test_an_event_of_a_retry_is_told_without_places() -> None:
    data = {"error_type": "ServerUnreachable", "error": "Cannot connect to host 10.1.2.3:3000", "attempt": 1}
    other = {"error_type": "FlowFailed", "error": "It raised", "attempt": 1}

    assert outward_event(data) == {**data, "error": "The flow's server could not be reached"}
    assert outward_event(other) == other
    assert outward_event({"text": "ServerUnreachable"}) == {"text": "ServerUnreachable"}


def test_any_other_error_keeps_its_words() -> None:
    told = UnknownQuery("q-1").describe()

    assert outward(told) == told


def test_no_error_goes_out_past_it() -> None:
    folder = Path(http_gateway.__file__).parent
    past = [each.name for each in folder.rglob("*.py") if ".describe(" in each.read_text()]

    assert past == []
