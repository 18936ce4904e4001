"""``flywheel flows import`` and ``flywheel init``: from a Flowise of one's own to a registry and a first answer."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from processes import free_port

from agentic_flywheel.registry import load_catalog
from producer.cli import init, watching

from .conftest import COMMAND, TECHNICAL, Flywheel, RunningStack, environment, finish, start, survivors
from .flowise_listing import Listing, chatflow, listing

PLACE = Path(".agentic_flywheel") / "flow-registry.yaml"


@pytest.fixture
def server() -> Iterator[Listing]:
    with listing(chatflow("Support", "support-1"), chatflow("Poet", "mute-1", category="Art")) as state:
        yield state


def test_flows_are_shown_written_and_not_written_again(bare_flywheel: Flywheel, server: Listing, apart: Path) -> None:
    shown = bare_flywheel("flows", "import", "--url", server.url)
    assert not (apart / PLACE).exists()
    written = bare_flywheel("flows", "import", "--url", server.url, "--yes")
    text = (apart / PLACE).read_bytes()
    again = bare_flywheel("flows", "import", "--url", server.url, "--yes")

    assert (shown.code, written.code, again.code) == (0, 0, 0)
    assert "+ support" in shown.out
    assert "Nothing was written; `--yes` writes it" in shown.out
    assert "2 new, 0 changed" in written.out
    assert f"set it to {server.url}" in written.err
    assert "has these flows already" in again.out
    assert (apart / PLACE).read_bytes() == text
    flows = load_catalog(apart / PLACE).flows
    assert [(key, flow.domain, flow.streaming) for key, flow in flows.items()] == [
        ("poet", "art", False),
        ("support", "support", True),
    ]


def test_json_has_one_object_for_each_flow_and_a_summary(bare_flywheel: Flywheel, server: Listing, apart: Path) -> None:
    *flows, summary = bare_flywheel("flows", "import", "--url", server.url, "--json").objects

    assert [(each["flow"], each["change"], each["streams"]) for each in flows] == [
        ("poet", "add", False),
        ("support", "add", True),
    ]
    assert (summary["added"], summary["written"]) == (2, False)
    assert not (apart / PLACE).exists()
    *_, summary = bare_flywheel("flows", "import", "--url", server.url, "--json", "--yes").objects
    assert (summary["written"], summary["registry"]) == (True, str(apart / PLACE))


def test_a_server_that_has_forms_alone_is_shown_and_told_why_nothing_is_written(
    bare_flywheel: Flywheel, apart: Path
) -> None:
    inputs = {"startInputType": "formInput", "formInputTypes": [{"type": "string", "name": "size"}]}
    data = json.dumps({"nodes": [{"data": {"name": "startAgentflow", "inputs": inputs}}]})
    with listing(chatflow("Order", "form-1", type="AGENTFLOW", flowData=data)) as server:
        told = bare_flywheel("flows", "import", "--url", server.url, "--yes")

    assert told.code == 0, told.err
    assert "+ order" in told.out
    assert "Nothing was written." in told.out
    assert "needs an active flow that questions can go to" in told.err
    assert not (apart / PLACE).exists()


def test_some_flows_are_selected_and_given_a_domain(bare_flywheel: Flywheel, server: Listing, apart: Path) -> None:
    arguments = ("flows", "import", "--url", server.url, "--yes")
    unknown = bare_flywheel(*arguments, "--select", "nobody")
    refused = bare_flywheel(*arguments, "--domain", "a b")
    bare_flywheel(*arguments, "--select", "POET", "--domain", "verse")

    assert (unknown.code, refused.code) == (2, 2)
    assert "no flow of the name or id nobody" in " ".join(unknown.err.replace("│", " ").split())
    assert {key: flow.domain for key, flow in load_catalog(apart / PLACE).flows.items()} == {"poet": "verse"}


def test_a_flow_that_was_renamed_on_the_server_is_the_same_one(
    bare_flywheel: Flywheel, server: Listing, apart: Path
) -> None:
    bare_flywheel("flows", "import", "--url", server.url, "--yes")
    (apart / PLACE).write_text((apart / PLACE).read_text() + "\n# The end.\n")
    server.flows[0]["name"] = "Help desk"
    server.flows.append(chatflow("Support", "support-2"))
    told = bare_flywheel("flows", "import", "--url", server.url, "--yes").out

    assert "name: Support → Help desk" in told
    flows = load_catalog(apart / PLACE).flows
    assert {key: (flow.id, flow.name) for key, flow in flows.items()} == {
        "poet": ("mute-1", "Poet"),
        "support": ("support-1", "Help desk"),
        "support-2": ("support-2", "Support"),
    }
    assert (apart / PLACE).read_text().endswith("# The end.\n")


def test_flows_that_have_left_the_server_are_named_and_stay_in_the_file(
    bare_flywheel: Flywheel, server: Listing, apart: Path
) -> None:
    arguments = ("flows", "import", "--url", server.url)
    server.flows += [chatflow("Cook", "cook-1"), chatflow("Nurse", "nurse-1"), chatflow("Clerk", "clerk-1")]
    bare_flywheel(*arguments, "--yes")
    text = (apart / PLACE).read_text().replace("    id: clerk-1\n", "    id: clerk-1\n    active: false\n")
    (apart / PLACE).write_text(text)
    server.unlisted.append(server.flows.pop(3))  # Nurse: the key does not see it, and it answers all the same
    del server.flows[2:], server.flows[0]  # there are the Poet alone and the Nurse
    told = bare_flywheel(*arguments, "--yes")
    *flows, summary = bare_flywheel(*arguments, "--json").objects
    (chosen, _) = bare_flywheel(*arguments, "--json", "--select", "COOK").objects
    unknown = bare_flywheel(*arguments, "--select", "clerk")

    assert told.code == 0, told.err
    assert told.out.count("✗ ") == 2
    assert "its server does not have it any more, so a question to it fails: write `active: false`" in told.out
    assert "0 new, 0 changed, 1 as they are, 2 gone from the server. There is nothing to write." in told.out
    assert {each["flow"]: (each["change"], each["id"]) for each in flows} == {
        "poet": ("none", "mute-1"),
        "cook": ("gone", "cook-1"),
        "support": ("gone", "support-1"),
    }
    assert (summary["gone"], summary["same"], chosen["flow"], unknown.code) == (2, 1, "cook", 2)
    assert (apart / PLACE).read_text() == text


@pytest.mark.parametrize("pages", [True, False])
def test_all_pages_are_read_and_a_server_without_pages_too(
    bare_flywheel: Flywheel, server: Listing, pages: bool
) -> None:
    server.pages = pages
    server.flows = [chatflow(f"Flow {number}", f"id-{number}") for number in range(120)]
    *flows, summary = bare_flywheel("flows", "import", "--url", server.url, "--json").objects

    assert (len(flows), summary["added"]) == (120, 120)
    assert sum("/chatflows?" in path for path in server.asked) == (3 if pages else 1)


def test_what_a_hostile_server_says_is_shown_harmlessly(bare_flywheel: Flywheel, server: Listing, apart: Path) -> None:
    hostile = "\x1b[31m[bold]\u202e" + "x" * 1_000_000
    server.flows = [
        chatflow(hostile, "id-1", chatbotConfig={"welcomeMessage": hostile}),
        chatflow("诗人", "id-2"),
        chatflow("诗人", "id-2"),
        chatflow("", "../../secret"),
    ]
    told = bare_flywheel("flows", "import", "--url", server.url, "--yes")

    assert told.code == 0
    assert len(told.out) < 3_000
    assert "\x1b" not in told.out
    assert "its id cannot be part of an address" in told.out
    flows = load_catalog(apart / PLACE).flows
    assert {flow.id for flow in flows.values()} == {"id-1", "id-2"}
    assert flows["flow-id-2"].name == "诗人"


@pytest.mark.parametrize("command", [("flows", "import"), ("init", "--no-question")])
def test_a_server_that_refuses_the_key_is_answered_in_a_sentence(
    bare_flywheel: Flywheel, server: Listing, command: tuple[str, ...]
) -> None:
    server.key = "right"
    without = bare_flywheel(*command, "--url", server.url)
    wrong = bare_flywheel(*command, "--url", server.url, "--key", "wrong", "--json")
    given = bare_flywheel(*command, "--url", server.url, "--key", "-", "--yes", stdin="right\n")

    assert (without.code, wrong.code, given.code) == (2, 2, 0)
    assert "none is set" in without.err
    assert "refuses this one" in wrong.object["error"]
    assert wrong.object["error_type"] == "InvalidSetting"
    assert "right" not in given.out + given.err
    assert "wrong" not in wrong.out + wrong.err


@pytest.mark.parametrize("command", [("flows", "import"), ("init",)])
def test_a_server_that_is_away_or_is_no_flowise_is_answered_in_a_sentence(
    bare_flywheel: Flywheel, server: Listing, command: tuple[str, ...]
) -> None:
    away = bare_flywheel(*command, "--url", f"http://127.0.0.1:{free_port()}", "--yes")
    server.html = "<html>Sign in</html>"
    other = bare_flywheel(*command, "--url", server.url, "--yes")
    nowhere = bare_flywheel(*command, "--yes")
    none = bare_flywheel(*command, "--url", "flowise", "--yes")

    assert (away.code, other.code, nowhere.code, none.code) == (3, 2, 2, 2)
    assert "cannot be asked for its flows" in away.err
    assert "does not answer as Flowise does" in other.err
    assert "give `--url`" in nowhere.err
    assert "an address begins with http" in none.err


def test_a_silent_server_is_given_up(bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch, apart: Path) -> None:
    from agentic_flywheel.backends import connection

    monkeypatch.setattr(connection.Connection.fetch_json, "__kwdefaults__", {"body": None, "timeout": 0.3})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told = bare_flywheel("flows", "import", "--url", f"http://127.0.0.1:{silent.getsockname()[1]}")

    assert told.code == 3
    assert "had not answered within 0.3 s" in told.err


def test_a_faulty_registry_is_told_and_left_alone(bare_flywheel: Flywheel, server: Listing, apart: Path) -> None:
    (apart / PLACE).parent.mkdir()
    (apart / PLACE).write_text("operational_flows: [\n")
    told = bare_flywheel("flows", "import", "--url", server.url, "--yes")

    assert told.code == 2
    assert (apart / PLACE).read_text() == "operational_flows: [\n"


def test_init_beside_a_stack_takes_its_flows_and_asks_the_first_question(
    stack: RunningStack, flywheel: Flywheel, apart: Path
) -> None:
    url = stack.info.flowise_url or ""
    outcome = flywheel("init", "--url", url, "--yes", "--json", "--question", "Why does my database time out?")

    assert outcome.code == 0, outcome.out
    proposals, summary, reports, answer = (
        outcome.objects[:3],
        outcome.objects[3],
        outcome.objects[4:7],
        outcome.objects[7],
    )
    assert {each["change"] for each in proposals} == {"add"}
    assert summary["written"]
    assert all(each["ok"] for each in reports)
    assert answer["text"]
    assert answer["flow"] == "technical-analysis"
    assert set(load_catalog(apart / PLACE).flows) == {"creative-orientation", "technical-analysis", "document-qa"}


def test_init_says_what_it_waits_for_and_gives_a_silent_flow_up(
    stack: RunningStack, flywheel: Flywheel, apart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_SILENT", 0.5)
    monkeypatch.setattr(init, "_PATIENCE", timedelta(seconds=8))
    arguments = ("init", "--url", stack.info.flowise_url or "", "--yes", "--select", "technical*", "--question")
    stack.behave(TECHNICAL, fault="hang")
    silent = flywheel(*arguments, f"Why is it slow? {apart.name}")
    stack.behave(TECHNICAL, fault="provider_500", fault_first=1)
    away = flywheel(*arguments, f"Why is it away? {apart.name}")

    assert silent.code == 4
    assert "technical-analysis has told nothing for 0.5 s: its model may be slow or away" in silent.err
    assert "The flow technical-analysis gave no answer within 8 s: the first question (query " in silent.err
    (query_id,) = re.findall(r"[0-9a-f]{32}", silent.err)
    assert flywheel("status", query_id, "--json").object["state"] == "cancelled"
    assert away.code == 0, away.err
    assert "; again in" in away.err


def test_init_starts_a_stack_for_the_first_question_and_stops_it(tmp_path: Path) -> None:
    port, home = free_port(), tmp_path / "home"
    sandbox = subprocess.Popen(
        [sys.executable, "-m", "flowise_sandbox", "--port", str(port), "--api-key", "the-key"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert sandbox.stdout is not None
        sandbox.stdout.readline()
        guard(port, TECHNICAL, "the-key")
        arguments = [
            "init",
            "--url",
            f"http://127.0.0.1:{port}",
            "--key",
            "-",
            "--select",
            TECHNICAL,
            "--yes",
            "--json",
        ]
        began = time.monotonic()
        init = start(arguments, environment(home), tmp_path, stdin=subprocess.PIPE)
        assert init.stdin is not None
        init.stdin.write("the-key\n")
        outcome = finish(init, within=90)
    finally:
        sandbox.terminate()
        sandbox.wait(10)

    assert outcome.code == 0, outcome.err
    assert outcome.objects[-1]["flow"] == "technical-analysis"
    assert time.monotonic() - began < 60
    assert survivors(home) == []


def guard(port: int, flow: str, key: str) -> None:
    """Have a flow of a sandbox need a key."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/sandbox/flows/{flow}/behaviour",
        data=f'{{"key": "{key}"}}'.encode(),
        headers={"Content-Type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.status == 200


def test_a_person_is_asked_for_what_is_not_given(server: Listing, tmp_path: Path) -> None:
    server.key = "the-key"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "init", "--no-question"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        env=environment(tmp_path / "home"),
        start_new_session=True,
    )
    os.close(theirs)
    try:
        said = answered(ours, {"Address of your Flowise": server.url, "API key": "the-key", "Write this to": "y"})
        process.wait(30)
    finally:
        process.kill()
        os.close(ours)

    assert process.returncode == 0, said
    assert "the-key" not in said
    assert "export FLOWISE_API_KEY=…" in said
    assert set(load_catalog(tmp_path / PLACE).flows) == {"poet", "support"}


def answered(terminal: int, answers: dict[str, str]) -> str:
    """Give the answers when their questions come; return all that was said until the end.

    What is typed before a hidden input begins is lost: its prompt is whole with the space at its end.
    """
    said, left = "", dict(answers)
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            return said
        if not part:
            return said
        said += part.decode(errors="replace")
        for question in [each for each in left if each in said and said.endswith(": ")]:
            os.write(terminal, f"{left.pop(question)}\n".encode())
