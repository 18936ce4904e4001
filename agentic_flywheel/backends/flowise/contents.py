"""Read what a flow did for its answer: tools, steps, artifacts, times."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

from agentic_flywheel.backends.contents import MAX_ENTRY, MAX_NAME, Json, discreet, name_of, text_of
from agentic_flywheel.cutting import cut
from agentic_flywheel.doings import RUNNING, Artifact, FlowStep, ToolUse, Usage, tokens_of
from agentic_flywheel.secret_values import without_secrets_in

_STORED = "FILE-STORAGE::"
_DATA_URL = re.compile(r"data:([\w.+/-]*)[^,]*,")
#: How bytes begin that were written as text.
_BASE64 = re.compile(r"[A-Za-z0-9+/=\r\n]{256}")


def tool_of(told: Mapping[str, Any], step: str = "") -> ToolUse:
    """Return one use of a tool. Secrets in what it was given and gave are hidden."""
    error = told.get("error")
    return ToolUse(
        name=name_of(told.get("tool")) or "a tool without a name",
        input=discreet(told.get("toolInput")),
        output=discreet(told.get("toolOutput")),
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
        return sum(tokens_of(each.get(key)) for each in counted)

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
