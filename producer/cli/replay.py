"""``flywheel replay``: ask many questions again, as a file, our records or Langfuse have them, and see what changed."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, cast

import typer
import uvloop
from typer.core import TyperGroup

from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.models import CachePolicy, State
from producer.cli import options
from producer.cli.exits import Exit
from producer.cli.replay_display import line_of, shown
from producer.cli.replay_report import EvaluatorNames, GateText, check, compared, diff, report
from producer.cli.safe_text import one_line
from producer.cli.screen import Screen
from producer.replay.folder import Folder
from producer.replay.plan import MOST_MOVES
from producer.replay.program import Replay
from producer.replay.progress import Progress
from producer.replay.reads import Hints
from producer.replay.results import ItemResult
from producer.replay.sources import FILTERED, TEXTS, Source, source_named
from producer.replay.wanted import Wanted
from producer.stack import private_stack

#: Faulty lines that are shown; all are in problems.jsonl.
_SHOWN = 5
#: A flow's key.
_FLOW = re.compile(r"[A-Za-z0-9._-]{1,128}")


class _RunUnlessNamed(TyperGroup):
    """Runs a replay where the first argument names no command: ``flywheel replay questions.jsonl``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


replay = typer.Typer(
    cls=_RunUnlessNamed,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@replay.callback()
def _replay() -> None:
    """Ask many questions again and see what changed.

    `flywheel replay SOURCE …` is short for `flywheel replay run SOURCE …`.
    """


replay.command()(report)
replay.command()(diff)

_SOURCE = (
    "A .jsonl, .json, .csv, .xlsx or .txt file, `-` for stdin, the folder of an earlier replay, `records`, "
    "`dead-letters`, `dataset:NAME` or `traces` (Langfuse)."
)


@replay.command()
def run(
    source: Annotated[str | None, typer.Argument(metavar="SOURCE", show_default=False, help=_SOURCE)] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where the replay lives; by default in the home.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Go on with the replay in this folder.")
    ] = None,
    since: Annotated[
        timedelta | None,
        typer.Option("--since", metavar="TIME", parser=options.duration, help="Asked at most so long ago: 24h, 7d."),
    ] = None,
    domain: Annotated[str | None, typer.Option("--domain", metavar="DOMAIN", help="Only of this domain.")] = None,
    flow: Annotated[
        list[str] | None,
        typer.Option(
            "--flow", metavar="FLOW", help="Only of this flow. OLD=NEW: ask NEW what OLD has answered; repeatable."
        ),
    ] = None,
    state: Annotated[
        State | None, typer.Option("--state", metavar="STATE", help="succeeded, failed, cancelled or expired.")
    ] = None,
    error: Annotated[str | None, typer.Option("--error", metavar="TYPE", help="Only with this error_type.")] = None,
    score_below: Annotated[
        float | None, typer.Option("--score-below", min=1, max=10, metavar="N", help="Only rated, and lower than this.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="NAME", help="Only of this user.")] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, metavar="N", help="So many of them, conversations whole.")
    ] = None,
    encoding: options.EncodingName = "",
    column: options.ColumnName = "",
    strict: Annotated[bool, typer.Option("--strict", help="Ask nothing where a line is faulty.")] = False,
    local: Annotated[bool, typer.Option("--local", help="On a private stack, started and stopped here.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Classify only; no flow is called.")] = False,
    cache: Annotated[
        str | None, typer.Option("--cache", metavar="POLICY", help="bypass (unless given), use or refresh.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, max=10_000, metavar="N", help="At once; 32 unless given.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0.001, max=100_000, metavar="N", help="Begin at most so many a second."),
    ] = None,
    max_calls: Annotated[
        int | None, typer.Option("--max-cost-calls", min=0, metavar="N", help="Stop after so many calls of flows.")
    ] = None,
    timeout: options.Timeout = None,
    gate: GateText = None,
    evaluator: EvaluatorNames = None,
    with_report: Annotated[bool, typer.Option("--report/--no-report", help="Compare, and write the report.")] = True,
    json: options.Json = False,
) -> None:
    """Ask the questions of a source again, and keep what becomes of each in a folder.

    Ctrl-C, a crash or a reboot lose nothing: `flywheel replay --resume DIR` goes on, and asks nothing again that has
    an answer. The queries have low priority, sessions of their own, and belong to the user `replay`.
    """
    if cache not in (None, "bypass", "use", "refresh"):
        raise typer.BadParameter(
            f"{options.shown(cache)} is no cache policy: bypass, use or refresh.", param_hint="--cache"
        )
    only, moves = flows_of(flow or [])
    _refuse(bool(moves) and dry_run, "--flow OLD=NEW asks NEW, and --dry-run asks no flow.")
    wanted = Wanted(
        since=since,
        domain=domain,
        flow=only,
        state=state,
        error_type=error,
        user=user,
        score_below=score_below,
        sample=sample,
    )
    asked: dict[str, Any] = {
        "cache": cast(CachePolicy | None, cache),
        "concurrency": concurrency,
        "rate": rate,
        "max_calls": max_calls,
        "timeout": timeout,
        "local": local or None,
        "dry_run": dry_run or None,
        "moves": moves or None,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    _refuse(not with_report and bool(gate or evaluator), "--gate and --evaluator need the report.")
    screen = Screen(json)
    told = Hints(encoding, column)
    found = None if resume is not None else _source(source, wanted, told, moves=bool(moves))
    with screen.reporting():
        check(gate, evaluator or [], private=local)
        if resume is None:
            assert found is not None
            chosen = Replay(found, out=out, strict=strict, on_line=screen.note, private_stack=private_stack, **asked)
        else:
            own = source is not None or out is not None or strict or any(told)
            _refuse(own, "--resume takes no SOURCE, --encoding, --column, --out or --strict.")
            kept = "cache" in asked or local or dry_run or bool(moves)
            _refuse(kept, "--cache, --local, --dry-run and --flow stay as they were.")
            chosen = Replay.resume(resume, on_line=screen.note, private_stack=private_stack, **asked)
        ended = uvloop.run(carry_out(screen, chosen))
        if not json:
            show_ended(screen, chosen.folder, ended)
        found_out = None
        if ended.how == "complete" and with_report:
            found_out = compared(chosen.folder.path, gate=gate, evaluators=evaluator or [])
        if json:
            show_ended(screen, chosen.folder, ended, {"comparison": found_out.object} if found_out else {})
        elif found_out is not None:
            found_out.show(screen)
    if found_out is not None and not found_out.passed:
        raise typer.Exit(Exit.FAILED)
    raise typer.Exit(ended.exit)


def flows_of(given: list[str]) -> tuple[str | None, dict[str, str]]:
    """Return the flow whose questions are wanted, and the flows that are asked in the place of others."""
    only = [each for each in given if "=" not in each]
    _refuse(len(only) > 1 or bool(only and len(given) > 1), "--flow FLOW is given once; OLD=NEW as often as wanted.")
    moves: dict[str, str] = {}
    for each in given:
        old, sign, new = each.partition("=")
        if not sign:
            continue
        _refuse(
            not (_FLOW.fullmatch(old) and _FLOW.fullmatch(new)),
            f"--flow {options.shown(each)} names no two flows: OLD=NEW.",
        )
        _refuse(old in moves, f"--flow asks {options.shown(old)} of two flows: replay it once for each.")
        moves[old] = new
    _refuse(len(moves) > MOST_MOVES, f"at most {MOST_MOVES} flows are moved in one replay.")
    return only[0] if only else None, moves


def _source(name: str | None, wanted: Wanted, told: Hints, *, moves: bool) -> Source:
    filtered = wanted.model_copy(update={"sample": None}) != Wanted()
    if name is None:
        _refuse(not (filtered or moves) and wanted.sample is None, "give a SOURCE, or --resume DIR.")
        name = "records"
    source = source_named(name, wanted, told)
    if filtered and source.kind not in FILTERED:
        raise typer.BadParameter(f"only {', '.join(FILTERED)} can be filtered; --sample goes for all.")
    _refuse(any(told) and source.kind not in TEXTS, "--encoding and --column go for a file and stdin.")
    return source


def _refuse(condition: bool, why: str) -> None:
    if condition:
        raise typer.BadParameter(why)


@dataclass(frozen=True)
class Ended:
    """How a replay's process ended."""

    progress: Progress | None
    #: `complete`, `calls` (no more calls were allowed), or `interrupted`.
    how: str

    @property
    def exit(self) -> Exit:
        return {"complete": Exit.DONE, "calls": Exit.FAILED}.get(self.how, Exit.CANCELLED)


async def carry_out(screen: Screen, chosen: Replay, tell: Callable[[ItemResult], None] | None = None) -> Ended:
    """Run a replay up to its end or a signal. ``tell`` hears of each result; without it a display shows how it goes.

    Raises what iterating over it raises.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, task.cancel)
    try:
        display = shown(screen, lambda: chosen.progress) if tell is None else nullcontext()
        async with display, aclosing(aiter(chosen)) as results:
            async for result in results:
                if tell is not None:
                    tell(result)
    except asyncio.CancelledError:
        task.uncancel()
    except FlywheelError:
        if chosen.progress is not None:
            screen.note(line_of(chosen.progress))
            screen.note(("Go on later: ", "dim"), resume_command(chosen.folder))
        raise
    return Ended(chosen.progress, chosen.ending or "interrupted")


def show_ended(screen: Screen, folder: Folder, ended: Ended, more: dict[str, Any] | None = None) -> None:
    """Print the result of the replay and the command that resumes it. ``more``: further fields of the JSON output."""
    progress = ended.progress
    if progress is None:
        screen.note("Stopped before the first question was asked.")
        return
    plan = folder.load()
    if screen.json:
        screen.object(
            {
                "folder": str(folder.path),
                "run_id": plan.run_id,
                "ending": ended.how,
                "items": progress.total,
                "done": progress.done,
                "failed": progress.failed,
                "cached": progress.cached,
                "calls": progress.calls,
                "problems": plan.problems,
                "notes": list(plan.notes),
                "domains": dict(progress.domains),
                "failures": dict(progress.failures),
                **(more or {}),
            }
        )
        return
    _show_problems(screen, folder, plan.problems)
    what = "classified" if plan.options.dry_run else "asked"
    calls = "" if plan.options.dry_run else f", {progress.calls:,} calls of flows, {progress.cached:,} from the cache"
    screen.line(
        (f"{progress.done:,} of {progress.total + plan.problems:,} {what}", "bold"),
        (f", {plan.problems:,} could not be", "yellow" if plan.problems else "") if plan.problems else "",
        (f", {progress.failed:,} failed", "red" if progress.failed else ""),
        calls,
    )
    for name, count in progress.failures.most_common():
        screen.line(f"  {count:,} × {name}")
    screen.line(("results  ", "dim"), str(folder.results_file))
    if ended.how == "calls":
        screen.line("No more calls are allowed. With more: ", f"{resume_command(folder)} --max-cost-calls N")
    elif ended.how == "interrupted":
        screen.line(("Go on: ", "bold"), resume_command(folder))


def resume_command(folder: Folder) -> str:
    """Return the command that goes on with a replay."""
    return f"flywheel replay --resume {folder.path}"


def _show_problems(screen: Screen, folder: Folder, count: int) -> None:
    if not count:
        return
    screen.note((f"{count:,} line{'s' if count != 1 else ''} could not be asked:", "yellow"))
    for number, problem in enumerate(folder.problems()):
        if number == _SHOWN:
            screen.note(f"  … all in {folder.problems_file}")
            return
        screen.note(f"  line {problem.number}: {problem.reason}", ("  " + one_line(problem.text, 60), "dim"))
