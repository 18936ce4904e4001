"""Turn a chat completion, plain or streamed, into one FlowAnswer. Decides only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from agentic_flywheel.backends.contents import Json, discreet, kept_of, name_of, text_of
from agentic_flywheel.backends.decoding import decode_json
from agentic_flywheel.backends.models import FlowAnswer
from agentic_flywheel.backends.openai.failure import failure_of_told, told_of
from agentic_flywheel.backends.reasons import clean
from agentic_flywheel.catalog import Flow
from agentic_flywheel.doings import FlowStep, ToolUse, Usage
from agentic_flywheel.errors import ContentFiltered, FlowFailed, FlowProtocolError, ProviderUnavailable

#: Under these names servers tell what a model said to itself.
REASONING = ("reasoning_content", "reasoning")
#: The name and the kind of the step that a model's reasoning is.
REASONING_STEP = "reasoning"
_CUT = ("length", "max_tokens", "model_length")
_FILTERED = "content_filter"


@dataclass
class ToolCall:
    """A tool that a model asks for. Its arguments are JSON, as the model wrote it."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass
class Completion:
    """What a server told of an answer, put together."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: Sequence[ToolCall] = field(default_factory=tuple)
    finish: str = ""
    usage: Any = None
    model: str = ""
    id: str = ""


def plain_completion(flow: Flow, body: bytes, secrets: Collection[str]) -> Completion:
    """Return what is in the JSON of a 200. Raises a FlowError where it is an error, or no answer."""
    try:
        found = decode_json(body)
    except ValueError:
        reason = clean(body[:600].decode(errors="replace"), secrets=secrets)
        raise FlowProtocolError(flow.key, f"the answer is not JSON: {reason}") from None
    if (told := told_of(found)) is not None:
        raise failure_of_told(flow, told, secrets=secrets)
    choice = first_choice(found)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise FlowProtocolError(flow.key, "the answer has no choices with a message")
    return Completion(
        text=text_in(message.get("content")),
        reasoning=reasoning_in(message),
        refusal=text_in(message.get("refusal")),
        calls=[call_of(each) for each in called_in(message)],
        finish=name_of(choice.get("finish_reason")),
        usage=found.get("usage"),
        model=name_of(found.get("model")),
        id=name_of(found.get("id")),
    )


def answer_of(flow: Flow, told: Completion, *, reasoned: timedelta | None = None) -> FlowAnswer:
    """Return the answer that a completion is. ``reasoned``: for how long the model reasoned, where that was measured.

    One of tool calls alone has them as ``data`` too: nobody here runs them, and whoever asked can. Raises FlowFailed
    or ContentFiltered where there is nothing to read or to run.
    """
    text = told.text or told.refusal
    if not text.strip() and not told.calls:
        raise _nothing(flow, told)
    kept = kept_of(tools=[tool_use(each) for each in told.calls], steps=list(_steps(told, reasoned)))
    return FlowAnswer(
        text=text,
        data=None if text.strip() else {"tool_calls": [vars(each) for each in told.calls]},
        message_id=told.id or None,
        usage=usage_of(told.usage, told.model or flow.model),
        tools=kept.tools,
        steps=kept.steps,
        warnings=(*_warnings(told), *kept.cut),
    )


def _nothing(flow: Flow, told: Completion) -> FlowFailed | ContentFiltered | ProviderUnavailable:
    if told.finish == "error":
        return ProviderUnavailable(flow.key, "the server says that the answer ended with an error, not with which")
    if told.finish == _FILTERED:
        return ContentFiltered(flow.key, "the whole answer was taken away")
    if told.finish in _CUT:
        return FlowFailed(flow.key, "its limit of tokens was used up before an answer began: raise `max_tokens`")
    return FlowFailed(flow.key, "the model answered with nothing")


def _warnings(told: Completion) -> Iterator[str]:
    if told.finish in _CUT:
        yield "The answer is cut: the flow's limit of tokens was reached."
    elif told.finish == _FILTERED:
        yield "The provider's content filter cut the answer."
    elif told.finish == "error":
        yield "The server says that the answer ended with an error."
    if told.refusal and not told.text:
        yield "The model refused to answer; the text says so."
    elif told.calls:
        names = ", ".join(sorted({name_of(each.name) or "one without a name" for each in told.calls}))
        yield f"The model asked for tools, which nobody has run here: {names}."


def _steps(told: Completion, reasoned: timedelta | None) -> Iterator[FlowStep]:
    if told.reasoning.strip():
        yield FlowStep(
            id=REASONING_STEP,
            name=REASONING_STEP,
            kind=REASONING_STEP,
            status="finished",
            elapsed=reasoned,
            reasoning=text_of(told.reasoning),
        )


def tool_use(call: ToolCall) -> ToolUse:
    """Return the use of a tool that a model asks for. Secrets in what it is given are hidden."""
    given: Any = call.arguments
    with contextlib.suppress(ValueError):  # then the text as it stands
        given = decode_json(call.arguments) if call.arguments.strip() else None
    return ToolUse(name=name_of(call.name) or "a tool without a name", input=discreet(given))


def usage_of(told: Any, model: str | None) -> Usage | None:
    """Return the tokens that a server counted; None where it counted none, as proxies say that do not know."""
    if not isinstance(told, dict):
        return None
    given, made, both = (_count(told, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens"))
    if not (given or made or both):
        return None
    details = told.get("prompt_tokens_details")
    return Usage(
        input_tokens=given,
        cached_input_tokens=min(given, _count(details, "cached_tokens")) if isinstance(details, dict) else 0,
        output_tokens=made,
        total_tokens=both or given + made,
        model=model,
    )


def _count(told: Mapping[str, Any], name: str) -> int:
    value = told.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def first_choice(found: Any) -> Json:
    """Return the first choice of a completion or of a chunk; an empty one where there is none."""
    choices = found.get("choices") if isinstance(found, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def text_in(content: Any) -> str:
    """Return the text of a content, which may be a list of parts."""
    if isinstance(content, list):
        texts = (each.get("text") for each in content if isinstance(each, dict))
        return "".join(each for each in texts if isinstance(each, str))
    return content if isinstance(content, str) else ""


def reasoning_in(message: Mapping[str, Any]) -> str:
    """Return what a message, or a piece of one, tells of the model's reasoning."""
    return next((text for name in REASONING if isinstance(text := message.get(name), str) and text), "")


def called_in(message: Mapping[str, Any]) -> list[Json]:
    """Return the tool calls of a message, or of a piece of one."""
    calls = message.get("tool_calls")
    return [each for each in calls if isinstance(each, dict)] if isinstance(calls, list) else []


def call_of(told: Mapping[str, Any]) -> ToolCall:
    """Return one tool call, or what a piece tells of it."""
    function = told.get("function")
    function = function if isinstance(function, dict) else {}
    arguments = function.get("arguments")
    return ToolCall(
        id=name_of(told.get("id")),
        name=name_of(function.get("name")),
        # Ollama has sent an object.
        arguments=arguments if isinstance(arguments, str) else json.dumps(arguments) if arguments else "",
    )
