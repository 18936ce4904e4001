from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console

from agentic_flywheel.broker.scores import Score
from agentic_flywheel.models import State, Usage
from agentic_flywheel.tracing import Observation, derive_span_id, root_span_id
from agentic_flywheel.tracing.root import root_of
from agentic_flywheel.tracing.tree import bar, duration, plain, render_tree
from agentic_flywheel.tracing.view import TraceView, steps_of
from tracing.records import record

ENDED = record()
ROOT = root_of(ENDED, title="Technical Analysis")._replace(span_id=root_span_id(ENDED.query_id))
SECOND = 10**9


def step(name: str, begins: float, ends: float, **fields: object) -> Observation:
    given = {"span_id": derive_span_id(ENDED.query_id, name), "parent": ROOT.span_id, **fields}
    return Observation(
        ENDED.query_id, name, "span", ROOT.start + int(begins * SECOND), ROOT.start + int(ends * SECOND), **given  # type: ignore[arg-type]
    )  # fmt: skip


def shown(*observations: Observation, **view: object) -> str:
    output = StringIO()
    console = Console(file=output, width=170, force_terminal=False)
    console.print(render_tree(TraceView(ENDED.query_id, observations, source="the trace file", **view)))  # type: ignore[arg-type]
    return output.getvalue()


def test_a_tree_tells_the_story_of_a_query_in_words() -> None:
    attempt = derive_span_id(ENDED.query_id, "flow-execution")
    text = shown(
        ROOT,
        step("queue-wait", 0, 0.2, metadata={"queue": "domain.technical"}),
        step(
            "intent-classification", 0.2, 0.3, output='{"flow": "sql", "confidence": 0.91}', metadata={"band": "high"}
        ),
        step("cache-check", 0.3, 0.3, output={"hit": False}),
        step(
            "flow-execution",
            0.3,
            2.0,
            first_token=ROOT.start + SECOND,
            usage=Usage(total_tokens=42),
            metadata={"flow_name": "Technical Analysis", "attempt": "2"},
        ),
        step("inner", 0.5, 0.6, parent=attempt, level="ERROR", message="it broke"),
        scores=(Score(query_id=ENDED.query_id, value=8, comment="good", at=datetime.now(UTC)),),
    )

    lines = {line.split()[1]: line for line in text.splitlines() if line.startswith(("├─", "└─", "│", "   └─"))}
    assert "Technical Analysis: connect PostgreSQL Python" in text
    assert "2.00 s" in text
    assert "waited for a worker: queue domain.technical" in lines["queue-wait"]
    assert "sql at 91%, high" in lines["intent-classification"]
    assert "looked for a kept answer: none" in lines["cache-check"]
    assert "attempt 2, first words after 700 ms, 42 tokens" in lines["flow-execution"]
    assert "it broke" in text
    assert "score rating: 8  good" in text
    assert "Read from the trace file" in text
    assert text.index("queue-wait") < text.index("flow-execution") < text.index("inner")


def test_text_of_users_and_flows_is_shown_as_it_is_and_obeys_nothing() -> None:
    root = ROOT._replace(name="[bold]x[/bold] \x1b[31mred\u202e", input="a\nb", user="[link=x]eve")

    text = shown(root, step("[red]odd\x07", 0, 1))

    assert "[bold]x[/bold]" in text
    assert "[link=x]eve" in text
    assert "[red]odd" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\x07" not in text


def test_a_query_under_way_shows_its_steps_so_far() -> None:
    text = shown(step("queue-wait", 0, 1))

    assert "is under way" in text
    assert "queue-wait" in text


def test_a_failed_query_says_so_at_the_top() -> None:
    ended = root_of(record(State.EXPIRED, reason="queued"))

    assert "deadline passed: queued" in shown(ended)


def test_steps_stand_in_order_below_their_parents_and_none_is_left_out() -> None:
    lost = step("lost", 0.1, 0.2, parent="ff" * 8)
    own_parent = step("ring", 0.1, 0.2, parent=derive_span_id(ENDED.query_id, "ring"))
    child = step("child", 0.6, 0.7, parent=derive_span_id(ENDED.query_id, "late"))

    steps = steps_of([child, own_parent, step("late", 0.5, 1), lost, step("early", 0, 0.1), ROOT])

    assert [(each.seen.name, each.depth) for each in steps] == [
        (ROOT.name, 0),
        ("early", 1),
        ("lost", 1),
        ("late", 1),
        ("child", 2),
        ("ring", 1),
    ]
    assert (steps[3].begins, steps[3].ends) == (0.25, 0.5)
    assert steps_of([]) == []


@pytest.mark.parametrize(
    ("begins", "ends", "line"),
    [(0, 1, "████████"), (0.5, 1, "    ████"), (0, 0, "▏"), (1, 1, "       ▏"), (0, 0.25, "██"), (0.9, 1, "       ▊")],
)
def test_a_bar_shows_when_a_step_ran(begins: float, ends: float, line: str) -> None:
    assert bar(begins, ends, 8) == line


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0.0 ms"),
        (400_000, "0.4 ms"),
        (230 * 10**6, "230 ms"),
        (2_310 * 10**6, "2.31 s"),
        (200 * SECOND, "3 min 20 s"),
        (7_530 * SECOND, "2 h 5 min"),
        (259_361 * SECOND, "3 d 0 h"),
    ],
)
def test_durations_are_read_by_people(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


def test_long_texts_are_cut() -> None:
    assert plain("x" * 500, 10) == "x" * 9 + "…"
    assert plain({"a": [1]}) == '{"a": [1]}'
