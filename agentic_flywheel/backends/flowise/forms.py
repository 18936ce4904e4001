"""Read the form with which an AgentFlow begins from the flow's own data, as Flowise stores it, and compare it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from agentic_flywheel.backends.decoding import objects_in, part_of
from agentic_flywheel.catalog import FormField
from agentic_flywheel.forms import described
from agentic_flywheel.given import MAX_FIELD_NAME

#: Kinds of fields that Flowise 3.1 has; any other is filled in with a text.
_KINDS = ("string", "number", "boolean", "options")


def form_of(flow_data: Any) -> tuple[FormField, ...]:
    """Return the fields of the form with which a flow begins; empty where it begins otherwise.

    ``flow_data`` is a chatflow's ``flowData``, as JSON or decoded. Every field is required, since Flowise leaves
    ``{{ $form.name }}`` in a prompt where a field is missing.
    """
    starts = [part_of(node.get("inputs")) for node in nodes_of(flow_data) if node.get("name") == "startAgentflow"]
    forms = [start.get("formInputTypes") for start in starts if start.get("startInputType") == "formInput"]
    return tuple(_field(each) for form in forms for each in objects_in(form) if _text(each.get("name")))


def unlike(ours: tuple[FormField, ...], theirs: tuple[FormField, ...]) -> Iterator[str]:
    """Yield where a registry's form is not the one with which the flow begins in Flowise."""
    if theirs and not ours:
        yield f"it begins with a form: give the registry `form: {_as_registry(theirs)}`"
        return
    if ours and not theirs:
        yield "it begins with no form: take `form` out of the registry"
        return
    there, here = {each.name: each for each in theirs}, {each.name: each for each in ours}
    missing = [each for each in theirs if each.name not in here]
    if missing:
        yield f"its form has more fields than the registry's: {described(missing)}"
    for name, field in here.items():
        their = there.get(name)
        if their is None:
            yield f"its form has no field {described([field])}"
        elif (their.type, set(their.options)) != (field.type, set(field.options)):
            yield f"a field of its form is {described([their])}, in the registry {described([field])}"


def _as_registry(fields: tuple[FormField, ...]) -> str:
    """Return a form as it can be written into a registry."""
    return json.dumps([each.model_dump(exclude_defaults=True) for each in fields], ensure_ascii=False)


def nodes_of(flow_data: Any) -> list[dict[str, Any]]:
    """Return name and inputs of a flow's nodes, from its ``flowData``."""
    return [part_of(node.get("data")) for node in objects_in(part_of(flow_data).get("nodes"))]


def _field(given: dict[str, Any]) -> FormField:
    kind = given.get("type") if given.get("type") in _KINDS else "string"
    options = [_text(each.get("option")) for each in objects_in(given.get("addOptions"))] if kind == "options" else []
    return FormField.model_validate(
        {"name": _text(given.get("name"))[:MAX_FIELD_NAME], "type": kind, "options": list(filter(None, options))}
    )


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
