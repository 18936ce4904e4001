"""Commands that look: help, route, flows, doctor. Most of them need nothing that runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from producer.cli.root import COMMANDS

from .conftest import DOCUMENTS, Flywheel, RunningStack


def test_help_names_every_command_and_the_exit_codes(bare_flywheel: Flywheel) -> None:
    outcome = bare_flywheel("--help")

    assert outcome.code == 0
    assert all(f"  {name} " in outcome.out for name in COMMANDS)
    assert "Exit codes" in outcome.out


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "mcp"])
def test_every_command_has_help_of_its_own(bare_flywheel: Flywheel, command: str) -> None:
    outcome = bare_flywheel(command, "--help")

    assert outcome.code == 0
    assert f"Usage: flywheel {command}" in outcome.out


def test_mcp_becomes_the_bridge_which_has_help_of_its_own() -> None:
    """Run as a process: the command puts the bridge in its own place, which here would be the test run's."""
    command = [sys.executable, "-c", "from producer.cli import main; main()", "mcp", "--help"]

    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert outcome.returncode == 0
    assert "flywheel mcp" in outcome.stdout


def test_the_version_is_printed(bare_flywheel: Flywheel) -> None:
    assert bare_flywheel("--version").out[0].isdigit()


def test_a_route_is_explained_without_a_broker(bare_flywheel: Flywheel) -> None:
    told = bare_flywheel("route", "What is the best way to explain our API policy?", "--json").object
    shown = bare_flywheel("route", "What is the best way to explain our API policy?").out

    assert told["band"] == "medium"
    (best,) = told["targets"]
    assert {best["flow"], told["alternatives"][0]["flow"]} == {"technical-analysis", "document-qa"}
    assert set(told["scores"]) == {"creative-orientation", "technical-analysis", "document-qa"}
    assert any("policy" in each["detail"] for each in told["evidence"])
    assert told["reason"] in shown
    assert "technical-analysis" in shown


def test_flows_are_listed_and_the_bundled_registry_shown(bare_flywheel: Flywheel) -> None:
    listed = bare_flywheel("flows", "list", "--json").objects

    assert [flow["key"] for flow in listed] == ["creative-orientation", "technical-analysis", "document-qa"]
    assert [flow["key"] for flow in listed if flow["default"]] == ["creative-orientation"]
    assert "document-qa" in bare_flywheel("flows", "list").out
    assert "operational_flows:" in bare_flywheel("flows", "show-bundled").out


def test_a_flow_that_is_added_takes_questions(bare_flywheel: Flywheel, apart: Path) -> None:
    arguments = ["--id", "0b1f4a44-8d0e-4d0e-9a55-0f5cf1f9f001", "--domain", "cooking", "--set", "ttl=2h"]
    arguments += ["--example", "How long do I boil an egg?", "--keyword", "recipe"]
    added = bare_flywheel("flows", "add", "kitchen", *arguments, "--json").object
    listed = {flow["key"]: flow for flow in bare_flywheel("flows", "list", "--json").objects}

    assert added["registry"] == str(apart / ".agentic_flywheel" / "flow-registry.yaml")
    assert listed["kitchen"]["domain"] == "cooking"
    assert listed["kitchen"]["examples"] == ["How long do I boil an egg?"]
    assert bare_flywheel("route", "How long do I boil an egg?", "--json").object["targets"][0]["flow"] == "kitchen"
    assert bare_flywheel("flows", "add", "kitchen", *arguments).code == 2


def test_check_asks_flowise_about_each_flow(
    stack: RunningStack, flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.behave(DOCUMENTS, key="the-key", overrides=True)
    outcome = flywheel("flows", "check", "--json")
    registry, *flows = outcome.objects
    reports = {report["flow"]: report for report in flows}

    assert registry["ok"]
    assert reports["technical-analysis"]["ok"]
    assert "temperature" in reports["technical-analysis"]["ignored"]
    assert not reports["document-qa"]["ok"]
    assert reports["document-qa"]["key"] == "missing"
    assert outcome.code == 1
    assert "set FLOWISE_API_KEY" in flywheel("flows", "check").out


def test_check_reports_a_flow_that_flowise_does_not_have(flywheel: Flywheel, apart: Path) -> None:
    flywheel("flows", "add", "ghost", "--id", "00000000-0000-4000-8000-000000000000", "--example", "Boo?")
    outcome = flywheel("flows", "check", "--json")

    (ghost,) = [report for report in outcome.objects if report.get("flow") == "ghost"]
    assert outcome.code == 1
    assert "no flow of the id" in ghost["problems"][0]


def test_doctor_finds_everything_well_beside_a_running_stack(flywheel: Flywheel) -> None:
    outcome = flywheel("doctor", "--json")
    checks = {check["name"]: check for check in outcome.object["checks"]}

    assert outcome.code == 0
    assert {check["state"] for check in checks.values()} == {"ok"}
    assert "noeviction" in checks["memory"]["found"]
    assert "every queue is served" in checks["workers"]["found"]
    assert "sandbox" in checks["flowise"]["found"]


def test_check_tells_a_wrong_key(stack: RunningStack, flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.behave(DOCUMENTS, key="the-key")
    monkeypatch.setenv("FLOWISE_API_KEY", "another-key")
    outcome = flywheel("flows", "check", "--json")

    (report,) = [report for report in outcome.objects if report.get("flow") == "document-qa"]
    assert report["key"] == "refused"
    assert "another-key" not in outcome.out


def test_doctor_warns_of_a_broker_that_forgets(stack: RunningStack, flywheel: Flywheel) -> None:
    with Redis.from_url(stack.info.redis_url) as broker:
        broker.config_set("maxmemory-policy", "allkeys-lru")
        broker.config_set("appendonly", "no")
        try:
            outcome = flywheel("doctor", "--json")
        finally:
            broker.config_set("appendonly", "yes")
            broker.config_set("maxmemory-policy", "noeviction")

    checks = {check["name"]: check for check in outcome.object["checks"]}
    assert checks["memory"]["state"] == checks["disk"]["state"] == "warning"
    assert "noeviction" in checks["memory"]["advice"]
    assert "appendonly" in checks["disk"]["advice"]


def test_doctor_says_what_to_do_where_nothing_runs(bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    monkeypatch.setenv("FLOWISE_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-1")
    outcome = bare_flywheel("doctor")

    assert outcome.code == 1
    assert "✗ broker" in outcome.out
    assert "✗ flowise" in outcome.out
    assert "→ set LANGFUSE_SECRET_KEY" in outcome.out
    assert "flywheel up" in outcome.out


def test_doctor_names_a_faulty_registry_and_an_unusable_setting(
    bare_flywheel: Flywheel, apart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    (apart / "faulty.yaml").write_text("operational_flows:\n  poet:\n    name: Poet\n")
    monkeypatch.setenv("FLYWHEEL_REGISTRY", str(apart / "faulty.yaml"))
    registry = bare_flywheel("doctor").out
    monkeypatch.setenv("FLYWHEEL_CONCURRENCY", "many")
    setting = bare_flywheel("doctor").out

    assert f"{apart / 'faulty.yaml'}:" in registry
    assert "operational_flows.poet.id" in registry
    assert "✗ settings" in setting
    assert "FLYWHEEL_CONCURRENCY" in setting


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, "no keys: traces go to a local file"),
        ({"LANGFUSE_TRACING_ENABLED": "false"}, "tracing is off"),
        ({"LANGFUSE_PUBLIC_KEY": "pk", "LANGFUSE_SECRET_KEY": "sk"}, "both keys are set"),
        (
            {"LANGFUSE_PUBLIC_KEY": "pk", "LANGFUSE_SECRET_KEY": "sk", "LANGFUSE_BASE_URL": "http://u:pw@127.0.0.1:9"},
            "http://127.0.0.1:9: ClientConnectorError",
        ),
    ],
)
def test_doctor_reads_the_tracing_settings(
    bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], found: str
) -> None:
    for name, value in {"REDIS_URL": "redis://127.0.0.1:9/0", **settings}.items():
        monkeypatch.setenv(name, value)
    checks = {check["name"]: check for check in bare_flywheel("doctor", "--json").object["checks"]}

    assert found in checks["langfuse"]["found"]
    assert "pw" not in checks["langfuse"]["found"]
