"""Compare a whole replay: stream its results, judge them, and gather what changed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from producer.replay.comparing import Against, Change, Verdict, answered, compare, reference
from producer.replay.evaluators import Case, Named
from producer.replay.gate import Gate
from producer.replay.gathering import Gathering
from producer.replay.plan import MOST_MOVES
from producer.replay.recorded import Recorded
from producer.replay.results import ItemResult
from producer.replay.results_file import ResultIndex, read_results
from producer.replay.summary import MovedFlow, Summary
from producer.replay.verdict import headline

#: Items judged at once: a judging flow has to wait for its answers.
_AT_ONCE = 32


class Comparison:
    """The figures of a comparison, and the most changed items, the most changed first."""

    def __init__(self, summary: Summary, most_changed: list[Change]) -> None:
        self.summary = summary
        self.most_changed = most_changed


async def compare_results(
    results: Path,
    *,
    name: str,
    against: Path | None = None,
    against_name: str = "",
    evaluators: Sequence[Named] = (),
    gate: Gate | None = None,
    changes: TextIO | None = None,
) -> Comparison:
    """Compare ``results`` with those of another replay (``against``), else with what was recorded or expected.

    ``changes`` takes one line an item. Memory does not grow with the number of items but for 16 bytes an item of
    ``against``. Raises ResultsUnreadable.
    """
    gathering = Gathering()
    by_move: dict[tuple[str, str], Gathering] = {}
    matched = 0
    with contextlib.ExitStack() as open_files:
        index = open_files.enter_context(ResultIndex(against)) if against is not None else None
        for batch in _batches(read_results(results), _AT_ONCE):
            found = [_compared(result, index) for result in batch]
            if evaluators:
                found = list(
                    await asyncio.gather(
                        *(_scored(change, result, evaluators) for change, result in zip(found, batch, strict=True))
                    )
                )
            for change in found:
                matched += change.before is not None
                gathering.add(change)
                if change.moved is not None and (change.moved in by_move or len(by_move) < MOST_MOVES):
                    by_move.setdefault(change.moved, Gathering(shown=0)).add(change)
                if changes is not None:
                    changes.write(change.written() + "\n")
            # Let other tasks of this loop run.
            await asyncio.sleep(0)
        missing = max(0, len(index) - matched) if index is not None else 0
    summary = gathering.summary(
        name=name,
        compared_with=against_name,
        missing=missing,
        failures={each.label: each.failures for each in evaluators},
    )
    if not summary.compared_with:
        summary = summary.model_copy(update={"compared_with": _IN_WORDS[summary.against]})
    if by_move:
        summary = summary.model_copy(update={"moves": tuple(_moved(*move, each) for move, each in by_move.items())})
    if gate is not None:
        summary = summary.model_copy(update={"gate": gate.judge(summary)})
    moves = [(each.before, each.after) for each in summary.moves]
    alone = moves[0] if len(moves) == 1 and summary.moves[0].items == summary.items else None
    summary = summary.model_copy(update={"headline": headline(summary, moved=alone, several=len(moves) > 1)})
    return Comparison(summary, gathering.most_changed())


def _moved(before: str, after: str, gathering: Gathering) -> MovedFlow:
    """Return what came of the questions of one flow that were asked of another."""
    found = gathering.summary(name=after, compared_with=before, failures={})
    return MovedFlow(
        before=before,
        after=after,
        items=found.items,
        succeeded=found.succeeded,
        similarity=found.answers.similarity,
        time_ratio=found.speed.p95_ratio,
        token_ratio=found.tokens.mean_ratio,
        cost_ratio=found.costs.spread.mean_ratio,
        headline=headline(found, moved=(before, after)),
    )


_IN_WORDS: dict[Against, str] = {
    "recorded": "the recorded answers",
    "expected": "what was expected",
    "replay": "another replay",
    "nothing": "nothing",
}


def _batches(results: Iterator[ItemResult], size: int) -> Iterator[list[ItemResult]]:
    while batch := list(itertools.islice(results, size)):
        yield batch


def _compared(result: ItemResult, index: ResultIndex | None) -> Change:
    if index is None:
        against, before = reference(result)
        return compare(result, against, before)
    other = index.find(result.item.id, result.item.number)
    return compare(result, "replay", other.outcome if other is not None else None)


async def _scored(change: Change, result: ItemResult, evaluators: Sequence[Named]) -> Change:
    """Let every evaluator judge the answer, and the one before where a replay or a record has it."""
    before = change.before if change.against != "expected" else None
    now, old = await asyncio.gather(_verdicts(result, change.after, evaluators), _verdicts(result, before, evaluators))
    return change.model_copy(update={"scores": now, "scores_before": old})


async def _verdicts(result: ItemResult, outcome: Recorded | None, evaluators: Sequence[Named]) -> dict[str, Verdict]:
    if outcome is None or not answered(outcome):
        return {}
    item = result.item
    case = Case(question=item.question, answer=outcome.text, expected=item.expected, metadata=item.metadata)
    verdicts = await asyncio.gather(*(each.judge(case) for each in evaluators))
    return {each.label: verdict for each, verdict in zip(evaluators, verdicts, strict=True) if verdict is not None}
