"""A command starts fast: it imports what it needs, and no more. Times depend on the machine, modules do not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import REPOSITORY

#: Packages that take a tenth of a second or more each, and of which these commands need nothing.
HEAVY = {
    *("celery", "kombu", "billiard", "numpy", "aiohttp", "mcp", "starlette", "fastapi", "langfuse"),
    *("jsonschema", "prometheus_client", "openpyxl", "requests", "httpx", "psutil", "onnxruntime"),
}
#: Most modules that a command may import until it ends, those of Python itself and of packages among them. They are
#: 639 for `status` and 643 for `submit`, and were 681 when redis-py imported OpenTelemetry, 655 with `packaging`.
MOST_MODULES = 650


def imported(tmp_path: Path, *arguments: str) -> list[str]:
    """Return the modules that a command imports until it ends, without a broker."""
    run = "from producer.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", run, *arguments],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), "REDIS_URL": "redis://127.0.0.1:1/0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("arguments", [("status",), ("wait", "0" * 32), ("cancel", "0" * 32), ("submit", "a question")])
def test_a_command_imports_nothing_heavy_that_it_does_not_need(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    modules = imported(tmp_path, *arguments)

    assert "redis.asyncio" in modules
    assert HEAVY & {each.partition(".")[0] for each in modules} == set()
    assert "opentelemetry.sdk" not in modules
    assert len(modules) <= MOST_MODULES


def test_help_imports_no_command(tmp_path: Path) -> None:
    modules = imported(tmp_path, "--help")

    assert "typer" in modules
    assert not [each for each in modules if each.startswith(("redis", "producer.client", "agentic_flywheel.broker"))]


#: Runs a command and prints how often garbage was looked for, and how many objects it is no longer looked for in.
_COUNTED = """
import gc, sys
from producer.cli import main
runs = []
gc.callbacks.append(lambda phase, _: runs.append(phase))
try:
    main()
finally:
    print(runs.count("start"), gc.get_freeze_count(), file=sys.stderr)
"""


def test_what_a_command_imports_is_not_looked_through_for_garbage() -> None:
    command = [sys.executable, "-c", _COUNTED, "status", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    looks, kept = map(int, done.stderr.split())
    assert looks < 10  # 143 where it is looked for while modules are imported
    assert kept > 10_000
