"""The registry's ``intent_classification`` as a Policy, older files' thresholds included."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from agentic_flywheel.catalog import Policy
from agentic_flywheel.registry.document import Where
from agentic_flywheel.registry.entry import Fault
from agentic_flywheel.written import as_text

SECTION = "intent_classification"

#: Keys that name a flow.
FLOWS = ("fallback_flow", "synthesis_flow", "side_calls")

MEANING = {
    "fallback_flow": "the key of an active flow",
    "confidence_threshold": "a number from 0 to 1",
    "bands": "a mapping with the lower bounds `high` and `medium`",
    "high": "a number from 0 to 1",
    "medium": "a number from 0 to 1",
    "multi_flow_threshold": "a number from 0 to 1",
    "max_targets": "a whole number from 1 to 8",
    "on_medium": "best or best_two",
    "on_low": "default or clarify",
    "synthesis_flow": "the key of an active flow",
    "side_calls": "the key of an active flow",
    "scoring_weights": "a mapping of signals to numbers",
    "encoder": "a mapping with `url`, `model` and perhaps `api_key_env`: a variable's NAME, never a key",
}


def policy_of(data: dict[str, Any]) -> tuple[Policy, list[Fault]]:
    """Return the policy of a registry, and the faults; with faults the policy is the default one."""
    section = data.get(SECTION)
    if section is None:
        return Policy(), []
    if not isinstance(section, dict):
        return Policy(), [((SECTION,), "should be a mapping")]
    given = {name: section[name] for name in Policy.model_fields if section.get(name) is not None}
    given |= {name: as_text(given[name]) for name in FLOWS if name in given}
    places: dict[str, Where] = {name: (SECTION, name) for name in Policy.model_fields}
    bands = section.get("bands")
    if bands is not None and not isinstance(bands, dict):
        return Policy(), [((SECTION, "bands"), f"should be {MEANING['bands']}")]
    if bands is not None:
        for name in ("high", "medium"):
            places[name] = (SECTION, "bands", name)
            if bands.get(name) is not None:
                given[name] = bands[name]
    elif section.get("confidence_threshold") is not None:
        # Older files have one threshold, below which a question went to the fallback flow.
        places["medium"] = (SECTION, "confidence_threshold")
        given["medium"] = section["confidence_threshold"]
    faults = [(places[name], f"should be {MEANING[name]}") for name in given if isinstance(given[name], bool)]
    try:
        policy = Policy.model_validate(given)
    except ValidationError as refused:
        for each in refused.errors(include_url=False, include_input=False):
            name = str(each["loc"][0])
            faults.append(((*places[name], *each["loc"][1:]), f"should be {MEANING[name]}"))
        return Policy(), faults
    if faults:
        return Policy(), faults
    if policy.medium > policy.high:
        if bands is None:
            return policy.model_copy(update={"high": policy.medium}), []
        return Policy(), [(places["medium"], f"should not be above `high` ({policy.high:g})")]
    return policy, []
