"""The observation: one step of a query with its times and texts. Its ids are derived from the query's id."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from random import Random
from sys import getsizeof
from typing import Any, Literal, NamedTuple

from agentic_flywheel.ids import trace_id_of
from agentic_flywheel.models import Usage

ObservationType = Literal[
    "span", "generation", "event", "embedding", "agent", "tool", "chain", "retriever", "guardrail", "evaluator"
]
Level = Literal["DEBUG", "DEFAULT", "WARNING", "ERROR"]

#: Begin the names of what a flow's author named, so that none is taken for a step of ours.
STEP, TOOL = "step ", "tool "
#: Memory of an observation without its texts, in bytes: the tuple, its numbers, its place in the queue.
BASE_WEIGHT = 400

#: Draws span ids without a system call, which would release the interpreter each time.
_random = Random()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)

_SMALL = frozenset({type(None), bool, int, float})
_TRACE_ID = re.compile(r"^[0-9a-f]{32}$")


class Observation(NamedTuple):
    """One step of a query, complete when it is recorded. Times are nanoseconds since 1970.

    A plain tuple, because it is created in every step of every query.
    """

    query_id: str
    name: str
    type: ObservationType
    start: int
    end: int
    #: 16 hex digits. None: it is drawn when the observation is sent.
    span_id: str | None = None
    #: Span id of the step above. None: the query's root is above, or this is the root.
    parent: str | None = None
    is_root: bool = False
    input: Any = None
    output: Any = None
    metadata: Mapping[str, Any] | None = None
    model: str | None = None
    usage: Usage | None = None
    level: Level | None = None
    message: str | None = None
    #: Time of the first token.
    first_token: int | None = None
    #: Id of another query whose answer this step waited for.
    link: str | None = None
    session: str | None = None
    user: str | None = None
    tags: tuple[str, ...] = ()


# Cached, because the steps of one query are sent shortly after each other.
@lru_cache(maxsize=4096)
def trace_id(query_id: str) -> str:
    """Return the trace id of a query: the query's id, or its hash where a caller chose an id that is not a uuid."""
    plain = trace_id_of(query_id)
    return plain if _TRACE_ID.match(plain) else hashlib.sha256(query_id.encode()).hexdigest()[:32]


def derive_span_id(query_id: str, *parts: str | int) -> str:
    """Return the span id of a named step. It is the same in every process, so a child can name its parent."""
    return hashlib.sha256("|".join((trace_id(query_id), *map(str, parts))).encode()).hexdigest()[:16]


@lru_cache(maxsize=4096)
def root_span_id(query_id: str) -> str:
    """Return the span id of a query's root."""
    return derive_span_id(query_id)


def span_and_parent(seen: Observation) -> tuple[str, str | None]:
    """Return an observation's span id and that of the step above it. A missing span id is drawn."""
    if seen.is_root:
        return root_span_id(seen.query_id), None
    return seen.span_id or new_span_id(), seen.parent or root_span_id(seen.query_id)


def new_span_id() -> str:
    """Return a random span id, for a step that can happen several times, such as an attempt."""
    return f"{_random.getrandbits(64):016x}"


def sampled(query_id: str, rate: float) -> bool:
    """Whether a query is traced at this rate, 0..1. Only the id decides, so that every process decides alike.

    Its last digits are used: the first ones are the same for all queries of a producer.
    """
    return rate >= 1.0 or int(trace_id(query_id)[-8:], 16) < rate * 2**32


def weigh(value: Any) -> int:
    """Return roughly how many bytes of memory a value occupies."""
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
