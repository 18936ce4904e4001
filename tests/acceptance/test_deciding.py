"""A flow asks a person: `ask` on a terminal asks; elsewhere `waiting` lists, and `resume` decides."""

from __future__ import annotations

import os
import pty
import time
import uuid
from collections.abc import Callable, Iterator

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
    told = as_json.object["details"]
    assert (told["stop"], told["choices"], told["takes_feedback"]) == (
        1,
        {"proceed": "Proceed", "reject": "Reject"},
        True,
    )
    assert f"`flywheel resume {told['query_id']} --proceed`" in as_json.object["recovery_suggestions"][0]


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
    assert "was decided before: proceed" in other.err
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


_DECISION, _FEEDBACK = b"later (l): ", b"(Enter: none): "


def _typed(stack: RunningStack, question: str, *turns: tuple[bytes, bytes | Callable[[], object]]) -> tuple[int, bytes]:
    """Run ``ask`` on a terminal. Each time it has asked with these words, type the line, or do what is to be done."""
    child, terminal = pty.fork()
    if child == 0:
        arguments = ["flywheel", "ask", question, "--flow", "creative-orientation"]
        os.execve(COMMAND, arguments, {**stack.env, "TERM": "xterm", "COLUMNS": "150"})
    said, seen, left = b"", 0, list(turns)
    deadline = time.monotonic() + 30
    try:
        while time.monotonic() < deadline:
            said += os.read(terminal, 65536)
            while left and (at := said.find(left[0][0], seen)) >= 0:
                seen = at + len(left[0][0])
                line = left.pop(0)[1]
                if callable(line):
                    line()
                else:
                    os.write(terminal, line)
    except OSError:  # the terminal is closed
        pass
    _, status = os.waitpid(child, 0)
    assert not left, said
    return os.waitstatus_to_exitcode(status), said


@pytest.mark.parametrize(
    ("turns", "answer"),
    [
        ([(_DECISION, b"p\n"), (_FEEDBACK, b"go\n")], b"approved"),
        # What is no decision, and what cannot be told to the flow (a control character), is asked for again.
        (
            [
                (_DECISION, b"x\n"),
                (b"Type p, r or l.", b""),
                (_DECISION, b"reject\n"),
                (_FEEDBACK, b"\x16\x02\n"),
                (b"cannot be sent", b""),
                (_FEEDBACK, b"\n"),
            ],
            b"rejected",
        ),
    ],
)
def test_ask_on_a_terminal_asks_whoever_sits_there(
    stack: RunningStack, question: str, turns: list[tuple[bytes, bytes]], answer: bytes
) -> None:
    code, said = _typed(stack, question, *turns)

    assert code == 0, said
    assert b"Proceed with it?" in said
    assert b"has stopped and asks you, until 20" in said
    assert answer in said.rpartition(_FEEDBACK)[2]


def test_where_somebody_else_was_quicker_the_answer_is_shown_all_the_same(
    stack: RunningStack, flywheel: Flywheel, question: str
) -> None:
    def elsewhere() -> None:
        flywheel("resume", flywheel("waiting", "--json").object["query_id"], "--reject")

    code, said = _typed(stack, question, (_DECISION, elsewhere), (b"", b"p\n"), (_FEEDBACK, b"\n"))

    assert code == 0, said
    assert b"was decided before: reject. Yours is not told to the flow." in said
    assert b"rejected" in said.rpartition(b"Yours")[2]


def test_later_leaves_the_query_waiting(stack: RunningStack, flywheel: Flywheel, question: str) -> None:
    process = start(["ask", question, "--flow", "creative-orientation"], stack.env, stack.home.parent)

    assert finish(process).code == 6
    assert len(flywheel("waiting", "--json").objects) == 1
