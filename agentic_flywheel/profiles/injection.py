"""Send a briefing to a flow: before the question, as the flow's system message, or as variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import JsonValue

from agentic_flywheel.profiles.briefing import Briefing

Injection = Literal["prepend", "system", "vars"]


def injected(
    how: Injection, told: Briefing, question: str, config: Mapping[str, JsonValue]
) -> tuple[str, dict[str, JsonValue]]:
    """Return the question to send, and the overrides to send in addition to those of ``config``.

    Flowise ignores overrides that a flow's owner has not enabled, so only ``prepend`` is certain to arrive. A system
    message or variable that ``config`` sets is not replaced. A Flowise prompt reads the variables as
    ``{{$vars.profile_context}}``.
    """
    if how == "prepend":
        return f"{told.text}\n\n{question}", {}
    if how == "system":
        before = config.get("systemMessage")
        message = f"{before}\n\n{told.text}" if isinstance(before, str) and before.strip() else told.text
        return question, {"systemMessage": message}
    given = config.get("vars")
    variables: dict[str, JsonValue] = {
        "profile": told.profile or "",
        "profile_context": told.text,
        "profile_context_type": told.kind,
    }
    return question, {"vars": {**variables, **(given if isinstance(given, dict) else {})}}
