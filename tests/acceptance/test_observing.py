"""Trace, search, thread, score, health and usage: each as its command, beside the running stack."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from processes import REPOSITORY, wait_for
from prometheus_client.parser import text_string_to_metric_families

from .conftest import COMMAND, TECHNICAL, Flywheel, Outcome, RunningStack

UNTIL = Callable[[str, str], dict[str, Any]]
QUESTION = "How do I connect PostgreSQL with Python?"


def ask(flywheel: Flywheel, question: str, *options: str) -> str:
    query_id: str = flywheel("ask", question, "--json", *options).object["query_id"]
    return query_id


def names(outcome: Outcome) -> list[str]:
    return [each["name"] for each in outcome.object["observations"][1:]]


def test_a_trace_is_printed_as_a_tree_in_words(flywheel: Flywheel) -> None:
    query_id = ask(flywheel, QUESTION, "--refresh", "--session", "observed", "--user", "ada")

    shown = flywheel("trace", query_id, "--user", "ada").out
    told = flywheel("trace", query_id, "--user", "ada", "--json")

    assert "Technical Analysis: connect PostgreSQL Python" in shown
    assert f"asked    {QUESTION}" in shown
    assert "├─ intent-classification" in shown
    assert "found out what is asked: technical-analysis at 100%, high" in shown
    assert "asked the flow: Technical Analysis" in shown
    assert "█" in shown
    assert "Read from the trace file" in shown
    assert told.object["trace_id"] == query_id
    assert names(told)[0] == "queue-wait"
    assert {"intent-classification", "flow-selection", "cache-check", "context", "flow-execution"} <= set(names(told))
    assert flywheel("trace", query_id).code == 0, "the owner has named nobody"
    for other in (["--user", "bob"], ["--owner", "ada"]):
        assert flywheel("trace", query_id, *other).code == 2


def test_an_answer_from_the_cache_has_a_trace_of_its_own(flywheel: Flywheel) -> None:
    ask(flywheel, QUESTION)
    query_id = ask(flywheel, QUESTION)

    told = flywheel("trace", query_id, "--json")

    root = told.object["observations"][0]
    assert root["tags"] == ["domain:technical", "cached", "client:cli"]
    assert root["output"]
    assert names(told) == ["cache-check"]
    assert "looked for a kept answer: found," in flywheel("trace", query_id).out


def test_a_cancelled_query_has_a_trace_that_says_so(stack: RunningStack, flywheel: Flywheel, until: UNTIL) -> None:
    stack.behave(TECHNICAL, latency=20)
    query_id = flywheel("submit", "Why is the index of my database slow?", "--refresh").out.strip()
    until(query_id, "running")
    flywheel("cancel", query_id)

    shown = flywheel("trace", query_id).out

    assert "cancelled: asked by its owner" in shown
    assert "stopped before it had answered" in shown
    assert "Read from the trace file" in shown


def test_a_retry_is_seen_with_its_reason_and_its_wait(stack: RunningStack, flywheel: Flywheel) -> None:
    stack.behave(TECHNICAL, fault="gateway_502", fault_first=1)
    query_id = ask(flywheel, "Which python version should I take?", "--refresh")

    shown = flywheel("trace", query_id).out

    assert "waited before the next try" in shown
    assert "attempt 2" in shown


def test_traces_are_found_by_text_flow_age_and_score(flywheel: Flywheel) -> None:
    poem = ask(flywheel, "Which vision could guide our lighthouse?", "--refresh", "--user", "bob")
    ask(flywheel, "How do I rotate keys of my database?", "--refresh", "--user", "bob")
    flywheel("score", poem, "3", "--user", "bob")

    def found(*wish: str) -> list[str]:
        return [each["question"] for each in flywheel("traces", *wish, "--user", "bob", "--json").objects]

    wait_for(lambda: len(found()) == 2, what="both traces are written", every=0.1)
    assert found("LIGHTHOUSE") == ["Which vision could guide our lighthouse?"]
    assert found("--flow", "technical-analysis") == ["How do I rotate keys of my database?"]
    assert found("--max-score", "4") == ["Which vision could guide our lighthouse?"]
    assert found("--min-score", "4") == []
    assert len(found("--since", "1h")) == 2
    assert found("--until", "1h") == []
    assert "lighthouse" in flywheel("traces", "--user", "bob", "--limit", "2").out
    assert "No query of yours is like that." in flywheel("traces", "no such words", "--user", "bob").out


def test_a_conversation_is_shown_as_a_thread(flywheel: Flywheel) -> None:
    first = ask(flywheel, QUESTION, "--session", "long-talk")
    second = ask(flywheel, "And which driver of python is the fastest?", "--session", "long-talk")

    thread = [each["query_id"] for each in flywheel("thread", "long-talk", "--json").objects]

    assert thread == [first, second]
    assert "fastest" in flywheel("thread", "long-talk").out
    assert flywheel("thread", "nobody-said-a-word").code == 2


def test_a_score_is_kept_corrected_and_shown(flywheel: Flywheel) -> None:
    query_id = ask(flywheel, QUESTION, "--refresh")

    said = flywheel("score", query_id, "4")
    corrected = flywheel("score", query_id, "8", "--comment", "good, but long", "--json").object
    flywheel("score", query_id, "true", "--name", "helpful")

    assert said.out.startswith("rating 4, of technical-analysis.")
    assert (corrected["value"], corrected["comment"], corrected["by"]) == (8, "good, but long", "local")
    shown = flywheel("trace", query_id).out
    assert "score rating: 8  good, but long" in shown
    assert "score helpful: true" in shown
    assert flywheel("score", query_id, "11").code == 2
    unknown = flywheel("score", "0" * 32, "8", "--json")
    assert (unknown.code, unknown.object["error_type"]) == (2, "UnknownQuery")


def test_health_and_usage_tell_what_was_asked(flywheel: Flywheel) -> None:
    query_id = ask(flywheel, QUESTION, "--refresh", "--user", "carla")
    flywheel("score", query_id, "9", "--user", "carla")

    health = {flow["flow"]: flow for flow in flywheel("health", "--json").object["flows"]}
    shown = flywheel("health").out
    users = {row["name"]: row for row in flywheel("usage", "--by", "user", "--json").objects}

    technical = health["technical-analysis"]
    assert technical["queries"] >= 1
    assert technical["latency_ms"]["p50"] > 0
    assert technical["mean_score"]
    assert technical["circuit"] == "closed"
    assert "technical-analysis" in shown
    assert "domain.technical" in shown
    assert users["local carla"]["queries"] == 1
    assert sum(users["local carla"]["course"]) == 1
    course = flywheel("usage", "--by", "flow", "--since", "3h").out
    assert "▁" in course or "█" in course
    assert "one bar is one hour" in course
    assert flywheel("usage", "--by", "weather").code == 2


def test_health_is_watched_until_ctrl_c(stack: RunningStack) -> None:
    """In a terminal, as a person has it: drawn, drawn again in its place, and left with success."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(COMMAND, ["flywheel", "health", "--watch"], {**stack.env, "TERM": "xterm", "COLUMNS": "150"})
    said = b""
    try:
        deadline = time.monotonic() + 20
        while said.count(b"domain.technical") < 2 and time.monotonic() < deadline:
            said += os.read(terminal, 65536)
        os.kill(child, signal.SIGINT)
        _, status = os.waitpid(child, 0)
    finally:
        os.close(terminal)

    assert said.count(b"domain.technical") >= 2
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("command", [["health"], ["usage"], ["trace", "0" * 32], ["score", "0" * 32, "8"], ["traces"]])
def test_without_a_broker_each_says_so(
    bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")

    outcome = bare_flywheel(*command)

    assert outcome.code == 3
    assert "broker" in outcome.err.lower()


def test_the_stack_and_its_workers_tell_prometheus_what_the_dashboard_draws(
    stack: RunningStack, flywheel: Flywheel
) -> None:
    query_id = ask(flywheel, QUESTION, "--refresh")
    flywheel("score", query_id, "9")

    served = {name: samples(url) for name, url in stack.info.metrics_urls.items()}

    assert set(served) == {"up", "worker-1"}
    for figures in served.values():
        assert figures["flywheel_up", ()] == 1
        assert figures["process_resident_memory_bytes", ()] > 0
    technical = ("outcome", "succeeded"), ("flow", "technical-analysis"), ("domain", "technical")
    assert served["up"]["flywheel_queries_total", tuple(sorted(technical))] >= 1
    known = {name for figures in served.values() for name, _ in figures} | NEVER_HAPPENED
    assert drawn() - known == set()


def samples(url: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample by its name and labels, as Prometheus would parse them."""
    with urllib.request.urlopen(url, timeout=30) as response:
        text = response.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


#: Served as soon as there is an error to count.
NEVER_HAPPENED = {"flywheel_errors_total"}


def drawn() -> set[str]:
    """Return the names of all metrics in the dashboard."""
    text = (REPOSITORY / "deploy" / "grafana-dashboard.json").read_text()
    queries = [json.loads(f'"{query}"') for query in re.findall(r'"expr": "((?:[^"\\]|\\.)*)"', text)]
    assert queries
    return {name for query in queries for name in re.findall(r"\b(?:flywheel|process|python)_\w+", query)}
