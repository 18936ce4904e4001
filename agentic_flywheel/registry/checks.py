"""What must hold between the flows of a registry, and what is only worth a remark."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Set

from agentic_flywheel.catalog import Flow, Policy
from agentic_flywheel.http_flows import names_in
from agentic_flywheel.openai_flows import SETTINGS, unfit_setting
from agentic_flywheel.prices import Prices
from agentic_flywheel.registry import entry as entries
from agentic_flywheel.registry.derive import OLD_INTENTS
from agentic_flywheel.registry.document import Odd, Where
from agentic_flywheel.registry.entry import Fault
from agentic_flywheel.registry.policy import FLOWS, SECTION
from agentic_flywheel.registry.policy import MEANING as POLICY_MEANING
from agentic_flywheel.registry.sections import Entry


def resolved_fallback(policy: Policy, flows: Mapping[str, Flow]) -> Policy:
    """Return the policy with the flow that the fallback's name means in older files, where an intent could be named."""
    name = policy.fallback_flow or ""
    domain = OLD_INTENTS.get(name)
    if domain is None or (name in flows and flows[name].active):
        return policy
    for key, flow in flows.items():
        if flow.active and flow.domain == domain and key not in policy.reserved:
            return policy.model_copy(update={"fallback_flow": key})
    return policy


def between_flows(flows: Mapping[str, Flow], policy: Policy, found: Mapping[str, Entry]) -> Iterator[Fault]:
    """Yield what is wrong between the flows; ``found`` says where each stands in the file."""
    active = {key: flow for key, flow in flows.items() if flow.active}
    if not any(key not in policy.reserved and not flow.form for key, flow in active.items()):
        yield ("operational_flows",), "needs at least one active flow that questions can go to"
    for name in FLOWS:
        key = getattr(policy, name)
        if key is not None and key not in active:
            yield (SECTION, name), _not_there(key, flows)
        elif key is not None and active[key].form:
            yield (SECTION, name), f"names the flow {key!r}, which begins with a form and takes no question"
    if policy.fallback_flow is not None and policy.fallback_flow in policy.reserved:
        task = "synthesis flow" if policy.fallback_flow == policy.synthesis_flow else "flow for side calls"
        yield (SECTION, "fallback_flow"), f"is the {task}, which takes no questions"
    for key, flow in active.items():
        if flow.fallback is not None and flow.fallback not in active:
            yield (*found[key].where, "fallback"), _not_there(flow.fallback, flows)
        elif flow.fallback is not None and active[flow.fallback].form != flow.form:
            yield (
                (*found[key].where, "fallback"),
                f"names the flow {flow.fallback!r}, which does not begin with this form",
            )
        if len({field.name for field in flow.form}) < len(flow.form):
            yield (*found[key].where, "form"), "has two fields of one name"
    for cycle in _cycles({key: flow.fallback for key, flow in active.items() if flow.fallback in active}):
        yield (*found[cycle[0]].where, "fallback"), f"goes round in a circle: {' → '.join(cycle)}"


def remarks_on_flows(flows: Mapping[str, Flow], found: Mapping[str, Entry]) -> Iterator[Fault]:
    """Yield what works but was hardly meant."""
    first_of: dict[tuple[str | None, str], str] = {}
    for key, flow in flows.items():
        where = found[key].where
        if not flow.active:
            continue
        first = first_of.setdefault((flow.server, flow.id), key)
        if first != key:
            yield (*where, "id"), f"is the id of the flow {first!r} too"
        if not (flow.form or flow.keywords or flow.topics or flow.examples or flow.description.strip()):
            yield where, "has no topics, examples, keywords or description: only its name can route a question here"
        if (needed := _unremembered(flow)) is not None:
            said = (
                f"its `request` has no place for {needed}, so questions in a session are refused from the second on; "
            )
            yield (*where, "memory"), said + "where it answers each question by itself, say `memory: none`"


def remarks_on_requests(flows: Mapping[str, Flow], prices: Prices, found: Mapping[str, Entry]) -> Iterator[Fault]:
    """Yield what a flow's server is never told, what it refuses, and what its answers will not say of their cost."""
    for key, flow in flows.items():
        if not flow.active:
            continue
        where, names = found[key].where, names_in(flow.request)
        if unsent := sorted(flow.config.keys() - _sent(flow, names)):
            yield (*where, "config"), f"has {', '.join(unsent)}, which is never sent: {_INSTEAD[flow.backend]}"
        settings = {name: value for name, value in flow.config.items() if name in SETTINGS}
        if flow.backend == "openai" and (unfit := unfit_setting(settings)):
            yield (*where, "config"), f"{unfit}: every question is refused as it is"
        if flow.request is not None and not any(name.startswith(("question", "form")) for name in names):
            yield (*where, "request"), "has no place for {{question}}: its server is never told what is asked"
        if flow.model is not None and prices.models and prices.of(flow.model) is None:
            said = f"{flow.model} is none of `prices`: what its answers cost is unknown"
            yield (*where, "model"), f"{said}, unless its server tells another name"


#: What to do about a value of `config` that is never sent.
_INSTEAD = {
    "openai": "a setting of one server belongs to `sampling`, a text for the model to `system`",
    "http": "the flow's `request` has no {{config.NAME}} for it",
}


def _sent(flow: Flow, names: Set[str]) -> Set[str]:
    """Return what of its `config` a flow's server is sent; ``names``: those that stand for values in its request."""
    if flow.backend == "openai":
        return SETTINGS
    if flow.backend == "http" and "config" not in names:
        return {name for name in flow.config if f"config.{name}" in names}
    return flow.config.keys()


def _unremembered(flow: Flow) -> str | None:
    """Return what a flow's request lacks to be told of a conversation; None where it lacks nothing."""
    if flow.request is None or flow.memory == "none" or "history" in (names := names_in(flow.request)):
        return None
    if flow.memory == "history":
        return "{{history}}"
    return None if "session_id" in names else "{{session_id}} or {{history}}"


def remarks_on_values(odd: Mapping[Where, Odd], found: Mapping[str, Entry]) -> Iterator[Fault]:
    """Yield the values that mean something else to YAML than they may to who wrote them, where we read them."""
    places = {entry.where: entry for entry in found.values()}
    for where, value in odd.items():
        if value.kind == "anchor":
            yield where, f"has the anchor {value.text} of another value; aliases below it mean this one"
        entry = next((places[where[:end]] for end in range(len(where)) if where[:end] in places), None)
        key = where[len(entry.where)] if entry else where[1] if where[0] == SECTION and len(where) > 1 else None
        if key not in (entries.MEANING if entry else POLICY_MEANING):
            continue
        is_text = key in entries.TEXTS
        if value.kind == "number" and not is_text:
            yield where, f"{value.text} is read as a number; in quotes it stays as it is written"
        elif value.kind == "cut" and key in ("examples", "topics"):
            yield where, f"{value.text[:60]} is read as a comment; in quotes it belongs to the question"
        elif value.kind == "null" and is_text:
            yield where, f"{value.text} is nothing; in quotes it is the word"
        elif value.kind == "truth" and key == "config":
            yield where, f"{value.text} is read as text; write true or false, or put it in quotes"


def _not_there(key: str, flows: Mapping[str, Flow]) -> str:
    if key in flows:
        return f"names the flow {key!r}, which is not active"
    near = difflib.get_close_matches(key, flows, n=1)
    return f"names the flow {key!r}, which does not exist" + (f"; did you mean {near[0]!r}?" if near else "")


def _cycles(following: Mapping[str, str | None]) -> Iterator[list[str]]:
    """Yield each circle once, beginning and ending with the flow that the file has first."""
    settled: set[str] = set()
    for start in following:
        way: list[str] = []
        here: str | None = start
        while here is not None and here not in settled and here not in way:
            way.append(here)
            here = following.get(here)
        settled.update(way)
        if here is not None and here in way:
            circle = way[way.index(here) :]
            first = min(circle, key=list(following).index)
            turn = circle.index(first)
            yield [*circle[turn:], *circle[:turn], first]
