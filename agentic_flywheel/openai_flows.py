"""The settings of a model that a flow of an OpenAI-compatible server is asked with, and what each of them may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, TypeAdapter, ValidationError

_TOKENS = Annotated[int, Field(strict=True, ge=1)]
_PENALTY = Annotated[float, Field(strict=True, ge=-2, le=2)]
_WORDS = Annotated[str, StringConstraints(strict=True, min_length=1)]

#: The settings that a query may give too: what each has to be, for programs and in words.
_KNOWN: dict[str, tuple[Any, str]] = {
    "temperature": (Annotated[float, Field(strict=True, ge=0, le=2)], "a number from 0 to 2"),
    "top_p": (Annotated[float, Field(strict=True, ge=0, le=1)], "a number from 0 to 1"),
    "max_tokens": (_TOKENS, "a whole number of at least 1"),
    "max_completion_tokens": (_TOKENS, "a whole number of at least 1"),
    "seed": (Annotated[int, Field(strict=True)], "a whole number"),
    "stop": (_WORDS | Annotated[list[_WORDS], Field(min_length=1, max_length=16)], "a text, or a list of texts"),
    "presence_penalty": (_PENALTY, "a number from -2 to 2"),
    "frequency_penalty": (_PENALTY, "a number from -2 to 2"),
    "response_format": (dict[str, JsonValue], "a mapping with a `type`"),
    "reasoning_effort": (_WORDS, "a word such as low, medium or high"),
}
_ADAPTERS = {name: TypeAdapter[Any](kind) for name, (kind, _) in _KNOWN.items()}
#: Names of the settings that a query may give.
SETTINGS = frozenset(_KNOWN)
#: Those of which a query may lower what the registry says, but not raise it: they bound what an answer costs.
CEILINGS = ("max_tokens", "max_completion_tokens")
_SAID = "every request says it by itself"
#: What nobody sets, and why.
_OURS = {
    **dict.fromkeys(("messages", "model", "stream", "stream_options"), _SAID),
    "n": "one answer is asked for, and one is returned",
}


def unfit_setting(settings: Mapping[str, JsonValue]) -> str:
    """Return what is wrong with the first setting that cannot be sent; empty where all can.

    A name that is not known here is let pass: servers have settings of their own, such as ``top_k``.
    """
    for name, value in settings.items():
        if name in _OURS:
            return f"`{name}` is not a setting: {_OURS[name]}"
        if name in _KNOWN:
            try:
                _ADAPTERS[name].validate_python(value)
            except ValidationError:
                return f"`{name}` should be {_KNOWN[name][1]}"
    return ""


def _checked(settings: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if unfit := unfit_setting(settings):
        raise ValueError(unfit)
    return settings


#: Settings as a registry has them.
Sampling = Annotated[dict[str, JsonValue], AfterValidator(_checked)]
