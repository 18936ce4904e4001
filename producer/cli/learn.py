"""``flywheel learn``: what scores, re-routes and unrouted questions say about the registry, and which changes help."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from agentic_flywheel.learning.changes import EXAMPLES, KEYWORDS, TextChange
from agentic_flywheel.learning.clusters import FlowSuggestion
from agentic_flywheel.learning.judging import Effect
from agentic_flywheel.learning.lessons import Lesson, load_lessons
from agentic_flywheel.learning.overlaps import Overlap
from agentic_flywheel.learning.study import Proposal, Study, registry_changes, study
from agentic_flywheel.registry import find_registry, load_catalog, update_flows
from producer.cli import options
from producer.cli.safe_text import one_line
from producer.cli.screen import Screen
from producer.client import AsyncProducer

_SHOWN = 5


def learn(
    apply: Annotated[bool, typer.Option("--apply", help="Write what helps into the registry.")] = False,
    json: options.Json = False,
) -> None:
    """Propose changes of the registry from scores, re-routes and questions that fitted nowhere.

    Each comes with its evidence, and with how many questions go right before and after: of those that people judged,
    none of which is judged by itself, and of the registry's own examples, each left out in turn. --apply writes those
    that help and lower neither; comments and order stay, and running workers take them over.
    """
    screen = Screen(json)
    with screen.reporting():
        path, lessons = asyncio.run(_lessons())
        catalog = load_catalog(path)
        found = study(catalog, lessons)
        changes = registry_changes(found, catalog)
        written = None
        if apply and changes:
            written = update_flows(path, changes, cwd=Path.cwd(), revision=catalog.revision)
    if json:
        _print(screen, found, path, written)
    else:
        _show(screen, found, path, written)


async def _lessons() -> tuple[Path, list[Lesson]]:
    async with AsyncProducer(client="cli") as producer:
        return find_registry(producer.settings.registry), await load_lessons(producer.batch)


def _print(screen: Screen, found: Study, path: Path, written: Path | None) -> None:
    screen.object(
        {
            "kind": "summary",
            "registry": str(path),
            "labelled": found.labelled,
            "unrouted": found.unrouted,
            "chosen": len(found.chosen),
            **_figures(found.effect),
            "written": str(written) if written else None,
        }
    )
    for proposal in found.proposals:
        value = proposal.model_dump(mode="json", exclude={"effect"})
        screen.object({**value, **_figures(proposal.effect), "applied": proposal.chosen and written is not None})
    for overlap in found.overlaps:
        screen.object({"kind": "overlap", **overlap.model_dump(mode="json")})
    for flow in found.new_flows:
        screen.object({"kind": "new_flow", **flow.model_dump(mode="json", exclude={"effect"}), **_figures(flow.effect)})


def _figures(effect: Effect) -> dict[str, Any]:
    return {
        name: {
            "labelled": measure.labelled,
            "labelled_right": measure.labelled_right,
            "labelled_accuracy": round(measure.on_labels, 4),
            "left_out": measure.left_out,
            "left_out_right": measure.left_out_right,
            "left_out_accuracy": round(measure.by_leaving_out, 4),
        }
        for name, measure in (("before", effect.before), ("after", effect.after))
    }


def _show(screen: Screen, found: Study, path: Path, written: Path | None) -> None:
    screen.facts(
        [
            ("registry", str(path)),
            ("judged", f"{found.labelled} questions, {_share(found.effect.before.on_labels)} of them go right"),
            ("unrouted", f"{found.unrouted} questions"),
        ]
    )
    if found.proposals:
        screen.line()
        screen.table(
            ("", "proposal", "judged", "left out", "why"),
            [_row(each) for each in sorted(found.proposals, key=lambda each: not each.chosen)],
        )
    for proposal in found.chosen:
        for change in proposal.changes:
            _show_texts(screen, change)
    for overlap in found.overlaps:
        _show_overlap(screen, overlap)
    for flow in found.new_flows:
        _show_flow(screen, flow)
    screen.line()
    if not found.chosen:
        screen.line("Nothing would make the routing better; the registry stays as it is.")
        return
    judged, left_out = _moves(found.effect)
    screen.line(f"Together: judged {judged}, left out {left_out}.")
    screen.line(f"Written to {written}." if written else ("`flywheel learn --apply` writes what is marked ✓.", "dim"))


def _row(proposal: Proposal) -> tuple[Any, ...]:
    mark = ("✓", "green") if proposal.chosen else ("·", "dim")
    return (mark, what(proposal), *_moves(proposal.effect), proposal.why)


def what(proposal: Proposal) -> str:
    """Return what a proposal would do, in a few words."""
    flow, subject = proposal.flow, proposal.subject
    count = sum(len(change.add) or len(change.drop) for change in proposal.changes[:1])
    texts = f"{count} example{'' if count == 1 else 's'}"
    place = "" if subject == EXAMPLES else f", {subject}"
    match proposal.kind:
        case "add_examples":
            return f"add {texts} to {flow}{place}"
        case "move_examples":
            return f"move {texts} from {flow}, {subject.removeprefix(EXAMPLES).strip()}"
        case "drop_examples":
            return f"drop {texts} of {flow}{place}"
        case "add_keyword":
            return f"add the keyword {subject} to {flow}"
        case "drop_keyword":
            return f"drop the keyword {subject} of {flow}"


def _show_texts(screen: Screen, change: TextChange) -> None:
    if change.place == KEYWORDS:
        return
    where = change.flow if change.place == EXAMPLES else f"{change.flow}, {change.place}"
    for sign, style, texts in (("+", "green", change.add), ("-", "red", change.drop)):
        for text in texts[:_SHOWN]:
            screen.line((f"  {sign} ", style), one_line(text, 100), (f"  {where}", "dim"))
        if len(texts) > _SHOWN:
            screen.line((f"  {sign} ", style), (f"… {len(texts) - _SHOWN} more  {where}", "dim"))


def _show_overlap(screen: Screen, overlap: Overlap) -> None:
    pair = " and ".join(overlap.flows)
    screen.line()
    screen.line(
        ("! ", "yellow"),
        f"{pair} overlap: {overlap.confused} of their {overlap.of} questions are taken for the other's. "
        f"As one flow, {_share(overlap.before)} → {_share(overlap.after)} of the judged ones would go right.",
    )
    for text in overlap.questions:
        screen.line(("    ", ""), (one_line(text, 100), "dim"))


def _show_flow(screen: Screen, flow: FlowSuggestion) -> None:
    judged, left_out = _moves(flow.effect)
    screen.line()
    screen.line(
        ("* ", "cyan"),
        f"{flow.size} questions fit nowhere and are like each other. A flow for them would be found by "
        f"{_share(flow.found)} of them; judged {judged}, left out {left_out}.",
    )
    for text in flow.questions[:_SHOWN]:
        screen.line(("    ", ""), (one_line(text, 100), "dim"))
    screen.line(("    ", ""), f"flywheel flows add {flow.key} --id UUID --example …")


def _moves(effect: Effect) -> tuple[str, str]:
    before, after = effect.before, effect.after
    return (
        f"{_share(before.on_labels)} → {_share(after.on_labels)}",
        f"{_share(before.by_leaving_out)} → {_share(after.by_leaving_out)}",
    )


def _share(value: float) -> str:
    return f"{value:.1%}"
