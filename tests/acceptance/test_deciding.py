"""A flow asks a person: `ask` on a terminal asks; elsewhere `waiting` lists, and `resume` decides."""

from __future__ import annotations

import os
import pty
import time
import uuid
from collections.abc import Iterator

import pytest

from acceptance.conftest import COMMAND, CREATIVE, Flywheel, RunningStack, finish, start


@pytest.fixture
def question(stack: RunningStack, flywheel: Flywheel) -> Iterator[str]:
    stack.build(CREATIVE, style="approval")
    yield f"Delete the database? ({uuid.uuid4().hex[:8]})"
    flywheel("cancel", "--all")
    stack.build(CREATIVE, style="chat")


def test_who_is_not_at_a_terminal_is_told_what_to_do(flywheel: Flywheel, question: str) -> None:
    asked = flywheel("ask", question, "--flow", "creative-orientation")
    as_json = flywheel("ask", question, "--flow", "creative-orientation", "--json")

    assert asked.code == as_json.code == 6
    assert "Proceed with it?" in asked.out
    assert "flywheel resume" in asked.err
    assert as_json.object["error_type"] == "InputRequired"
    assert as_json.object["details"]["stop"] == 1


def test_a_query_that_waits_is_listed_decided_once_and_answered(flywheel: Flywheel, question: str) -> None:
    assert "No query of yours waits" in flywheel("waiting").out
    query_id = flywheel("submit", question, "--flow", "creative-orientation").out.strip()
    assert flywheel("wait", query_id).code == 6

    listed, record = flywheel("waiting"), flywheel("waiting", "--json").object
    shown = flywheel("status", query_id).out
    decided = flywheel("resume", query_id, "--proceed", "--feedback", "go", "--json").object
    again = flywheel("resume", query_id, "--proceed", "--feedback", "go")
    other = flywheel("resume", query_id, "--reject")

    assert query_id in listed.out
    assert "7 d" in listed.out or "6 d" in listed.out
    assert (record["query_id"], record["state"]) == (query_id, "input_required")
    assert record["stops"][0]["choices"] == {"proceed": "Proceed", "reject": "Reject"}
    assert "--proceed (Proceed) or --reject (Reject)" in shown
    assert decided == {"query_id": query_id, "stop": 1, "decision": "proceed"}
    assert (again.code, other.code) == (0, 2)
    assert "it was decided before: proceed" in other.err
    assert "approved" in flywheel("wait", query_id).out
    assert "waited for a person: proceed, Human Input 0" in flywheel("trace", query_id).out


@pytest.mark.parametrize(
    "arguments",
    [["--proceed"], ["x", "--proceed", "--reject"], ["x"], ["x", "--proceed", "--flow", "f"], ["--feedback", "x"]],
)
def test_half_a_decision_is_refused(flywheel: Flywheel, arguments: list[str]) -> None:
    assert flywheel("resume", *arguments).code == 2


def test_nobody_else_decides(flywheel: Flywheel, question: str) -> None:
    query_id = flywheel("submit", question, "--flow", "creative-orientation").out.strip()
    flywheel("wait", query_id)

    assert flywheel("resume", query_id, "--proceed", "--owner", "eve").code == 2
    assert "No query of yours waits" in flywheel("waiting", "--owner", "eve").out


@pytest.mark.parametrize(("typed", "answer"), [(b"p\ngo\n", b"approved"), (b"reject\n\n", b"rejected")])
def test_ask_on_a_terminal_asks_whoever_sits_there(
    stack: RunningStack, question: str, typed: bytes, answer: bytes
) -> None:
    child, terminal = pty.fork()
    if child == 0:
        arguments = ["flywheel", "ask", question, "--flow", "creative-orientation"]
        os.execve(COMMAND, arguments, {**stack.env, "TERM": "xterm", "COLUMNS": "150"})
    said, sent = b"", 0
    lines = typed.splitlines(keepends=True)
    deadline = time.monotonic() + 30
    try:
        while time.monotonic() < deadline:
            said += os.read(terminal, 65536)
            if (sent < 1 and b"or later" in said) or (sent == 1 and b"Say to it" in said):
                os.write(terminal, lines[sent])
                sent += 1
    except OSError:  # the terminal is closed
        pass
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0, said
    assert b"Proceed with it?" in said
    assert answer in said.partition(b"Say to it")[2]


def test_later_leaves_the_query_waiting(stack: RunningStack, flywheel: Flywheel, question: str) -> None:
    process = start(["ask", question, "--flow", "creative-orientation"], stack.env, stack.home.parent)

    assert finish(process).code == 6
    assert len(flywheel("waiting", "--json").objects) == 1
