"""Queries over HTTP: ask, list, look, cancel, decide, ask again elsewhere, rate."""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime, ValidationError
from starlette.responses import Response

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.broker.listing import ListPlace, ids_before
from agentic_flywheel.broker.scores import Score
from agentic_flywheel.errors import (
    BrokerUnavailable,
    FlywheelError,
    InvalidQuery,
    InvalidRequest,
    QueryLost,
    QueryRemoved,
)
from agentic_flywheel.given import fault_of
from agentic_flywheel.models import Identifier, Model, Record, Slug, State
from agentic_flywheel.uploads import Upload
from http_gateway.callers import CallerOf, GatewayCaller
from http_gateway.json_body import QUESTION_BODY, BodyOf, beside_loop, read_json, received
from http_gateway.multipart import received_form
from http_gateway.native.bodies import (
    Elsewhere,
    HttpAsk,
    HttpDecision,
    HttpScore,
    IdempotencyKey,
    QueryId,
    Wait,
    documented,
)
from http_gateway.native.shown import (
    HttpQuery,
    links_of,
    record_shown,
    response_of,
    submission_shown,
)
from http_gateway.under_way import names_query
from producer import Submission

router = APIRouter(prefix="/v1/queries", tags=["queries"])
Asker = Annotated[GatewayCaller, Depends(CallerOf(Scope.ASK))]

#: Queries that one request for a list looks through at most.
_LOOKED_THROUGH = 1_000
#: Of these, how many are read at once.
_PAGE = 100
#: The part of a form that says what is asked, as JSON; the other parts are its files, or single fields.
_WHOLE = "query"
#: Fields that are JSON where they are parts of their own.
_IN_JSON = ("form", "config", "uploads", "history", "metadata")
_DECISION, _ELSEWHERE, _SCORE = BodyOf(HttpDecision), BodyOf(Elsewhere), BodyOf(HttpScore)


class HttpQueryList(Model):
    """Queries of the caller, the newest first."""

    queries: tuple[HttpQuery, ...]
    #: Give it as `cursor` to go on; none where the list is at its end.
    cursor: str | None = None


class HttpCancelled(Model):
    """What became of a query that was to be cancelled."""

    query_id: str
    #: Before; one that had ended stays as it was.
    state_before: State
    cancelled: bool
    links: dict[str, str]


_ASK_FORM = {
    "type": "object",
    "properties": {
        _WHOLE: {"type": "string", "description": "The JSON body, as text."},
        "question": {"type": "string"},
        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
    },
}


@router.post(
    "",
    summary="Ask a question",
    status_code=202,
    responses={200: {"model": HttpQuery, "description": "It has ended"}, 202: {"model": HttpQuery}},
    openapi_extra=documented(
        {"application/json": {"$ref": "#/components/schemas/HttpAsk"}, "multipart/form-data": _ASK_FORM}
    ),
)
async def ask(request: Request, caller: Asker, wait: Wait = 0.0, idempotency_key: IdempotencyKey = None) -> Response:
    """Accept a question and return its id; with `wait`, its answer if it is there in time. Files go as
    multipart/form-data: the fields as JSON in the part `query`, or one part each, and every other part is a file."""
    if (request.headers.get("content-type") or "").lower().startswith("multipart/form-data"):
        async with received_form(request, caller.gateway.settings) as form:
            given, files = _ask_of(form.fields), await form.uploads()
            submission = await _submit(caller, given, idempotency_key, files)
    else:
        submission = await _submit(caller, await _json_ask(request), idempotency_key, [])
    shown = submission_shown(submission)
    if not shown.done and wait:
        names_query(request.scope, submission.query_id)
        await _wait(caller, submission.query_id, wait)
        shown = record_shown(await caller.producer.status(submission.query_id))
    return response_of(shown, 200 if shown.done else 202, {"Location": shown.links["self"]})


async def _submit(caller: GatewayCaller, given: HttpAsk, key: str | None, files: list[Upload]) -> Submission:
    fields = given.fields()
    if files:
        fields["uploads"] = [*files, *fields.get("uploads", ())]
    return await caller.acting_for(given.user).producer.submit(given.question, idempotency_key=key, **fields)


async def _wait(caller: GatewayCaller, query_id: str, seconds: float) -> None:
    """Wait until a query ends or asks a person, for so many seconds. What came of it is in its record."""
    try:
        await caller.gateway.under_way.until_stop(caller.producer.wait(query_id, seconds))
    except (BrokerUnavailable, QueryLost, QueryRemoved):
        raise
    except FlywheelError:
        return


async def _json_ask(request: Request) -> HttpAsk:
    body = await received(request, QUESTION_BODY)
    return await beside_loop(lambda raw: _read_ask(read_json(raw)), body)


def _ask_of(fields: dict[str, str]) -> HttpAsk:
    given: Any = {
        name: read_json(text, name=name) if name in _IN_JSON else text
        for name, text in fields.items()
        if name != _WHOLE
    }
    if _WHOLE in fields:
        whole = read_json(fields[_WHOLE], name=_WHOLE)
        if isinstance(whole, dict) and (twice := sorted(whole.keys() & given.keys())):
            raise InvalidQuery(twice[0], f"it is given twice: in `{_WHOLE}`, and in a part of its own")
        given = {**whole, **given} if isinstance(whole, dict) else whole
    return _read_ask(given)


def _read_ask(given: Any) -> HttpAsk:
    try:
        return HttpAsk.model_validate(given)
    except ValidationError as refused:
        name, reason = fault_of(refused)
        raise InvalidQuery("body" if name == "query" else name, reason) from None


@router.get("", summary="List queries", responses={200: {"model": HttpQueryList}})
async def list_queries(
    caller: Asker,
    state: Annotated[list[State] | None, Query(max_length=9, description="In one of these states.")] = None,
    session_id: Annotated[Identifier | None, Query()] = None,
    flow: Annotated[Slug | None, Query()] = None,
    domain: Annotated[Slug | None, Query()] = None,
    since: Annotated[AwareDatetime | None, Query(description="Created at this time or later.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200, description="As the page before returned it.")] = None,
) -> Response:
    """List your queries, the newest first. A page may have fewer than `limit` and still a cursor, where many were
    looked through that do not match."""
    place = None if cursor is None else _place_of(cursor)

    def matches(record: Record) -> bool:
        return (
            (not state or record.state in state)
            and session_id in (None, record.query.session_id)
            and flow in (None, record.flow or record.query.flow)
            and domain in (None, record.domain or record.query.domain)
        )

    found, looked, ended = list[Record](), 0, False
    while len(found) < limit and looked < _LOOKED_THROUGH and not ended:
        places = await ids_before(caller.producer.batch, caller.asker, place, limit=_PAGE)
        ended = len(places) < _PAGE
        records = await caller.producer.records([each.query_id for each in places])
        for at, record in zip(places, records, strict=True):
            place, looked = at, looked + 1
            if since is not None and at.at < since.timestamp() * 1000:
                ended = True
                break
            if record is not None and matches(record):
                found.append(record)
                if len(found) == limit:
                    ended = ended and at == places[-1]
                    break
    shown = tuple(record_shown(record, whole=False) for record in found)
    return response_of(HttpQueryList(queries=shown, cursor=None if ended or place is None else _cursor_of(place)))


def _cursor_of(place: ListPlace) -> str:
    return base64.urlsafe_b64encode(f"{place.at}:{place.query_id}".encode()).decode()


def _place_of(cursor: str) -> ListPlace:
    with suppress(ValueError, binascii.Error):
        at, _, query_id = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode().partition(":")
        if len(at) < 20 and at.isascii() and at.isdigit():
            return ListPlace(int(at), query_id)
    raise InvalidRequest("cursor", "it should be one that a page of this list returned")


@router.get("/{query_id}", summary="Look at a query", responses={200: {"model": HttpQuery}})
async def look(caller: Asker, query_id: QueryId, wait: Wait = 0.0) -> Response:
    """Return all that is known of a query: state, route, answer or error. With `wait`, as soon as it has ended."""
    record = await caller.producer.status(query_id)
    if wait and not record.state.terminal:
        await _wait(caller, query_id, wait)
        record = await caller.producer.status(query_id)
    return response_of(record_shown(record))


@router.post("/{query_id}/cancel", summary="Cancel a query", responses={200: {"model": HttpCancelled}})
async def cancel(caller: Asker, query_id: QueryId) -> Response:
    """Cancel a query: a flow that is being called is cut off."""
    before = (await caller.producer.cancel(query_id)).get(query_id, State.CANCELLED)
    return response_of(
        HttpCancelled(query_id=query_id, state_before=before, cancelled=not before.terminal, links=links_of(query_id))
    )


@router.post(
    "/{query_id}/resume",
    summary="Decide for a flow",
    status_code=202,
    responses={202: {"model": HttpQuery}},
    openapi_extra=_DECISION.shown,
)
async def resume(
    caller: Asker, query_id: QueryId, given: Annotated[HttpDecision, Depends(_DECISION)], wait: Wait = 0.0
) -> Response:
    """Have a query whose flow has stopped go on with a person's decision. The same decision twice is one."""
    await caller.producer.resume(query_id, given.decision, feedback=given.feedback, stop=given.stop)
    if wait:
        await _wait(caller, query_id, wait)
    shown = record_shown(await caller.producer.status(query_id))
    return response_of(shown, 200 if shown.done else 202)


@router.post(
    "/{query_id}/reroute",
    summary="Ask again elsewhere",
    status_code=202,
    responses={202: {"model": HttpQuery}},
    openapi_extra=_ELSEWHERE.shown,
)
async def reroute(caller: Asker, query_id: QueryId, given: Annotated[Elsewhere, Depends(_ELSEWHERE)]) -> Response:
    """Ask a query's question again of the flow that it should have gone to; routing learns from it."""
    shown = submission_shown(await caller.producer.reroute(query_id, given.flow))
    return response_of(shown, 200 if shown.done else 202, {"Location": shown.links["self"]})


@router.post(
    "/{query_id}/scores",
    summary="Rate an answer",
    status_code=201,
    responses={201: {"model": Score}},
    openapi_extra=_SCORE.shown,
)
async def score(caller: Asker, query_id: QueryId, given: Annotated[HttpScore, Depends(_SCORE)]) -> Response:
    """Keep how good an answer was. The score of a name exists once for a query: giving it again corrects it."""
    kept = await caller.producer.score(query_id, given.value, name=given.name, comment=given.comment)
    return response_of(kept, 201)
