"""Turn what Flowise sends, plain or stored, into one FlowAnswer; ``streamed`` does so with streams. Decides only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from agentic_flywheel.backends.contents import bounded_source, decoded, kept_of, name_of, objects
from agentic_flywheel.backends.decoding import decode_json, instant
from agentic_flywheel.backends.flowise.contents import (
    Timed,
    artifacts_of,
    model_of,
    output_of,
    step_of_agent,
    step_of_node,
    tool_of,
    usage_of,
)
from agentic_flywheel.backends.models import FlowAnswer
from agentic_flywheel.backends.reasons import clean
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowFailed, FlowProtocolError
from agentic_flywheel.models import FlowStep

Json = dict[str, Any]

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


def plain_answer(
    flow: Flow, body: bytes, *, elapsed: timedelta = timedelta(), secrets: Collection[str] = ()
) -> FlowAnswer:
    """Return the answer in the JSON of a 200 that took so long. Raises FlowProtocolError where it is not an answer.

    ``secrets``: what the error may not quote.
    """
    found = _object(flow.key, body, secrets)
    text = found.get("text")
    data = None
    if not isinstance(text, str):
        # Any other server's JSON lacks the chatId that Flowise always gives.
        if "chatId" not in found:
            raise FlowProtocolError(flow.key, "the answer has neither text nor a chatId")
        data = {key: value for key, value in found.items() if key not in _ENVELOPE}
        text = ""
    nodes = _objects_in(found, "agentFlowExecutedData")
    return answer_of_fields(flow, found, text=text, data=data, nodes=nodes, elapsed=elapsed)


def stopped_run(messages: Any, chat_id: str) -> str | None:
    """Return the id of the run that waits for a person in a chat; None where the last one there does not."""
    told = [each for each in messages if isinstance(each, dict)] if isinstance(messages, list) else []
    runs = [each.get("execution") for each in told if each.get("chatId") == chat_id and each.get("execution")]
    last = runs[-1] if runs and isinstance(runs[-1], dict) else {}
    return _text(last.get("id")) if last.get("state") == "STOPPED" else None


def stored_answer(flow: Flow, messages: Any, chat_id: str) -> FlowAnswer | None:
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
        answer = answer_of_fields(
            flow,
            {**message, "chatMessageId": message.get("id")},
            text=message["content"],
            nodes=objects(execution.get("executionData") if isinstance(execution, dict) else None),
        )
        elapsed = max(at - asked, timedelta()) if at and asked else timedelta()
        found = answer.model_copy(update={"elapsed": elapsed})
    return found


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


def answer_of_fields(
    flow: Flow,
    found: Mapping[str, Any],
    *,
    text: str,
    data: dict[str, Any] | None = None,
    nodes: Sequence[Json] = (),
    seen: Mapping[str, Sequence[Timed]] = MappingProxyType({}),
    elapsed: timedelta = timedelta(),
) -> FlowAnswer:
    """Return the answer made of a response's fields, or a message's, and of the AgentFlow's nodes that ran.

    ``seen``: when a stream told of each node, by its id.
    """
    action, chat_id = decoded(found["action"]) if "action" in found else None, _text(found.get("chatId"))
    outputs, agents = [output_of(node) for node in nodes], _objects_in(found, "agentReasoning")

    # What the nodes of an AgentFlow and the agents of a chatflow tell is told by the response itself in streams alone.
    tellers = [(name_of(node.get("nodeId")), output_of(node)) for node in nodes]
    tellers += [(name_of(agent.get("nodeId")), agent) for agent in agents]

    def given(name: str) -> Sequence[Json]:
        return _objects_in(found, name) or [each for _, told in tellers for each in _objects_in(told, name)]

    # Whose tools they are, only the nodes and agents tell.
    tools = [tool_of(each, step) for step, told in tellers for each in _objects_in(told, "usedTools")]
    kept = kept_of(
        tools=tools or [tool_of(each) for each in _objects_in(found, "usedTools")],
        steps=[*(_steps(nodes, seen) if nodes else ()), *map(step_of_agent, agents)],
        artifacts=artifacts_of(given("artifacts"), given("fileAnnotations"), flow_id=flow.id, chat_id=chat_id),
        sources=list(map(bounded_source, given("sourceDocuments"))),
        follow_ups=decode_follow_ups(found["followUpPrompts"]) if "followUpPrompts" in found else (),
    )
    return FlowAnswer(
        text=text,
        data=data,
        chat_id=chat_id,
        message_id=_text(found.get("chatMessageId")),
        session_id=_text(found.get("sessionId")),
        execution_id=_text(found.get("executionId")),
        sources=kept.sources,
        usage=usage_of([output.get("usageMetadata") for output in outputs], model=model_of(outputs))
        if outputs
        else None,
        tools=kept.tools,
        steps=kept.steps,
        artifacts=kept.artifacts,
        action=action if isinstance(action, dict) else None,
        follow_ups=kept.follow_ups,
        warnings=kept.cut,
        elapsed=elapsed,
    )


def _object(flow: str, body: bytes, secrets: Collection[str]) -> dict[str, Any]:
    try:
        found = decode_json(body)
    except ValueError:
        begins = clean(body[:600].decode(errors="replace"), secrets=secrets)
        raise FlowProtocolError(flow, f"the answer is not JSON: {begins}") from None
    if not isinstance(found, dict):
        raise FlowProtocolError(flow, "the answer is not a JSON object")
    return found


def _steps(nodes: Sequence[Json], seen: Mapping[str, Sequence[Timed]]) -> Iterator[FlowStep]:
    """Yield the step of each node that ran. One that ran again has the time of its next run."""
    runs: Counter[str] = Counter()
    for node in nodes:
        name = name_of(node.get("nodeId"))
        times = seen.get(name, ())
        yield step_of_node(node, times[runs[name]] if runs[name] < len(times) else None)
        runs[name] += 1


def _objects_in(told: Mapping[str, Any], name: str) -> Sequence[Json]:
    return objects(told[name]) if name in told else ()  # most answers have few of these fields


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
