"""Flowise's own packages for Node and Python: answers, conversations, files, errors, and a gateway that goes away."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from client_rooms import environment, node_with_packages, python_of
from processes import REPOSITORY

from gateway.flowise.house import BROKEN, POET, WidgetHouse
from gateway.house import ALICE, TOKENS, served

pytestmark = pytest.mark.timeout(400)  # rooms may have to be made first
CLIENTS = Path(__file__).with_name("clients")
KINDS = ("python", "node")


def command_of(kind: str, folder: Path) -> list[str]:
    """Return how a client is started. Node looks for packages beside the script."""
    if kind == "python":
        return [str(python_of("flowise")), str(CLIENTS / "python_client.py")]
    node = node_with_packages()
    script = folder / "node_client.mjs"
    script.write_text((CLIENTS / script.name).read_text())
    (folder / "node_modules").symlink_to(node.modules)
    return [node.program, str(script)]


async def started(command: list[str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        env=environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def told_by(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """Return the object that a client prints last."""
    async with asyncio.timeout(90):
        output, trouble = await process.communicate()
    assert process.returncode == 0, trouble.decode(errors="replace")[-3000:]
    told: dict[str, Any] = json.loads(output.decode().splitlines()[-1])
    return told


@pytest.mark.parametrize("kind", KINDS)
async def test_the_examples_of_the_page_answer(
    kind: str, widgets: WidgetHouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = (await asyncio.to_thread(command_of, kind, tmp_path))[0]
    language, package, name = {
        "python": ("python", "from flowise import", "example.py"),
        "node": ("js", "flowise-sdk", "example.mjs"),
    }[kind]
    page = (REPOSITORY / "docs" / "http.md").read_text()
    found = re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (example,) = (each for each in found if package in each)
    async with served(widgets, monkeypatch) as port:
        (tmp_path / name).write_text(example.replace("127.0.0.1:8766", f"127.0.0.1:{port}"))
        process = await started([program, str(tmp_path / name)])
        async with asyncio.timeout(90):
            output, trouble = await process.communicate()

    assert process.returncode == 0, trouble.decode(errors="replace")[-3000:]
    assert len(output.decode().split()) > 20


def tokens(frames: list[dict[str, Any]]) -> str:
    return "".join(each["data"] for each in frames if each["event"] == "token")


@pytest.mark.parametrize("kind", KINDS)
async def test_answers_and_errors_reach_a_client(kind: str, widgets: WidgetHouse, tmp_path: Path) -> None:
    widgets.behave(BROKEN, fault="error_500")
    command = await asyncio.to_thread(command_of, kind, tmp_path)

    told = await told_by(await started(command, widgets.url, ALICE, "all"))

    assert told["plain"]["text"]
    assert "Following up on “a poem about" in tokens(told["second"])
    assert told["second"][-1] == {"event": "end", "data": "[DONE]"}
    assert [each["event"] for each in told["failed"]][-2:] == ["error", "end"]
    assert "The flow 'broken' failed" in told["failed"][-2]["data"]
    assert told["stranger"] == [{"event": "error", "data": "Unauthorized"}, {"event": "end", "data": "[DONE]"}]
    if kind == "python":
        assert told["unknown"] == "404"
        assert told["history"]["text"]
        assert widgets.sent("with a history")[0]["history"][0] == {"role": "userMessage", "content": "hello"}
        assert widgets.sent("what is in it")[0]["uploads"][0]["name"] == "dot.png"
        assert tokens(told["upload"])
    else:
        assert (told["unknown"]["success"], told["unknown"]["statusCode"]) == (False, 404)
        assert told["decided"]["text"] == "approved"


async def test_clients_find_their_conversation_after_a_cut(widgets: WidgetHouse, tmp_path: Path) -> None:
    """The gateway is killed while it streams to both; started again, it knows what was asked, and the answers."""
    commands = [await asyncio.to_thread(command_of, kind, tmp_path) for kind in KINDS]
    widgets.behave(POET, token_delay=0.1)
    url = await asyncio.to_thread(lambda: widgets.gateway(FLYWHEEL_MCP_TOKENS=TOKENS))
    processes = [await started(command, url, ALICE, "cut") for command in commands]
    for process in processes:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"token\n"

    widgets.doors[-1].kill()
    widgets.behave(POET)
    port = int(url.rpartition(":")[2])
    await asyncio.to_thread(lambda: widgets.gateway(port=port, FLYWHEEL_MCP_TOKENS=TOKENS))

    for process, kind in zip(processes, KINDS, strict=True):
        told = await told_by(process)
        assert told["broke"], kind
        assert f"Following up on “cut in {kind}”" in told["after"]["text"]
        assert widgets.calls(f"cut in {kind}") == 1
