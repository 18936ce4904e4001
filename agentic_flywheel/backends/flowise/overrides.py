"""What Flowise makes of an ``overrideConfig``: it ignores, without a word, what the flow's owner has not enabled."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from agentic_flywheel.backends.flowise.models import Chatflow

#: What is honoured whether or not the flow's owner enabled it (Flowise 3.1.4, ``replaceInputsWithConfig``).
_ALWAYS = frozenset({"sessionId", "analytics"})


def ignored(config: Mapping[str, JsonValue], known: Chatflow) -> tuple[str, ...]:
    """Return the names of what Flowise ignores of a configuration: of variables each one's, unless it ignores all."""
    names: list[str] = []
    for name, value in config.items():
        if name == "vars" and isinstance(value, dict) and known.variables:
            names += [f"vars.{each}" for each in value if each not in known.variables]
        elif name not in _ALWAYS and name not in known.overridable:
            names.append(name)
    return tuple(names)


def honoured(config: Mapping[str, JsonValue], known: Chatflow) -> dict[str, JsonValue]:
    """Return what Flowise uses of a configuration."""
    names = ignored(config, known)
    used = {name: value for name, value in config.items() if name not in names}
    variables = used.pop("vars", None)
    if isinstance(variables, dict):
        used |= {"vars": kept} if (kept := {k: v for k, v in variables.items() if k in known.variables}) else {}
    return used
