"""No request that fits the description of the Flowise-compatible API, or just does not, meets a fault of ours."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from client_rooms import environment, python_of

from gateway.flowise.house import WidgetHouse
from gateway.house import ALICE


@pytest.mark.timeout(400)  # its room may have to be made first
async def test_no_request_that_schemathesis_makes_meets_a_fault(widgets: WidgetHouse, tmp_path: Path) -> None:
    program = (await asyncio.to_thread(python_of, "schemathesis")).parent / "schemathesis"
    command = [
        *("run", f"{widgets.url}/openapi.json", "--checks", "not_a_server_error", "--no-color", "--workers", "2"),
        *("--generation-deterministic", "--max-examples", "3", "--phases", "fuzzing"),
        *("-H", f"Authorization: Bearer {ALICE}", "--warnings", "off", "--include-path-regex", "^/api/"),
    ]
    process = await asyncio.create_subprocess_exec(
        program,
        *command,
        cwd=tmp_path,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told = (await process.communicate())[0].decode()

    assert process.returncode == 0, told[-6000:]
    assert int((re.search(r"(\d+) generated", told) or ["", "0"])[1]) > 20, told[-2000:]
