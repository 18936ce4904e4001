"""The systemd units are right, as far as systemd itself can say it without running them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes import REPOSITORY

from agentic_flywheel.settings import Settings

UNITS = sorted((REPOSITORY / "deploy" / "systemd").glob("*.service"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    lines = unit.read_text().replace("/opt/flywheel/bin/flywheel", sys.executable)
    copy = tmp_path / unit.name
    copy.write_text(lines.replace("/opt/flywheel/bin/python", sys.executable))
    said = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(copy)], capture_output=True, text=True, check=False
    )

    assert (said.returncode, said.stderr) == (0, "")


def test_systemd_gives_a_worker_longer_than_the_worker_gives_itself() -> None:
    unit = (REPOSITORY / "deploy" / "systemd" / "flywheel-worker@.service").read_text()
    told = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#"))
    env = (REPOSITORY / "deploy" / "systemd" / "flywheel.env").read_text()
    grace = Settings.model_fields["grace"].default.total_seconds()

    assert f"FLYWHEEL_GRACE={grace:g}\n" in env
    assert int(told["TimeoutStopSec"]) > grace
