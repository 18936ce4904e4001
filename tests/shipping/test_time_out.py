"""A test that hangs ends, whatever its time-out strikes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from processes import REPOSITORY

#: The first strike hits the task, which keeps it; the test waits for another task.
HANGS = """
import asyncio


def test_hangs():
    async def busy():
        while True:
            pass

    async def waits():
        kept = asyncio.create_task(busy())
        kept.add_done_callback(lambda done: done.exception())
        await asyncio.Event().wait()

    asyncio.run(waits())
"""


def test_a_time_out_that_a_task_has_kept_strikes_again(tmp_path: Path) -> None:
    (tmp_path / "test_hangs.py").write_text(HANGS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "time_out", "--timeout", "5", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY / "tests"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert "1 failed" in done.stdout, done.stdout + done.stderr
