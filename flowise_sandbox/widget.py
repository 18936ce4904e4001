"""Answer what Flowise's chat widget asks beside predictions: configuration, leads, files, icons, documents."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

from aiohttp import web
from aiohttp.web_request import FileField

from flowise_sandbox.chats import now_text
from flowise_sandbox.flows import SandboxFlow, Style, form_inputs
from flowise_sandbox.installation import Installation
from flowise_sandbox.pages import given_key, json_body, json_response, problem
from flowise_sandbox.tools import PLOT
from flowise_sandbox.uploads import accepted_of

#: A picture of one dot: what every stored file contains.
_DOT = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")
#: Flows whose tool makes a picture.
_PLOTTERS = (Style.MAKER, Style.TOOLS, Style.CREW)
_ICON = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><circle cx="4" cy="4" r="4"/></svg>'


class WidgetCalls:
    """The handlers of the widget's calls."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api/v1/public-chatbotConfig/{flow}", self.config)
        app.router.add_post("/api/v1/leads/", self.lead)
        app.router.add_get("/api/v1/get-upload-file", self.stored_file)
        app.router.add_get("/api/v1/node-icon/{name}", self.icon)
        app.router.add_post("/api/v1/vector/upsert/{flow}", self.upsert)

    async def config(self, request: web.Request) -> web.Response:
        flow = self._installation.flows.get(request.match_info["flow"])
        if flow is None:
            where = "Error: chatflowsService.getSinglePublicChatbotConfig"
            return problem(500, f"{where} - Chatflow {request.match_info['flow']} not found")
        follow_ups = {"followUpPrompts": {"status": True}} if self._conduct(flow).follow_ups else {}
        full = {"status": True, "allowedUploadFileTypes": ",".join(flow.files)}
        files = {"fullFileUpload": full} if flow.files else {}
        about = {**flow.chatbot, **follow_ups, **files, "uploads": accepted_of(flow), "isTTSEnabled": False}
        return json_response({**about, "flowData": json.dumps({"nodes": _start(flow), "edges": []})})

    async def lead(self, request: web.Request) -> web.Response:
        try:
            given = await json_body(request)
        except ValueError:
            return problem(400, "Unexpected end of JSON input")
        lead = {name: given.get(name) for name in ("chatflowid", "chatId", "name", "email", "phone")}
        kept = {**lead, "id": str(uuid.uuid4()), "createdDate": now_text()}
        self._installation.counts.leads.append(kept)
        return json_response(kept)

    async def stored_file(self, request: web.Request) -> web.Response:
        asked, known = request.query, self._installation
        name, flow = asked.get("fileName"), known.flows.get(asked.get("chatflowId", ""))
        calls = [call for call in known.counts.recent if call.get("chatId") == asked.get("chatId")]
        given = [each for call in calls for each in _uploads(call)]
        plots = flow is not None and flow.style in _PLOTTERS
        made = plots and bool(known.chats.find(asked["chatflowId"], chat_id=asked.get("chatId")))
        if not (name in given or (made and name == PLOT)):
            return problem(500, f"Error: File {name} not found")
        return web.Response(body=_DOT, content_type="application/octet-stream")

    async def icon(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name.endswith("Agentflow"):
            return problem(500, f"Error: nodesService.getSingleNodeIcon - Node {name} icon not found")
        return web.Response(body=_ICON, content_type="image/svg+xml")

    async def upsert(self, request: web.Request) -> web.Response:
        flow = self._installation.flows.get(request.match_info["flow"])
        if flow is None:
            return problem(404, f"Chatflow {request.match_info['flow']} not found in the database!")
        key = self._conduct(flow).key
        if key is not None and given_key(request) != key:
            return problem(401, "Unauthorized")
        form = await request.post()
        files = [each for each in form.getall("files", []) if isinstance(each, FileField)]
        if not files:
            return problem(500, "Error: vectorsService.upsertVector - No vector node found")
        told: dict[str, Any] = {"numAdded": len(files), "numDeleted": 0, "numUpdated": 0, "numSkipped": 0}
        return json_response({**told, "addedDocs": [{"metadata": {"source": each.filename}} for each in files]})

    def _conduct(self, flow: SandboxFlow) -> Any:
        return self._installation.conduct(flow.id).behaviour


def _uploads(call: dict[str, Any]) -> list[str]:
    """Return the names of the files that came with a call."""
    return [str(each.get("name")) for each in call.get("uploads") or ()]


def _start(flow: SandboxFlow) -> list[dict[str, Any]]:
    if not flow.style.agentic:
        return [{"id": "chain_0", "data": {"name": "conversationChain", "inputs": {"systemMessagePrompt": "secret"}}}]
    inputs: dict[str, Any] = {"startInputType": "chatInput"}
    if flow.style is Style.FORM:
        titles = {"formTitle": flow.name or "Form", "formDescription": "Please fill it in"}
        inputs = {"startInputType": "formInput", **titles, "formInputTypes": form_inputs(flow)}
    return [{"id": "startAgentflow_0", "data": {"name": "startAgentflow", "inputs": inputs}}]
