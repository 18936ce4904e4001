"""Draw a trace for a terminal: its steps as a tree, each with a bar that shows when it ran and for how long.

Pure: takes a view, returns what rich can print. Texts are shown as plain characters, never as markup.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agentic_flywheel.prices import rounded
from agentic_flywheel.tracing.observation import STEP, TOOL, Level, Observation
from agentic_flywheel.tracing.view import TraceStep, TraceView, steps_of

BAR_WIDTH = 24
MAX_TEXT = 400
MAX_NOTE = 120

_STYLES: dict[Level | None, str] = {"ERROR": "red", "WARNING": "yellow", "DEBUG": "dim"}
_EIGHTHS = " ▏▎▍▌▋▊▉█"
#: What each step does, in words for a user.
_MEANINGS = {
    "queue-wait": "waited for a worker",
    "intent-classification": "found out what is asked",
    "flow-selection": "chose who answers",
    "cache-check": "looked for a kept answer",
    "retry-wait": "waited before the next try",
    "context": "put the context together",
    "flow-execution": "asked the flow",
    "person-decision": "waited for a person",
    "attach": "waited for the same question's answer",
    "synthesis": "made one answer of several",
    "response-formatting": "wrote the answer down",
}


def render_tree(view: TraceView) -> RenderableType:
    """Return a trace as a renderable for rich."""
    steps = steps_of(view.observations)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("step", overflow="fold", ratio=3)
    table.add_column("when", no_wrap=True, width=BAR_WIDTH)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("what", overflow="fold", ratio=4)
    for step in steps:
        style = _STYLES.get(step.seen.level, "")
        table.add_row(
            _label(step),
            Text(bar(step.begins, step.ends), style or "cyan"),
            Text(duration(step.seen.end - step.seen.start), style),
            Text(_note(step.seen), style),
        )
    return Group(_heading(view), Text(), table, *_foot(view))


def bar(begins: float, ends: float, width: int = BAR_WIDTH) -> str:
    """Return a line of ``width`` characters, filled from ``begins`` to ``ends``, 0..1; never empty."""
    first = min(int(begins * width), width - 1)
    eighths = max(1, round((ends - begins) * width * 8))
    full, rest = divmod(eighths, 8)
    return (" " * first + "█" * full + (_EIGHTHS[rest] if rest else ""))[:width]


def duration(nanoseconds: int) -> str:
    """Return a duration for a person: ``0.4 ms``, ``230 ms``, ``2.31 s``, ``3 min 20 s``, ``3 d 2 h``."""
    milliseconds = nanoseconds / 1e6
    if milliseconds < 10:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.2f} s"
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    at = next(place for place, (_, length) in enumerate(units) if seconds >= length)
    (unit, length), (smaller, its_length) = units[at : at + 2]
    return f"{int(seconds // length)} {unit} {int(seconds % length // its_length)} {smaller}"


def plain(value: Any, limit: int = MAX_NOTE) -> str:
    """Return a text on one line without control characters, cut to ``limit`` characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    flat = " ".join("".join(each if each.isprintable() else " " for each in text[: 4 * limit]).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _heading(view: TraceView) -> Text:
    root = view.root
    lines = Text()
    if root is None:
        lines.append(f"Query {plain(view.query_id)} is under way\n", "bold")
        return lines.append("Its steps so far; the whole is told when it has ended.", "dim")
    begun = datetime.fromtimestamp(root.start / 1e9, UTC).astimezone()
    lines.append(plain(root.name), "bold")
    if root.level:
        lines.append(f"  {plain(root.message or root.level)}", _STYLES.get(root.level, ""))
    about = [f"query {plain(view.query_id)}", f"{begun:%Y-%m-%d %H:%M:%S}", duration(root.end - root.start)]
    about += [f"user {plain(root.user)}"] if root.user else []
    about += [f"session {plain(root.session)}"] if root.session else []
    about += [plain(tag) for tag in root.tags]
    lines.append("\n" + " · ".join(about), "dim")
    for name, text in (("asked", root.input), ("answered", root.output)):
        if text:
            lines.append(f"\n{name:<9}", "dim").append(plain(text, MAX_TEXT))
    return lines


def _foot(view: TraceView) -> list[Text]:
    lines = [
        Text(f"score {plain(score.name)}: {plain(score.shown_value)}  {plain(score.comment)}".rstrip(), "green")
        for score in view.scores
    ]
    told = f"Each line is one step; its bar shows when it ran within the whole. Read from {view.source}."
    lines.append(Text(told, "dim"))
    if view.note:
        lines.append(Text(plain(view.note, MAX_TEXT), "yellow"))
    return [Text(), *lines]


def _label(step: TraceStep) -> Text:
    guides = ["   " if last else "│  " for last in step.last[:-1]]
    branch = ("└─ " if step.last[-1] else "├─ ") if step.last else ""
    name = "the whole query" if step.seen.is_root else plain(step.seen.name, 60)
    label = Text("".join(guides) + branch, "dim").append(name, _STYLES.get(step.seen.level, "") or "default")
    part = (step.seen.metadata or {}).get("part")
    return label.append(f" {plain(part, 40)}", "dim") if part else label


def _note(seen: Observation) -> str:
    if seen.is_root:
        return ""
    facts_of = _doing if seen.name.startswith((STEP, TOOL)) else _FACTS.get(seen.name, _no_facts)
    facts = facts_of(seen, _read(seen.metadata or {}), _read({"": seen.output}).get(""))
    said = [_MEANINGS.get(seen.name, ""), *(plain(fact) for fact in facts if fact)]
    if seen.message:
        said.append(plain(seen.message))
    return ": ".join(part for part in (said[0], ", ".join(said[1:])) if part)


def _read(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that were written as JSON texts; other texts unchanged."""
    found = {}
    for name, value in values.items():
        try:
            found[name] = json.loads(value) if isinstance(value, str) and value[:1] in '{["0123456789tfn' else value
        except ValueError:
            found[name] = value
    return found


Facts = Callable[[Observation, dict[str, Any], Any], list[str]]


def _no_facts(seen: Observation, metadata: dict[str, Any], output: Any) -> list[str]:
    return []


def _queue(seen: Observation, metadata: dict[str, Any], output: Any) -> list[str]:
    return [f"queue {metadata['queue']}"] if "queue" in metadata else []


def _intent(seen: Observation, metadata: dict[str, Any], output: Any) -> list[str]:
    if not isinstance(output, dict) or not isinstance(output.get("confidence"), int | float):
        return []
    return [f"{output.get('flow')} at {output['confidence']:.0%}", str(metadata.get("band", ""))]


def _selection(seen: Observation, metadata: dict[str, Any], output: Any) -> list[str]:
    return [str(metadata.get("reason") or metadata.get("decision") or "")]


def _cache(seen: Observation, metadata: dict[str, Any], output: Any) -> list[str]:
    hit = output.get("hit") if isinstance(output, dict) else metadata.get("hit")
    age = metadata.get("age_s")
    return [f"found, {duration(int(age * 1e9))} old" if isinstance(age, int | float) else "found" if hit else "none"]


def _context(seen: Observation, metadata: dict[str, Any], output: Any) -> list[str]:
    turns, profile = metadata.get("turns"), metadata.get("profile")
    said = "1 earlier turn" if turns == 1 else f"{turns} earlier turns" if turns else ""
    return [said, f"profile {profile}" if profile else ""]


def _flow(seen: Observation, metadata: dict[str, Any], output: Any) -> list[str]:
    attempt, first = metadata.get("attempt"), seen.first_token
    return [
        str(metadata.get("flow_name") or metadata.get("flow_key") or metadata.get("flow") or ""),
        f"attempt {attempt}" if attempt and attempt != 1 else "",
        f"first words after {duration(first - seen.start)}" if first else "",
        *_used(seen),
        str(metadata["status"]) if seen.level == "ERROR" and "status" in metadata and not seen.message else "",
    ]


def _used(seen: Observation) -> list[str]:
    """Return how many tokens a call took, of which model, and what they cost."""
    used = seen.usage
    return [
        f"{used.total_tokens} tokens" if used and used.total_tokens else "",
        seen.model or "",
        rounded(used.cost) if used and used.cost else "",
    ]


def _decision(seen: Observation, metadata: dict[str, Any], output: Any) -> list[str]:
    return [str(output or ""), str(metadata.get("node") or "")]


def _doing(seen: Observation, metadata: dict[str, Any], output: Any) -> list[str]:
    return [
        str(metadata.get("kind") or ""),
        *_used(seen),
        plain(output) if seen.name.startswith(TOOL) and output is not None else "",
    ]


def _attach(seen: Observation, metadata: dict[str, Any], output: Any) -> list[str]:
    leader = seen.link or metadata.get("attached_to")
    return [f"query {leader}"] if leader else []


_FACTS: dict[str, Facts] = {
    "queue-wait": _queue,
    "intent-classification": _intent,
    "flow-selection": _selection,
    "cache-check": _cache,
    "context": _context,
    "flow-execution": _flow,
    "person-decision": _decision,
    "attach": _attach,
}
