"""``flywheel ask`` as a real process: tokens while they come, Ctrl-C, and text that would like to be more than text."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.models import Answer, Artifact, Event, EventKind, ToolUse
from producer import AsyncProducer
from producer.cli import watching
from producer.cli.doings import doing_lines, doing_now
from producer.cli.screen import Screen
from producer.cli.watching import AnswerWatch

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
    hostile = "[bold red]passwords[/bold red] :bomb: ‮detpircne ${HOME} {0}"
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
        assert "‮" not in said
    assert "[bold red]passwords[/bold red]" in flywheel("status", query_id).out
    assert flywheel("status", query_id, "--json").object["query"]["question"] == hostile


def test_text_that_drives_a_terminal_is_refused_and_not_sent_to_it(stack: RunningStack) -> None:
    process = start(["ask", "\x1b]0;owned\x07\x1b[2J \x9b31m passwords\r"], stack.env, stack.home.parent)
    outcome = finish(process)

    assert outcome.code == 2
    assert "U+001B" in outcome.err
    assert not {"\x1b", "\x07", "\x9b", "\r"} & set(outcome.out + outcome.err)


@pytest.mark.parametrize("flow", ["creative-orientation", "technical-analysis", "document-qa"])
def test_nobody_new_reads_that_something_was_ignored(flow: str, flywheel: Flywheel) -> None:
    answer = flywheel("ask", "What is a lighthouse for?", "--flow", flow, "--refresh", "--json").object

    assert answer["warnings"] == []
    assert answer["config_used"]["temperature"] > 0


def test_the_sources_of_an_answer_are_shown(flywheel: Flywheel) -> None:
    asked = flywheel("ask", "Which paragraph of the handbook speaks of leave?", "--flow", "document-qa", "--refresh")
    query_id = flywheel("ask", "Which paragraph speaks of travel?", "--flow", "document-qa", "--json").object[
        "query_id"
    ]
    status = flywheel("status", query_id)

    assert "[1] handbook.pdf, page 12: The provisions on " in asked.out
    assert "[2] annex.pdf, page 3: Annex: " in asked.out
    assert "handbook.pdf, page 12" in status.out


def test_ask_says_what_the_flow_does_and_what_came_of_it(stack: RunningStack, flywheel: Flywheel) -> None:
    stack.build(TECHNICAL, style="maker")
    stack.behave(TECHNICAL, follow_ups=True)
    to = ("--flow", "technical-analysis", "--refresh")

    asked = flywheel("ask", "Which database index should I plot?", *to)
    told = flywheel("ask", "Which database index should I plot?", *to, "--json").object
    status = flywheel("status", told["query_id"])
    events = flywheel("stream", told["query_id"], "--json").objects

    assert "Agent 0 …" in asked.err
    assert 'uses plot({"input": "6*7"})' in asked.err
    for said in (asked, status):
        assert 'used plot({"input": "6*7"}) → plotted 6*7' in said.out
        assert "made html: <b>plot</b>" in said.out
        assert f"made png plot.png: /api/v1/get-upload-file?chatflowId={TECHNICAL}&" in said.out
        assert "ask next: What else is there to know about" in said.out
    assert told["tools"][0]["output"] == "plotted 6*7"
    assert [step["name"] for step in told["steps"]] == ["Start", "Agent 0"]
    assert told["steps"][1]["elapsed_ms"] >= 0
    assert {event["kind"] for event in events} >= {"step", "tool", "artifact", "usage", "token"}


def test_a_name_that_a_flow_gives_is_only_ever_shown() -> None:
    hostile = "\x1b[31m[bold]plot\n\u202e"
    begun = {"name": hostile, "status": "running", "input": {"q": hostile}, "part": hostile}
    event = Event(id="1-0", kind=EventKind.TOOL, at=datetime.now(UTC), data=begun)
    answer = Answer(
        query_id="q",
        text="t",
        flow="f",
        domain="d",
        tools=(*[ToolUse(name=hostile, output=hostile)] * 12, ToolUse(name="x", error=hostile)),
        artifacts=(Artifact(type=hostile, name=hostile, text=hostile), Artifact(type="png", bytes_left_out=5_000)),
    )

    lines = [doing_now(event), *doing_lines(answer)]

    assert lines[0].startswith("[31m[bold]plot: uses [31m[bold]plot(")
    assert lines[11] == "and 3 more tools"
    assert lines[-1] == "made png: 5,000 bytes, not kept"
    assert not {"\x1b", "\n", "\u202e"} & set("".join(lines))


async def test_why_an_answer_takes_a_while_is_said_once_until_the_flow_says_something(
    capsys: pytest.CaptureFixture[str],
) -> None:
    away = (EventKind.RETRYING, {"error": "Connection refused", "delay_s": 0.2})
    circuit = (EventKind.WAITING, {"reason": "circuit"})
    told = [away, circuit, away, circuit, away, (EventKind.TOKEN, {"text": "Well"}), circuit, away]
    events = [Event(id=f"{n}-0", kind=kind, at=datetime.now(UTC), data=data) for n, (kind, data) in enumerate(told)]

    class Told:
        async def stream(self, _: str, *, after: str) -> AsyncIterator[Event]:
            for event in events:
                yield event

    await AnswerWatch(Screen(), None)._print(cast(AsyncProducer, Told()), "q")
    said = capsys.readouterr().err

    assert said.count("Connection refused; again in 0.2 s.") == 2
    assert said.count("The query waits: the flow failed too often and is left alone for a while.") == 2


async def test_a_flow_that_tells_nothing_for_long_is_named_with_the_bound_of_its_call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_SILENT", 0.01)
    slow = Flow(key="slow", id="1", domain="slow", timeout=timedelta(seconds=90))

    def event(kind: EventKind, **data: str) -> Event:
        return Event(id="1-0", kind=kind, at=datetime.now(UTC), data=data)

    class Told:
        catalog = Catalog(flows={"slow": slow})

        async def stream(self, _: str, *, after: str) -> AsyncIterator[Event]:
            await asyncio.sleep(0.2)
            yield event(EventKind.STARTED, flow="slow")
            await asyncio.sleep(0.2)
            yield event(EventKind.WAITING, flow="slow", reason="circuit")

    await AnswerWatch(Screen(), None)._print(cast(AsyncProducer, Told()), "q")

    said = capsys.readouterr().err
    assert said.splitlines() == [
        "No flow has been asked for 0.01 s; `flywheel health` shows the workers and what waits.",
        "slow has told nothing for 0.01 s: its model may be slow or away; a call is cut after 90 s (its `timeout` in "
        "the registry).",
        "The query waits: the flow failed too often and is left alone for a while.",
    ]
