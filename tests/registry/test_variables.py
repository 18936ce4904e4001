"""Every variable that a registry names for a key is looked up, and what is unset or empty is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from person.house import run_command

from agentic_flywheel.registry import read_registry

REGISTRY = """servers:
  models:
    address: http://127.0.0.1:9/v1
    backend: openai
    api_key_env: MODELS_KEY
    headers: {X-Team: "of ${TEAM_NAME} at ${TEAM_HOST}"}
  idle:
    address: http://127.0.0.1:9
    api_key_env: IDLE_KEY
intent_classification:
  encoder: {url: http://127.0.0.1:9/v1, model: m, api_key_env: ENCODER_KEY}
operational_flows:
  shop:
    server: models
    model: m
    domain: support
    description: Answers questions of customers
  own:
    server: models
    model: m
    api_key_env: OWN_KEY
    domain: law
    description: Answers questions on law
  other:
    server: http://127.0.0.1:9
    backend: openai
    model: m
    api_key_env: OTHER_KEY
    domain: law
    description: Answers questions on law
"""
NAMES = {"MODELS_KEY", "TEAM_NAME", "TEAM_HOST", "IDLE_KEY", "ENCODER_KEY", "OWN_KEY", "OTHER_KEY"}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "flow-registry.yaml"
    path.write_text(REGISTRY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLYWHEEL_REGISTRY", str(path))
    for name in NAMES:
        monkeypatch.setenv(name, "x")
    return path


def test_every_variable_is_found_with_its_line_and_the_flows_that_need_it(registry: Path) -> None:
    named = read_registry(registry).variables

    assert {(each.line, each.key, each.name, each.flows) for each in named} == {
        (5, "servers.models.api_key_env", "MODELS_KEY", ("shop",)),
        (6, "servers.models.headers.X-Team", "TEAM_NAME", ("shop", "own")),
        (6, "servers.models.headers.X-Team", "TEAM_HOST", ("shop", "own")),
        (9, "servers.idle.api_key_env", "IDLE_KEY", ()),
        (11, "intent_classification.encoder.api_key_env", "ENCODER_KEY", ()),
        (21, "operational_flows.own.api_key_env", "OWN_KEY", ("own",)),
        (28, "operational_flows.other.api_key_env", "OTHER_KEY", ("other",)),
    }
    assert [each.fault for each in named if each.fault] == []


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("name", sorted(NAMES))
def test_what_is_unset_or_empty_is_told_by_check_lint_and_doctor(
    registry: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    (fault,) = (each for each in read_registry(registry).variables if each.fault)
    wrong = f"{name} is {'not set' if value is None else 'empty'} here"

    assert fault.fault.startswith(wrong)
    if value is None:  # the commands say what this says
        checked = json.loads(run_command(["flows", "check", "--json"], monkeypatch, capsys))[1]
        assert {"line": fault.line, "key": fault.key, "text": fault.fault} in json.loads(checked.split("\n")[0])[
            "warnings"
        ]
        linted = run_command(["flows", "lint"], monkeypatch, capsys).replace("\\n", " ")
        assert all(f"{flow}: {wrong}" in " ".join(linted.split()) for flow in fault.flows)


def test_doctor_tells_what_is_missing_and_what_cannot_be_known(
    registry: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    monkeypatch.delenv("TEAM_HOST")
    monkeypatch.setenv("OTHER_KEY", "")
    told = json.loads(json.loads(run_command(["doctor", "--json"], monkeypatch, capsys))[1])
    (keys,) = (each for each in told["checks"] if each["name"] == "keys")

    assert keys["state"] == "warning"
    assert "servers.models.headers.X-Team: TEAM_HOST is not set here" in keys["found"]
    assert "operational_flows.other.api_key_env: OTHER_KEY is empty here" in keys["found"]
    assert "cannot be known from here" in keys["advice"]
