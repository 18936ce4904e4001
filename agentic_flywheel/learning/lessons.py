"""What queries taught about routing: kept apart from their records, which expire sooner, and bounded in size and time.

A lesson carries all that learning needs. Of a query under a domain profile nothing is kept: what is learned ends in a
registry that all may read.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime

from agentic_flywheel import wire
from agentic_flywheel.batch import Batch, Script
from agentic_flywheel.errors import UnknownQuery
from agentic_flywheel.models import Band, Model

#: Lessons are kept for as long as the scores that some of them come from.
KEPT = timedelta(days=90)
#: A rating from here up says that the flow was the right one, one down to there that it was not.
GOOD, BAD = 7, 4
#: Unrouted questions come by themselves, so they must not crowd out what people said.
_MOST = {"labelled": 5000, "unrouted": 2000}

_LESSON = Script("lesson")

Kind = Literal["reroute", "score", "unrouted"]


class Lesson(Model):
    """One question, where it went, and what is known of where it belongs."""

    query_id: str
    kind: Kind
    question: str
    #: The flows that were asked; none where the user was asked back.
    flows: tuple[str, ...]
    #: The right flow, where somebody named it.
    right: str | None = None
    #: Whether the answer was found good; None where nobody said.
    good: bool | None = None
    band: Band = "high"
    novel: bool = False
    #: Whether it was asked within a conversation, so that its text alone may say little.
    in_session: bool = False
    owner: str
    at: AwareDatetime


def verdict_of(value: bool | float | str) -> bool | None:
    """Return what a rating says of the route: right, wrong, or nothing."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) or BAD < value < GOOD:
        return None
    return value >= GOOD


async def keep_rerouting(batch: Batch, query_id: str, right: str, *, owner: str) -> bool:
    """Remember which flow a query should have gone to. Returns whether it could be kept.

    Raises UnknownQuery, also where the query is another owner's; BrokerUnavailable.
    """
    return await _kept_or_unknown(batch, query_id, "reroute", right=right, owner=owner)


async def keep_rating(batch: Batch, query_id: str, value: bool | float | str, *, owner: str | None) -> bool:
    """Remember what a rating says of a query's route; a later one corrects it. Raises UnknownQuery."""
    return await _kept_or_unknown(batch, query_id, "score", good=verdict_of(value), owner=owner or "")


async def keep_unrouted(batch: Batch, query_id: str) -> bool:
    """Remember a question that no flow was sure to be for. Returns whether it was kept. Raises BrokerUnavailable."""
    return await _keep(batch, query_id, "unrouted") == "kept"


async def load_lessons(batch: Batch) -> list[Lesson]:
    """Return all lessons, the oldest first. Raises BrokerUnavailable."""
    shelves = await asyncio.gather(*(batch.call("HVALS", wire.lessons_key(shelf)) for shelf in _MOST))
    since = datetime.now(UTC) - KEPT
    found = [_read(stored) for shelf in shelves for stored in shelf]
    return sorted((lesson for lesson in found if lesson.at >= since), key=lambda lesson: lesson.at)


async def _kept_or_unknown(
    batch: Batch, query_id: str, kind: Kind, *, owner: str, right: str | None = None, good: bool | None = None
) -> bool:
    verdict = await _keep(batch, query_id, kind, right=right, good=good, owner=owner)
    if verdict == "unknown":
        raise UnknownQuery(query_id)
    return verdict == "kept"


async def _keep(
    batch: Batch, query_id: str, kind: Kind, *, right: str | None = None, good: bool | None = None, owner: str = ""
) -> str:
    shelf = "unrouted" if kind == "unrouted" else "labelled"
    told = json.dumps({"kind": kind, "right": right, "good": good})
    reply = await batch.run(_LESSON, query_id, owner, shelf, kind, told, _MOST[shelf], int(KEPT.total_seconds()))
    verdict: str = reply[0]
    return verdict


def _read(stored: str) -> Lesson:
    fields = json.loads(stored)
    route = json.loads(fields["route"]) if fields.get("route") else {}
    query = json.loads(fields["query"])
    asked = [target["flow"] for target in route.get("targets", ())] or [fields.get("flow") or ""]
    return Lesson(
        query_id=fields["query_id"],
        kind=fields["kind"],
        question=query["question"],
        flows=() if route.get("decision") == "clarify" else tuple(flow for flow in asked if flow),
        right=fields["right"],
        good=fields["good"],
        band=route.get("band", "high"),
        novel=route.get("novel", False),
        in_session="session_id" in query,
        owner=fields["owner"],
        at=datetime.fromtimestamp(fields["at"] / 1000, UTC),
    )
