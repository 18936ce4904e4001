"""What commands show: whole tables in a pipe, one line for each thing, and which entry of a setting it is."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from agentic_flywheel.access.file import read_file
from agentic_flywheel.backends import FlowReport
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import (
    FlywheelError,
    InputRequired,
    InvalidSetting,
    InvalidTokens,
    UnknownFlow,
    UnknownProfile,
    rebuild,
)
from agentic_flywheel.settings import load_settings
from producer.cli.commands import COMMANDS, load_command
from producer.cli.flows import show_report
from producer.cli.screen import Screen, table_of

from .commands import leaves

COLUMNS = tuple(f"column {number:02}" for number in range(30))


@pytest.mark.parametrize("right", [(), COLUMNS])
def test_a_table_in_a_pipe_is_shown_whole(capsys: pytest.CaptureFixture[str], right: tuple[str, ...]) -> None:
    from rich.console import Group

    rows = [[f"a rather long value {number}-{row}" for number in range(30)] for row in range(3)]
    screen = Screen()

    screen.table(COLUMNS, rows, right=right)
    screen.drawing(Group(table_of(COLUMNS, rows, right=right)))

    said = capsys.readouterr().out
    for cell in (*COLUMNS, *(cell for row in rows for cell in row)):
        assert said.count(cell) == 2
    assert len(said.splitlines()) == 2 * (2 + len(rows))


def test_a_text_beside_a_wide_table_is_folded_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().table(("a", "b"), [("x", "word " * 1000)])

    assert 2 < len(capsys.readouterr().out.splitlines()) < 8


@pytest.mark.parametrize("text", ["أين طلبي", "חשבונית 4", "ߒߞߏ", "order طلب"])
def test_a_cell_from_right_to_left_leaves_the_others_where_they_are(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    screen = Screen()

    screen.table(("question", "flow"), [(f"\u202e{text}", "one"), ("plain", "two")])
    screen.line(text, "  98%")

    lines = capsys.readouterr().out.splitlines()
    isolate = f"\u2068{text}\u2069"
    assert next(line for line in lines if "one" in line).lstrip().startswith(isolate)
    assert "\u2068" not in next(line for line in lines if "plain" in line)
    assert lines[-1] == f"{isolate}  98%"


def test_names_that_flowise_has_stay_on_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    report = FlowReport(
        flow="f", name="nice\n✓ forged  key accepted", problems=("it\nfails\r\n✓ no",), remarks=("a\u2028b",)
    )

    show_report(Screen(), report)

    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    assert said[0].startswith("✗ f  nice ✓ forged")


def test_a_flow_that_is_not_active_is_said_to_be_so() -> None:
    flows = {"on": Flow(key="on", id="1", domain="d"), "off": Flow(key="off", id="2", domain="d", active=False)}
    catalog = Catalog(flows=flows)

    with pytest.raises(UnknownFlow, match="is in the registry, but is not active there; active are: on") as off:
        catalog.flow("off")
    with pytest.raises(UnknownFlow, match="There is no active flow 'none'; known: on"):
        catalog.flow("none")
    assert rebuild(off.value.describe()).args == off.value.args


@pytest.mark.parametrize(
    ("weights", "told"),
    [("alice=3,bob=0", "bob: "), ("alice=3,bob=x", "bob: "), ("alice=3,bob", "bob: "), ("bob=1,bob=2", "bob: it is")],
)
def test_the_entry_of_a_setting_that_is_not_acceptable_is_named(
    monkeypatch: pytest.MonkeyPatch, weights: str, told: str
) -> None:
    monkeypatch.setenv("FLYWHEEL_OWNER_WEIGHTS", weights)

    with pytest.raises(InvalidSetting, match=f"FLYWHEEL_OWNER_WEIGHTS is not acceptable: {told}"):
        load_settings()


def test_the_token_and_the_key_of_a_faulty_file_are_named(tmp_path: Path) -> None:
    well = {"id": "0" * 8, "digest": "0" * 64, "owner": "a", "scopes": ["ask"], "created": "2026-01-01T00:00:00Z"}
    bad = {**well, "id": "12345678", "limits": {"weight": 0}}
    path = tmp_path / "tokens.json"
    for entry, told in (
        (bad, r"token 2 \(id 12345678\), limits.weight: "),
        (5, "token 2: "),
        ({"id": 5}, "token 2, id"),
    ):
        path.write_text(json.dumps({"tokens": [well, entry]}))
        path.chmod(0o600)
        with pytest.raises(InvalidTokens, match=told):
            read_file(path)


@pytest.mark.parametrize(
    ("error", "suggested"),
    [
        (
            InputRequired("f" * 32, 2, "cleaning", "Proceed?"),
            (
                f"`flywheel resume {'f' * 32} --proceed --stop 2 --owner 'bob s' --user eve`",
                "`flywheel waiting --owner 'bob s' --user eve`",
                f"`flywheel cancel {'f' * 32} --owner 'bob s' --user eve`",
            ),
        ),
        # A command is given no option that it does not have.
        (UnknownProfile("p"), ("`flywheel profiles list --owner 'bob s'`", "`flywheel profiles new --owner 'bob s'`")),
        (UnknownFlow("f"), ("`flywheel flows list`", "`flywheel flows add`")),
    ],
)
def test_suggested_commands_can_be_copied_whoever_asks(
    capsys: pytest.CaptureFixture[str], error: FlywheelError, suggested: tuple[str, ...]
) -> None:
    Screen(True, "bob s", "eve").failure(error.describe())

    said = " ".join(json.loads(capsys.readouterr().out)["recovery_suggestions"])
    assert [each for each in suggested if each not in said] == []


def test_each_command_that_takes_an_owner_suggests_commands_for_that_owner() -> None:
    commands = [each for name in COMMANDS for each in leaves((name,), load_command(name))]
    takes = {words: command for words, command in commands if any("--owner" in each.opts for each in command.params)}

    assert len(takes) > 15
    assert [
        words for words, each in takes.items() if "Screen(json, owner" not in inspect.getsource(each.callback)
    ] == []
