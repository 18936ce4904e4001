"""What is refused, with which exit code, and what is said about it; never a traceback."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from producer.cli.exits import Exit
from producer.cli.screen import Screen

from .commands import every_command
from .conftest import Flywheel, Outcome, environment, finish, start


def _refused(outcome: Outcome, code: Exit, kind: str) -> None:
    """Check an error told as JSON: one object, with something to do about it."""
    assert outcome.code == code
    assert outcome.object["error_type"] == kind
    assert len(outcome.object["recovery_suggestions"]) >= 3
    assert outcome.err == ""


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("ask", "hello", "--flow", "nowhere"), "UnknownFlow"),
        (("submit", "hello", "--domain", "nowhere"), "UnknownDomain"),
        (("ask", ""), "InvalidQuery"),
        (("ask", " \n\t "), "InvalidQuery"),
        (("submit", "x" * 32_001), "InvalidQuery"),
        (("ask", "hello", "--priority", "sometime"), "InvalidQuery"),
        (("ask", "hello", "--session", "two words"), "InvalidQuery"),
        (("status", "0123"), "UnknownQuery"),
        (("wait", "0123"), "UnknownQuery"),
        (("stream", "0123"), "UnknownQuery"),
        (("cancel", "0123"), "UnknownQuery"),
        (("cancel", "--session", "never"), "UnknownSession"),
        (("sessions", "show", "never"), "UnknownSession"),
        (("pause", "--domain", "nowhere"), "UnknownDomain"),
        (("cache", "clear", "--flow", "nowhere"), "UnknownFlow"),
        (("dead-letters", "retry", "0123"), "UnknownDeadLetter"),
    ],
)
def test_what_is_not_acceptable_is_refused_and_explained(
    flywheel: Flywheel, arguments: tuple[str, ...], kind: str
) -> None:
    _refused(flywheel(*arguments, "--json"), Exit.UNUSABLE, kind)


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", "--json"),
        ("ask", "hello", "--nope", "--json"),
        ("ask", "hello", "--timeout", "never", "--json"),
        ("ask", "hello", "--timeout", "0", "--json"),
        ("wait", "0123", "--timeout", "soon", "--json"),
        ("nowhere", "--json"),
        ("flows", "nowhere", "--json"),
        ("replay", "--json"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_read_as_a_command_is_told_as_json_too(
    bare_flywheel: Flywheel, arguments: tuple[str, ...]
) -> None:
    outcome = bare_flywheel(*arguments)

    assert outcome.code == Exit.UNUSABLE
    assert outcome.object["error_type"] == "UsageError"
    assert outcome.object["error"] in outcome.err
    assert "Usage" not in bare_flywheel("ask", "--", "--json").out


def test_a_refused_submission_leaves_nothing_behind(flywheel: Flywheel) -> None:
    flywheel("submit", "hello", "--flow", "nowhere", "--user", "clumsy")
    flywheel("submit", "", "--user", "clumsy")

    assert flywheel("status", "--user", "clumsy", "--json").object["recent"] == []


def test_one_user_cannot_see_another_users_query(flywheel: Flywheel) -> None:
    query_id = flywheel("submit", "Draft a farewell speech", "--user", "ann").out.strip()

    assert flywheel("status", query_id, "--user", "ann").code == 0
    _refused(flywheel("status", query_id, "--user", "bob", "--json"), Exit.UNUSABLE, "UnknownQuery")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("ask",),
        ("ask", "hello", "--timeout", "soon"),
        ("ask", "hello", "--no-cache", "--refresh"),
        ("ask", "hello", "--config", "temperature"),
        ("cancel",),
        ("cancel", "0123", "--all"),
        ("pause",),
        ("stream", "0123", "--from", "the start"),
        ("dead-letters", "purge"),
        ("up", "--workers", "0"),
    ],
)
def test_a_wrong_usage_is_explained_on_stderr(bare_flywheel: Flywheel, arguments: tuple[str, ...]) -> None:
    outcome = bare_flywheel(*arguments)

    assert outcome.code == Exit.UNUSABLE
    assert outcome.out == ""
    assert "Error" in outcome.err
    assert "Traceback" not in outcome.err


def test_without_a_broker_a_command_says_how_to_get_one(tmp_path: Path) -> None:
    env = environment(tmp_path / "home", REDIS_URL="redis://user:hunter2@127.0.0.1:9/0")
    outcome = finish(start(["ask", "hello"], env, tmp_path))

    assert outcome.code == Exit.UNAVAILABLE
    assert outcome.out == ""
    assert "redis://127.0.0.1:9/0" in outcome.err
    assert "flywheel up" in outcome.err
    assert "Try again in 30 s" in outcome.err
    assert "hunter2" not in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("command", [("status",), ("submit", "hi"), ("cache", "stats"), ("dead-letters", "list")])
def test_without_a_broker_every_command_ends_with_code_3(
    bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")

    _refused(bare_flywheel(*command, "--json"), Exit.UNAVAILABLE, "BrokerUnavailable")


def test_a_faulty_registry_is_refused_with_its_file_and_line(bare_flywheel: Flywheel, apart: Path) -> None:
    registry = apart / ".agentic_flywheel" / "flow-registry.yaml"
    registry.parent.mkdir()
    registry.write_text(
        "operational_flows:\n  poet:\n    id: 7d405a51-968d-4467-9ae6-d49bf182cdf9\n    ttl: sometime\n"
    )
    commands = [("ask", "hello"), ("up",), ("demo", "--exit"), ("route", "hello"), ("flows", "list")]

    for command in commands:
        outcome = bare_flywheel(*command)
        assert outcome.code == Exit.UNUSABLE, command
        assert f"{registry}:4: operational_flows.poet.ttl" in outcome.err, command
    checked = bare_flywheel("flows", "check", "--json")
    assert checked.code == Exit.UNUSABLE
    assert [fault["line"] for fault in checked.object["faults"]] == [4]
    assert f"{registry}:4" in bare_flywheel("flows", "check").out


@pytest.mark.parametrize("arguments", [("status",), ("up",), ("route", "hello"), ("flows", "check")])
def test_an_unusable_setting_is_named(
    bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("FLYWHEEL_RESULT_TTL", "soon")

    outcome = bare_flywheel(*arguments, "--json")

    _refused(outcome, Exit.UNUSABLE, "InvalidSetting")
    assert "FLYWHEEL_RESULT_TTL" in outcome.object["error"]


def test_a_second_stack_is_told_that_one_is_running(flywheel: Flywheel) -> None:
    outcome = flywheel("up")

    assert outcome.code == Exit.UNAVAILABLE
    assert "is running" in outcome.err
    assert "redis://127.0.0.1" in outcome.err


class PlantedFault(Exception):
    """What nobody foresaw."""


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command meets a fault of ours as soon as it wants to say something."""

    def fail(*_: object) -> None:
        raise PlantedFault("nobody foresaw it")

    monkeypatch.setattr(Screen, "__init__", fail)


@pytest.mark.usefixtures("planted")
def test_a_fault_of_ours_is_no_traceback(bare_flywheel: Flywheel) -> None:
    outcome = bare_flywheel("flows", "list")

    assert outcome.code == Exit.FAULT
    assert outcome.out == ""
    assert "PlantedFault: 'nobody foresaw it'" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("words", list(every_command(with_option="--json")), ids=" ".join)
def test_a_fault_of_ours_is_told_as_json_to_who_reads_json(
    bare_flywheel: Flywheel, apart: Path, words: tuple[str, ...]
) -> None:
    (apart / "1").write_text("{}")
    outcome = bare_flywheel(*words, "--json")

    assert (outcome.code, outcome.err) == (Exit.FAULT, "")
    _refused(outcome, Exit.FAULT, "PlantedFault")
    assert "nobody foresaw it" in outcome.object["error"]


def test_a_command_that_cannot_be_imported_says_so_as_json(
    bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "producer.cli.flows", None)

    _refused(bare_flywheel("flows", "list", "--json"), Exit.FAULT, "ModuleNotFoundError")


def test_a_question_that_looks_like_the_option_is_no_wish_for_json(
    bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch, planted: None
) -> None:
    outcome = bare_flywheel("ask", "--", "--json")

    assert (outcome.code, outcome.out) == (Exit.FAULT, "")
