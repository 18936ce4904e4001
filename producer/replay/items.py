"""One question of a replay, from any source."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from agentic_flywheel.given import Asked, Context, Identifier, JsonObject, Slug, Text, bounded
from agentic_flywheel.models import CachePolicy, Message, Model
from agentic_flywheel.uploads import Uploads
from producer.replay.recorded import Recorded


class ReplayItem(Asked, Model):
    """A question to ask again, what is expected of it, and what became of it before.

    ``number`` is its place in its source: the line of a file, counted from 1, else the place in the listing. A replay
    knows an item by its number alone; ``id`` is the source's own name for it, shown to people and used to pair two
    replays with each other.
    """

    number: int = Field(ge=1)
    id: Text = Field(min_length=1, max_length=200)
    #: The source's session. A replay never touches it: items of one session share a new one of the replay's own.
    session_id: Identifier | None = None
    flow: Slug | None = None
    domain: Slug | None = None
    profile: Slug | None = None
    context: Context | None = None
    intent: Slug | None = None
    context_type: Literal["technical", "cultural", "strategic", "general"] | None = None
    config: JsonObject = Field(default_factory=dict)
    #: Addresses; and files, as far as the broker still keeps them.
    uploads: Uploads = ()
    history: tuple[Message, ...] = ()
    #: How this one treats the cache; None: as all of the replay.
    cache: CachePolicy | None = None
    #: Who asks; None: whoever runs the replay.
    #: Whose it was, where it is asked again for the same one; None: the replay's own.
    owner: Identifier | None = None
    user: Identifier | None = None
    expected: Text | None = None
    expected_flow: Text | None = None
    expected_domain: Text | None = None
    metadata: JsonObject = Field(default_factory=dict)
    #: The flow that answered it before, where ``flow`` is asked in its place.
    moved_from: Slug | None = None
    #: Its outcome before, where the source has one.
    baseline: Recorded | None = None

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        return bounded(self, "number", "id", "expected", "expected_flow", "expected_domain", "moved_from", "baseline")

    def written(self) -> str:
        """Return the item as one line of JSON, without its end."""
        return self.model_dump_json(exclude_defaults=True)
