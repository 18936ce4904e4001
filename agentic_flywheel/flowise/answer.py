"""Turn what Flowise sends, plain or streamed or stored, into one FlowAnswer. Decides only; the client does the I/O."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from agentic_flywheel.errors import FlowFailed, FlowiseUnreachable, FlowProtocolError
from agentic_flywheel.flowise.decoding import decode_json, instant, whole
from agentic_flywheel.flowise.failure import clean
from agentic_flywheel.flowise.frames import EXECUTED, StreamEvent
from agentic_flywheel.flowise.models import FlowAnswer
from agentic_flywheel.models import Usage

#: What Flowise itself adds to an answer; everything else at the top level is a custom function's own data.
_ENVELOPE = frozenset(
    {
        "question",
        "form",
        "chatId",
        "chatMessageId",
        "sessionId",
        "executionId",
        "agentFlowExecutedData",
        "agentReasoning",
        "sourceDocuments",
        "usedTools",
        "calledTools",
        "fileAnnotations",
        "fileUploads",
        "artifacts",
        "action",
        "followUpPrompts",
        "flowVariables",
        "memoryType",
        "isStreamValid",
        "leadEmail",
        "reasonContent",
    }
)


def plain_answer(flow: str, body: bytes, *, elapsed: timedelta = timedelta()) -> FlowAnswer:
    """Return the answer in the JSON of a 200 that took so long. Raises FlowProtocolError where it is not an answer."""
    found = _object(flow, body)
    text = found.get("text")
    data = None
    if not isinstance(text, str):
        # Any other server's JSON lacks the chatId that Flowise always gives.
        if "chatId" not in found:
            raise FlowProtocolError(flow, "the answer has neither text nor a chatId")
        data = {key: value for key, value in found.items() if key not in _ENVELOPE}
        text = ""
    return _answer(found, text=text, data=data, outputs=_outputs(found.get("agentFlowExecutedData")), elapsed=elapsed)


def stored_answer(messages: Any, chat_id: str) -> FlowAnswer | None:
    """Return the newest answer in a chat's stored messages; None where there is none yet."""
    asked: datetime | None = None
    found: FlowAnswer | None = None
    for message in messages if isinstance(messages, list) else []:
        if not isinstance(message, dict) or message.get("chatId") != chat_id:
            continue
        at = instant(message.get("createdDate"))
        if message.get("role") == "userMessage":
            asked = at
            continue
        if message.get("role") != "apiMessage" or not isinstance(message.get("content"), str):
            continue
        execution = message.get("execution") or {}
        answer = _answer(
            {**message, "chatMessageId": message.get("id")},
            text=message["content"],
            data=None,
            outputs=_outputs(execution.get("executionData") if isinstance(execution, dict) else None),
        )
        elapsed = max(at - asked, timedelta()) if at and asked else timedelta()
        found = answer.model_copy(update={"elapsed": elapsed})
    return found


class StreamedAnswer:
    """Collects a stream's events until it is complete. ``add`` returns the text to pass on."""

    def __init__(self, flow: str) -> None:
        self._flow = flow
        self._tokens: list[str] = []
        self._half = ""
        self._fields: dict[str, Any] = {}
        self._executed: bytes = b""
        self._called: list[Any] = []
        self._usage: list[Any] = []
        self._described = False
        self._ended = False
        #: The flow's own words for its failure.
        self.failure: str | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing more can come that matters."""
        return self._described or self._ended or self.failure is not None

    def add(self, event: StreamEvent) -> str:
        """Take one event and return its new text, if it has any."""
        name, data = event
        if name == "token":
            if isinstance(data, str) and data:
                return self._token(data)
        elif name == EXECUTED:
            self._executed = data
        elif name == "metadata":
            self._described = True
            if isinstance(data, dict):
                self._fields |= data
        elif name in ("sourceDocuments", "artifacts", "action"):
            self._fields[name] = data
        elif name == "usedTools" and isinstance(data, list):
            self._called += data
        elif name == "usageMetadata":
            self._usage.append(data)
        elif name == "error":
            self.failure = data if isinstance(data, str) else json.dumps(data)
        elif name == "abort":
            self.failure = "the run was cancelled in Flowise"
        elif name == "end":
            self._ended = True
        # `start` repeats the first token, `nextAgentFlow`, `agentFlowEvent` and `calledTools` tell of progress only.
        return ""

    def _token(self, text: str) -> str:
        text = self._half + text
        # The first half of a character waits for the second.
        self._half = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
        text = str(whole(text.removesuffix(self._half)))
        if text:
            self._tokens.append(text)
        return text

    def answer(self) -> FlowAnswer:
        """Return the whole answer.

        Raises FlowiseUnreachable where the stream broke off, FlowProtocolError where it ended without an answer.
        """
        if not self._described:
            if not self._ended:
                raise FlowiseUnreachable(self._flow, "the stream broke off before the answer was whole")
            raise FlowProtocolError(self._flow, "the stream ended without an answer")
        outputs = _outputs(_data_of(self._executed))
        text = "".join(self._tokens) or _last_content(outputs)
        answer = _answer(whole(self._fields), text=text, data=None, outputs=outputs)
        return answer.model_copy(
            update={
                "usage": answer.usage or _usage(self._usage, model=None),
                "used_tools": answer.used_tools or _objects(whole(self._called)),
            }
        )


def refuse_empty(flow: str, answer: FlowAnswer) -> FlowAnswer:
    """Return the answer. Raises FlowFailed where it carries nothing to read or act on: it must not be cached as one."""
    if answer.text.strip() or answer.data or answer.action or answer.artifacts or answer.sources:
        return answer
    raise FlowFailed(flow, "the flow answered with nothing")


def decode_follow_ups(value: Any) -> tuple[str, ...]:
    """Return the follow-up questions from Flowise's JSON in JSON."""
    for _ in range(3):
        if not isinstance(value, str):
            break
        try:
            value = decode_json(value)
        except ValueError:
            return ()
    if isinstance(value, dict):
        value = value.get("questions")
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _answer(
    found: dict[str, Any],
    *,
    text: str,
    data: dict[str, Any] | None,
    outputs: list[dict[str, Any]],
    elapsed: timedelta = timedelta(),
) -> FlowAnswer:
    action = _decoded(found.get("action"))
    artifacts = _decoded(found.get("artifacts"))
    tools, usage = _objects(found.get("usedTools")), None
    if outputs:
        tools = tools or tuple(tool for output in outputs for tool in _objects(output.get("usedTools")))
        usage = _usage([output.get("usageMetadata") for output in outputs], model=_model(outputs))
    return FlowAnswer(
        text=text,
        data=data,
        chat_id=_text(found.get("chatId")),
        message_id=_text(found.get("chatMessageId")),
        session_id=_text(found.get("sessionId")),
        execution_id=_text(found.get("executionId")),
        sources=_objects(found.get("sourceDocuments")),
        usage=usage,
        used_tools=tools,
        artifacts=tuple(artifacts) if isinstance(artifacts, list) else (),
        action=action if isinstance(action, dict) else None,
        follow_ups=decode_follow_ups(found.get("followUpPrompts")),
        elapsed=elapsed,
    )


def _object(flow: str, body: bytes) -> dict[str, Any]:
    try:
        found = decode_json(body)
    except ValueError:
        raise FlowProtocolError(flow, f"the answer is not JSON: {clean(body[:600].decode(errors='replace'))}") from None
    if not isinstance(found, dict):
        raise FlowProtocolError(flow, "the answer is not a JSON object")
    return found


def _data_of(frame: bytes) -> Any:
    try:
        return decode_json(frame)["data"]
    except (ValueError, TypeError, KeyError):
        return None


def _decoded(value: Any) -> Any:
    """Stored messages keep lists and objects as JSON text."""
    if isinstance(value, str):
        try:
            return decode_json(value)
        except ValueError:
            return None
    return value


def _objects(value: Any) -> tuple[dict[str, Any], ...]:
    if value is None:
        return ()
    value = _decoded(value)
    return tuple(each for each in value if isinstance(each, dict)) if isinstance(value, list) else ()


def _outputs(executed: Any) -> list[dict[str, Any]]:
    """Return what each executed node put out."""
    datas = [node.get("data") for node in _objects(executed)]
    outputs = [data.get("output") for data in datas if isinstance(data, dict)]
    return [output for output in outputs if isinstance(output, dict)]


def _last_content(outputs: list[dict[str, Any]]) -> str:
    contents = [output.get("content") for output in outputs]
    return next((each for each in reversed(contents) if isinstance(each, str)), "")


def _model(outputs: list[dict[str, Any]]) -> str | None:
    told = [output.get("responseMetadata") for output in outputs]
    names = [each.get("model_name") for each in told if isinstance(each, dict)]
    return next((each for each in reversed(names) if isinstance(each, str)), None)


def _usage(told: list[Any], *, model: str | None) -> Usage | None:
    """Add up what every node tells of its usage."""
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


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
