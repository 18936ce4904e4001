"""Answers judged by a flow, on running workers."""

from __future__ import annotations

from pathlib import Path

from pipeline.house import House
from replay.planted import outcome, result, write

from producer import AsyncProducer
from producer.replay.evaluators import named_evaluators
from producer.replay.evaluators.case import Case
from producer.replay.evaluators.judge import prompt
from producer.replay.report import write_report


async def test_a_judge_is_asked_through_the_queue_and_one_that_gives_no_score_is_counted(
    house: House, tmp_path: Path
) -> None:
    write(
        tmp_path / "run" / "results.jsonl", [result(1, outcome("Paris"), outcome("Rome")), result(2, outcome("Oslo"))]
    )

    async with AsyncProducer(house.settings, owner="replay", client="replay") as producer:
        # The sandbox's flow talks, but scores nothing.
        judges = named_evaluators(["judge:technical-analysis"], ask=producer.ask)
        summary = await write_report(tmp_path / "run", evaluators=judges)

    (scores,) = summary.scores
    assert (scores.score, scores.failures) == (None, 3)
    assert house.calls(prompt(Case(question="Question 1?", answer="Paris"))) == 1
    assert "The evaluator judge could judge nothing." in (tmp_path / "run" / "report.html").read_text()
