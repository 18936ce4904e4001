"""``flywheel ask`` as a real process: tokens while they come, Ctrl-C, and text that would like to be more than text."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from .conftest import TECHNICAL, Flywheel, RunningStack, finish, start

UNTIL = Callable[[str, str], dict[str, Any]]


def _first_words(process: subprocess.Popen[str], *, within: float = 30.0) -> str:
    """Return what the command has said after its first output."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if said := os.read(process.stdout.fileno(), 4096):
                return said.decode(errors="ignore")
        except BlockingIOError:
            time.sleep(0.02)
    raise AssertionError(f"nothing was said within {within} s")


def test_ask_prints_tokens_while_they_come_and_then_where_they_came_from(stack: RunningStack) -> None:
    stack.behave(TECHNICAL, token_delay=0.06)
    process = start(["ask", "How do I reverse a linked list in Go?", "--refresh"], stack.env, stack.home.parent)
    first = _first_words(process)
    running = process.poll() is None
    os.set_blocking(process.stdout.fileno(), True)  # type: ignore[union-attr]
    outcome = finish(process)

    assert running, "the first words came before the end"
    assert outcome.code == 0
    text, _, footer = (first + outcome.out).partition("\n\n")
    assert len(text.split()) > 20
    assert "technical-analysis (technical)" in footer
    assert "(high)" in footer
    assert "not cached" in footer


def test_ctrl_c_on_ask_cancels_the_query(stack: RunningStack, flywheel: Flywheel, until: UNTIL) -> None:
    stack.behave(TECHNICAL, latency=30)
    process = start(
        ["ask", "Why is my loop endless?", "--user", "impatient", "--refresh"], stack.env, stack.home.parent
    )
    record = _latest(flywheel, "impatient", state="running")
    process.send_signal(signal.SIGINT)
    outcome = finish(process, within=20)

    assert outcome.code == 130
    assert "Traceback" not in outcome.err
    assert _latest(flywheel, "impatient", state="cancelled")["query_id"] == record["query_id"]


def _latest(flywheel: Flywheel, user: str, *, state: str, within: float = 30.0) -> dict[str, Any]:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        recent: list[dict[str, Any]] = flywheel("status", "--user", user, "--json").object["recent"]
        if recent and recent[0]["state"] == state:
            return recent[0]
        time.sleep(0.1)
    raise AssertionError(f"no query of {user} was {state} within {within} s")


def test_hostile_text_is_only_ever_shown(stack: RunningStack, flywheel: Flywheel) -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J[bold red]passwords[/bold red] \x9b31m :bomb: ‮detpircne\r ${HOME} {0}"
    process = start(["ask", hostile, "--flow", "technical-analysis"], stack.env, stack.home.parent)
    outcome = finish(process)

    assert outcome.code == 0, outcome.err
    query_id = outcome.out.split()[-1]
    for said in (
        outcome.out,
        flywheel("status", query_id).out,
        flywheel("status", query_id, "--json").out,
        flywheel("status").out,
        flywheel("stream", query_id).out,
        flywheel("wait", query_id).out,
    ):
        assert not {"\x1b", "\x07", "\x9b", "\r", "‮"} & set(said)
    assert "[bold red]passwords[/bold red]" in flywheel("status", query_id).out
    assert flywheel("status", query_id, "--json").object["query"]["question"] == hostile
