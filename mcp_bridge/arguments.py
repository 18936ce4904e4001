"""What calls are given: the base of all arguments, and those that several tools take under one name."""

from __future__ import annotations

import json
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator

from agentic_flywheel.errors import InvalidQuery
from agentic_flywheel.given import Question as _Question
from agentic_flywheel.ids import QUERY_ID
from agentic_flywheel.models import CachePolicy, Slug
from agentic_flywheel.models import Identifier as _Identifier
from agentic_flywheel.once import GivenTwice, once
from agentic_flywheel.weighing import TOO_MANY, divided

#: Seconds. Hosts cut a call at about a minute; a wait must end well before.
LONGEST_WAIT = 45.0
USUAL_WAIT = 20.0
#: Levels of lists and objects in one argument.
DEEPEST = 32

#: What hosts and models write where they mean to leave an argument out.
_ABSENT = ("", "null")


class Arguments(BaseModel):
    """Base of all arguments: closed against unknown names, patient with how clients write what they leave out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _as_clients_send_them(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: _read(cls, name, value) for name, value in given.items() if not _is_absent(cls, name, value)}


def _is_absent(arguments: type[BaseModel], name: str, value: Any) -> bool:
    field = arguments.model_fields.get(name)
    if field is None or field.is_required():
        return False
    return value is None or (isinstance(value, str) and value.strip() in _ABSENT)


def _read(arguments: type[BaseModel], name: str, value: Any) -> Any:
    """Return a value as it was meant: some clients send a list or an object as JSON text.

    Raises InvalidQuery where it is nested too deep.
    """
    field = arguments.model_fields.get(name)
    if field is not None and isinstance(value, str) and _holds_values(field.annotation):
        if divided(value.encode("utf-8", "surrogatepass")) is None:
            raise InvalidQuery(name, TOO_MANY)
        try:
            value = json.loads(value, object_pairs_hook=once)
        except GivenTwice as twice:
            raise InvalidQuery(name, str(twice)) from None
        except ValueError:
            return value
        except RecursionError:
            raise _too_deep(name) from None
    if _depth_exceeds(value, DEEPEST):
        raise _too_deep(name)
    return value


def _holds_values(annotation: Any) -> bool:
    """Return whether a type is a list or an object, or may be one."""
    return get_origin(annotation) in (tuple, list, dict) or any(map(_holds_values, get_args(annotation)))


def _depth_exceeds(value: Any, levels: int) -> bool:
    """Return whether lists and objects are nested more than so many levels deep. Looks no deeper than that."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [
            inner
            for each in layer
            if isinstance(each, list | dict)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not layer:
            return False
    return True


def _too_deep(name: str) -> InvalidQuery:
    return InvalidQuery(name, f"lists and objects are nested more than {DEEPEST} deep")


#: An object of any content, in results.
Object = Annotated[dict[str, JsonValue], WithJsonSchema({"type": "object"})]
#: The same as an argument. Strict modes know no object of any content, so models are asked for JSON text.
ObjectText = Annotated[dict[str, JsonValue], WithJsonSchema({"type": "string"})]
#: A value of any kind but null, said so that every client understands it.
Anything = Annotated[
    JsonValue,
    WithJsonSchema({"anyOf": [{"type": kind} for kind in ("string", "number", "boolean", "array", "object")]}),
]

Question = Annotated[_Question, Field(description="What is asked, in the user's own words.")]
QueryId = Annotated[str, Field(pattern=f"^{QUERY_ID.pattern}$", description="As returned.")]
BatchId = Annotated[
    str, Field(min_length=32, max_length=32, pattern=r"^[0-9a-f]+$", description="As flowise_batch returned it.")
]
TraceId = Annotated[str, Field(pattern=f"^{QUERY_ID.pattern}$", description="The trace_id or query_id.")]
SessionId = Annotated[_Identifier, Field(description="A new id begins a conversation, the same continues it.")]
FlowKey = Annotated[Slug, Field(description="A flow_key of flowise_list_flows.")]
#: How a question is aimed; each of the four says in one sentence what it does.
FlowOverride = Annotated[Slug, Field(description="Ask exactly this flow_key.")]
Intent = Annotated[Slug, Field(description="A domain: the best of its flows is asked; or a flow_key.")]
ProfileName = Annotated[Slug, Field(description="A domain profile: its context goes along.")]
Wait = Annotated[
    float, Field(ge=0, le=LONGEST_WAIT, description="Seconds to wait, at most 45; then the query goes on.")
]
Timeout = Annotated[float, Field(ge=0, le=86_400, description="Give the query up after so many seconds; 0: never.")]
Key = Annotated[str, Field(description="The same call with the same key asks once.")]
Cache = Annotated[
    CachePolicy,
    Field(description="refresh: ask anew and keep it; bypass: ask anew, keep nothing."),
]
