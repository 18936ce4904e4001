"""What a flow did for an answer, a line for each: its tools, what it made, what it proposes to ask next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from agentic_flywheel.doings import RUNNING, Artifact, ToolUse
from agentic_flywheel.models import Answer, Event, EventKind
from producer.cli.safe_text import one_line

#: Lines of each kind that are shown; the rest is counted.
_SHOWN = 10
_NAME_LENGTH, _VALUE_LENGTH = 60, 100


def doing_lines(answer: Answer) -> Iterator[str]:
    """Yield what a flow did beside its text."""
    yield from _first(map(_tool, answer.tools), len(answer.tools), "tools")
    yield from _first(map(_artifact, answer.artifacts), len(answer.artifacts), "artifacts")
    yield from _first((f"ask next: {one_line(each, 200)}" for each in answer.follow_ups), len(answer.follow_ups), "")


def doing_now(event: Event) -> str:
    """Return what a flow begins to do by an event; empty where it begins nothing that a reader waits for."""
    data = event.data
    if data.get("status") != RUNNING:
        return ""
    name = one_line(str(data.get("name", "")), _NAME_LENGTH)
    of_part = f"{one_line(str(data['part']), _NAME_LENGTH)}: " if "part" in data else ""
    if event.kind == EventKind.TOOL:
        return f"{of_part}uses {name}({_value(data.get('input'))})"
    return f"{of_part}{name} …"


def _first(lines: Iterator[str], total: int, kind: str) -> Iterator[str]:
    for _, line in zip(range(_SHOWN), lines, strict=False):
        yield line
    if total > _SHOWN:
        yield f"and {total - _SHOWN} more {kind}".rstrip()


def _tool(use: ToolUse) -> str:
    ended = f"✗ {one_line(use.error, _VALUE_LENGTH)}" if use.error is not None else f"→ {_value(use.output)}"
    return f"used {one_line(use.name, _NAME_LENGTH)}({_value(use.input)}) {ended}"


def _artifact(made: Artifact) -> str:
    named = f" {one_line(made.name, _NAME_LENGTH)}" if made.name else ""
    where = made.link or one_line(made.text, _VALUE_LENGTH) or f"{made.bytes_left_out or 0:,} bytes, not kept"
    return f"made {one_line(made.type, _NAME_LENGTH)}{named}: {one_line(where)}"


def _value(value: Any) -> str:
    if value in (None, "", {}):
        return ""
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _VALUE_LENGTH)
