"""A tool's result as clients get it: the data as structure, and as text what a model needs of it."""

from __future__ import annotations

import json
from typing import Any

from mcp_types import CallToolResult, TextContent

from agentic_flywheel.models import Model
from mcp_bridge.budget import fit
from mcp_bridge.schema import output_schema, shown

#: The text shows at most so many entries of a list, and so many characters of a text in one.
_ENTRIES, _CHARACTERS = 50, 300
#: Long texts, shown last and whole.
_LAST = ("partial_answer", "answer")
#: What says that the result was cut.
_CUT = ("left_out", "answer_next", "rest")


def success_result(value: Model, limit: int) -> CallToolResult:
    """Return a result of about ``limit`` characters of structure at most, with a summary of it as text."""
    rest = getattr(value, "rest", "") or "Ask for less."
    data = fit(value.model_dump(mode="json", exclude_none=True), limit, rest)
    return CallToolResult(
        content=[TextContent(type="text", text=summary(data, type(value)))], structured_content=data, is_error=False
    )


def summary(data: dict[str, Any], model: type[Model]) -> str:
    """Return in lines what the output schema speaks of; the answer comes last."""
    told = shown(data, output_schema(model)) | {name: data[name] for name in _CUT if name in data}
    lines = [line for name, value in told.items() if name not in _LAST for line in _lines(name, value)]
    for name in _LAST:
        if told.get(name):
            lines += [f"{name}:", str(told[name])]
    return "\n".join(lines)


def _lines(name: str, value: Any) -> list[str]:
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        more = [f"- and {len(value) - _ENTRIES} more"] if len(value) > _ENTRIES else []
        return [f"{name}:", *(f"- {_entry(each)}" for each in value[:_ENTRIES]), *more]
    if value in ([], {}):
        return [f"{name}: none"]
    return [f"{name}: {_short(value)}"]


def _entry(value: Any) -> str:
    if not isinstance(value, dict):
        return _short(value)
    return "; ".join(f"{name}: {_short(each)}" for name, each in value.items() if each not in ([], {}, ""))


def _short(value: Any) -> str:
    if isinstance(value, list) and all(not isinstance(each, list | dict) for each in value):
        text = ", ".join(map(str, value))
    elif isinstance(value, str):
        text = " ".join(value.split())
    else:
        text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1] + "…"
