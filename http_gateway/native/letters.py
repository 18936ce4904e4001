"""Dead letters over HTTP: list, look, ask again, remove. Each caller has its own; an admin may ask for everyone's."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, JsonValue
from starlette.responses import Response

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.broker.records import DeadLetter, load_dead_letter, remove_dead_letters
from agentic_flywheel.errors import ErrorInfo, UnknownDeadLetter
from agentic_flywheel.models import Model, Slug
from http_gateway.callers import CallerOf, GatewayCaller
from http_gateway.native.bodies import QueryId
from http_gateway.native.shown import HttpQuery, response_of, submission_shown
from mcp_bridge.discretion import outward
from producer.replay.own import letters
from producer.replay.wanted import Wanted

router = APIRouter(prefix="/v1/dead-letters", tags=["dead letters"])
Reader = Annotated[GatewayCaller, Depends(CallerOf(Scope.READ))]
Asker = Annotated[GatewayCaller, Depends(CallerOf(Scope.ASK))]
Everyone = Annotated[bool, Query(description="Also those of other owners: needs the scope admin.")]


class HttpLetter(Model):
    """A query whose attempts ran out."""

    query_id: str
    flow: str
    domain: str
    attempts: int
    error: ErrorInfo
    at: AwareDatetime
    query: dict[str, JsonValue]
    links: dict[str, str]


class HttpLetterList(Model):
    """Dead letters, the newest first."""

    letters: tuple[HttpLetter, ...]
    #: Give it as `after` to go on; none at the end of the list.
    next: str | None = None


class HttpRemoved(Model):
    """What was removed."""

    query_id: str
    removed: bool


@router.get("", summary="List dead letters", responses={200: {"model": HttpLetterList}})
async def list_letters(
    caller: Reader,
    flow: Annotated[Slug | None, Query()] = None,
    error: Annotated[Slug | None, Query(description="Only those with this error_type.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[str | None, Query(pattern=r"^[0-9a-f-]{32,36}$", description="`next` of the page before.")] = None,
    everyone: Everyone = False,
) -> Response:
    """List the dead letters, the newest first."""
    found: list[DeadLetter] = []
    passed = after is None
    _check(caller, everyone)
    wanted = Wanted(flow=flow, error_type=error)
    async with aclosing(letters(caller.producer.batch, wanted, newest_first=True)) as all_letters:
        async for letter in all_letters:
            if passed and (everyone or caller.asker.may_see(letter.query.asker)):
                found.append(letter)
                if len(found) > limit:
                    break
            passed = passed or letter.query_id == after
    following = found[limit - 1].query_id if len(found) > limit else None
    return response_of(HttpLetterList(letters=tuple(map(_shown, found[:limit])), next=following))


@router.get("/{query_id}", summary="Look at a dead letter", responses={200: {"model": HttpLetter}})
async def look(caller: Reader, query_id: QueryId, everyone: Everyone = False) -> Response:
    """Return one dead letter: the query, and the error that it ended with."""
    return response_of(_shown(await _letter(caller, query_id, everyone)))


@router.post(
    "/{query_id}/retry", summary="Ask a dead letter again", status_code=202, responses={202: {"model": HttpQuery}}
)
async def retry(caller: Asker, query_id: QueryId, everyone: Everyone = False) -> Response:
    """Ask the question again as a new query of the same user, and remove the letter once that is accepted. Where it
    fails again it is a new dead letter."""
    letter = await _letter(caller, query_id, everyone)
    asker = letter.query.asker
    producer = caller.producer
    if asker != caller.asker:
        limits = caller.grant.limits if asker.owner == caller.asker.owner else None
        producer = producer.acting_for(*asker, limits=limits)
    submission = await producer.submit(
        letter.query,
        # Repeated because its response was lost, it is the same query.
        idempotency_key=f"retry-{query_id}",
        # A remembered failure is no answer.
        cache="refresh" if letter.query.cache == "use" else letter.query.cache,
        deadline=None,
        metadata={**letter.query.metadata, "redrive_of": query_id},
    )
    await remove_dead_letters(producer.batch, [query_id])
    shown = submission_shown(submission)
    return response_of(shown, 200 if shown.done else 202, {"Location": shown.links["self"]})


@router.delete("/{query_id}", summary="Remove a dead letter", responses={200: {"model": HttpRemoved}})
async def remove(caller: Asker, query_id: QueryId, everyone: Everyone = False) -> Response:
    """Remove a dead letter for good."""
    letter = await _letter(caller, query_id, everyone)
    removed = await remove_dead_letters(caller.producer.batch, [letter.query_id])
    return response_of(HttpRemoved(query_id=query_id, removed=removed > 0))


def _check(caller: GatewayCaller, everyone: bool) -> None:
    if everyone:
        caller.needs(Scope.ADMIN, "everyone=true")


async def _letter(caller: GatewayCaller, query_id: str, everyone: bool) -> DeadLetter:
    _check(caller, everyone)
    letter = await load_dead_letter(caller.producer.batch, query_id)
    if letter is None or not (everyone or caller.asker.may_see(letter.query.asker)):
        raise UnknownDeadLetter(query_id)
    return letter


def _shown(letter: DeadLetter) -> HttpLetter:
    here = f"/v1/dead-letters/{letter.query_id}"
    return HttpLetter(
        query_id=letter.query_id,
        flow=letter.flow,
        domain=letter.domain,
        attempts=letter.attempts,
        error=outward(letter.error),
        at=letter.at,
        query=letter.query.shown(),
        links={"self": here, "retry": f"{here}/retry"},
    )
