"""A replay as a test uses it: ``assert replay("questions.jsonl", out=folder).gate("errors<=0.5%")``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentic_flywheel.errors import ResultsUnreadable
from producer.replay.evaluators import named_evaluators
from producer.replay.gate import read_gate
from producer.replay.program import Replay
from producer.replay.report import write_report
from producer.replay.sources import Objects, Source
from producer.replay.summary import ConditionOutcome, Summary


class GateResult:
    """Whether every condition of a gate holds. True or false in an ``assert``, whose message names what does not."""

    def __init__(self, conditions: Sequence[ConditionOutcome]) -> None:
        self.conditions = tuple(conditions)

    def __bool__(self) -> bool:
        return all(each.passed for each in self.conditions)

    def __repr__(self) -> str:
        return "\n".join(f"{'✓' if each.passed else '✗'} {each.sentence}" for each in self.conditions)


class Replayed:
    """A finished replay with its comparison."""

    def __init__(self, summary: Summary, folder: Path) -> None:
        self.summary = summary
        self.folder = folder

    def gate(self, conditions: str) -> GateResult:
        """Judge conditions such as ``"route_changes<=2%, errors<=0.5%"``. Raises InvalidGate."""
        return GateResult(read_gate(conditions).judge(self.summary))


def replay(
    source: str | os.PathLike[str] | Source | Objects,
    *,
    out: str | os.PathLike[str],
    against: str | os.PathLike[str] | None = None,
    evaluators: Sequence[str] = (),
    **options: Any,
) -> Replayed:
    """Replay a source to its end and compare it; for code without an event loop.

    ``against`` is the folder of another replay; without it the recorded answers count, else what is expected.
    ``options`` are those of ``Replay``. Raises what iterating over a ``Replay`` raises; ResultsUnreadable where it
    was stopped by its own limits before its end.
    """
    named = named_evaluators(evaluators)
    asked = Replay(source, out=out, **options)

    async def carry_out() -> Summary:
        async for _ in asked:
            pass
        if asked.ending != "complete":
            raise ResultsUnreadable(str(out), "not every question was asked: no more calls were allowed")
        return await write_report(
            asked.folder.path, against=Path(against) if against is not None else None, evaluators=named
        )

    return Replayed(asyncio.run(carry_out()), asked.folder.path)
