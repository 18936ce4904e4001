"""Bound what is kept of an answer beside its text, and hide the secrets in it; what is cut is said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from agentic_flywheel.backends.decoding import decode_json, whole
from agentic_flywheel.backends.reasons import without_keys
from agentic_flywheel.cutting import cut_value, on_one_line, written_length
from agentic_flywheel.doings import Artifact, FlowStep, ToolUse
from agentic_flywheel.secret_values import without_secrets_in

Json = dict[str, Any]
T = TypeVar("T")

#: Tools, steps, artifacts or sources of one answer.
MAX_ENTRIES = 200
#: Characters of one text of an entry: as many as a trace keeps of a text.
MAX_ENTRY = 16_384
#: Characters of all entries of one kind. An answer is stored up to four times: result, cache, part, whole.
MAX_KIND = 262_144
#: Characters of a text that is looked into where it is JSON, and of the longest secret that is expected in one.
MAX_DECODED = 4 * MAX_ENTRY
MAX_SECRET = 4096
#: Characters of a name, a kind, a status.
MAX_NAME = 200


class Kept(NamedTuple):
    """What is kept of a flow's answer beside its text, and a sentence for each kind that was cut."""

    tools: tuple[ToolUse, ...]
    steps: tuple[FlowStep, ...]
    artifacts: tuple[Artifact, ...]
    sources: tuple[Json, ...]
    follow_ups: tuple[str, ...]
    cut: tuple[str, ...]


def kept_of(
    *,
    tools: Sequence[ToolUse] = (),
    steps: Sequence[FlowStep] = (),
    artifacts: Sequence[Artifact] = (),
    sources: Sequence[Json] = (),
    follow_ups: Sequence[str] = (),
) -> Kept:
    """Return what is kept within the bounds."""
    said: list[str] = []

    def within(kind: str, found: Sequence[T]) -> tuple[T, ...]:
        if not found:
            return ()
        size = kept = 0
        for each in found[:MAX_ENTRIES]:
            size += len(each.model_dump_json()) if isinstance(each, BaseModel) else written_length(each)
            if size > MAX_KIND:
                break
            kept += 1
        if kept < len(found):
            said.append(f"Of the flow's {len(found):,} {kind}, the first {kept:,} are kept: the rest is too much.")
        return tuple(found[:kept])

    return Kept(
        tools=within("tools", tools),
        steps=within("steps", steps),
        artifacts=within("artifacts", artifacts),
        sources=within("sources", sources),
        follow_ups=within("follow-up questions", follow_ups),
        cut=tuple(said),
    )


def objects(value: Any) -> tuple[Json, ...]:
    """Return the objects of a list, of lists within it too. Stored messages keep lists as JSON text."""
    value = decoded(value)
    if not isinstance(value, list):
        return ()
    flat = (inner for each in value for inner in (each if isinstance(each, list) else (each,)))
    return tuple(each for each in flat if isinstance(each, dict))


def decoded(value: Any) -> Any:
    """Return the value of a JSON text, None where it is none; what is no text, unchanged."""
    if isinstance(value, str):
        try:
            return decode_json(value)
        except ValueError:
            return None
    return value


def bounded_source(source: Json) -> Json:
    """Return a source document with each of its texts, and each object in it, cut."""
    return {name_of(name): cut_value(value, MAX_ENTRY) for name, value in source.items()}


def name_of(value: Any) -> str:
    """Return a name on one line, without control characters; empty where there is none."""
    return on_one_line(whole(value[: 2 * MAX_NAME]))[:MAX_NAME] if isinstance(value, str) else ""


def discreet(value: Any) -> Any:
    """Return what a tool was given, or gave, without secrets and cut."""
    if isinstance(value, str):
        # Often JSON in a text: only decoded its names tell which of its values are secret.
        inner = decoded(value) if value[:1] in ("{", "[") and len(value) <= MAX_DECODED else None
        if inner is None or (hidden := without_secrets_in(inner)) == inner:
            return text_of(value)
        value = hidden
    value = cut_value(without_secrets_in(value), MAX_ENTRY)
    return text_of(value) if isinstance(value, str) else _without_keys_in(value)


def _without_keys_in(value: Any) -> Any:
    if isinstance(value, str):
        return without_keys(value)
    if isinstance(value, dict):
        return {name: _without_keys_in(each) for name, each in value.items()}
    return [_without_keys_in(each) for each in value] if isinstance(value, list) else value


def text_of(value: Any) -> str:
    """Return a text, or a value as JSON, without secrets and cut. A secret at the cut is looked for whole."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    head = without_keys(str(without_secrets_in(text[: MAX_ENTRY + MAX_SECRET])))
    more = len(text) - MAX_ENTRY
    return head if more <= 0 else f"{head[:MAX_ENTRY]}… [{more} characters more]"
