"""What queries name and what workers have, under names by which workers compare their registries and profiles."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import Query
from agentic_flywheel.naming import RegistryName
from agentic_flywheel.routing.corpus import plain


def named_by(query: Query) -> RegistryName | None:
    """Return what a query names; of several the one that decides its route."""
    if query.flow is not None:
        return RegistryName("flow", query.flow)
    if query.domain is not None:
        return RegistryName("domain", query.domain)
    return None if query.intent is None else RegistryName("intent", query.intent, words=plain(query.intent))


def names_in(catalog: Catalog, profiles: Mapping[str, Collection[str]]) -> list[str]:
    """Return the names of all that a worker has. ``profiles``: their owners by name, none where all may use it."""
    intents = {plain(each) for flow in catalog.routable.values() for each in (*flow.topics, *flow.keywords)}
    return [
        *(f"flow {key}" for key in catalog.active),
        *(f"domain {domain}" for domain in catalog.domains),
        *(f"intent {intent}" for intent in sorted(intents)),
        *(f"profile {name}" for name, owners in profiles.items() if not owners),
        *(f"profile {name} of {owner}" for name, owners in profiles.items() for owner in owners),
    ]
