"""What queries name and what workers have, under names by which workers compare their registries and profiles."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import product
from typing import Literal, NamedTuple

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import Query
from agentic_flywheel.routing.corpus import plain


class RegistryName(NamedTuple):
    """Something that a worker must have before a query can go on."""

    kind: Literal["flow", "domain", "intent", "profile"]
    name: str
    #: Of a profile: who is to use it.
    owner: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of which a worker must have one. An intent is a flow's key, a topic or a keyword; a profile is for
        everybody, or for this owner.
        """
        if self.kind == "intent":
            return f"flow {self.name}", f"intent {plain(self.name)}"
        if self.kind == "profile":
            return f"profile {self.name}", f"profile {self.name} of {self.owner}"
        return (f"{self.kind} {self.name}",)


def named_by(query: Query) -> RegistryName | None:
    """Return what a query names; of several the one that decides its route."""
    if query.flow is not None:
        return RegistryName("flow", query.flow)
    if query.domain is not None:
        return RegistryName("domain", query.domain)
    return None if query.intent is None else RegistryName("intent", query.intent)


def profile_named_by(query: Query) -> RegistryName | None:
    """Return the profile that a query names, for its owner."""
    return None if query.profile is None else RegistryName("profile", query.profile, query.owner)


def together(*needed: RegistryName | None) -> tuple[str, ...]:
    """Return texts of which a worker must know one: in each a name of everything that is needed, a line each."""
    return tuple("\n".join(names) for names in product(*(each.names for each in needed if each is not None)))


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
