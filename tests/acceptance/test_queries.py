"""Submit, wait, stream, status, cancel; sessions, cache, pause, dead letters: each as its command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .conftest import DOCUMENTS, TECHNICAL, Flywheel, RunningStack

UNTIL = Callable[[str, str], dict[str, Any]]


def test_a_submitted_query_is_waited_for_streamed_and_shown(flywheel: Flywheel) -> None:
    submitted = flywheel("submit", "Which clause covers late payment?", "--refresh")
    query_id = submitted.out.strip()
    waited = flywheel("wait", query_id, "--json").object
    events = flywheel("stream", query_id, "--json").objects
    since_the_second = flywheel("stream", query_id, "--from", events[1]["id"], "--json").objects
    record = flywheel("status", query_id, "--json").object

    assert submitted.code == 0
    assert waited["query_id"] == query_id
    assert waited["domain"] == "documents"
    assert waited["text"]
    assert [event["kind"] for event in events][:2] == ["routed", "started"]
    assert events[-1]["kind"] == "final"
    assert since_the_second == events[2:]
    assert record["state"] == "succeeded"
    assert record["answer"]["text"] == waited["text"]
    assert record["route"]["reason"]
    shown = flywheel("status", query_id).out
    assert "succeeded" in shown
    assert waited["text"] in flywheel("wait", query_id).out
    assert waited["text"] in flywheel("stream", query_id).out


def test_ask_prints_one_json_object(flywheel: Flywheel) -> None:
    question = "How do I rotate API keys without an outage?"
    first = flywheel("ask", question, "--refresh", "--json").object
    second = flywheel("ask", "-", "--json", stdin=f"  {question}\n").object

    assert (first["cached"], second["cached"]) == (False, True)
    assert second["text"] == first["text"]
    assert {"question", "flow", "domain", "band", "confidence", "elapsed_ms", "explanation"} <= set(first)


def test_two_domains_are_asked_and_their_parts_shown(flywheel: Flywheel) -> None:
    question = "Why does our checkout API time out, and what does the service contract say about downtime?"
    outcome = flywheel("ask", question, "--refresh")

    assert "technical-analysis (technical) + document-qa (documents)" in outcome.out
    assert "Document Q&A (documents)" in outcome.out


@pytest.mark.parametrize(("asks_for", "waits_for"), [("300ms", "100ms"), ("0", "0")])
def test_a_wait_that_is_over_says_so_and_the_query_goes_on(
    stack: RunningStack, flywheel: Flywheel, until: UNTIL, asks_for: str, waits_for: str
) -> None:
    stack.behave(TECHNICAL, latency=1.5)
    asked = flywheel("ask", "Why is my deadlock so rare?", "--refresh", "--wait", asks_for, "--json")
    query_id = asked.object["query_id"]
    waited = flywheel("wait", query_id, "--timeout", waits_for, "--json")

    assert (asked.code, waited.code) == (4, 4)
    assert asked.object["error_type"] == waited.object["error_type"] == "WaitTimeout"
    assert until(query_id, "succeeded")


def test_a_query_whose_deadline_passes_expires(stack: RunningStack, flywheel: Flywheel) -> None:
    stack.behave(TECHNICAL, latency=20)
    outcome = flywheel("ask", "Why is my deadlock so frequent?", "--refresh", "--timeout", "400ms", "--json")

    assert outcome.code == 5
    assert outcome.object["error_type"] == "DeadlineExceeded"


def test_ask_says_why_it_takes_a_while(stack: RunningStack, flywheel: Flywheel) -> None:
    question = "Where is the off-by-one error?"
    stack.behave(TECHNICAL, fault="drop", fault_first=1)
    retried = flywheel("ask", question, "--flow", "technical-analysis", "--refresh")
    stack.behave(TECHNICAL, latency=2)
    first = flywheel("submit", "Why does my pod restart?", "--refresh").out.strip()
    shared = flywheel("ask", "Why does my pod restart?")
    flywheel("pause", "--flow", "technical-analysis")
    paused = flywheel("ask", question, "--flow", "technical-analysis", "--refresh", "--wait", "500ms")
    flywheel("resume", "--flow", "technical-analysis")

    assert retried.code == 0
    assert "again in" in retried.err
    assert first in shared.err
    assert "  shared  " in shared.out
    assert "The query waits: the flow or its domain is paused." in paused.err
    assert paused.code == 4


def test_queries_are_cancelled_by_id_by_session_and_all(stack: RunningStack, flywheel: Flywheel, until: UNTIL) -> None:
    stack.behave(TECHNICAL, latency=30)

    def submit(*more: str) -> str:
        return flywheel("submit", "Review this class", "--flow", "technical-analysis", "--no-cache", *more).out.strip()

    one, in_session, other = submit(), submit("--session", "doomed"), submit()
    until(one, "running")
    by_id = flywheel("cancel", one, "--json").object
    by_session = flywheel("cancel", "--session", "doomed").out
    all_of_them = flywheel("cancel", "--all", "--json").object

    assert by_id["cancelled"] == [one]
    assert by_id["was"] == {one: "running"}
    assert in_session in by_session
    assert other in all_of_them["cancelled"]
    assert flywheel("wait", one).code == 5
    assert "had ended" in flywheel("cancel", one).out
    assert "Nothing" in flywheel("cancel", "--all").out


def test_a_session_remembers_its_turns(flywheel: Flywheel) -> None:
    flywheel("ask", "How do I model a many-to-many relation?", "--session", "lesson", "--json")
    flywheel("ask", "And how do I index it?", "--session", "lesson", "--json")
    listed = flywheel("sessions", "list", "--json").objects
    shown = flywheel("sessions", "show", "lesson", "--json").object
    route = flywheel("route", "And how fast is it then?", "--session", "lesson", "--json").object

    assert [each["turns"] for each in listed if each["session_id"] == "lesson"] == [2]
    assert [turn["domain"] for turn in shown["turns"]] == ["technical", "technical"]
    assert "And how do I index it?" in flywheel("sessions", "show", "lesson").out
    assert "lesson" in flywheel("sessions", "list").out
    assert route["targets"][0]["domain"] == "technical"
    assert flywheel("sessions", "show", "lesson", "--user", "stranger").code == 2


def test_the_cache_is_counted_and_cleared(flywheel: Flywheel) -> None:
    flywheel("ask", "Find the paragraph about data retention", "--json")
    flywheel("ask", "  Find the paragraph about data retention", "--json")
    counted = {each["flow"]: each for each in flywheel("cache", "stats", "--json").objects}
    cleared = flywheel("cache", "clear", "--flow", "document-qa", "--json").object

    assert counted["document-qa"]["hits"] >= 1
    assert 0 < counted["document-qa"]["hit_rate"] < 1
    assert cleared["cleared"] == counted["document-qa"]["entries"] >= 1
    assert "document-qa" in flywheel("cache", "stats").out
    assert "0 answers" in flywheel("cache", "clear", "--flow", "document-qa").out


def test_a_paused_flow_keeps_its_queries_until_it_goes_on(flywheel: Flywheel, until: UNTIL) -> None:
    assert flywheel("pause", "--flow", "document-qa").out == "The flow document-qa is paused.\n"
    assert flywheel("pause", "--domain", "documents", "--json").object["changed"]
    query_id = flywheel("submit", "What does section 4.2 say?", "--refresh").out.strip()
    paused = until(query_id, "waiting")
    overview = flywheel("status", "--json").object
    shown = flywheel("status").out
    flywheel("resume", "--flow", "document-qa")
    assert "goes on" in flywheel("resume", "--domain", "documents").out
    assert "was not paused" in flywheel("resume", "--domain", "documents").out

    assert paused["reason"] == "paused"
    assert overview["paused"] == {"domains": ["documents"], "flows": ["document-qa"]}
    assert {queue["queue"]: queue["parked"] for queue in overview["queues"]}["domain.documents"] == 1
    assert "paused domains" in shown
    assert flywheel("wait", query_id, "--timeout", "10").code == 0


def test_a_failed_query_is_a_dead_letter_until_it_is_retried_or_purged(stack: RunningStack, flywheel: Flywheel) -> None:
    stack.behave(DOCUMENTS, fault="unauthorized")
    failed = flywheel("ask", "Quote the exact sentence on liability", "--refresh")
    again = flywheel("ask", "Quote the exact sentence on warranty", "--refresh", "--json")
    letters = flywheel("dead-letters", "list", "--json").objects
    ids = [letter["query_id"] for letter in letters]
    shown = flywheel("dead-letters", "show", ids[0])
    listed = flywheel("dead-letters", "list", "--flow", "document-qa").out
    stack.behave(DOCUMENTS)
    retried = flywheel("dead-letters", "retry", ids[0], "--json").object
    answered = flywheel("wait", retried["query_id"], "--json").object
    purged = flywheel("dead-letters", "purge", "--all", "--json").object

    assert (failed.code, again.code) == (1, 1)
    assert "refused" in failed.err
    assert "  - " in failed.err
    assert again.object["error_type"] == "FlowUnauthorized"
    assert [letter["query"]["question"].split()[-1] for letter in letters] == ["warranty", "liability"]
    assert "warranty" in shown.out
    assert "refused" in shown.out
    assert ids[1] in listed
    assert retried["redrive_of"] == ids[0]
    assert "warranty" in answered["text"]
    assert flywheel("status", retried["query_id"], "--json").object["query"]["metadata"] == {"redrive_of": ids[0]}
    assert purged == {"purged": 1}
    assert flywheel("dead-letters", "show", ids[0]).code == 2
    assert flywheel("dead-letters", "list").out == "No dead letters.\n"
