from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from celery import Celery
from processes import Valkey, start_worker

from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import StackInfo
from producer.stack import start_stack

APP = "engine.engine_app"


def signed_in(user: str | None, password: str | None) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


async def status(url: str, headers: dict[str, str] | None = None) -> int:
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as response:
        return response.status


async def until_found(info: StackInfo, path: str, wanted: str) -> Any:
    """Return what Flower's API says as soon as ``wanted`` is in it."""
    headers = signed_in(info.flower_user, info.flower_password)
    async with asyncio.timeout(30), aiohttp.ClientSession(headers=headers) as session:
        while True:
            async with session.get(f"{info.flower_url}{path}") as response:
                # A worker that is slow to answer makes a refresh fail; the next one asks again.
                found = await response.json() if response.status == 200 else {}
            if wanted in found:
                return found[wanted]
            await asyncio.sleep(0.1)


@pytest.mark.timeout(60)
async def test_flower_shows_workers_and_their_tasks_to_who_knows_the_password(valkey: Valkey, tmp_path: Path) -> None:
    broker = valkey.url.replace("/0", "/8")
    settings = Settings(home=tmp_path / "home", redis_url=broker)
    lines: list[str] = []
    async with start_stack(settings, workers=0, sandbox=False, on_line=lines.append) as stack:
        info = stack.info
        worker = start_worker(
            APP,
            log=tmp_path / "worker.log",
            name="seen",
            env={"ENGINE_APP": json.dumps({"broker": broker})},
            options=["-E"],
        )
        try:
            client = Celery("client", broker=broker, set_as_current=False)
            sent = await asyncio.to_thread(client.send_task, f"{APP}.add", (1, 2), queue="celery")
            task = await until_found(info, "/api/tasks", sent.id)
            await until_found(info, "/api/workers?refresh=true", "seen@test")
        finally:
            worker.kill()

        assert task["name"] == f"{APP}.add"
        assert await status(f"{info.flower_url}/api/tasks") == 401
        assert await status(f"{info.flower_url}/tasks", signed_in("flywheel", "guessed")) == 401
        listening = psutil.Process(info.pids["flower"]).net_connections(kind="inet")
        assert {each.laddr.ip for each in listening if each.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
        command = Path(f"/proc/{info.pids['flower']}/cmdline").read_bytes()

    assert info.flower_password
    assert info.flower_password.encode() not in command
    assert info.flower_password not in (tmp_path / "home" / "logs" / "flower.log").read_text()
    assert info.flower_password not in "".join(lines)


@pytest.mark.timeout(60)
async def test_flower_says_once_that_no_worker_answers(valkey: Valkey, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", redis_url=valkey.url.replace("/0", "/9"))
    async with start_stack(settings, workers=0, sandbox=False, on_line=lambda _: None) as stack:
        headers = signed_in(stack.info.flower_user, stack.info.flower_password)
        for _ in range(2):
            assert await status(f"{stack.info.flower_url}/api/workers?refresh=true", headers) == 200
    log = (tmp_path / "home" / "logs" / "flower.log").read_text()

    assert "Inspect method" not in log
    assert log.count("no worker has answered: none runs yet, or each is busy") == 1
