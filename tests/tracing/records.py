"""Records of queries as they are when the root of their trace is made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from agentic_flywheel.ids import new_query_id
from agentic_flywheel.models import Answer, Query, Record, Route, State, Target

CREATED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def record(
    state: State = State.SUCCEEDED, *, question: str = "How do I connect PostgreSQL with Python?", **fields: Any
) -> Record:
    query_id = fields.pop("query_id", None) or new_query_id()
    answer = Answer(query_id=query_id, text="Use psycopg.", flow="technical-analysis", domain="technical")
    given: dict[str, Any] = {
        "query_id": query_id,
        "owner": "ada",
        "state": state,
        "query": Query(question=question, session_id="s-1", owner="ada", client="cli"),
        "route": Route(
            targets=(Target(flow="technical-analysis", domain="technical", confidence=0.91),),
            decision="single",
            band="high",
            confidence=0.91,
        ),
        "answer": answer if state is State.SUCCEEDED else None,
        "flow": "technical-analysis",
        "domain": "technical",
        "attempts": 1,
        "created": CREATED,
        "finished": CREATED + timedelta(seconds=2),
    }
    return Record(**{**given, **fields})
