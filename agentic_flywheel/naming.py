"""What a worker must have before a query can go on, under names by which workers tell each other what they have."""

from __future__ import annotations

from itertools import product
from typing import Literal, NamedTuple

from agentic_flywheel.models import Query


class RegistryName(NamedTuple):
    """Something that a worker must have before a query can go on."""

    kind: Literal["flow", "domain", "intent", "profile"]
    name: str
    #: Of a profile: who is to use it.
    owner: str = ""
    #: Of an intent: it in the words that a person would say.
    words: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of which a worker must have one. An intent is a flow's key, a topic or a keyword; a profile is for
        everybody, or for this owner.
        """
        if self.kind == "intent":
            return f"flow {self.name}", f"intent {self.words}"
        if self.kind == "profile":
            return f"profile {self.name}", f"profile {self.name} of {self.owner}"
        return (f"{self.kind} {self.name}",)


def profile_named_by(query: Query) -> RegistryName | None:
    """Return the profile that a query names, for its owner."""
    return None if query.profile is None else RegistryName("profile", query.profile, query.owner)


def together(*needed: RegistryName | None) -> tuple[str, ...]:
    """Return texts of which a worker must know one: in each a name of everything that is needed, a line each."""
    return tuple("\n".join(names) for names in product(*(each.names for each in needed if each is not None)))
