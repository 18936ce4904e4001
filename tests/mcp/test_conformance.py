"""MCP's official conformance suite, against the bridge and against a small server with its tasks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bridge_house import BridgeHouse
from client_rooms import Node, node_with_packages, ran
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


@pytest.fixture(scope="session")
def node() -> Node:
    return node_with_packages()


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


@pytest.mark.parametrize(
    ("version", "scenario"),
    [*(("2025-11-25", each) for each in OLDER), *(("2026-07-28", each) for each in NEWER)],
)
async def test_the_bridge_conforms(node: Node, open_door: str, version: str, scenario: str) -> None:
    options = ["server", "--url", open_door, "--spec-version", version, "--scenario", scenario]

    status, output = await ran(*node.conformance, *options)

    assert status == 0, output
    assert "0 failed, 0 warnings" in output


@pytest.mark.parametrize("scenario", TASKS)
async def test_its_tasks_conform(node: Node, tasks_door: str, scenario: str) -> None:
    status, output = await ran(*node.conformance, "server", "--url", tasks_door, "--scenario", scenario)

    assert status == 0, output
    assert "0 failed, 0 warnings" in output
