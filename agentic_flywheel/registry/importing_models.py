"""Propose what a registry should say of the models that a server lists. Decides only; nothing is read or written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from agentic_flywheel.backends import ListedFlow
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.registry.derive import slug
from agentic_flywheel.registry.importing import FlowProposal, fits, free_key, one_text

#: What a person has to add to a model: a server says nothing of what it is for.
_TO_SAY = "say what people may ask it (`description`, `examples`), and what it is told (`system`)"


def chosen(listed: Iterable[ListedFlow], wanted: Sequence[str]) -> tuple[list[ListedFlow], list[str]]:
    """Return the models whose name fits one of the patterns (``*`` and ``?``), and the patterns that fit nothing."""
    flows = list(listed)

    found = [each for each in flows if any(fits(pattern, each.id, each.name) for pattern in wanted)]
    return found, [pattern for pattern in wanted if not any(fits(pattern, each.id, each.name) for each in flows)]


def model_proposals(
    catalog: Catalog, listed: Iterable[ListedFlow], *, server: str, domain: str | None = None
) -> list[FlowProposal]:
    """Return what the registry should say of each model, in the order of their names.

    ``server``: its name in the registry. A model of which the registry has a flow stays as it is.
    """
    address = catalog.servers[server].address
    known = {flow.model: flow.key for flow in catalog.flows.values() if flow.server == address}
    taken, found = set(catalog.flows), list[FlowProposal]()
    for each in sorted(listed, key=lambda each: each.id.casefold()):
        if each.id in known:
            found.append(FlowProposal(known[each.id], each, "none", {}, {}))
            continue
        if one_text(each.id) != each.id:
            found.append(FlowProposal("", each, "skip", {}, {}, ("its name is no plain text: it is left out",)))
            continue
        key, notes = free_key(slug(each.id.rpartition("/")[2]) or slug(each.id) or "model", taken)
        taken.add(key)
        fields: dict[str, Any] = {"server": server, "model": each.id, "domain": domain or key, "examples": []}
        if each.unusable:
            fields["active"] = False
            notes.append(f"not active: {each.unusable}")
        found.append(FlowProposal(key, each, "add", fields, {}, (*notes, _TO_SAY)))
    return found
