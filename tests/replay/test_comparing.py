"""What changed, for one question and for a whole replay: what was planted is found, and nothing else."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from replay.planted import START, failure, outcome, realistic, result, write

from agentic_flywheel.errors import ResultsUnreadable
from agentic_flywheel.models import Answer, Query, Record, State, ToolUse
from producer.replay.comparing import CLARIFY, compare, reference, route_of
from producer.replay.comparison import Comparison, compare_results
from producer.replay.evaluators import named_evaluators
from producer.replay.gate import read_gate
from producer.replay.gathering import SHOWN
from producer.replay.outcomes import of_record
from producer.replay.report.embedded import embedded
from producer.replay.report.figures import tiles
from producer.replay.results import ItemResult
from producer.replay.results_file import ResultIndex, results_path
from producer.replay.sampling import PairSample, Timeline


def compared(folder: Path, results: Sequence[ItemResult], **more: Any) -> Comparison:
    path = write(folder / "now" / "results.jsonl", results)
    return asyncio.run(compare_results(path, name="now", **more))


def test_a_new_route_and_new_words_are_found() -> None:
    change = compare(result(1, outcome("The river bends.", "creative-orientation")), "recorded", outcome("Paris."))

    assert change.rerouted is True
    assert change.sameness == "different"
    assert change.similarity is not None
    assert change.similarity < 0.5


def test_other_tools_other_sources_and_a_stop_for_a_person_are_found() -> None:
    did: dict[str, Any] = {"tools": ("find", "plot"), "sources": ("a.pdf", "b.pdf, page 2"), "stopped": False}
    before = outcome(**did)

    def changed(**now: Any) -> tuple[bool | None, ...]:
        change = compare(result(1, outcome(**{**did, **now})), "recorded", before)
        return change.tools_changed, change.sources_changed, change.stop_changed

    assert changed() == (False, False, False)
    assert changed(tools=("plot", "find"), sources=("b.pdf, page 2", "a.pdf", "a.pdf")) == (False, False, False)
    assert changed(tools=("plot", "find", "find")) == (True, False, False)
    assert changed(sources=("a.pdf",)) == (False, True, False)
    assert changed(stopped=True) == (False, False, True)
    assert changed(tools=None, sources=None, stopped=None) == (None, None, None)
    stopped = compare(result(1, outcome(**{**did, "stopped": True})), "recorded", before)
    assert stopped.magnitude > compare(result(1, outcome(**did)), "recorded", before).magnitude + 1


def test_changes_of_what_flows_do_are_counted_gated_and_told(tmp_path: Path) -> None:
    before = outcome(tools=("find",), sources=("a.pdf",), stopped=False)
    after = [outcome(tools=("find",), sources=("a.pdf",), stopped=False)] * 18
    after += [outcome(tools=("plot",), sources=("a.pdf",), stopped=True), outcome(tools=(), sources=(), stopped=False)]
    results = [result(number, each, before) for number, each in enumerate([*after, failure()], 1)]

    found = compared(tmp_path, results, gate=read_gate("tool_changes<=5%, source_changes<=5%, stop_changes<=5%"))

    summary = found.summary
    assert [(each.compared, each.changed) for each in (summary.tools, summary.sources, summary.stops)] == [
        (20, 2),
        (20, 1),
        (20, 1),
    ]
    assert [each.passed for each in summary.gate] == [False, True, True]
    assert summary.headline is not None
    said = "The tools of 2 of 20 questions changed, the sources of 1 of 20 questions changed"
    assert any(fact.startswith(said) for fact in summary.headline.facts)
    titles = {tile.title: tile.number for tile in tiles(summary)}
    assert (titles["Other tools"], titles["Other sources"]) == ("10.0 %", "5.0 %")
    shown, _ = embedded(summary, found.most_changed, trace_base=None)
    assert '["tools",["find"],["plot"]],["stop",[],["stopped for a person"]]' in shown


def test_a_replay_of_flows_without_tools_says_nothing_of_them(tmp_path: Path) -> None:
    alike = outcome(tools=(), sources=(), stopped=False)

    summary = compared(tmp_path, [result(1, alike, alike)]).summary

    assert (summary.tools.compared, summary.tools.changed) == (1, 0)
    assert not {"Other tools", "Other sources"} & {tile.title for tile in tiles(summary)}


def test_an_outcome_names_the_tools_called_and_the_sources_cited() -> None:
    answer = Answer(
        query_id="q",
        text="t",
        flow="f",
        domain="d",
        tools=(ToolUse(name="find"), ToolUse(name="find", error="gone")),
        sources=(
            {"pageContent": "p", "metadata": {"source": "a.pdf", "loc": {"pageNumber": 2}}},
            {"pageContent": "p", "metadata": {"title": "t" * 500}},
            {"pageContent": "p"},
            {"pageContent": "q"},
        ),
    )
    record = Record(
        query_id="q",
        owner="local",
        state=State.SUCCEEDED,
        query=Query(question="?"),
        answer=answer,
        last_stop=1,
        created=START,
    )

    found = of_record(record)

    assert found.tools == ("find", "find")
    assert found.sources is not None
    assert found.sources[:2] == ("a.pdf, page 2", "t" * 200)
    assert len(set(found.sources)) == 4
    assert found.stopped is True


def test_case_and_a_last_stop_are_no_new_answer() -> None:
    change = compare(result(1, outcome("paris.")), "recorded", outcome("Paris"))

    assert (change.rerouted, change.sameness, change.similarity) == (False, "normalised", 1.0)


def test_a_failure_has_no_words_to_compare() -> None:
    change = compare(result(1, failure()), "recorded", outcome())

    assert (change.sameness, change.similarity) == (None, None)
    assert change.failed
    assert not change.failed_before
    assert change.magnitude > compare(result(1, outcome("Rome", "other")), "recorded", outcome()).magnitude


def test_a_fan_out_in_another_order_is_the_same_route() -> None:
    both = outcome(flow_keys=("b", "a"))

    assert route_of(both) == "a + b"
    assert compare(result(1, both), "recorded", outcome(flow_keys=("a", "b"))).rerouted is False
    assert compare(result(1, both), "recorded", outcome(flow_keys=("a",))).rerouted is True
    assert route_of(outcome(kind="clarify")) == CLARIFY


def test_without_a_record_the_expectation_is_what_counts() -> None:
    given = result(1, outcome("Paris", "document-qa"), expected="paris", expected_flow="technical-analysis")

    change = compare(given, *reference(given))

    assert (change.against, change.rerouted, change.as_expected, change.sameness) == (
        "expected",
        True,
        False,
        "normalised",
    )
    assert reference(result(2, outcome())) == ("nothing", None)


def test_exactly_the_planted_changes_are_counted(tmp_path: Path) -> None:
    rerouted, failing = range(3, 300, 10), range(7, 300, 50)

    found = compared(tmp_path, realistic(300, rerouted=rerouted, failing=failing))

    summary = found.summary
    assert summary.items == 300
    assert summary.routes.changed == len(rerouted)
    assert sum(each.items for each in summary.routes.changes if each.before != each.after) == len(rerouted)
    assert (summary.errors.gained, summary.errors.lost) == (len(failing), 0)
    assert {change.number for change in found.most_changed[: len(failing)]} == set(failing)
    assert summary.flow_time.p50_ratio is not None
    assert summary.flow_time.p50_ratio.low > 1.0
    assert summary.against == "recorded"
    assert sum(summary.durations.before) == 300 - len(failing)
    assert sum(moment.items for moment in summary.timeline) == 300


def test_two_replays_are_paired_by_id_in_whatever_order(tmp_path: Path) -> None:
    old = [result(number, outcome(f"Answer {number}")) for number in range(1, 60)]
    new = [
        result(number, outcome(f"Answer {number}", "technical-analysis" if number == 9 else "document-qa"))
        for number in range(59, 4, -1)
    ]
    extra = result(77, outcome())

    found = compared(
        tmp_path, [*new, extra], against=write(tmp_path / "old" / "results.jsonl", old), against_name="old"
    )

    summary = found.summary
    assert (summary.items, summary.compared, summary.missing) == (56, 55, 4)
    assert summary.answers.exact == 55
    assert summary.routes.changed == 1
    assert (summary.against, summary.compared_with) == ("replay", "old")
    assert found.most_changed[0].id == "q9"


def test_items_that_share_an_id_are_paired_by_number(tmp_path: Path) -> None:
    old = [result(number, outcome(f"Answer {number}"), id="same") for number in (1, 2, 3)]

    with ResultIndex(write(tmp_path / "results.jsonl", old)) as index:
        second, none_of_it, unknown = index.find("same", 2), index.find("same", 9), index.find("other", 1)

    assert second is not None
    assert second.outcome.text == "Answer 2"
    assert none_of_it is not None
    assert none_of_it.outcome.text == "Answer 1"
    assert unknown is None


def test_a_line_cut_off_by_a_crash_does_not_count_and_a_faulty_one_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "results.jsonl", [result(1, outcome())])
    with path.open("a") as file:
        file.write('{"item": {"number": 2, "id"')
    assert asyncio.run(compare_results(path, name="cut")).summary.items == 1

    path.write_text('{"item": 3}\n')
    with pytest.raises(ResultsUnreadable, match="line 1: item"):
        asyncio.run(compare_results(path, name="faulty"))
    with pytest.raises(ResultsUnreadable, match="there is no results"):
        results_path(tmp_path / "nowhere")


def test_scores_are_paired_too_and_every_item_has_its_line(tmp_path: Path) -> None:
    results = [
        result(number, outcome("Paris" if number % 2 else "Rome"), outcome("Paris"), expected="Paris")
        for number in range(1, 41)
    ]
    lines = io.StringIO()

    summary = compared(tmp_path, results, evaluators=named_evaluators(["exact"]), changes=lines).summary

    (scores,) = summary.scores
    assert scores.score is not None
    assert scores.change is not None
    assert (scores.score.value, scores.before, scores.change.value) == (0.5, 1.0, -0.5)
    assert summary.headline is not None
    assert (summary.headline.tone, summary.headline.line) == ("bad", "Answers score worse than before")
    written = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert len(written) == 40
    assert written[1]["scores"] == {"exact": {"score": 0.0}}
    assert "text" not in written[1]["after"]


def test_more_changes_than_a_page_shows_leave_the_most_changed(tmp_path: Path) -> None:
    results = [
        result(number, outcome("y" * 30_000 if number > 40 else "x", "document-qa"), outcome("x"))
        for number in range(1, SHOWN + 41)
    ]

    found = compared(tmp_path, results).most_changed

    assert len(found) == SHOWN
    assert all(change.number > 40 for change in found)
    assert len(found[0].after.text) < found[0].characters == 30_000


@pytest.mark.parametrize(
    ("count", "line"),
    [
        (0, "Nothing was replayed"),
        (1, "1 question is too few to tell"),
        (5, "5 questions are too few to tell"),
        (1000, "Nothing that matters changed for the worse"),
    ],
)
def test_the_verdict_says_plainly_when_there_is_too_little(tmp_path: Path, count: int, line: str) -> None:
    results = [result(number, outcome(), outcome()) for number in range(1, count + 1)]

    summary = compared(tmp_path, results).summary

    assert summary.headline is not None
    assert summary.headline.line == line


def test_sixty_cannot_show_that_no_more_fail(tmp_path: Path) -> None:
    results = [result(1, failure(), outcome()), *(result(number, outcome(), outcome()) for number in range(2, 61))]

    headline = compared(tmp_path, results).summary.headline

    assert headline is not None
    assert headline.line == "Nothing got worse that this sample can show"
    assert "1 failed anew, 0 no longer: too few cases to tell whether errors rose." in headline.facts


def test_a_sample_is_uniform_over_the_whole_stream() -> None:
    sample = PairSample(1000)
    for number in range(20_000):
        sample.add(float(number), None if number % 2 else float(number))
    before, after = sample.pairs()

    assert 400 < len(before) < 600
    assert 8_000 < before.mean() < 12_000
    assert (before == after).all()


def test_a_timeline_grows_as_the_replay_does() -> None:
    from datetime import timedelta

    timeline = Timeline()
    for minute in range(500):
        timeline.add(START + timedelta(minutes=minute), failed=minute == 499, rerouted=False, latency_ms=100.0)
    moments = timeline.moments()

    assert len(moments) <= 80
    assert sum(moment.items for moment in moments) == 500
    assert moments[-1].failed == 1
    assert moments[-1].start + moments[-1].seconds >= 499 * 60
    assert moments[0].p50_ms == pytest.approx(100, rel=0.15)


def test_figures_that_cannot_be_are_left_out(tmp_path: Path) -> None:
    absurd: dict[str, Any] = {
        "latency_ms": -5.0,
        "flow_ms": float("nan"),
        "first_token_ms": float("inf"),
        "confidence": float("nan"),
    }
    results = [result(1, outcome(**absurd), outcome(score=float("nan"), tokens=-3, latency_ms=0.0))]

    summary = compared(tmp_path, results).summary

    assert (summary.items, summary.latency.pairs, summary.flow_time.after) == (1, 0, None)
