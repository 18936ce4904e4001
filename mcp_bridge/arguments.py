"""Arguments that several tools take, under the same names as the results that hold them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue, WithJsonSchema

from agentic_flywheel.models import MAX_QUESTION, CachePolicy, Slug
from agentic_flywheel.models import Identifier as _Identifier

#: Hosts cut a call at about a minute; a wait must end well before.
LONGEST_WAIT = 45.0
USUAL_WAIT = 20.0

#: An object of any content. Some clients stumble over the schema that pydantic writes for it.
Object = Annotated[dict[str, JsonValue], WithJsonSchema({"type": "object", "additionalProperties": True})]
#: A value of any kind but null, said so that every client understands it.
Anything = Annotated[
    JsonValue,
    WithJsonSchema({"anyOf": [{"type": kind} for kind in ("string", "number", "boolean", "array", "object")]}),
]

Question = Annotated[
    str, Field(min_length=1, max_length=MAX_QUESTION, description="What is asked, in the user's own words.")
]
QueryId = Annotated[
    str,
    Field(min_length=32, max_length=36, pattern=r"^[0-9a-f-]+$", description="The query_id that a tool returned."),
]
BatchId = Annotated[
    str,
    Field(
        min_length=32, max_length=32, pattern=r"^[0-9a-f]+$", description="The batch_id that flowise_batch returned."
    ),
]
TraceId = Annotated[
    str,
    Field(min_length=32, max_length=36, pattern=r"^[0-9a-f-]+$", description="The trace_id (or query_id) of a query."),
]
SessionId = Annotated[
    _Identifier,
    Field(description="The conversation it belongs to. Any id begins one; the same id again continues it."),
]
FlowKey = Annotated[Slug, Field(description="A flow_key, as flowise_list_flows and every answer give it.")]
ProfileName = Annotated[
    Slug, Field(description="A domain profile whose context goes with the question: see flowise://domain-templates.")
]
Wait = Annotated[
    float,
    Field(
        ge=0,
        le=LONGEST_WAIT,
        description="Seconds to wait for the answer (0 to 45). When they are over, the query goes on and is polled.",
    ),
]
Timeout = Annotated[
    float, Field(gt=0, le=86_400, description="Give the query up after so many seconds in all. Default: never.")
]
Cache = Annotated[
    CachePolicy,
    Field(
        description="use: an earlier answer to the same question will do; refresh: ask anew and keep the answer; "
        "bypass: ask anew and keep nothing."
    ),
]
