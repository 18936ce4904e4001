"""Turn a chat completion, plain or streamed, into one FlowAnswer. Decides only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from agentic_flywheel.backends.contents import Json, discreet, kept_of, name_of, text_of
from agentic_flywheel.backends.decoding import decode_json, objects_in
from agentic_flywheel.backends.models import FlowAnswer
from agentic_flywheel.backends.openai.failure import failure_of_told, told_of
from agentic_flywheel.backends.reasons import clean
from agentic_flywheel.catalog import Flow
from agentic_flywheel.doings import FlowStep, ToolUse, Usage, tokens_of
from agentic_flywheel.errors import ContentFiltered, FlowFailed, FlowProtocolError, ProviderUnavailable

#: Under these names servers tell what a model said to itself.
REASONING = ("reasoning_content", "reasoning")
#: Mistral tells it in parts of the content that have this member.
_THINKING = "thinking"
#: The name and the kind of the step that a model's reasoning is.
REASONING_STEP = "reasoning"
_CUT = ("length", "max_tokens", "model_length")
_FILTERED = "content_filter"
#: How servers say that they broke an answer off: vLLM and SGLang, DeepSeek.
_BROKEN = ("abort", "insufficient_system_resource")
#: How they say that it is whole.
_WHOLE = ("", "stop", "tool_calls", "function_call", "eos", "eos_token", "stop_sequence", "end_turn", "complete")
_REFUSED = "The model refused to answer; the text says so."


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
    #: Kinds of what else it holds, such as `audio`: there is no place for them in an answer.
    unkept: frozenset[str] = frozenset()
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
    choice = choice_in(found)
    if (told := told_of(found) or told_of({"error": choice.get("error")})) is not None:
        raise failure_of_told(flow, told, secrets=secrets)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise FlowProtocolError(flow.key, "the answer has no choices with a message")
    return Completion(
        text=text_in(message.get("content")) or transcript_in(message),
        reasoning=reasoning_in(message),
        refusal=text_in(message.get("refusal")),
        unkept=unkept_in(message),
        calls=[call_of(each) for each in called_in(message)],
        finish=name_of(choice.get("finish_reason")),
        usage=found.get("usage"),
        model=name_of(found.get("model")),
        id=name_of(found.get("id")),
    )


def answer_of(flow: Flow, told: Completion, *, reasoned: timedelta | None = None) -> FlowAnswer:
    """Return the answer that a completion is. ``reasoned``: for how long the model reasoned, where that was measured.

    One of tool calls alone has them as ``data`` too: nobody here runs them, and whoever asked can. Raises FlowFailed
    or ContentFiltered where there is nothing to read or to run, ProviderUnavailable where it ended with an error.
    """
    text = told.text or told.refusal
    if told.finish == "error":
        raise ProviderUnavailable(flow.key, "the server says that the answer ended with an error, not with which")
    if told.finish in _BROKEN:
        raise ProviderUnavailable(flow.key, f"the server broke the answer off: {told.finish}")
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


def _nothing(flow: Flow, told: Completion) -> FlowFailed | ContentFiltered:
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
    elif told.finish.lower() not in _WHOLE:
        yield f"The server ended the answer for a reason that is not known here: {told.finish}."
    if told.refusal:
        yield f"The model refused to answer: {clean(told.refusal)}" if told.text else _REFUSED
    if told.unkept:
        yield f"The model gave more than text, which is not kept: {', '.join(sorted(told.unkept))}."
    if told.calls:
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
    given, made, both = (tokens_of(told.get(f"{name}_tokens")) for name in ("prompt", "completion", "total"))
    if not (given or made or both):
        return None
    details = told.get("prompt_tokens_details")
    return Usage(
        input_tokens=given,
        cached_input_tokens=min(given, tokens_of(details.get("cached_tokens"))) if isinstance(details, dict) else 0,
        output_tokens=made,
        total_tokens=max(both, given + made),
        model=model,
    )


def choice_in(found: Any, number: int | None = None) -> Json:
    """Return the choice of a completion or of a chunk that has this number, else the first; empty where there is none.

    Nobody asks for several, but a proxy may be set up to send them.
    """
    choices = objects_in(found.get("choices")) if isinstance(found, dict) else []
    if number is not None:
        choices = [each for each in choices if number_of(each) == number]
    return min(choices, key=number_of, default={})


def number_of(choice: Json) -> int:
    """Return the number of a choice among those of an answer."""
    number = choice.get("index")
    return number if isinstance(number, int) else 0


def text_in(content: Any) -> str:
    """Return the text of a content, which may be a list of parts."""
    if isinstance(content, list):
        texts = (each.get("text") for each in content if isinstance(each, dict))
        return "".join(each for each in texts if isinstance(each, str))
    return content if isinstance(content, str) else ""


def transcript_in(message: Mapping[str, Any]) -> str:
    """Return what is said in a message's audio, or in a piece of it."""
    audio = message.get("audio")
    return text_in(audio.get("transcript")) if isinstance(audio, dict) else ""


def unkept_in(message: Mapping[str, Any]) -> frozenset[str]:
    """Return the kinds of what a message, or a piece of one, holds beside text."""
    parts = [each for each in objects_in(message.get("content")) if not {"text", _THINKING} & each.keys()]
    kinds = {name_of(each.get("type")) or "a part without a type" for each in parts}
    return frozenset([*(name for name in ("audio", "images") if message.get(name)), *sorted(kinds)][:10])


def reasoning_in(message: Mapping[str, Any]) -> str:
    """Return what a message, or a piece of one, tells of the model's reasoning, beside its content or in it."""
    told = next((text for name in REASONING if isinstance(text := message.get(name), str) and text), "")
    return told or "".join(text_in(each.get(_THINKING)) for each in objects_in(message.get("content")))


def called_in(message: Mapping[str, Any]) -> list[Json]:
    """Return the tool calls of a message, or of a piece of one; in the old form there is one at most, without an id."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        function = message.get("function_call")
        return [{"index": 0, "function": function}] if isinstance(function, dict) else []
    return [each for each in calls if isinstance(each, dict)]


def call_of(told: Mapping[str, Any]) -> ToolCall:
    """Return one tool call, or what a piece tells of it."""
    # A tool of the type `custom` takes any text.
    function = told.get("function") or told.get("custom")
    function = function if isinstance(function, dict) else {}
    arguments = function.get("arguments", function.get("input"))
    return ToolCall(
        id=name_of(told.get("id")),
        name=name_of(function.get("name")),
        # Ollama has sent an object.
        arguments=arguments if isinstance(arguments, str) else json.dumps(arguments) if arguments else "",
    )
