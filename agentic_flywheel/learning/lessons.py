"""Lessons: what users' re-routes and ratings, and unrouted questions, say about routing. Stored in Redis.

They are stored apart from the queries' records, which expire sooner, and are bounded in number and time. A query under
a domain profile gives no lesson, because lessons end in a registry that everybody may read.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Literal, assert_never

from pydantic import AwareDatetime

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.stored import passing_over
from agentic_flywheel.errors import UnknownQuery
from agentic_flywheel.models import Band, Model

#: How long lessons are kept: as long as scores, from which some of them come.
KEPT = timedelta(days=90)
#: Lowest rating that means a right route, and highest rating that means a wrong one. Ratings between mean neither.
GOOD, BAD = 7, 4
#: Most lessons on each shelf. Unrouted questions have a shelf of their own: they come without any user's effort, and
#: must not displace what users said.
_MOST = {"labelled": 5000, "unrouted": 2000}

Kind = Literal["reroute", "score", "unrouted"]


class Lesson(Model):
    """One question, the flows that were asked, and what is known of its right flow."""

    query_id: str
    kind: Kind
    question: str
    #: The flows that were asked; none where the query ended with a clarification.
    flows: tuple[str, ...]
    #: The right flow; None where nobody named it.
    right: str | None = None
    #: Whether the rating was good; None without a rating, or with one between good and bad.
    good: bool | None = None
    band: Band = "high"
    novel: bool = False
    #: Whether it was asked within a session, so that its text alone may not be enough.
    in_session: bool = False
    #: The name of the asker whose question it was.
    owner: str
    at: AwareDatetime


def verdict_of(value: bool | float | str) -> bool | None:
    """Return whether a rating means that the route was right; None where it means neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) or BAD < value < GOOD:
        return None
    return value >= GOOD


async def keep_rerouting(batch: Batch, query_id: str, right: str, *, asker: Asker) -> bool:
    """Store the flow to which a query should have gone. Returns False where lessons of this query are not stored.

    Raises UnknownQuery where there is no such query, or where it is another asker's; BrokerUnavailable.
    """
    return await _keep(batch, query_id, "reroute", right=right, asker=asker)


async def keep_rating(batch: Batch, query_id: str, value: bool | float | str, *, asker: Asker | None) -> bool:
    """Store what a rating means for a query's route; a later rating replaces it.

    Returns False where lessons of this query are not stored. Raises UnknownQuery where there is no such query, or where
    it is another asker's; BrokerUnavailable.
    """
    return await _keep(batch, query_id, "score", good=verdict_of(value), asker=asker)


async def keep_unrouted(batch: Batch, query_id: str) -> bool:
    """Store a question for which no flow was likely. Returns whether it was stored. Raises BrokerUnavailable."""
    try:
        return await _keep(batch, query_id, "unrouted")
    except UnknownQuery:  # its record has expired
        return False


async def load_lessons(batch: Batch) -> list[Lesson]:
    """Return all lessons, the oldest first; without damaged ones. Raises BrokerUnavailable."""
    since = datetime.now(UTC) - KEPT
    found: list[Lesson] = []
    for shelf in _MOST:
        with passing_over("the lessons", shelf):
            for stored in await batch.call("HVALS", wire.lessons_key(shelf)):
                with passing_over("one of the lessons", shelf):
                    found.append(_read(stored))
    return sorted((lesson for lesson in found if lesson.at >= since), key=lambda lesson: lesson.at)


async def _keep(
    batch: Batch,
    query_id: str,
    kind: Kind,
    *,
    right: str | None = None,
    good: bool | None = None,
    asker: Asker | None = None,
) -> bool:
    shelf = "unrouted" if kind == "unrouted" else "labelled"
    reply = await scripts.lesson(
        batch,
        id=query_id,
        owner=asker.owner if asker else "",
        asker=asker.named if asker else "",
        shelf=shelf,
        kind=kind,
        told=json.dumps({"kind": kind, "right": right, "good": good}, ensure_ascii=False),
        most=_MOST[shelf],
        ttl=int(KEPT.total_seconds()),
    )
    match reply:
        case scripts.LessonKept():
            return True
        case scripts.LessonPrivate() | scripts.LessonLong():
            return False
        case scripts.LessonUnknown():
            raise UnknownQuery(query_id)
        case _:
            assert_never(reply)


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
