"""Make the root of a trace from a query's record. A person reads the root first."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, NamedTuple

from agentic_flywheel.asker import Asker
from agentic_flywheel.errors import ErrorInfo
from agentic_flywheel.models import Answer, Query, Record, RouteDecision, State
from agentic_flywheel.tracing.observation import Level, Observation, trace_id

MAX_NAME_WORDS = 5
MAX_NAME_LENGTH = 80

_WORD = re.compile(r"\w[\w.+#/'-]*")
#: Words that are left out of a trace's name: they do not say what a question is about.
_EMPTY = """
a about an and any are as at be been by can could did do does for from get give had has have hello help hi how i i'd i'm
if in into is it its let let's make me my need of on or our please should so some tell that the their them then there
these they this those to us use using want was we were what what's when where which who why will with would you your
"""
_EMPTY_WORDS = frozenset(_EMPTY.split())


class EndedQuery(NamedTuple):
    """An ended query: the fields of its record that a root shows. Cheaper to create than a ``Record``."""

    query_id: str
    asker: Asker
    state: State
    query: Query
    flow: str | None
    domain: str | None
    created: datetime
    finished: datetime | None
    route: RouteDecision | None = None
    answer: Answer | None = None
    error: ErrorInfo | None = None
    reason: str = ""
    attempts: int = 0
    attached_to: str | None = None


def trace_name(title: str, question: str = "") -> str:
    """Return the name of a trace: the flow's title and the first words that say what the question is about.

    "How do I connect PostgreSQL with Python?" becomes "Technical Analysis: connect PostgreSQL Python".
    """
    words: list[str] = []
    telling: list[str] = []
    for match in _WORD.finditer(question, 0, 2000):
        word = match[0].rstrip(".-'")
        words.append(word)
        if word.lower() not in _EMPTY_WORDS:
            telling.append(word)
            if len(telling) == MAX_NAME_WORDS:
                break
    telling = telling or words
    name = f"{title}: {' '.join(telling[:MAX_NAME_WORDS])}" if telling else title
    return name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 1] + "…"


def title_of(flow: str | None) -> str:
    """Return a title made from a flow's key."""
    return flow.replace("-", " ").replace("_", " ").title() if flow else "Query"


def tags_of(record: Record | EndedQuery) -> tuple[str, ...]:
    """Return the tags of a trace: domain, band, cached, client."""
    tags = [f"domain:{record.domain}"] if record.domain else []
    if record.route is not None:
        tags.append(f"band:{record.route.band}")
    if record.answer is not None and record.answer.cached:
        tags.append("cached")
    tags.append(f"client:{record.query.client}")
    return tuple(tags)


def root_of(record: Record | EndedQuery, *, title: str | None = None, private: bool = False) -> Observation:
    """Return the root observation of an ended query. ``private`` leaves out question, answer and messages."""
    level, message = _status(record)
    start = _nanoseconds(record.created)
    question = "" if private else record.query.question
    answer = record.answer
    return Observation(
        query_id=record.query_id,
        name=trace_name(title or title_of(record.flow), question),
        type="agent",
        start=start,
        end=max(start, _nanoseconds(record.finished)) if record.finished else start,
        is_root=True,
        input=question or None,
        output=None if private or answer is None else answer.text,
        metadata=_metadata(record),
        level=level,
        message=message if message is None or not private else str(record.state),
        session=record.query.session_id,
        user=record.asker.name,
        tags=tags_of(record),
    )


def _status(record: Record | EndedQuery) -> tuple[Level | None, str | None]:
    if record.state is State.SUCCEEDED:
        return None, None
    if record.state is State.CANCELLED:
        return "WARNING", f"cancelled: {record.reason}" if record.reason else "cancelled"
    if record.state is State.EXPIRED:
        return "ERROR", f"deadline passed: {record.reason}" if record.reason else "deadline passed"
    if record.error is not None:
        return "ERROR", f"{record.error.error_type}: {record.error.error}"
    return "ERROR", str(record.state)


def _metadata(record: Record | EndedQuery) -> dict[str, Any]:
    found: dict[str, Any] = {
        "state": str(record.state),
        "flow": record.flow,
        "domain": record.domain,
        "attempts": record.attempts or None,
        "attached_to": record.attached_to,
        # Needed to find the query of a trace whose id is a hash.
        "query_id": record.query_id if trace_id(record.query_id) != record.query_id else None,
    }
    if record.route is not None:
        found |= {"decision": record.route.decision, "confidence": record.route.confidence}
    if record.answer is not None:
        found |= {"cached": record.answer.cached, "stale": record.answer.stale or None, "kind": record.answer.kind}
        found["cost"] = None if record.answer.cost is None else str(record.answer.cost)
    if record.error is not None:
        found |= {"error_type": record.error.error_type, "error_id": record.error.error_id}
    return {name: value for name, value in found.items() if value is not None}


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6) * 1000
