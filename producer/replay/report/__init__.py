"""Write a replay's report: ``report.html``, ``summary.json`` and ``changes.jsonl``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agentic_flywheel.errors import ResultsUnreadable
from agentic_flywheel.private_files import private_text, write_private
from producer.replay.comparison import Comparison, compare_results
from producer.replay.evaluators import Named
from producer.replay.gate import Gate
from producer.replay.results_file import results_path
from producer.replay.summary import Summary

REPORT, SUMMARY, CHANGES = "report.html", "summary.json", "changes.jsonl"


async def write_report(
    replay: Path,
    out: Path | None = None,
    *,
    against: Path | None = None,
    name: str | None = None,
    evaluators: Sequence[Named] = (),
    gate: Gate | None = None,
    trace_base: str | None = None,
) -> Summary:
    """Compare a replay and write report, summary and changes into ``out``, else into the replay's own folder.

    ``replay`` and ``against`` are folders of replays, or their results.jsonl; without ``against`` the recorded answers
    count, else what is expected. Raises ResultsUnreadable, also where ``out`` cannot be written.
    """
    results = results_path(replay)
    other = results_path(against) if against is not None else None
    folder = out or results.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folder / f"{CHANGES}.new"
        with private_text(draft, errors="backslashreplace") as changes:
            found = await compare_results(
                results,
                name=name or results.parent.resolve().name,
                against=other,
                against_name=other.parent.resolve().name if other else "",
                evaluators=evaluators,
                gate=gate,
                changes=changes,
            )
        draft.replace(folder / CHANGES)
        _write_pages(folder, found, trace_base)
    except OSError as refused:
        raise ResultsUnreadable(str(folder), refused.strerror or str(refused)) from None
    return found.summary


def _write_pages(folder: Path, found: Comparison, trace_base: str | None) -> None:
    from producer.replay.report.page import page

    write_private(folder / SUMMARY, found.summary.model_dump_json(indent=2) + "\n")
    html = page(found.summary, found.most_changed, trace_base=trace_base)
    write_private(folder / REPORT, html, errors="xmlcharrefreplace")
