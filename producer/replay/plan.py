"""The plan of a replay: its source and its options. Stored in its folder as ``replay.json``."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import AwareDatetime, Field

from agentic_flywheel.given import Slug
from agentic_flywheel.models import CachePolicy, Identifier, Model, Priority

#: Flows that one replay moves.
MOST_MOVES = 20
#: By the flow that answered: the flow that is asked instead.
Moves = Annotated[dict[Slug, Slug], Field(max_length=MOST_MOVES)]


class Options(Model):
    """How questions are asked. Durations are seconds in JSON as ISO 8601."""

    #: Questions under way at once.
    concurrency: int = Field(32, ge=1, le=10_000)
    #: Questions begun per second; None: as quickly as they are answered.
    rate: float | None = Field(None, gt=0)
    #: No question is begun once this many calls of flows were made for this replay; None: no limit.
    max_calls: int | None = Field(None, ge=0)
    #: Each question is given up this long after it was asked.
    timeout: timedelta | None = None
    #: `bypass` asks the flows; `use` answers what the cache knows without a call; `refresh` asks and fills the cache.
    cache: CachePolicy = "bypass"
    priority: Priority = Priority.LOW
    #: Classify only: no flow is called.
    dry_run: bool = False
    #: Whose queries these are; a listing of a user's own queries does not show them.
    owner: Identifier = "replay"
    #: Run on a stack of its own, which it starts and stops.
    local: bool = False
    #: Flows that are asked in the place of those that answered; with them, only their questions are asked.
    moves: Moves = {}
    #: Dead letters asked again: in their own sessions, by their own users, and each leaves the list when it has ended.
    redrive: bool = False


class Plan(Model):
    """One replay, from its beginning to its end."""

    run_id: str
    #: In words: a file's name, or what was asked of the broker or Langfuse.
    source: str
    options: Options = Options()
    created: AwareDatetime
    #: Questions to ask, and lines that cannot be asked; None until all have been read.
    items: int | None = None
    problems: int = 0
    #: What was assumed when they were read, each a sentence about the source.
    notes: tuple[str, ...] = ()
    #: Whether a question may have been asked.
    begun: bool = False
    #: When the last item had its outcome; None while some have none.
    ended: AwareDatetime | None = None
