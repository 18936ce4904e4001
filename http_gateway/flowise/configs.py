"""What a chat widget asks before anybody says something: whether the flow streams, and how the chat is to look."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import JSONResponse, Response

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.catalog import Flow, FormField
from agentic_flywheel.errors import FlowError, FlywheelError, OriginRefused, TokenNeeded
from http_gateway.flowise.clients import client_of
from http_gateway.flowise.guests import Guest, guest_of, is_member
from http_gateway.flowise.refusals import refused

router = APIRouter(prefix="/api/v1", tags=["flowise"])
Name = Annotated[str, Path(max_length=200)]

#: What a widget is told of what Flowise says, and of each which fields: its answer holds prompts and settings, too.
_TOLD: dict[str, tuple[str, ...]] = {
    "starterPrompts": (),
    "chatFeedback": ("status",),
    "leads": ("status", "title", "name", "email", "phone", "successMessage"),
    "followUpPrompts": ("status",),
    "fullFileUpload": ("status", "allowedUploadFileTypes"),
}
_NO_UPLOADS: dict[str, Any] = {
    "isSpeechToTextEnabled": False,
    "isImageUploadAllowed": False,
    "isRAGFileUploadAllowed": False,
    "imgUploadSizeAndTypes": [],
    "fileUploadSizeAndTypes": [],
}
#: What the start node of an AgentFlow says of its form.
_FORM = ("startInputType", "formTitle", "formDescription", "formInputTypes")
_START = "startAgentflow"
#: Seconds for which it stands what Flowise said, and most flows of which it is remembered.
_FRESH, _MOST = 60.0, 1_000


@router.get("/chatflows-streaming/{name}", summary="Whether a flow streams")
async def streaming(request: Request, name: Name) -> Response:
    """Say yes: every query is streamed here, at least how far it is. Clients ask this without their token, so whoever
    comes without one is not told which flows there are."""
    try:
        guest_of(request, name)
    except (TokenNeeded, OriginRefused):
        pass
    except FlywheelError as error:
        return refused(error, streamed=False, discreet=not is_member(request))
    return JSONResponse({"isStreaming": True})


@router.get("/public-chatbotConfig/{name}", summary="How a flow's chat is to look")
async def config(request: Request, name: Name) -> Response:
    """Return what a flow's owner has set for its chat, as far as the widget needs it."""
    try:
        guest = guest_of(request, name)
        return JSONResponse(await _config_of(request, guest))
    except (TokenNeeded, OriginRefused):
        return JSONResponse({"uploads": _NO_UPLOADS, "isTTSEnabled": False})
    except FlywheelError as error:
        return refused(error, streamed=False, discreet=not is_member(request))


async def _config_of(request: Request, guest: Guest) -> dict[str, Any]:
    told = await _from_flowise(request, guest) if guest.flow is not None else {}
    shown = {name: fields for name, fields in _TOLD.items() if isinstance(told.get(name), dict)}
    found: dict[str, Any] = {name: _some(told[name], fields) for name, fields in shown.items()}
    uploads = told.get("uploads") if isinstance(told.get("uploads"), dict) else None
    found["uploads"] = {**_NO_UPLOADS, **_some(uploads or {}, tuple(_NO_UPLOADS))} if guest.uploads else _NO_UPLOADS
    # Documents that are put into a flow's store are there for everybody who asks it.
    rag = bool(found["uploads"]["isRAGFileUploadAllowed"]) and guest.caller.grant.allows(Scope.MANAGE)
    found["uploads"] = {**found["uploads"], "isRAGFileUploadAllowed": rag}
    if not guest.uploads:
        found.pop("fullFileUpload", None)
    start = _start_of(told.get("flowData")) or (_form_of(guest.flow) if guest.flow and guest.flow.form else None)
    if start is not None:
        found["flowData"] = json.dumps({"nodes": [{"data": {"name": _START, "inputs": start}}]})
    return {**found, "isTTSEnabled": False}


async def _from_flowise(request: Request, guest: Guest) -> dict[str, Any]:
    """Return what Flowise says of a flow's chat; nothing where it is away."""
    flow, gateway = guest.flow, guest.caller.gateway
    if flow is None or flow.backend != "flowise":
        return {}
    state = request.app.state
    if not hasattr(state, "chat_configs"):
        state.chat_configs = OrderedDict[tuple[str, str | None], tuple[float, dict[str, Any]]]()
    known, key = state.chat_configs, (flow.id, flow.server)
    at, told = known.get(key, (0.0, {}))
    if not at or time.monotonic() - at > _FRESH:
        try:
            told = await client_of(gateway, flow).widget.config(flow)
        except FlowError:
            return dict(told)
        known[key] = (time.monotonic(), told)
        known.move_to_end(key)
        if len(known) > _MOST:
            known.popitem(last=False)
    return dict(told)


def _some(value: Any, fields: tuple[str, ...]) -> dict[str, Any]:
    given = value if isinstance(value, dict) else {}
    return {name: each for name, each in given.items() if not fields or name in fields}


def _start_of(flow_data: Any) -> dict[str, Any] | None:
    """Return the form of a flow's start node; None where it begins with none."""
    try:
        nodes = json.loads(flow_data)["nodes"] if isinstance(flow_data, str) else []
        inputs = next(each["data"]["inputs"] for each in nodes if each["data"].get("name") == _START)
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError):
        return None
    found = _some(inputs, _FORM)
    return found if found.get("startInputType") == "formInput" else None


def _form_of(flow: Flow) -> dict[str, Any]:
    """Return the form that the registry names, where Flowise does not say."""
    fields = [_field(each) for each in flow.form]
    about = {"formTitle": flow.title, "formDescription": flow.description}
    return {"startInputType": "formInput", **about, "formInputTypes": fields}


def _field(field: FormField) -> dict[str, Any]:
    options: Any = [{"option": each} for each in field.options] or ""
    return {"type": field.type, "label": field.name, "name": field.name, "addOptions": options}
