"""The paths of the OpenAI-compatible API."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope as AsgiScope

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.errors import EmbeddingsNotOffered, UnknownModel
from http_gateway.callers import CallerOf, GatewayCaller
from http_gateway.json_body import beside_loop, received
from http_gateway.openai.answering import streamed, submitted, whole
from http_gateway.openai.model_list import models_of
from http_gateway.openai.parameters import PARAMETERS, USED
from http_gateway.openai.repetitions import COUNT, Sending, digest_of, sending_of
from http_gateway.openai.requests import read_request
from http_gateway.under_way import names_query
from mcp_bridge.door import header_of

router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"])
Asking = Annotated[GatewayCaller, Depends(CallerOf(Scope.ASK))]

#: The headers in which a client names its conversation: ours, which many programs can be told to send, and one that
#: Open WebUI has of its own. The first that says something counts.
SESSIONS = (b"flywheel-session", b"x-openwebui-chat-id")
#: In which Open WebUI names its user.
USER = b"x-openwebui-user-id"
KEY = b"idempotency-key"
#: Bytes of a body: a conversation with its images, which stand in it as base64.
MOST_BODY = 20 * 2**20

_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant"]},
        "content": {"type": ["string", "array", "null"], "items": {"type": "object"}},
    },
}
_BODY: dict[str, Any] = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        **{name: {} for name in PARAMETERS if name not in USED},
        "model": {"type": "string", "description": "auto, a domain, or the key of a flow."},
        "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
        "stream": {"type": ["boolean", "null"]},
        "stream_options": {"type": ["object", "null"], "properties": {"include_usage": {"type": ["boolean", "null"]}}},
        "user": {"type": ["string", "null"], "description": "For whom it is asked."},
    },
}
_SHOWN: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The completion, or a stream of its chunks.",
        "content": {"application/json": {}, "text/event-stream": {}},
    }
}


@router.post(
    "/chat/completions",
    summary="Ask, as OpenAI's clients do",
    responses=_SHOWN,
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _BODY}}}},
)
async def complete(request: Request, caller: Asking) -> Response:
    """Ask the last message as a question. The messages before it are its history, system messages its context."""
    raw = await received(request, MOST_BODY)
    asked = await beside_loop(read_request, raw)
    caller = caller.acting_for(asked.user or _header(request.scope, USER))
    session = next(filter(None, (_header(request.scope, name) for name in SESSIONS)), None)
    sending = await _sending_of(request.scope, caller, raw, session)
    submission = await submitted(caller, asked, session, sending)
    names_query(request.scope, submission.query_id)
    if asked.stream:
        return streamed(caller, asked, submission)
    return await whole(request, caller, asked, submission)


@router.get("/models", summary="List the models")
async def list_models(caller: Asking) -> Response:
    """List `auto`, the domains and the flows that take questions."""
    return JSONResponse({"object": "list", "data": models_of(caller.producer.catalog)})


@router.get("/models/{model}", summary="Look at a model")
async def look_at_model(caller: Asking, model: str) -> Response:
    """Return one of the models."""
    models = models_of(caller.producer.catalog)
    found = next((each for each in models if each["id"] == model), None)
    if found is None:
        raise UnknownModel(model[:200], [each["id"] for each in models])
    return JSONResponse(found)


@router.post("/embeddings", summary="Not offered", responses={404: {"description": "Embeddings are not offered."}})
async def embed(caller: Asking) -> Response:
    """Say that there are no embeddings here."""
    raise EmbeddingsNotOffered


async def _sending_of(scope: AsgiScope, caller: GatewayCaller, raw: bytes, session: str | None) -> Sending:
    """Return under which key the request asks: its client's own, or the one that its repetitions share."""
    own = _header(scope, KEY)
    if own is not None:
        return Sending(own)
    digest = digest_of(caller.asker, (session or "").encode(), raw)
    return await sending_of(caller.producer.batch, _header(scope, COUNT), digest)


def _header(scope: AsgiScope, name: bytes) -> str | None:
    """Return what a header says; None where it says nothing."""
    return (header_of(scope, name) or "").strip() or None
