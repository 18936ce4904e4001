"""One observation of a query: what was done, when, with what; and the ids that need no context to be known."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from random import Random
from sys import getsizeof
from typing import Any, Literal, NamedTuple

from agentic_flywheel.models import Usage, trace_id_of

ObservationType = Literal[
    "span", "generation", "event", "embedding", "agent", "tool", "chain", "retriever", "guardrail", "evaluator"
]
Level = Literal["DEBUG", "DEFAULT", "WARNING", "ERROR"]

#: What an observation weighs beside its texts: the tuple, its numbers and its place in the queue.
BASE_WEIGHT = 400

#: Ids are drawn without a call to the system: that would let go of the interpreter for each.
_random = Random()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)

_SMALL = frozenset({type(None), bool, int, float})
_TRACE_ID = re.compile(r"^[0-9a-f]{32}$")


class Observation(NamedTuple):
    """One step of a query, complete when it is recorded. Times are nanoseconds since 1970.

    A plain tuple, because one is made on the way of every step of every query.
    """

    query_id: str
    name: str
    type: ObservationType
    start: int
    end: int
    #: 16 hex digits; None: drawn when it is exported.
    span_id: str | None = None
    #: Span id of the step above; None: the root of the query. The root itself has none.
    parent: str | None = None
    is_root: bool = False
    input: Any = None
    output: Any = None
    metadata: Mapping[str, Any] | None = None
    model: str | None = None
    usage: Usage | None = None
    level: Level | None = None
    message: str | None = None
    #: When the first token came.
    first_token: int | None = None
    #: Query id of another query whose trace belongs to this one.
    link: str | None = None
    session: str | None = None
    user: str | None = None
    tags: tuple[str, ...] = ()


# The steps of one query are exported close to each other.
@lru_cache(maxsize=4096)
def trace_id(query_id: str) -> str:
    """Return the trace id of a query: its own digits, or their hash where a caller chose an id that is no uuid."""
    plain = trace_id_of(query_id)
    return plain if _TRACE_ID.match(plain) else hashlib.sha256(query_id.encode()).hexdigest()[:32]


def derive_span_id(query_id: str, *parts: str | int) -> str:
    """Return the span id of a named step, the same in every process: what a child needs to name its parent."""
    return hashlib.sha256("|".join((trace_id(query_id), *map(str, parts))).encode()).hexdigest()[:16]


@lru_cache(maxsize=4096)
def root_span_id(query_id: str) -> str:
    """Return the span id of a query's root."""
    return derive_span_id(query_id)


def span_and_parent(seen: Observation) -> tuple[str, str | None]:
    """Return an observation's span id, drawn where it has none, and that of the step above it."""
    if seen.is_root:
        return root_span_id(seen.query_id), None
    return seen.span_id or new_span_id(), seen.parent or root_span_id(seen.query_id)


def new_span_id() -> str:
    """Return a span id that no other step has, such as for one attempt of many."""
    return f"{_random.getrandbits(64):016x}"


def sampled(query_id: str, rate: float) -> bool:
    """Whether a query is traced at this rate, 0..1: decided by its id alone, so every process decides alike.

    By its last digits, for the first ones are the producer's.
    """
    return rate >= 1.0 or int(trace_id(query_id)[-8:], 16) < rate * 2**32


def weigh(value: Any) -> int:
    """Return about how many bytes of memory a value holds on to."""
    kind = type(value)
    if kind is str:
        return getsizeof(value)
    if kind in _SMALL:
        return 32
    if kind is dict:
        size = 232
        for key, each in value.items():
            size += weigh(key) + weigh(each)
        return size
    if kind is list or kind is tuple:
        return 64 + sum(map(weigh, value))
    return BASE_WEIGHT
