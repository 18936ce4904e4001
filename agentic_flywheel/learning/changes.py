"""Changes of the texts that describe flows, applied to a catalog or written as fields of the registry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentic_flywheel.catalog import Catalog, Flow, revision_of
from agentic_flywheel.models import Model

#: Names of the two places in a flow that are not topics.
KEYWORDS, EXAMPLES = "(keywords)", "(examples)"


class TextChange(Model):
    """Texts to add to one place of a flow and to drop from it. A place is ``KEYWORDS``, ``EXAMPLES`` or a topic."""

    flow: str
    place: str
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


def changed(catalog: Catalog, changes: Iterable[TextChange]) -> Catalog:
    """Return the catalog with the changes made. A text that is already there is not added again."""
    flows = dict(catalog.flows)
    for change in changes:
        flow = flows[change.flow]
        texts = tuple(dict.fromkeys((*texts_of(flow, change.place), *change.add)))
        flows[change.flow] = _with(flow, change.place, tuple(text for text in texts if text not in change.drop))
    # Not ``model_copy``: that would also copy the properties which the old catalog has cached.
    revision = revision_of(flows, catalog.policy, catalog.servers)
    return Catalog(
        flows=flows, servers=catalog.servers, policy=catalog.policy, source=catalog.source, revision=revision
    )


def texts_of(flow: Flow, place: str) -> tuple[str, ...]:
    """Return the texts at one place of a flow."""
    if place == KEYWORDS:
        return flow.keywords
    return flow.examples if place == EXAMPLES else flow.topics.get(place, ())


def registry_fields(catalog: Catalog, changes: Iterable[TextChange]) -> dict[str, dict[str, Any]]:
    """Return the changes in the form of ``update_flows``: for each flow the changed keys of its entry."""
    changes = list(changes)
    after = changed(catalog, changes)
    fields: dict[str, dict[str, Any]] = {}
    for change in changes:
        # None removes the key; it means the same as an empty list.
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
