"""A change of what flows are described with, made to a catalog or written as fields of the registry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentic_flywheel.catalog import Catalog, Flow, revision_of
from agentic_flywheel.models import Model

#: Places in a flow that are no topics.
KEYWORDS, EXAMPLES = "(keywords)", "(examples)"


class Change(Model):
    """Texts that come to one place of a flow, or leave it: its keywords, its examples, or the topic of that name."""

    flow: str
    place: str
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


def changed(catalog: Catalog, changes: Iterable[Change]) -> Catalog:
    """Return the catalog with the changes made; a text that is there already is not added twice."""
    flows = dict(catalog.flows)
    for change in changes:
        flow = flows[change.flow]
        texts = tuple(dict.fromkeys((*texts_of(flow, change.place), *change.add)))
        flows[change.flow] = _with(flow, change.place, tuple(text for text in texts if text not in change.drop))
    # Not a copy: that would keep what the catalog has cached of its flows.
    return Catalog(
        flows=flows, policy=catalog.policy, source=catalog.source, revision=revision_of(flows, catalog.policy)
    )


def texts_of(flow: Flow, place: str) -> tuple[str, ...]:
    """Return the texts at a place of a flow."""
    if place == KEYWORDS:
        return flow.keywords
    return flow.examples if place == EXAMPLES else flow.topics.get(place, ())


def registry_fields(catalog: Catalog, changes: Iterable[Change]) -> dict[str, dict[str, Any]]:
    """Return the changes as ``update_flows`` takes them: for each flow the keys of its entry that change."""
    changes = list(changes)
    after = changed(catalog, changes)
    fields: dict[str, dict[str, Any]] = {}
    for change in changes:
        # An empty list would say that there are none; without the key it is the same, and shorter.
        texts = list(texts_of(after.flows[change.flow], change.place)) or None
        entry = fields.setdefault(change.flow, {})
        if change.place == KEYWORDS:
            entry["intent_keywords"] = texts
        elif change.place == EXAMPLES:
            entry["examples"] = texts
        else:
            entry.setdefault("topics", {})[change.place] = texts
    return fields


def _with(flow: Flow, place: str, texts: tuple[str, ...]) -> Flow:
    if place == KEYWORDS:
        return flow.model_copy(update={"keywords": texts})
    if place == EXAMPLES:
        return flow.model_copy(update={"examples": texts})
    topics = {**flow.topics, place: texts}
    return flow.model_copy(update={"topics": {name: own for name, own in topics.items() if own}})
