"""Gates: which conditions there are, and when they hold."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agentic_flywheel.errors import InvalidGate
from producer.replay.gate import FIGURES, read_gate
from producer.replay.statistics import Estimate, share, share_change
from producer.replay.summary import Quantiles, Routes, ScoreFigures, Share, Spread, Summary
from producer.replay.verdict import headline

SUMMARY = Summary(
    name="now",
    against="recorded",
    compared_with="the recorded answers",
    created=datetime(2026, 11, 24, tzinfo=UTC),
    items=2000,
    succeeded=1995,
    compared=2000,
    routes=Routes(compared=2000, changed=50, share=share(50, 2000)),
    errors=Share(n=2000, count=5, share=share(5, 2000), pairs=2000, gained=5, change=share_change(5, 0, 2000)),
    latency=Spread(
        pairs=2000,
        after=Quantiles(n=2000, mean=600, p50=500, p95=1500, p99=2500),
        p95_ratio=Estimate(value=1.12, low=1.05, high=1.3, n=2000),
    ),
    scores=(ScoreFigures(label="critic", score=Estimate(value=0.8, low=0.75, high=0.85, n=300)),),
)


@pytest.mark.parametrize(
    ("condition", "passed", "certain"),
    [
        ("route_changes<=2%", False, False),  # 2.5 %, interval 1.9 to 3.3 %
        ("route_changes <= 0.05", True, True),
        ("route_changes>=1.5%", True, True),
        ("errors<=0.5%", True, False),  # 0.25 %, interval up to 0.58 %
        ("errors<1%", True, True),
        ("p95_ratio<=1.2", True, False),
        ("p95<=1.5s", True, True),
        ("p95<1500ms", False, True),
        ("p99>2s", True, True),
        ("score.critic>=0.7", True, True),
        ("new_errors<=1%", True, True),
    ],
)
def test_a_condition_holds_or_not_and_says_whether_that_is_certain(condition: str, passed: bool, certain: bool) -> None:
    (outcome,) = read_gate(condition).judge(SUMMARY)

    assert (outcome.passed, outcome.certain) == (passed, certain), outcome.sentence


def test_the_numbers_are_in_the_sentence() -> None:
    (outcome,) = read_gate("route_changes<=2%").judge(SUMMARY)

    assert outcome.sentence == (
        "route_changes is 2.5 % (95 % interval 1.9 % to 3.3 %, 2,000 cases): misses <= 2.0 %; too few cases to be sure"
    )


@pytest.mark.parametrize("condition", ["similarity>=0.5", "token_ratio<=1", "score.other>=0", "score_change.critic>=0"])
def test_what_was_not_measured_fails(condition: str) -> None:
    (outcome,) = read_gate(condition).judge(SUMMARY)

    assert not outcome.passed
    assert "nothing to measure" in outcome.sentence


def test_every_figure_can_be_named() -> None:
    limits = {"duration": "5s", "share": "5%", "ratio": "1.2", "number": "0.5"}
    gate = read_gate(", ".join(f"{name}<={limits[figure.kind]}" for name, figure in FIGURES.items()))

    assert len(gate.judge(SUMMARY)) == len(FIGURES)


@pytest.mark.parametrize(
    ("gate", "because"),
    [
        ("", "holds no condition"),
        (" , ", "holds no condition"),
        ("errors", "not FIGURE<=LIMIT"),
        ("errors==1%", "not FIGURE<=LIMIT"),
        ("errors<=many", "not FIGURE<=LIMIT"),
        ("fun<=1%", "no figure 'fun'; known: route_changes"),
        ("fun.critic<=1", "no figure"),
        ("errors<=2s", "no duration"),
        ("errors<=200%", "0% to 100%"),
        ("p95<=900", "needs its unit"),
        ("p95<=5%", "needs its unit"),
        ("cost_ratio<=-1", "a ratio is never below 0"),
        ("p95<=-1s", "a duration is never below 0"),
        ("model_dump<=1", "no figure"),
    ],
)
def test_a_faulty_gate_names_its_condition(gate: str, because: str) -> None:
    with pytest.raises(InvalidGate, match=because):
        read_gate(gate)


def test_a_missed_condition_is_the_verdict() -> None:
    judged = SUMMARY.model_copy(update={"gate": read_gate("errors<=1%, route_changes<=2%").judge(SUMMARY)})

    assert not judged.gate_passed
    assert headline(judged).line == "The gate fails: 1 of 2 conditions missed"
    met = SUMMARY.model_copy(update={"gate": read_gate("errors<=1%, p95<=9s").judge(SUMMARY)})
    assert met.gate_passed
    assert headline(met).line == "The gate passes: 2 conditions met"
