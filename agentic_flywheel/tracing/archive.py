"""Archives: places from which traces are read back, and the conditions of a search."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Protocol

from pydantic import AwareDatetime, Field

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker.scores import Score
from agentic_flywheel.models import Model
from agentic_flywheel.tracing.observation import Observation

#: The oldest Langfuse from which the pinned SDK can read traces back.
OLDEST_LANGFUSE = "4.59"


class Wish(Model):
    """The conditions of a search for traces. A field that is None or empty admits every trace."""

    #: Contained in the question or the answer; upper and lower case are the same.
    text: str = ""
    flow: str | None = None
    session: str | None = None
    #: The traces of its queries.
    asker: Asker | None = None
    #: A trace's user id, as it stands there. Ours is the asker's name.
    user_id: str | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    #: Bounds of the rating, 1 to 10, both included.
    min_score: float | None = None
    max_score: float | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 20

    @property
    def by_score(self) -> bool:
        return self.min_score is not None or self.max_score is not None

    def admits_score(self, rating: float) -> bool:
        """Whether a rating lies within the bounds."""
        return (self.min_score is None or rating >= self.min_score) and (
            self.max_score is None or rating <= self.max_score
        )

    def admits(self, root: Observation) -> bool:
        """Whether a trace with this root fulfils the conditions, those of the score aside."""
        return (
            (self.asker is None or self.asker.may_see_named(root.user))
            and (self.user_id is None or root.user == self.user_id)
            and (self.session is None or root.session == self.session)
            and (self.flow is None or (root.metadata or {}).get("flow") == self.flow)
            and (self.since is None or root.start >= nanoseconds(self.since))
            and (self.until is None or root.start < nanoseconds(self.until))
            and (not self.text or self.text.lower() in f"{root.input or ''}\n{root.output or ''}".lower())
        )


class Archive(Protocol):
    """A place in which traces are stored and can be searched."""

    #: For a person: `Langfuse`, `the trace file`, `the record`.
    name: str

    async def trace(self, query_id: str) -> tuple[list[Observation], list[Score]]:
        """Return the observations and scores of one trace; empty lists where it is unknown. Raises ArchiveAway."""

    async def search(self, wish: Wish) -> list[Observation]:
        """Return the roots of the traces that fulfil the conditions, the latest first. Raises ArchiveAway."""


class ArchiveAway(Exception):
    """An archive cannot be read now. The reader may ask the next archive."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name} could not be read: {self.reason}"


def nanoseconds(moment: datetime) -> int:
    """Return a moment as nanoseconds since 1970, exact to the millisecond."""
    return int(moment.timestamp() * 1000) * 1_000_000


def latest(roots: Sequence[Observation], limit: int) -> list[Observation]:
    """Return the latest ``limit`` roots, one for each trace."""
    by_query = {root.query_id: root for root in roots}
    return sorted(by_query.values(), key=lambda root: root.start, reverse=True)[:limit]
