"""The parameters of a chat completion: which are used, which are hints, and which a flow cannot carry out.

A hint says how good or how long an answer should be; the flow has its own settings for that, so it is taken and not
used. What would change the meaning of the answer, such as tools or a schema, is refused: to ignore it would be to say
yes to something that is not done. `null` is as good as leaving a parameter out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agentic_flywheel.errors import UnsupportedParameter

#: Read by ``requests``.
USED = frozenset({"model", "messages", "stream", "stream_options", "user"})
#: Taken and not used.
HINTS = frozenset(
    {
        "enable_thinking",
        "frequency_penalty",
        "include_reasoning",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "min_p",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "reasoning_effort",
        "repetition_penalty",
        "safety_identifier",
        "seed",
        "service_tier",
        "store",
        "temperature",
        "thinking",
        "top_k",
        "top_p",
        "verbosity",
    }
)
_TOOLS = "a flow has its own tools, and uses them itself"


def _nothing(value: Any) -> bool:
    """Whether a parameter that is given asks for nothing: an empty list or object, zero, or false."""
    return not value


def _one_of(*accepted: Any) -> Callable[[Any], bool]:
    return lambda value: value in accepted


#: Refused, unless the value is one that asks for nothing beyond the usual.
_REFUSED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "n": (_one_of(1), "a query has one answer; send the question again for another one"),
    "tools": (_nothing, _TOOLS),
    "tool_choice": (_one_of("none", "auto"), _TOOLS),
    "functions": (_nothing, _TOOLS),
    "function_call": (_one_of("none", "auto"), _TOOLS),
    "response_format": (_one_of({"type": "text"}), "a flow decides the form of its answer; ask for JSON in words"),
    "logprobs": (_nothing, "flows do not tell how likely their words were"),
    "top_logprobs": (_nothing, "flows do not tell how likely their words were"),
    "logit_bias": (_nothing, "a flow chooses its own words"),
    "stop": (_nothing, "a flow's answer is given whole; cut it where you need it to end"),
    "modalities": (_one_of(["text"]), "flows answer in text"),
    "audio": (_nothing, "flows answer in text"),
    "web_search_options": (lambda _: False, "a flow that searches does so by itself: name it as the model"),
}
PARAMETERS = (*sorted(USED | HINTS), *_REFUSED)


def check_parameters(body: Mapping[str, Any]) -> None:
    """Raises UnsupportedParameter for what would change the meaning of the answer, and for what nobody knows."""
    for name, value in body.items():
        if value is None or name in USED or name in HINTS:
            continue
        if name not in _REFUSED:
            raise UnsupportedParameter(name[:100], "it is not a parameter of a chat completion that is known here")
        asks_for_nothing, why = _REFUSED[name]
        if not asks_for_nothing(value):
            raise UnsupportedParameter(name, why)
