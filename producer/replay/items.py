"""One question of a replay, wherever it came from."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from agentic_flywheel.models import MAX_CONTEXT, MAX_QUESTION, CachePolicy, Identifier, Message, Model, Slug
from producer.replay.recorded import Recorded


class ReplayItem(Model):
    """A question to ask again, what is expected of it, and what became of it before.

    ``number`` is its place in its source: the line of a file, counted from 1, else the place in the listing. A replay
    knows an item by its number alone; ``id`` is the source's own name for it, shown to people and used to pair two
    replays with each other.
    """

    number: int = Field(ge=1)
    id: str = Field(min_length=1, max_length=200)
    question: str = Field(min_length=1, max_length=MAX_QUESTION)
    #: The source's session. A replay never touches it: items of one session share a new one of the replay's own.
    session_id: Identifier | None = None
    flow: Slug | None = None
    domain: Slug | None = None
    profile: Slug | None = None
    context: str | None = Field(None, min_length=1, max_length=MAX_CONTEXT)
    intent: Slug | None = None
    context_type: Literal["technical", "cultural", "strategic", "general"] | None = None
    config: dict[str, JsonValue] = {}
    history: tuple[Message, ...] = ()
    #: How this one treats the cache; None: as all of the replay.
    cache: CachePolicy | None = None
    #: Who asks; None: whoever runs the replay.
    user: Identifier | None = None
    expected: str | None = None
    expected_flow: str | None = None
    expected_domain: str | None = None
    metadata: dict[str, JsonValue] = {}
    #: What became of it before, where the source tells.
    baseline: Recorded | None = None

    @model_validator(mode="after")
    def _question_has_text(self) -> Self:
        if not self.question.strip():
            raise PydanticCustomError("blank", "it holds nothing but white space")
        return self

    def written(self) -> str:
        """Return the item as one line of JSON, without its end."""
        return self.model_dump_json(exclude_defaults=True)
