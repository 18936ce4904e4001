"""Failures of replays: sources, evaluators, gates, results, cassettes, experiments."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.errors.base import FlywheelError


@dataclass(eq=False)
class UnusableSource(FlywheelError):
    """The questions of a replay cannot be read; nothing was asked."""

    source: str
    reason: str

    suggestions = (
        "Check its name: a .jsonl, .csv or .xlsx file, a replay's folder, records, dead-letters, dataset:NAME, traces.",
        "Correct the lines that are named; without --strict faulty lines are reported and left out.",
        "See docs/replay.md for the fields of a line.",
    )

    @property
    def message(self) -> str:
        return f"The questions of {self.source} cannot be replayed: {self.reason}"


@dataclass(eq=False)
class UnusableReplay(FlywheelError):
    """A replay's folder cannot be used."""

    folder: str
    reason: str

    suggestions = (
        "Continue a replay that was interrupted: `flywheel replay --resume DIR`.",
        "Begin a new one in another folder: `--out DIR`.",
        "Look whether another `flywheel replay` works on the same folder.",
    )

    @property
    def message(self) -> str:
        return f"The replay folder {self.folder} cannot be used: {self.reason}"


@dataclass(eq=False)
class InvalidEvaluator(FlywheelError):
    """An evaluator cannot be used as it was given; nothing was judged."""

    evaluator: str
    reason: str

    suggestions = (
        "Give NAME, NAME:ARGUMENT or LABEL=NAME:ARGUMENT, such as exact, contains:refund, valid=json-schema:FILE.",
        "Built in are exact, contains, regex, similarity, json-schema and judge (a flow that judges).",
        "One of your own is an entry point of the group `agentic_flywheel.evaluators`: see docs/replay.md.",
    )

    @property
    def message(self) -> str:
        return f"The evaluator {self.evaluator!r} cannot be used: {self.reason}"


@dataclass(eq=False)
class InvalidGate(FlywheelError):
    """A condition of a gate cannot be read; nothing was judged."""

    condition: str
    reason: str

    suggestions = (
        'Give conditions such as "route_changes<=2%, errors<=0.5%, similarity>=0.85, p95_ratio<=1.2".',
        "See docs/replay.md for every figure that a gate may name.",
        "Quote the whole gate, or the shell takes `<` and `>` for itself.",
    )

    @property
    def message(self) -> str:
        return f"The gate's condition {self.condition!r} cannot be read: {self.reason}"


@dataclass(eq=False)
class ResultsUnreadable(FlywheelError):
    """A replay's results cannot be compared."""

    path: str
    reason: str

    suggestions = (
        "Give the folder of a replay (`--out`), or its results.jsonl.",
        "Finish the replay first: `flywheel replay --resume`.",
        "Results of an older version cannot be read: replay the source again.",
    )

    @property
    def message(self) -> str:
        return f"The results in {self.path} cannot be read: {self.reason}"


@dataclass(eq=False)
class RecordingMissing(FlywheelError):
    """The cassette has no answer to this request, and it is not recording."""

    cassette: str
    request: str
    nearest: str = ""

    suggestions = (
        "Record it: run the test with --cassettes=record and FLOWISE_BASE_URL set.",
        "With --cassettes=new only what is missing is recorded.",
        "If the request differs from run to run, make it the same: a fixed session id, no time of day.",
    )

    @property
    def message(self) -> str:
        near = f"; the nearest recorded request is {self.nearest}" if self.nearest else ""
        return f"The cassette {self.cassette} has no recording of {self.request}{near}"


@dataclass(eq=False)
class ExperimentRefused(FlywheelError):
    """Langfuse did not accept a replay as an experiment. The replay and its report are unchanged."""

    run: str
    reason: str

    suggestions = (
        "Check LANGFUSE_BASE_URL and the keys with `flywheel doctor`.",
        "Run `flywheel replay report DIR --experiment NAME` again: what was sent already stays one experiment.",
        "Look at report.html meanwhile: it holds the same comparison.",
    )

    @property
    def message(self) -> str:
        return f"Langfuse did not take the experiment {self.run!r}: {self.reason}"
