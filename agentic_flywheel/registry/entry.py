"""One entry of a registry as a Flow, or every reason why it is none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from agentic_flywheel.catalog import Flow
from agentic_flywheel.registry.derive import domain_for, takes_questions, ttl_for
from agentic_flywheel.registry.document import Where
from agentic_flywheel.registry.sections import Entry

#: A fault and the way to it.
Fault = tuple[Where, str]

#: What each key should be, in words for whoever wrote something else.
MEANING = {
    "key": "a name of letters, digits, `-`, `_` and `.`, at most 128",
    "id": "the chatflow's uuid, or a name of letters, digits, `-`, `_` and `.`; in quotes if it looks like a number",
    "name": "text",
    "description": "text",
    "purpose": "text",
    "domain": "a name of letters, digits, `-`, `_` and `.`, at most 128",
    "active": "true or false",
    "session_format": "text",
    "config": "a mapping of Flowise's overrideConfig",
    "intent_keywords": "a list of texts that are not empty",
    "topics": "a mapping of topic names to lists of example questions that are not empty",
    "examples": "a list of questions that are not empty",
    "ttl": "a duration above zero, such as 90s, 15m, 7d (`cache: off` to keep no answers)",
    "stale_while_revalidate": "a duration such as 0, 90s, 15m, 7d",
    "failure_ttl": "a duration such as 0, 10s, 5m",
    "cache": "true or false (also on or off)",
    "timeout": "a duration above zero, such as 90s, 2m",
    "rate": "calls per second above zero, or text such as 10/s, 60/m, 1000/h",
    "concurrency": "a whole number of at least 1",
    "attempts": "a whole number from 1 to 20",
    "fallback": "the key of another flow",
    "memory": "flowise, history or none",
    "streaming": "true or false",
    "injection": "prepend, system or vars",
    "api_key_env": "the NAME of an environment variable (A-Z, 0-9, _), never the key itself",
    "server": "an address that begins with http:// or https://",
}

#: Keys whose text may look like a number, such as a flow named 2024.
_TEXTS = ("name", "description", "purpose", "session_format")
_LISTS = ("intent_keywords", "examples")
_NUMBERS = ("concurrency", "attempts", "rate")

_TRUTH = TypeAdapter[bool](bool)


def flow_of(entry: Entry) -> tuple[Flow | None, list[Fault]]:
    """Return the flow that the entry describes, and the faults; with faults there is no flow."""
    given = {name: entry.fields[name] for name in MEANING if entry.fields.get(name) is not None}
    faults = [*_unfit(given, entry.where)]
    values = given | {"key": entry.key, "active": _active(entry)}
    for name in _TEXTS:
        if name in values:
            values[name] = _text(values[name])
    for name in _LISTS:
        if isinstance(values.get(name), list):
            values[name] = [_text(each) for each in values[name]]
    if isinstance(values.get("topics"), dict):
        values["topics"] = {
            topic: [_text(each) for each in texts] if isinstance(texts, list) else texts
            for topic, texts in values["topics"].items()
        }
    purpose = str(values.get("purpose", ""))
    values.setdefault("domain", domain_for(entry.group, "") if entry.group else domain_for(entry.key, purpose))
    values.setdefault("ttl", ttl_for(str(values["domain"]), entry.key, purpose))
    try:
        flow = Flow.model_validate(values)
    except ValidationError as refused:
        faults += [_fault(each, entry) for each in refused.errors(include_url=False, include_input=False)]
        return None, _first_of_each(faults)
    return (None, faults) if faults else (flow, [])


def _active(entry: Entry) -> Any:
    """Return whether the entry takes questions; a value that says neither is left for the validator."""
    said = entry.fields.get("active")
    try:
        truth = None if said is None else _TRUTH.validate_python(said)
    except ValidationError:
        return said
    return not entry.shelved and takes_questions(truth, entry.fields.get("status"))


def _unfit(given: dict[str, Any], where: Where) -> Iterator[Fault]:
    """Yield the values that the model would take for something else than they say."""
    for name in _NUMBERS:
        if isinstance(given.get(name), bool):
            yield (*where, name), f"should be {MEANING[name]}"
    yield from (((*where, "config", *way), "should be a finite number") for way in _infinite(given.get("config")))


def _infinite(value: Any) -> Iterator[Where]:
    if isinstance(value, float) and not math.isfinite(value):
        yield ()
    steps: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, each in steps:
        yield from ((step, *way) for way in _infinite(each))


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _fault(refused: ErrorDetails, entry: Entry) -> Fault:
    name = str(refused["loc"][0])
    if refused["type"] == "missing":
        return (*entry.where, name), f"is missing: {MEANING[name]}"
    # pydantic names a mapping's bad key with the key and a marker.
    way = tuple(step for step in refused["loc"] if step != "[key]")
    return (*entry.where, *(way if name != "key" else ())), f"should be {MEANING[name]}"


def _first_of_each(faults: list[Fault]) -> list[Fault]:
    return list(dict(reversed(faults)).items())[::-1]
