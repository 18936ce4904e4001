"""Sessions over HTTP: which there are, how one stands, what was said in it, the profile that it carries."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, Field, JsonValue
from starlette.responses import Response

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.broker.sessions import Session, list_sessions, load_session
from agentic_flywheel.models import Model, Slug
from agentic_flywheel.secret_values import without_secret_values
from http_gateway.callers import CallerOf, GatewayCaller
from http_gateway.json_body import BodyOf
from http_gateway.native.bodies import HttpBody
from http_gateway.native.shown import response_of
from http_gateway.path_names import NameInPath

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])
Reader = Annotated[GatewayCaller, Depends(CallerOf(Scope.READ))]
Asker = Annotated[GatewayCaller, Depends(CallerOf(Scope.ASK))]


class HttpSession(Model):
    """One conversation of the caller."""

    session_id: str
    turns: int
    #: Ids of its queries that have not ended, in their order.
    under_way: tuple[str, ...] = ()
    profile: str | None = None
    config: dict[str, JsonValue] | None = None
    created: AwareDatetime
    updated: AwareDatetime


class HttpSessionList(Model):
    """Conversations of the caller, the latest first."""

    sessions: tuple[HttpSession, ...]


class HttpTurn(Model):
    """One question and its answer."""

    query_id: str
    question: str
    answer: str
    flow: str
    domain: str
    at: AwareDatetime


class HttpTurnList(Model):
    """What was said in a session, the oldest first."""

    session_id: str
    turns: tuple[HttpTurn, ...]


class HttpSessionCancelled(Model):
    """What became of the queries of a session that were under way."""

    session_id: str
    cancelled: tuple[str, ...]


class HttpProfile(HttpBody):
    """The profile that a session is to carry."""

    profile: Annotated[Slug | None, Field(description="null: none from now on.")]


_PROFILE = BodyOf(HttpProfile)


def _shown(session: Session) -> HttpSession:
    return HttpSession(
        session_id=session.session_id,
        turns=session.turns,
        under_way=session.under_way,
        profile=session.profile,
        config=without_secret_values(session.config) or None,
        created=session.created,
        updated=session.updated,
    )


@router.get("", summary="List sessions", responses={200: {"model": HttpSessionList}})
async def list_all(caller: Reader, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Response:
    """List your conversations, the latest first."""
    found = await list_sessions(caller.producer.batch, caller.asker, limit=limit)
    return response_of(HttpSessionList(sessions=tuple(map(_shown, found))))


@router.get("/{session_id:name}/turns", summary="Read a session", responses={200: {"model": HttpTurnList}})
async def turns(caller: Reader, session_id: NameInPath, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Response:
    """Return the last turns of a conversation: each question, its answer and the flow that gave it."""
    told = await caller.producer.history(session_id, limit=limit)
    return response_of(
        HttpTurnList(
            session_id=session_id,
            turns=tuple(
                HttpTurn(
                    query_id=each.query_id,
                    question=each.question,
                    answer=each.answer,
                    flow=each.flow,
                    domain=each.domain,
                    at=each.at,
                )
                for each in told
            ),
        )
    )


@router.post(
    "/{session_id:name}/cancel", summary="Cancel in a session", responses={200: {"model": HttpSessionCancelled}}
)
async def cancel(caller: Asker, session_id: NameInPath) -> Response:
    """Cancel the queries of a session that are under way."""
    states = await caller.producer.cancel(session_id=session_id)
    cancelled = tuple(query_id for query_id, state in states.items() if not state.terminal)
    return response_of(HttpSessionCancelled(session_id=session_id, cancelled=cancelled))


@router.put(
    "/{session_id:name}/profile",
    summary="Set a session's profile",
    responses={200: {"model": HttpSession}},
    openapi_extra=_PROFILE.shown,
)
async def set_profile(
    caller: Asker, session_id: NameInPath, given: Annotated[HttpProfile, Depends(_PROFILE)]
) -> Response:
    """Let a session carry a domain profile from now on; one that does not exist yet begins."""
    return response_of(_shown(await caller.producer.use_profile(session_id, given.profile)))


@router.get("/{session_id:name}", summary="Look at a session", responses={200: {"model": HttpSession}})
async def look(caller: Reader, session_id: NameInPath) -> Response:
    """Return how a conversation stands."""
    return response_of(_shown(await load_session(caller.producer.batch, session_id, asker=caller.asker)))
