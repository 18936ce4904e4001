from __future__ import annotations

from typing import Any

import pytest

from agentic_flywheel.errors import FlowTimeout
from agentic_flywheel.models import Answer, State
from agentic_flywheel.tracing.root import root_of, trace_name
from tracing.records import CREATED, record


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("How do I connect PostgreSQL with Python?", "Technical Analysis: connect PostgreSQL Python"),
        ("what is it", "Technical Analysis: what is it"),
        ("¿?", "Technical Analysis"),
        ("C++ vs. C# in node.js", "Technical Analysis: C++ vs C# node.js"),
        ("one two three four five six seven", "Technical Analysis: one two three four five"),
    ],
)
def test_a_trace_is_named_by_its_flow_and_the_words_that_tell(question: str, name: str) -> None:
    assert trace_name("Technical Analysis", question) == name


def test_a_name_stays_short() -> None:
    assert len(trace_name("Flow", "x" * 500)) == 80


def test_the_root_says_who_asked_what_and_got_what() -> None:
    root = root_of(record(), title="Technical Analysis")

    assert root.is_root
    assert root.name == "Technical Analysis: connect PostgreSQL Python"
    assert (root.session, root.user) == ("s-1", "ada")
    assert root.tags == ("domain:technical", "band:high", "client:cli")
    assert (root.input, root.output) == ("How do I connect PostgreSQL with Python?", "Use psycopg.")
    assert root.level is None
    assert root.start == int(CREATED.timestamp()) * 10**9
    assert root.end - root.start == 2 * 10**9


def test_a_title_is_made_from_the_flow_where_none_is_given() -> None:
    assert root_of(record()).name.startswith("Technical Analysis: ")
    assert root_of(record(flow=None)).name.startswith("Query: ")


def test_a_cached_answer_is_tagged() -> None:
    answer = Answer(query_id="q", text="x", flow="f", domain="d", cached=True)

    assert "cached" in root_of(record(answer=answer)).tags


@pytest.mark.parametrize(
    ("state", "fields", "level", "message"),
    [
        (State.CANCELLED, {"reason": "asked by its owner"}, "WARNING", "cancelled: asked by its owner"),
        (State.EXPIRED, {"reason": "queued"}, "ERROR", "deadline passed: queued"),
        (
            State.FAILED,
            {"error": FlowTimeout("technical-analysis", 5).describe()},
            "ERROR",
            "FlowTimeout: The flow 'technical-analysis' had not answered within 5 s",
        ),
    ],
)
def test_a_query_without_an_answer_says_why(state: State, fields: dict[str, Any], level: str, message: str) -> None:
    root = root_of(record(state, **fields))

    assert (root.level, root.message, root.output) == (level, message, None)


def test_a_private_root_has_no_word_of_question_or_answer() -> None:
    root = root_of(record(State.FAILED, error=FlowTimeout("technical-analysis", 5).describe()), private=True)

    assert (root.name, root.input, root.output, root.message) == ("Technical Analysis", None, None, "failed")
