"""Read what a flow did for its answer: tools, steps, artifacts, sources. Each is bounded; what is cut is said."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel

from agentic_flywheel.backends.flowise.decoding import decode_json
from agentic_flywheel.backends.flowise.failure import without_keys
from agentic_flywheel.cutting import cut, cut_value, written_length
from agentic_flywheel.doings import RUNNING, Artifact, FlowStep, ToolUse, Usage
from agentic_flywheel.secret_values import without_secrets_in

Json = dict[str, Any]
T = TypeVar("T")

#: Tools, steps, artifacts or sources of one answer. Flowise ends an agent after 100 rounds of its own accord.
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

_STORED = "FILE-STORAGE::"
_DATA_URL = re.compile(r"data:([\w.+/-]*)[^,]*,")
#: How bytes begin that were written as text.
_BASE64 = re.compile(r"[A-Za-z0-9+/=\r\n]{256}")


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
    tools: Sequence[ToolUse],
    steps: Sequence[FlowStep],
    artifacts: Sequence[Artifact],
    sources: Sequence[Json],
    follow_ups: Sequence[str],
) -> Kept:
    """Return what is kept within the bounds."""
    said: list[str] = []

    def within(kind: str, found: Sequence[T]) -> tuple[T, ...]:
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


def tool_of(told: Mapping[str, Any], step: str = "") -> ToolUse:
    """Return one use of a tool. Secrets in what it was given and gave are hidden."""
    error = told.get("error")
    return ToolUse(
        name=name_of(told.get("tool")) or "a tool without a name",
        input=_discreet(told.get("toolInput")),
        output=_discreet(told.get("toolOutput")),
        error=text_of(error) if error else None,
        step=step,
    )


def step_of_node(node: Mapping[str, Any], seen: Timed | None = None) -> FlowStep:
    """Return the step that a node of an AgentFlow made. ``seen``: when its stream told of it."""
    data = node.get("data")
    data = data if isinstance(data, dict) else {}
    output = output_of(node)
    times = output.get("timeMetadata")
    error = data.get("error")
    started, elapsed = _times(times) if isinstance(times, dict) else (seen or Timed())
    return FlowStep(
        id=name_of(node.get("nodeId")),
        name=name_of(node.get("nodeLabel")) or name_of(node.get("nodeId")) or "a step without a name",
        kind=name_of(data.get("name")),
        status=status_of(node.get("status")),
        started=started,
        elapsed=elapsed,
        usage=usage_of([output.get("usageMetadata")], model=model_of([output])),
        reasoning=_reasoning(output.get("reasonContent")),
        error=text_of(error) if error else None,
    )


def step_of_agent(told: Mapping[str, Any]) -> FlowStep:
    """Return the step of an agent in a chatflow of several: what it was told, or else what it said."""
    messages = told.get("messages")
    said = [each for each in messages if isinstance(each, str)] if isinstance(messages, list) else []
    return FlowStep(
        id=name_of(told.get("nodeId")),
        name=name_of(told.get("agentName")) or "an agent without a name",
        kind=name_of(told.get("nodeName")),
        status="finished",
        reasoning=text_of(told.get("instructions") or "\n".join(said)),
    )


def artifacts_of(
    told: Sequence[Json], files: Sequence[Json], *, flow_id: str, chat_id: str | None
) -> tuple[Artifact, ...]:
    """Return the artifacts and files that a flow made.

    ``told``: Flowise's ``artifacts``, ``files``: its ``fileAnnotations``. Flowise keeps files by flow and chat.
    """
    found = [(_label(each.get("type")), each.get("data"), name_of(each.get("name"))) for each in told]
    found += [("file", each.get("filePath"), name_of(each.get("fileName"))) for each in files]
    return tuple(_artifact(kind, content, name, flow_id, chat_id) for kind, content, name in found)


def bounded_source(source: Json) -> Json:
    """Return a source document with each of its texts, and each object in it, cut."""
    return {name_of(name): cut_value(value, MAX_ENTRY) for name, value in source.items()}


class Timed(NamedTuple):
    """When a step began, and how long it took; None where that is not known."""

    started: datetime | None = None
    elapsed: timedelta | None = None


def output_of(node: Mapping[str, Any]) -> Json:
    """Return what a node put out; nothing where it does not tell."""
    data = node.get("data")
    output = data.get("output") if isinstance(data, dict) else None
    return output if isinstance(output, dict) else {}


def usage_of(told: Sequence[Any], *, model: str | None) -> Usage | None:
    """Return the sum of what several calls tell of their usage; None where none tells."""
    counted = [each for each in told if isinstance(each, dict)]
    if not counted:
        return None

    def total(key: str) -> int:
        return sum(value for each in counted if isinstance(value := each.get(key), int))

    return Usage(
        input_tokens=total("input_tokens"),
        output_tokens=total("output_tokens"),
        total_tokens=total("total_tokens"),
        model=model,
    )


def model_of(outputs: Sequence[Json]) -> str | None:
    """Return the model that the last of these outputs came from; None where none tells."""
    told = [output.get("responseMetadata") for output in outputs]
    names = [each.get("model_name") for each in told if isinstance(each, dict)]
    return next((name_of(each) for each in reversed(names) if isinstance(each, str)), None)


def status_of(told: Any) -> str:
    """Return a node's status: ``running`` for Flowise's INPROGRESS, else its own word in lower case."""
    status = name_of(told).lower()
    return RUNNING if status == "inprogress" else status or "finished"


def name_of(value: Any) -> str:
    """Return a name on one line; empty where there is none."""
    return " ".join(value[: 2 * MAX_NAME].split())[:MAX_NAME] if isinstance(value, str) else ""


def _label(kind: Any) -> str:
    return name_of(kind).lower() or "file"


def _artifact(kind: str, content: Any, name: str, flow_id: str, chat_id: str | None) -> Artifact:
    text = content if isinstance(content, str) else "" if content is None else json.dumps(content, ensure_ascii=False)
    if text.startswith(_STORED):
        stored = name_of(text.removeprefix(_STORED))
        where = urlencode({"chatflowId": flow_id, "chatId": chat_id or "", "fileName": stored})
        return Artifact(type=kind, name=name or stored, link=f"/api/v1/get-upload-file?{where}")
    if text.startswith(("http://", "https://")):
        return Artifact(type=kind, name=name, link=str(without_secrets_in(text[:MAX_ENTRY])))
    if inline := _DATA_URL.match(text[:MAX_NAME]):
        # Three bytes for each four characters.
        return Artifact(type=name_of(inline[1]) or kind, name=name, bytes_left_out=(len(text) - inline.end()) * 3 // 4)
    if _BASE64.match(text):
        return Artifact(type=kind, name=name, bytes_left_out=len(text) * 3 // 4)
    left_out = len(text[MAX_ENTRY:].encode(errors="replace")) if len(text) > MAX_ENTRY else None
    return Artifact(type=kind, name=name, text=cut(text, MAX_ENTRY), bytes_left_out=left_out)


def _discreet(value: Any) -> Any:
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


def _reasoning(told: Any) -> str:
    if isinstance(told, dict):
        told = told.get("thinking")
    return text_of(told) if isinstance(told, str) else ""


def _times(told: Mapping[str, Any]) -> Timed:
    """Return the times of a node that tells them in milliseconds, the first since 1970."""
    began, took = told.get("start"), told.get("delta")
    # Within a few thousand years, and none of a clock that went backwards.
    if isinstance(began, int) and isinstance(took, int) and 0 < began < 10**14 and 0 <= took < 10**10:
        return Timed(datetime.fromtimestamp(began / 1000, UTC), timedelta(milliseconds=took))
    return Timed()
