"""What a token allows: for whom, which kinds of things, until when, how much."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import AwareDatetime

from agentic_flywheel.access.limits import OwnLimits
from agentic_flywheel.asker import LOCAL
from agentic_flywheel.models import Model

#: What an owner of a token may be called.
OWNER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}")


#: Who asks here: as them a token would have no limits, and find what the command line or a replay has asked.
RESERVED_OWNERS = (LOCAL, "replay")


def owner_of(name: str) -> str:
    """Return an owner's name. Raises ValueError, which says in a sentence why a token may not have it."""
    if not OWNER_NAME.fullmatch(name):
        raise ValueError("it has at most 100 letters, digits and _ . @ -, and begins with a letter or digit")
    if name in RESERVED_OWNERS:
        raise ValueError(f"{name} is who asks on this machine, without limits: a token is for another owner")
    return name


class Scope(enum.StrEnum):
    """A kind of things that a token may do."""

    ASK = "ask"  # ask, and follow and cancel one's own queries
    READ = "read"  # one's own conversations and traces, and figures
    MANAGE = "manage"  # what changes things that all share: registry, flows' settings, cache
    ADMIN = "admin"  # everything, also what concerns other owners


class Grant(Model):
    """What somebody who was let in may do."""

    #: Of the token; empty where none was needed.
    token_id: str = ""
    owner: str
    scopes: frozenset[Scope]
    expires: AwareDatetime | None = None
    limits: OwnLimits | None = None

    def allows(self, scope: Scope | None) -> bool:
        """Whether this may be done; what needs no scope may be."""
        return scope is None or scope in self.scopes or Scope.ADMIN in self.scopes

    @property
    def expired(self) -> bool:
        return self.expires is not None and self.expires <= datetime.now(UTC)


#: Whoever needs no token: the command line, MCP over stdio or on loopback.
LOCAL_GRANT = Grant(owner=LOCAL, scopes=frozenset({Scope.ADMIN}))


def read_scopes(names: Iterable[str]) -> tuple[Scope, ...]:
    """Return the scopes that names, or lists with commas, say, each once. Raises ValueError."""
    wanted = {Scope(each.strip()) for name in names for each in name.split(",") if each.strip()}
    return tuple(scope for scope in Scope if scope in wanted)
