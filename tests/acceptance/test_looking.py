"""Commands that look: help, route, flows, doctor. Most of them need nothing that runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import Process, Valkey, wait_for
from redis import Redis

from producer.cli.commands import COMMANDS
from producer.cli.exits import Exit

from .conftest import DOCUMENTS, TECHNICAL, Flywheel, RunningStack

#: Commands that another package carries out, in the place of the process.
HANDED_OVER = {name for name, command in COMMANDS.items() if command.module == "handed_over"}


def test_help_names_every_command_and_the_exit_codes(bare_flywheel: Flywheel) -> None:
    outcome = bare_flywheel("--help")

    assert outcome.code == 0
    assert all(f"  {name} " in outcome.out for name in COMMANDS)
    codes = " ".join(outcome.out.partition("Exit codes: ")[2].split())
    assert {code for code in Exit if f"{code:d} " in codes} == set(Exit)


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - HANDED_OVER))
def test_every_command_has_help_of_its_own(bare_flywheel: Flywheel, command: str) -> None:
    outcome = bare_flywheel(command, "--help")

    assert outcome.code == 0
    assert f"Usage: flywheel {command}" in outcome.out


@pytest.mark.parametrize("name", sorted(HANDED_OVER))
def test_a_command_that_another_package_carries_out_has_help_of_its_own(name: str) -> None:
    """Run as a process: the command puts the package in its own place, which here would be the test run's."""
    command = [sys.executable, "-c", "from producer.cli import main; main()", name, "--help"]

    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert outcome.returncode == 0
    assert outcome.stdout.startswith("usage:")


def test_the_version_is_printed(bare_flywheel: Flywheel) -> None:
    assert bare_flywheel("--version").out[0].isdigit()


def test_a_route_is_explained_without_a_broker(bare_flywheel: Flywheel) -> None:
    told = bare_flywheel("route", "What could our API policy look like?", "--json").object
    shown = bare_flywheel("route", "What could our API policy look like?").out

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
    stack.behave(TECHNICAL, overrides=False)
    outcome = flywheel("flows", "check", "--json")
    registry, *flows = outcome.objects
    reports = {report["flow"]: report for report in flows}

    assert registry["ok"]
    assert reports["technical-analysis"]["ok"]
    assert "temperature" in reports["technical-analysis"]["ignored"]
    assert reports["creative-orientation"]["ignored"] == []
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
    assert "each has what moves it" in checks["queries"]["found"]
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


@pytest.mark.parametrize(
    ("policy", "lost", "state"),
    [("always", "a power loss nothing", "ok"), ("everysec", "the last 2 s", "ok"), ("no", "the last 30 s", "warning")],
)
def test_doctor_says_how_many_seconds_a_power_loss_may_cost(
    stack: RunningStack, flywheel: Flywheel, policy: str, lost: str, state: str
) -> None:
    with Redis.from_url(stack.info.redis_url) as broker:
        broker.config_set("appendfsync", policy)
        try:
            outcome = flywheel("doctor", "--json")
        finally:
            broker.config_set("appendfsync", "everysec")

    (disk,) = [check for check in outcome.object["checks"] if check["name"] == "disk"]
    assert lost in disk["found"]
    assert disk["state"] == state


@pytest.mark.provokes("the broker refuses to wait for messages in .*: NOREPLICAS", "Frequent restarts detected")
def test_doctor_says_what_a_failover_to_a_replica_may_cost(
    stack: RunningStack, flywheel: Flywheel, tmp_path: Path
) -> None:
    replica = Valkey(tmp_path / "replica").start()
    with Redis.from_url(stack.info.redis_url) as broker, replica.client() as client:
        about = broker.connection_pool.connection_kwargs
        client.config_set("masterauth", about["password"])
        client.replicaof("127.0.0.1", about["port"])
        wait_for(lambda: broker.info("replication")["connected_slaves"] == 1, within=30, what="the replica is there")
        unbounded = flywheel("doctor", "--json").object
        broker.config_set("min-replicas-to-write", 1)
        try:
            bounded = flywheel("doctor", "--json").object
        finally:
            broker.config_set("min-replicas-to-write", 0)
            replica.stop()

    first, second = (
        next(check for check in each["checks"] if check["name"] == "replicas") for each in (unbounded, bounded)
    )
    assert "without limit" in first["found"]
    assert "min-replicas-to-write" in first["advice"]
    assert "the last 10 s" in second["found"]
    assert second["state"] == "ok"


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
        ({}, "no pair of keys: traces go to a local file"),
        ({"LANGFUSE_TRACING_ENABLED": "false"}, "tracing is off"),
        ({"LANGFUSE_SAMPLE_RATE": "0"}, "no query is traced"),
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


def test_what_is_lost_without_a_key_is_said(
    bare_flywheel: Flywheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed = Process([sys.executable, "-m", "flowise_sandbox", "--api-key", "admin"], log=tmp_path / "sandbox.log")
    try:
        said = wait_for(lambda: re.search(r"http://\S+", keyed.log), within=30, what="sandbox address")
        monkeypatch.setenv("FLOWISE_BASE_URL", said[0])
        without = _flowise_check(bare_flywheel)
        (checked, *_) = [each for each in bare_flywheel("flows", "check", "--json").objects if "flow" in each]
        monkeypatch.setenv("FLOWISE_API_KEY", "another")
        wrong = _flowise_check(bare_flywheel)
        monkeypatch.setenv("FLOWISE_API_KEY", "admin")
        right = _flowise_check(bare_flywheel)
        registry = tmp_path / "own-key.yaml"
        registry.write_text("operational_flows: {one: {id: one, domain: d, api_key_env: OTHER_KEY}}")
        monkeypatch.setenv("FLYWHEEL_REGISTRY", str(registry))
        monkeypatch.setenv("OTHER_KEY", "another")
        other = _flowise_check(bare_flywheel)
    finally:
        keyed.kill()

    assert without["state"] == wrong["state"] == "warning"
    assert "without an API key an answer that comes after its time-out is not found" in without["found"]
    assert "the API key is refused: an answer that comes after" in wrong["found"]
    assert "an answer that comes after its time-out is not found" in checked["remarks"][0]
    assert right["state"] == "ok"
    assert wrong["advice"] == "set FLOWISE_API_KEY to a valid key"
    assert other["advice"] == "set OTHER_KEY to a valid key"


def _flowise_check(flywheel: Flywheel) -> dict[str, str]:
    found: list[dict[str, str]] = flywheel("doctor", "--json").object["checks"]
    return next(check for check in found if check["name"] == "flowise")


def test_check_proposes_that_the_author_says_whose_the_answers_are(bare_flywheel: Flywheel, apart: Path) -> None:
    bare_flywheel("flows", "add", "silent", "--id", "00000000-0000-4000-8000-000000000000", "--example", "Boo?")
    proposed = bare_flywheel("flows", "check")

    assert "silent: answers are kept for each user apart." in proposed.out
    assert "`cache: shared`" in proposed.out
    assert bare_flywheel("flows", "check", "--json").objects[0]["cache_unsaid"] == ["silent"]
