"""The tools about sessions: which there are, how one stands, what was said in it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, Field

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.broker.sessions import Session, list_sessions, load_session
from agentic_flywheel.models import Model, Turn
from agentic_flywheel.secret_values import without_secret_values
from mcp_bridge.arguments import Arguments, Object, SessionId
from mcp_bridge.tool import READS, Call, tool


class WhichSession(Arguments):
    """A session, or all of them."""

    session_id: SessionId | None = None
    limit: Annotated[int, Field(ge=1, le=200, description="At most so many, the latest first.")] = 20


class SessionView(Model):
    """One conversation."""

    session_id: Annotated[str, Field(description="Ask with it to continue.")]
    turns: int
    under_way: Annotated[tuple[str, ...], Field(description="query_ids that have no answer yet, in their order.")]
    created: AwareDatetime
    updated: AwareDatetime
    profile: str | None = None
    config: Object | None = None


class SessionList(Model):
    """Conversations of the caller."""

    sessions: tuple[SessionView, ...]
    note: str | None = None


def session_view(session: Session) -> SessionView:
    """Return the view of a session."""
    return SessionView(
        session_id=session.session_id,
        turns=session.turns,
        under_way=session.under_way,
        created=session.created,
        updated=session.updated,
        profile=session.profile,
        config=without_secret_values(session.config) or None,
    )


async def sessions_of(call: Call, limit: int) -> SessionList:
    """Return the caller's sessions."""
    found = await list_sessions(call.producer.batch, call.asker, limit=limit)
    note = None if found else "No sessions of yours yet: ask with a session_id of your choice to begin one."
    return SessionList(sessions=tuple(map(session_view, found)), note=note)


@tool("Look at sessions", READS, Scope.READ)
async def flowise_session_info(call: Call, given: WhichSession) -> SessionList:
    """Show how a conversation stands (turns, queries under way, profile, overrides), or list all of yours."""
    if given.session_id is None:
        return await sessions_of(call, given.limit)
    session = await load_session(call.producer.batch, given.session_id, asker=call.asker)
    return SessionList(sessions=(session_view(session),))


class History(Arguments):
    """A session and how much of it."""

    session_id: SessionId
    limit: Annotated[int, Field(ge=1, le=200, description="The last so many turns.")] = 20


class TurnView(Model):
    """One question and its answer."""

    query_id: str
    question: str
    answer: str
    flow_key: str
    domain: str
    at: AwareDatetime


class HistoryView(Model):
    """What was said in a session."""

    session_id: str
    turns: Annotated[tuple[TurnView, ...], Field(description="The oldest first.")]


def turn_view(turn: Turn) -> TurnView:
    """Return the view of a turn."""
    return TurnView(
        query_id=turn.query_id,
        question=turn.question,
        answer=turn.answer,
        flow_key=turn.flow,
        domain=turn.domain,
        at=turn.at,
    )


@tool("Read a session", READS, Scope.READ)
async def flowise_session_history(call: Call, given: History) -> HistoryView:
    """Return the last turns of one of your conversations: each question, its answer and the flow that gave it."""
    turns = await call.producer.history(given.session_id, limit=given.limit)
    return HistoryView(session_id=given.session_id, turns=tuple(map(turn_view, turns)))
