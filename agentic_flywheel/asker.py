"""Whose something is: the owner, who is authenticated, and the user whom the owner names."""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

#: The owner without a token: the command line, MCP over stdio or on loopback, a plain Celery client that names nobody.
LOCAL = "local"


class Asker(NamedTuple):
    """An owner, and one of the owner's users; None: nobody was named.

    Both are an ``Identifier``, so neither contains white space.
    """

    owner: str = LOCAL
    user: str | None = None

    @property
    def name(self) -> str:
        """Both in one text. No two askers have the same: what stands between the two is in neither."""
        return self.owner if self.user is None else f"{self.owner} {self.user}"

    @property
    def named(self) -> str:
        """The name where a user is named; empty where none is."""
        return "" if self.user is None else self.name

    def session_name(self, session_id: str) -> str:
        """Return what stands for a session in keys: a hash, which alone tells sessions apart, and then the id.

        So no id can be made into the name of somebody else's session.
        """
        return f"{hashlib.sha256(json.dumps([*self, session_id]).encode()).hexdigest()[:32]}:{session_id}"

    def may_see(self, other: Asker) -> bool:
        """Whether queries of ``other`` are this asker's: an owner who names nobody sees those of all users."""
        return self.owner == other.owner and self.user in (None, other.user)

    def may_see_named(self, name: str | None) -> bool:
        """The same of an asker of whom only the name is known."""
        if name == self.name:
            return True
        return self.user is None and name is not None and name.startswith(f"{self.owner} ")


def session_id_of(name: str) -> str:
    """Return the id of a session from its name."""
    return name.partition(":")[2]
