"""One entry of a registry as a Flow, or every reason why it is none."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from agentic_flywheel.addresses import holds_login, is_address
from agentic_flywheel.catalog import KEYS_OF_BACKENDS, Flow
from agentic_flywheel.registry.derive import domain_for, takes_questions, ttl_for
from agentic_flywheel.registry.document import Where
from agentic_flywheel.registry.http_flow import http_faults
from agentic_flywheel.registry.sections import Entry
from agentic_flywheel.servers import BACKENDS, BackendName, FlowServer
from agentic_flywheel.written import as_text

#: A fault and the way to it.
Fault = tuple[Where, str]

#: What each key should be, in words for whoever wrote something else.
MEANING = {
    "key": "a name of the letters A to Z, digits, `-`, `_` and `.`, at most 128; `name` may be in any script",
    "id": "the chatflow's uuid, or a name of letters, digits, `-`, `_` and `.`; in quotes if it looks like a number",
    "name": "text",
    "description": "text",
    "purpose": "text",
    "domain": "a name of the letters A to Z, digits, `-`, `_` and `.`, at most 128",
    "active": "true or false",
    "session_format": "text",
    "form": "a list of fields: `name`, and as needed `type` (string, number, boolean, options), `required`, `options`",
    "config": "a mapping of Flowise's overrideConfig",
    "intent_keywords": "a list of texts that are not empty",
    "topics": "a mapping of topic names to lists of example questions that are not empty",
    "examples": "a list of questions that are not empty",
    "ttl": "a duration above zero, such as 90s, 15m, 7d (`cache: off` to keep no answers)",
    "stale_while_revalidate": "a duration such as 0, 90s, 15m, 7d",
    "failure_ttl": "a duration such as 0, 10s, 5m",
    "cache": "shared, owner or off (true and on mean owner)",
    "match": "exact or loose",
    "timeout": "a duration above zero, such as 90s, 2m",
    "idle_timeout": "a duration above zero, such as 60s, 2m",
    "rate": "calls per second above zero, or text such as 10/s, 60/m, 1000/h",
    "concurrency": "a whole number of at least 1",
    "attempts": "a whole number from 1 to 20",
    "fallback": "the key of another flow",
    "memory": "flowise, history or none",
    "history_turns": "a whole number from 1 to 1000",
    "history_chars": "a whole number from 100 to 1000000",
    "streaming": "true or false",
    "injection": "prepend, system or vars",
    "public": "a mapping: `origins`, a list of `https://name` or `*`, and as needed `queries_a_minute`, `under_way`, "
    "`uploads`",
    "api_key_env": "the NAME of an environment variable (A-Z, 0-9, _), never the key itself",
    "server": "the name of one of the `servers`, or an address that begins with http:// or https://",
    "backend": BACKENDS,
    "model": "the name of a model, as the server has it; of other flows, the one whose price they have",
    "system": "text",
    "sampling": "a mapping of settings such as temperature and max_tokens",
    "request": "a mapping that says what is sent",
    "answer": "a mapping that says where in the response the answer stands",
}

_SCHEMES = ("http://", "https://")
#: What a flow of each backend cannot be without.
NEEDED: dict[BackendName, tuple[str, ...]] = {"openai": ("model",)}
#: Keys whose text may look like a number, such as a flow named 2024: it is the text that was written.
_TEXTS = ("model", "system", "name", "description", "purpose", "session_format", "domain", "fallback")
_LISTS = ("intent_keywords", "examples")
#: Keys that hold texts, alone or in lists.
TEXTS = frozenset({"key", "topics", *_TEXTS, *_LISTS})
_NUMBERS = ("concurrency", "attempts", "rate", "history_turns", "history_chars")

_TRUTH = TypeAdapter[bool](bool)


def flow_of(entry: Entry, servers: Mapping[str, FlowServer | None]) -> tuple[Flow | None, list[Fault]]:
    """Return the flow that the entry describes, and the faults; with faults there is no flow.

    ``servers``: those that the registry has, by name; None for a faulty one.
    """
    given = {name: entry.fields[name] for name in MEANING if entry.fields.get(name) is not None}
    faults = [*_unfit(given, entry.where)]
    values = given | {"key": entry.key, "active": _active(entry)}
    faults += _on_server(values, entry, servers)
    if not str(values.get("server", "http://")).startswith(_SCHEMES):
        return None, faults  # its server is unknown, or faulty and says so itself
    for name in _TEXTS:
        if name in values:
            values[name] = as_text(values[name])
    for name in _LISTS:
        if isinstance(values.get(name), list):
            values[name] = _texts(values[name])
    if isinstance(values.get("topics"), dict):
        values["topics"] = {
            topic: _texts(texts) if isinstance(texts, list) else texts for topic, texts in values["topics"].items()
        }
    if isinstance(values.get("form"), list):
        values["form"] = [_field(each) if isinstance(each, dict) else each for each in values["form"]]
    purpose = str(values.get("purpose", ""))
    # A group's name in another script gives no domain.
    of_group = domain_for(entry.group, "") if entry.group else ""
    values.setdefault("domain", of_group or domain_for(entry.key, purpose))
    values.setdefault("ttl", ttl_for(str(values["domain"]), entry.key, purpose))
    try:
        flow = Flow.model_validate(values)
    except ValidationError as refused:
        faults += [_fault(each, entry) for each in refused.errors(include_url=False, include_input=False)]
        return None, _first_of_each(faults)
    if flow.api_key_env is not None and flow.server is not None and holds_login(flow.server):
        reason = (
            "`server` holds a user and a password, and both would be the Authorization header: "
            "leave out `api_key_env`, or take the user and the password out of `server`"
        )
        faults.append(((*entry.where, "api_key_env"), reason))
    return (None, faults) if faults else (flow, [])


def _on_server(values: dict[str, Any], entry: Entry, servers: Mapping[str, FlowServer | None]) -> Iterator[Fault]:
    """Yield what is wrong with a flow's server and backend, and put into ``values`` what they mean."""
    server = as_text(values.get("server"))
    plain = values.get("backend") is None
    if server is not None and not isinstance(server, str):
        yield (*entry.where, "server"), f"should be {MEANING['server']}"
        return
    if isinstance(server, str) and not server.startswith(_SCHEMES):
        plain = False
        if server not in servers:
            yield (*entry.where, "server"), _unknown_server(server, servers)
        if (named := servers.get(server)) is None:
            return
        values |= {"server": named.address, "served_by": named}
        if values.setdefault("backend", named.backend) != named.backend:
            yield (*entry.where, "backend"), f"should be {named.backend}, as that of the server {server!r} is"
            return
    kind = next((each for each in KEYS_OF_BACKENDS if each == values.get("backend", "flowise")), None)
    if kind is None:
        return  # the validator says so
    for other, names in KEYS_OF_BACKENDS.items():
        # A model names the price of any flow's tokens.
        for name in names:
            if name in ("model", *KEYS_OF_BACKENDS[kind]):
                continue
            # An older registry may have such a key for itself: of a flow that speaks of no backend it means nothing.
            if values.pop(name, None) is not None and not plain:
                yield (*entry.where, name), f"is a key of `backend: {other}`, and this flow is of `{kind}`"
    if kind == "flowise":
        model = values.get("model")
        if plain and not (isinstance(model, str) and 0 < len(model.strip()) <= 200):
            values.pop("model", None)  # an older registry's own
        return
    values.setdefault("id", entry.key)
    if server is None:
        yield (*entry.where, "server"), f"is missing: {MEANING['server']}"
    elif values.get("served_by") is None and not is_address(server):
        yield (*entry.where, "server"), f"should be {MEANING['server']} and names a host, without `?` and `#`"
    for name in NEEDED.get(kind, ()):
        if values.get(name) is None:
            yield (*entry.where, name), f"is missing: {MEANING[name]}"
    if kind == "http":
        if wrong := [*http_faults(values, entry.where)]:
            yield from wrong
            values |= {"request": None, "answer": None}
    elif values.get("form"):
        yield (*entry.where, "form"), f"is a key of `backend: flowise`, and this flow is of `{kind}`"


def _unknown_server(name: str, servers: Mapping[str, FlowServer | None]) -> str:
    near = difflib.get_close_matches(name, servers, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"should be {MEANING['server']}; `servers` has no {name!r}{hint}"


def _field(given: dict[str, Any]) -> dict[str, Any]:
    """Return a field of a form with its name and options as the texts that were written."""
    options = given.get("options")
    named = {"name": as_text(given["name"])} if "name" in given else {}
    return {**given, **named, **({"options": _texts(options)} if isinstance(options, list) else {})}


def _texts(given: list[Any]) -> list[Any]:
    """Return the texts of a list; a truth, which is a word where texts stand, as the word."""
    return [str(each).lower() if isinstance(each, bool) else as_text(each) for each in given]


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


def _fault(refused: ErrorDetails, entry: Entry) -> Fault:
    name = str(refused["loc"][0])
    if refused["type"] == "missing" and len(refused["loc"]) == 1:
        return (*entry.where, name), f"is missing: {MEANING[name]}"
    # pydantic names a mapping's bad key with the key and a marker.
    way = tuple(step for step in refused["loc"] if step != "[key]")
    told = f"should be {MEANING[name]}{_misread(entry.fields, way)}"
    if name == "sampling" and refused["type"] == "value_error":
        told = str(refused["ctx"]["error"])  # which setting, and what it should be
    return (*entry.where, *(way if name != "key" else ())), told


def _misread(given: Any, way: tuple[int | str, ...]) -> str:
    """Say what YAML made of a text in a list that was meant to be one; empty where that is not what happened."""
    for step in way:
        if not isinstance(given, dict | list) or (isinstance(given, list) and not isinstance(step, int)):
            return ""
        given = given[step] if isinstance(given, list) and isinstance(step, int) else dict(given).get(step)
    if len(way) < 2 or not isinstance(way[-1], int):
        return ""
    if isinstance(given, dict):
        return "; `: `, `{` or `? ` in this one makes it a mapping: put it in quotes"
    if isinstance(given, list):
        return "; this one is a list itself: put it in quotes"
    return "; this one is null: put it in quotes, or remove it" if given is None else ""


def _first_of_each(faults: list[Fault]) -> list[Fault]:
    return list(dict(reversed(faults)).items())[::-1]
