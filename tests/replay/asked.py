"""What the tests of running replays share: questions, the counts at the sandbox, the command as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.house import House
from processes import wait_for

from producer.replay import ItemResult, Replay

COMMAND = str(Path(sys.executable).parent / "flywheel")


async def every(replay: Replay) -> list[ItemResult]:
    return [result async for result in replay]


def python_question(number: int, **more: Any) -> dict[str, Any]:
    return {"question": f"How do I connect database number {number} to Python?", "id": f"q{number}", **more}


def calls(house: House) -> dict[str, Any]:
    with urllib.request.urlopen(f"{house.flowise_url}/sandbox/calls", timeout=30) as response:
        found: dict[str, Any] = json.load(response)
        return found


def by_number(results: Sequence[ItemResult]) -> list[ItemResult]:
    return sorted(results, key=lambda result: result.item.number)


class Command:
    """``flywheel replay`` as a process beside the house."""

    def __init__(self, house: House, folder: Path) -> None:
        self.out = folder / "run"
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LANGFUSE_")},
            "REDIS_URL": house.broker.url,
            "FLOWISE_BASE_URL": house.flowise_url,
            "FLYWHEEL_REGISTRY": str(house.registry),
            "FLYWHEEL_HOME": str(folder / "home"),
        }
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, stdin: str = "") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [COMMAND, "replay", *arguments],
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        if stdin:
            assert process.stdin is not None
            process.stdin.write(stdin)
            process.stdin.flush()
        if process.stdin is not None:
            process.stdin.close()
            process.stdin = None
        return process

    def results(self) -> list[ItemResult]:
        file = self.out / "results.jsonl"
        whole = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
        return [ItemResult.model_validate_json(line) for line in whole]

    def until(self, count: int, process: subprocess.Popen[str]) -> None:
        wait_for(lambda: len(self.results()) >= count or process.poll() is not None, within=60, what=f"{count} results")

    def stop(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()
