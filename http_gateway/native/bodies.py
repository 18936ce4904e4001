"""What the native API is given: bodies, and the types of paths and query strings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Header, Path, Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from agentic_flywheel.given import Form, JsonObject, Text
from agentic_flywheel.ids import QUERY_ID
from agentic_flywheel.models import CachePolicy, Identifier, Message, Priority, Slug
from agentic_flywheel.stops import Decision

#: Seconds for which one request waits at most: proxies cut what is silent for a minute.
LONGEST_WAIT = 55.0

QueryId = Annotated[str, Path(pattern=f"^{QUERY_ID.pattern}$", description="As it was returned.")]
Wait = Annotated[
    float,
    Query(
        ge=0,
        le=LONGEST_WAIT,
        allow_inf_nan=False,
        description="Seconds to wait for the answer; then the query goes on.",
    ),
]


def _in_utf8(header: Any) -> Any:
    """Return a header's value as it was sent, in UTF-8: the framework takes it for ISO 8859-1."""
    return header.encode("latin-1").decode() if isinstance(header, str) else header


IdempotencyKey = Annotated[
    str | None,
    BeforeValidator(_in_utf8),
    Header(alias="Idempotency-Key", description="The same body with the same key is one query, also when repeated."),
]


class HttpBody(BaseModel):
    """Base of all bodies: closed against unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class HttpAsk(HttpBody):
    """A question, and how it is to be asked. What a field means, and its bounds, stands at ``Query``."""

    question: Annotated[
        str, Field(description="What is asked; left out where there is a form, or files speak for it.")
    ] = ""
    form: Annotated[Form | None, Field(description="Instead of a question: the flow's form, filled in.")] = None
    session_id: Annotated[Identifier | None, Field(description="A new id begins a conversation.")] = None
    user: Annotated[Identifier | None, Field(description="For whom of its users the caller asks.")] = None
    flow: Annotated[Slug | None, Field(description="Ask exactly this flow.")] = None
    domain: Annotated[Slug | None, Field(description="Ask the best flow of this domain.")] = None
    intent: Slug | None = None
    profile: Annotated[Slug | None, Field(description="A domain profile, whose context goes along.")] = None
    context: Text | None = None
    context_type: Literal["technical", "cultural", "strategic", "general"] | None = None
    config: Annotated[JsonObject | None, Field(description="Merged over the flow's own configuration.")] = None
    uploads: Annotated[
        tuple[str, ...] | None, Field(max_length=10, description="Addresses of images; files go as multipart.")
    ] = None
    history: Annotated[tuple[Message, ...] | None, Field(description="In place of the session's own turns.")] = None
    cache: CachePolicy | None = None
    priority: Priority | None = None
    timeout: Annotated[
        float | None, Field(gt=0, le=86_400 * 30, description="Seconds after which the query is given up.")
    ] = None
    deadline: AwareDatetime | None = None
    metadata: JsonObject | None = None

    def fields(self) -> dict[str, Any]:
        """Return what was given, as the producer takes it."""
        given = {name: getattr(self, name) for name in self.model_fields_set if name not in ("question", "user")}
        return {name: value for name, value in given.items() if value is not None}


class HttpDecision(HttpBody):
    """A person's decision."""

    decision: Decision
    feedback: Annotated[str | None, Field(max_length=8_000, description="What the person says to it.")] = None
    stop: Annotated[int | None, Field(ge=1, description="Which of `asks`: needed after the query's first stop.")] = None


class Elsewhere(HttpBody):
    """The flow that a query should have gone to."""

    flow: Slug


def _rating(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str):
        raise PydanticCustomError("rating", "it should be a number, true or false, or a text")
    return value


class HttpScore(HttpBody):
    """How good an answer was."""

    value: Annotated[
        bool | float | str,
        BeforeValidator(_rating),
        Field(description="A number from 1 to 10, true or false, or a category."),
    ]
    name: Annotated[str, Field(min_length=1, max_length=100)] = "rating"
    comment: Annotated[str, Field(max_length=8_000)] = ""


def documented(bodies: Mapping[str, Any]) -> dict[str, Any]:
    """Return what OpenAPI says of a body that the route reads by itself: a schema for each media type."""
    return {
        "requestBody": {"required": True, "content": {media: {"schema": schema} for media, schema in bodies.items()}}
    }
