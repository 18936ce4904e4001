"""Answer everything around predictions: health, flows, messages, feedback, and the page that wrong paths get."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from workers.sandbox.chats import now_text
from workers.sandbox.flows import SandboxFlow
from workers.sandbox.installation import Installation
from workers.sandbox.pages import PAGE, given_key, json_body, json_response, problem, unauthorized
from workers.sandbox.predictions import WORKSPACE

VERSION = "3.1.4"

#: What is open without a key, and so falls through to the page where method or path are wrong.
_OPEN = tuple(
    f"/api/v1/{path}"
    for path in ("prediction/", "chatflows-streaming", "chatflows/apikey/", "feedback", "ping", "version")
)


class Management:
    """The other calls of one installation."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._created = now_text()

    def add_to(self, app: web.Application) -> None:
        router = app.router
        router.add_get("/api/v1/ping", self.ping)
        router.add_get("/api/v1/version", self.version)
        router.add_get("/api/v1/chatflows", self.list_flows)
        router.add_get("/api/v1/chatflows/apikey/{key}", self.list_flows_of_key)
        router.add_get("/api/v1/chatflows/{flow}", self.one_flow)
        router.add_get("/api/v1/chatflows-streaming/{flow}", self.can_stream)
        router.add_get("/api/v1/chatmessage/{flow}", self.messages)
        router.add_delete("/api/v1/chatmessage/{flow}", self.delete_messages)
        router.add_put("/api/v1/chatmessage/abort/{flow}/{chat}", self.abort)
        router.add_post("/api/v1/feedback", self.add_feedback)
        router.add_post("/api/v1/feedback/{flow}", self.add_feedback)
        router.add_get("/api/v1/feedback/{flow}", self.list_feedback)
        router.add_put("/api/v1/feedback/{feedback}", self.revise_feedback)
        router.add_route("*", "/{anything:.*}", self.anything_else)

    async def ping(self, request: web.Request) -> web.Response:
        return web.Response(text="pong", content_type="text/html", charset="utf-8")

    async def version(self, request: web.Request) -> web.Response:
        return json_response({"version": VERSION})

    # Flows

    async def list_flows(self, request: web.Request) -> web.Response:
        if not self._opens(request):
            return unauthorized()
        listed = [self._described(flow) for flow in self._installation.flows.values()]
        if "page" not in request.query:
            return json_response(listed)
        try:
            page, limit = int(request.query["page"]), int(request.query.get("limit", "10"))
        except ValueError:
            return problem(412, "Invalid pagination")
        return json_response({"data": listed[max(0, page - 1) * limit :][:limit], "total": len(listed)})

    async def list_flows_of_key(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        if not self._installation.is_key(key) or self._installation.api_key is None:
            return web.Response(status=401, text="Unauthorized", content_type="text/html", charset="utf-8")
        flows = self._installation.flows.values()
        bound = {flow.id: self._installation.conduct(flow.id).behaviour.key for flow in flows}
        only = request.query.get("keyonly") is not None
        wanted = [flow for flow in flows if bound[flow.id] == key or (not only and bound[flow.id] is None)]
        return json_response([self._described(flow) for flow in wanted])

    async def one_flow(self, request: web.Request) -> web.Response:
        if not self._opens(request):
            return unauthorized()
        flow = self._installation.flows.get(request.match_info["flow"])
        if flow is None:
            return problem(404, f"Chatflow {request.match_info['flow']} not found in the database!")
        return json_response(self._described(flow))

    async def can_stream(self, request: web.Request) -> web.Response:
        flow = self._installation.flows.get(request.match_info["flow"])
        if flow is None:
            where = "Error: chatflowsService.checkIfChatflowIsValidForStreaming"
            return problem(500, f"{where} - Chatflow {request.match_info['flow']} not found")
        return json_response({"isStreaming": flow.style.streams})

    def _described(self, flow: SandboxFlow) -> dict[str, Any]:
        behaviour = self._installation.conduct(flow.id).behaviour
        settings: dict[str, Any] = {}
        if behaviour.overrides:
            enabled = [{"label": each, "name": each, "type": "string", "enabled": True} for each in _OVERRIDABLE]
            settings["overrideConfig"] = {"status": True, "nodes": {"Model": enabled}, "variables": []}
        if behaviour.rate_limit is not None:
            limit = behaviour.rate_limit
            settings["rateLimit"] = {"status": True, "limitMax": limit.calls, "limitDuration": limit.seconds}
        return {
            "id": flow.id,
            "name": flow.name,
            "flowData": json.dumps({"nodes": [], "edges": []}),
            "deployed": False,
            "isPublic": False,
            "apikeyid": f"key-of-{flow.id}" if behaviour.key else None,
            "chatbotConfig": None,
            "apiConfig": json.dumps(settings) if settings else None,
            "analytic": None,
            "speechToText": None,
            "textToSpeech": None,
            "followUpPrompts": None,
            "category": None,
            "type": "AGENTFLOW" if flow.style.agentic else "CHATFLOW",
            "createdDate": self._created,
            "updatedDate": self._created,
            "mcpServerConfig": None,
            "webhookSecretConfigured": False,
            "workspaceId": WORKSPACE,
        }

    # Messages

    async def messages(self, request: web.Request) -> web.Response:
        if not self._opens(request):
            return unauthorized()
        query = request.query
        found = self._installation.chats.find(
            request.match_info["flow"], chat_id=query.get("chatId"), session_id=query.get("sessionId")
        )
        return json_response(found[::-1] if query.get("order") == "DESC" else found)

    async def delete_messages(self, request: web.Request) -> web.Response:
        if not self._opens(request):
            return unauthorized()
        query = request.query
        affected = self._installation.chats.delete(
            request.match_info["flow"], chat_id=query.get("chatId"), session_id=query.get("sessionId")
        )
        return json_response({"raw": [], "affected": affected})

    async def abort(self, request: web.Request) -> web.Response:
        self._installation.abort(request.match_info["flow"], request.match_info["chat"])
        return json_response({"status": 200, "message": "Chat message aborted"})

    # Feedback

    async def add_feedback(self, request: web.Request) -> web.Response:
        if "flow" not in request.match_info and not self._opens(request):
            return unauthorized()
        given = await _object(request)
        if given is None:
            return problem(400, "Unexpected end of JSON input")
        return json_response(self._installation.chats.add_feedback(given))

    async def list_feedback(self, request: web.Request) -> web.Response:
        return json_response(self._installation.chats.feedback_of(request.match_info["flow"]))

    async def revise_feedback(self, request: web.Request) -> web.Response:
        given = await _object(request)
        if given is None:
            return problem(400, "Unexpected end of JSON input")
        feedback_id = request.match_info["feedback"]
        if not self._installation.chats.revise_feedback(feedback_id, given):
            return problem(404, f"Feedback with id {feedback_id} not found")
        return json_response({"status": "OK"})

    # Whatever else

    async def anything_else(self, request: web.Request) -> web.Response:
        """A path that looks like the API in the wrong case is refused; anything else gets the page."""
        path = request.path
        if path.lower().startswith("/api/v1") and not path.startswith(_OPEN):
            exact = path.startswith("/api/v1")
            if not exact or not self._opens(request):
                return unauthorized()
        return web.Response(text=PAGE, content_type="text/html", charset="utf-8")

    def _opens(self, request: web.Request) -> bool:
        return self._installation.is_key(given_key(request))


_OVERRIDABLE = (
    "temperature",
    "maxOutputTokens",
    "maxTokens",
    "modelName",
    "systemMessage",
    "systemMessagePrompt",
    "vars",
)


async def _object(request: web.Request) -> dict[str, Any] | None:
    try:
        return await json_body(request)
    except ValueError:
        return None
