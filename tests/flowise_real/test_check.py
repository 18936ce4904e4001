"""What `flows check` and `doctor` say of a real Flowise."""

from __future__ import annotations

import json

import pytest
from person.house import run_command

from flowise_real.conftest import RealHouse


def test_what_cannot_work_here_is_said_of_each_flow(
    house: RealHouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in house.environment.items():
        monkeypatch.setenv(name, value)

    code, out, _ = json.loads(run_command(["flows", "check", "--json"], monkeypatch, capsys))

    reports = {each["flow"]: each for each in map(json.loads, out.splitlines()) if "flow" in each}
    assert code == 1
    assert reports["mirror"]["problems"] == []
    assert reports["webhook"]["problems"] == ["it is started by a webhook: no question can start it"]
    assert "Flowise refuses more than 2 calls in 60 s" in reports["limited"]["remarks"][0]
    assert reports["closed"]["ignored"] == ["temperature"]
    assert reports["open"]["ignored"] == ["vars.mood"]
