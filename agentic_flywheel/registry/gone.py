"""Name the flows of a registry that have left their server. Decides only; nothing is read or written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agentic_flywheel.backends import ListedFlow
from agentic_flywheel.backends.openai.backend import covers
from agentic_flywheel.catalog import Flow
from agentic_flywheel.registry.importing import FlowProposal, fits


def unlisted(flows: Iterable[Flow], names: Iterable[str], wanted: Sequence[str] = ()) -> list[Flow]:
    """Return those of a server's flows in the registry that are active although the server does not list them.

    ``names``: the ids, or models, that it lists. ``wanted``: patterns for key, id, model or name; all, without any.
    """
    there = set(names)
    missing = [each for each in flows if each.active and not _listed(each, there)]
    return [each for each in missing if not wanted or any(fits(pattern, *_names(each)) for pattern in wanted)]


def without_known(patterns: Iterable[str], flows: Iterable[Flow]) -> list[str]:
    """Return the patterns that fit the key, id, model or name of none of these flows."""
    known = list(flows)
    return [pattern for pattern in patterns if not any(fits(pattern, *_names(each)) for each in known)]


def gone(flow: Flow) -> FlowProposal:
    """Return what is said of a flow of the registry that its server does not have any more."""
    if flow.backend == "flowise":
        why = "its server does not have it any more, so a question to it fails"
    else:
        why = "its server does not list its model any more; where a question to it fails"
    what = f"{why}: write `active: false`, take it out of the registry, or give it {_replacement(flow)}"
    return FlowProposal(flow.key, ListedFlow(_name_there(flow), flow.name), "gone", {}, {}, (what,))


def _replacement(flow: Flow) -> str:
    return "the `id` of the flow that replaces it" if flow.backend == "flowise" else "another `model`"


def _listed(flow: Flow, there: set[str]) -> bool:
    name = _name_there(flow)
    return name in there or (flow.backend == "openai" and any(covers(each, name) for each in there))


def _name_there(flow: Flow) -> str:
    """Return what a flow is called at its server."""
    return flow.id if flow.backend == "flowise" else flow.model or ""


def _names(flow: Flow) -> tuple[str, ...]:
    return tuple(filter(None, (flow.key, _name_there(flow), flow.name)))
