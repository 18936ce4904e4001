"""Other people's clients list the tools, get an answer, and see an error as it was written for them."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from bridge_house import BridgeHouse
from client_rooms import Node, environment, node_with_packages, python_of, ran, said

from mcp_bridge.toolsets import ALL_TOOLS, GROUPS

CLIENTS = Path(__file__).with_name("clients")
PYTHON = {
    "python-sdk-1": "python_sdk_1.py",
    "fastmcp": "fastmcp_client.py",
    "langchain": "langchain_client.py",
    "openai-agents": "openai_agents_client.py",
    "pydantic-ai": "pydantic_ai_client.py",
}
LISTED = [tool.listed.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in ALL_TOOLS]


@pytest.fixture(scope="session")
def node() -> Node:
    return node_with_packages()


@pytest.fixture(scope="session")
def open_door(standing_bridge: BridgeHouse) -> str:
    """A bridge as it is by default: on loopback, for the user of this machine."""
    return standing_bridge.door()


def check(told: dict[str, Any]) -> None:
    """A client has listed the default tools, has an answer, and shows an error with what to do next."""
    assert set(told["tools"]) == {tool.name for tool in GROUPS["ask"]}
    assert "answer" in told["answer"]
    assert told.get("flow", "document-qa") == "document-qa"
    assert "no-such" in told["error"]
    assert "UnknownFlow" in told["error"]
    assert "Call `flowise_list_flows`" in told["error"]


@pytest.mark.parametrize("client", PYTHON)
async def test_a_python_client_sees_answers_and_errors(client: str, bridge_house: BridgeHouse, open_door: str) -> None:
    python = await asyncio.to_thread(python_of, client)

    told = await said(python, CLIENTS / PYTHON[client], open_door)

    check(told)
    assert told.get("strict", True)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_typescript_client_sees_answers_and_errors(
    version: int, node: Node, bridge_house: BridgeHouse, open_door: str, tmp_path: Path
) -> None:
    # Node looks for packages beside the script.
    script = tmp_path / f"typescript_sdk_{version}.mjs"
    script.write_text((CLIENTS / script.name).read_text())
    (tmp_path / "node_modules").symlink_to(node.modules)

    check(await said(node.program, script, open_door))


@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_the_inspector_shows_answers_and_errors(
    transport: str, node: Node, bridge_house: BridgeHouse, open_door: str
) -> None:
    started = bridge_house.stdio()
    given = [word for name, value in bridge_house.env.items() for word in ("-e", f"{name}={value}")]
    server = [open_door, "--transport", "http"] if transport == "http" else [*given, started.command, *started.args]
    call = ["--method", "tools/call", "--tool-name", "flowise_query"]

    answered = await _inspected(node, *server, *call, "--tool-arg", "question=Summarise this PDF")
    refused = await _inspected(node, *server, *call, "--tool-arg", "question=?", "flow_override=no-such")

    assert answered["structuredContent"]["answer"]
    assert refused["isError"]
    assert "UnknownFlow" in refused["content"][0]["text"]


async def _inspected(node: Node, *options: str) -> dict[str, Any]:
    _, text = await ran(*node.inspector, *options)
    assert "{" in text, text
    found: dict[str, Any] = json.JSONDecoder().raw_decode(text[text.index("{") :])[0]
    return found


async def test_the_inspector_finds_no_fault_with_the_schemas(node: Node, standing_bridge: BridgeHouse) -> None:
    url = standing_bridge.door("--tools", "all,flow-tools", "--allow-changes")
    status, output = await ran(*node.inspector, url, "--transport", "http", "--method", "tools/list", "--strict")

    assert status == 0, output
    assert "Warning: tool" not in output


def test_google_genai_takes_every_schema_whole() -> None:
    told = _piped(python_of("google-genai"), CLIENTS / "google_genai_schemas.py", json.dumps(LISTED))

    for tool, found in zip(LISTED, json.loads(told).values(), strict=True):
        wanted = tool["inputSchema"]
        assert list(found.get("properties", {})) == list(wanted["properties"])
        assert found.get("required", []) == wanted.get("required", [])
        for name, field in wanted["properties"].items():
            assert found["properties"][name].get("description") == field.get("description")
            assert found["properties"][name].get("enum") == field.get("enum")


def test_the_default_list_costs_a_model_at_most_2700_tokens() -> None:
    listed = [tool.listed.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in GROUPS["ask"]]
    text = json.dumps(listed, separators=(",", ":"), ensure_ascii=False)

    assert int(_piped(python_of("tokens"), CLIENTS / "tokens.py", text)) <= 2_700


def _piped(python: Path, script: Path, text: str) -> str:
    done = subprocess.run(
        [python, script], input=text, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
