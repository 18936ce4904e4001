"""``flywheel replay report`` and ``diff``: what a replay changed, as a page, as figures, and as an exit code for CI."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producer.cli import options
from producer.cli.exits import Exit
from producer.cli.screen import Screen

if TYPE_CHECKING:
    from agentic_flywheel.models import Answer
    from producer.replay.summary import Summary

_TONES = {"good": "bold green", "mixed": "bold yellow", "bad": "bold red", "unclear": "bold"}

_Folder = Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="A replay's folder.")]
_Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Where to write; by default beside the results.")
]
GateText = Annotated[
    str | None,
    typer.Option(
        "--gate", metavar="CONDITIONS", help='Exit with 1 unless all hold: "route_changes<=2%, errors<=0.5%".'
    ),
]
EvaluatorNames = Annotated[
    list[str] | None,
    typer.Option(
        "--evaluator", metavar="[LABEL=]NAME[:ARG]", help="Score the answers; repeatable. judge:FLOW asks a flow."
    ),
]


def report(
    folder: _Folder,
    out: _Out = None,
    gate: GateText = None,
    evaluator: EvaluatorNames = None,
    experiment: Annotated[
        str | None,
        typer.Option("--experiment", metavar="NAME", help="Show a replayed Langfuse dataset as this experiment there."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Compare a replay with the recorded answers, else with what was expected, and write its report.

    Writes report.html, summary.json and changes.jsonl.
    """
    screen = Screen(json)
    if experiment is not None:
        with screen.reporting():
            sent = asyncio.run(_experiment(folder, experiment))
        screen.note(f"{sent:,} item{'' if sent == 1 else 's'} sent to Langfuse as the experiment {experiment}")
    _present(screen, folder, out=out, gate=gate, evaluators=evaluator or [])


async def _experiment(folder: Path, name: str) -> int:
    from agentic_flywheel.settings import load_settings
    from producer.replay.experiment import send_experiment

    return await send_experiment(folder, name, load_settings())


def diff(
    before: Annotated[Path, typer.Argument(metavar="A", show_default=False, help="The folder of the replay before.")],
    now: Annotated[Path, typer.Argument(metavar="B", show_default=False, help="The folder of the replay now.")],
    out: _Out = None,
    gate: GateText = None,
    evaluator: EvaluatorNames = None,
    json: options.Json = False,
) -> None:
    """Compare replay B with replay A, item by item of the same id, and write the report into B/against-A."""
    beside = now if now.is_dir() else now.parent
    folder = out or beside / f"against-{before.resolve().name}"
    _present(Screen(json), now, against=before, out=folder, gate=gate, evaluators=evaluator or [])


def _present(screen: Screen, folder: Path, **given: Any) -> None:
    with screen.reporting():
        found = compared(folder, **given)
    if screen.json:
        screen.object(found.object)
    else:
        found.show(screen)
    if not found.passed:
        raise typer.Exit(Exit.FAILED)


def check(gate: str | None, evaluators: list[str], *, private: bool) -> None:
    """Look at what was given before a long replay begins. Raises InvalidGate, InvalidEvaluator.

    ``private``: the stack that is asked will have ended when the answers are judged.
    """
    if gate is not None:
        from producer.replay.gate import read_gate

        read_gate(gate)
    if evaluators:
        from producer.replay.evaluators.named import asks_flows, named_evaluators

        if private and asks_flows(evaluators):
            raise typer.BadParameter(
                "a judge is asked on the running stack: leave --local out, or judge later: `flywheel replay report`."
            )
        named_evaluators(evaluators, ask=_later)


async def _later(question: str, **_: object) -> Answer:
    raise AssertionError("no judge is asked before the replay")


@dataclass(frozen=True)
class Found:
    """What a comparison showed, and where its report is."""

    summary: Summary
    page: Path

    @property
    def passed(self) -> bool:
        return self.summary.gate_passed

    @property
    def object(self) -> dict[str, Any]:
        """The figures as ``--json`` prints them."""
        return {**self.summary.model_dump(mode="json"), "gate_passed": self.passed, "report": str(self.page)}

    def show(self, screen: Screen) -> None:
        """Print the verdict, why, how each condition fared, and where the report is."""
        headline = self.summary.headline
        if headline is not None:
            screen.line((headline.line, _TONES[headline.tone]))
            for fact in headline.facts:
                screen.line(f"  {fact}")
        if len(self.summary.moves) > 1:
            for move in self.summary.moves:
                screen.line(f"{move.before} → {move.after}: ", (move.headline.line, _TONES[move.headline.tone]))
                for fact in move.headline.facts:
                    screen.line(f"  {fact}")
        for condition in self.summary.gate:
            screen.line(("✓ ", "green") if condition.passed else ("✗ ", "red"), condition.sentence)
        screen.line(("report   ", "dim"), str(self.page))


def compared(
    folder: Path,
    *,
    against: Path | None = None,
    out: Path | None = None,
    gate: str | None = None,
    evaluators: list[str],
) -> Found:
    """Compare a replay and write its report. Raises ResultsUnreadable, InvalidGate, InvalidEvaluator."""
    summary = asyncio.run(_compared(folder, against=against, out=out, gate=gate, evaluators=evaluators))
    beside = folder if folder.is_dir() else folder.parent
    return Found(summary, (out or beside) / "report.html")


async def _compared(
    folder: Path, *, against: Path | None, out: Path | None, gate: str | None, evaluators: list[str]
) -> Summary:
    # Imported where they are needed: numpy and the encoder take a moment.
    from agentic_flywheel.settings import load_settings
    from producer.replay.evaluators.named import asks_flows, named_evaluators
    from producer.replay.gate import read_gate
    from producer.replay.report import write_report

    conditions = read_gate(gate) if gate is not None else None
    login = load_settings().langfuse_login
    async with AsyncExitStack() as opened:
        ask = None
        if asks_flows(evaluators):
            from producer.client import AsyncProducer

            ask = (await opened.enter_async_context(AsyncProducer(owner="replay", client="replay"))).ask
        return await write_report(
            folder,
            out,
            against=against,
            evaluators=named_evaluators(evaluators, ask=ask),
            gate=conditions,
            trace_base=login[0] if login else None,
        )
