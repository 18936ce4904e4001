"""Answer the calls that list flows, and the one that asks whether a flow streams."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from flowise_sandbox.behaviour import OVERRIDABLE, VARIABLES
from flowise_sandbox.chats import now_text
from flowise_sandbox.flows import SandboxFlow, Style, form_inputs
from flowise_sandbox.installation import Installation
from flowise_sandbox.pages import given_key, json_response, problem, unauthorized
from flowise_sandbox.predictions import WORKSPACE


class Listing:
    """The handlers of the calls that list an installation's flows."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._created = now_text()

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api/v1/chatflows", self.list_flows)
        app.router.add_get("/api/v1/chatflows/apikey/{key}", self.list_flows_of_key)
        app.router.add_get("/api/v1/chatflows/{flow}", self.one_flow)
        app.router.add_get("/api/v1/chatflows-streaming/{flow}", self.can_stream)

    async def list_flows(self, request: web.Request) -> web.Response:
        if not self._installation.is_key(given_key(request)):
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
        if not self._installation.is_key(given_key(request)):
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
            enabled = [{"label": each, "name": each, "type": "string", "enabled": True} for each in OVERRIDABLE]
            variables = [{"id": each, "name": each, "type": "string", "enabled": True} for each in VARIABLES]
            settings["overrideConfig"] = {"status": True, "nodes": {"Model": enabled}, "variables": variables}
        if behaviour.rate_limit is not None:
            limit = behaviour.rate_limit
            settings["rateLimit"] = {"status": True, "limitMax": limit.calls, "limitDuration": limit.seconds}
        return {
            "id": flow.id,
            "name": flow.name,
            "flowData": json.dumps({"nodes": _nodes(flow), "edges": []}),
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


#: The nodes behind the start of a flow, or all of a chatflow's, that tell how it is used.
_NODES: dict[Style, list[dict[str, Any]]] = {
    Style.CHAT: [
        {"name": "bufferMemory", "category": "Memory", "inputs": {}},
        {"name": "conversationChain", "inputs": {"systemMessagePrompt": "You answer whatever people ask. Be terse."}},
    ],
    Style.DOCUMENTS: [{"name": "conversationalRetrievalQAChain", "inputs": {}}],
    Style.FUNCTION: [{"name": "customFunction", "inputs": {}}],
    Style.OBJECT: [{"name": "customFunction", "inputs": {}}],
    Style.LLM: [
        {
            "name": "llmAgentflow",
            "inputs": {
                "llmEnableMemory": True,
                "llmMessages": [{"role": "system", "content": "You help developers with code and databases."}],
            },
        }
    ],
    Style.AGENT: [{"name": "agentAgentflow", "inputs": {"agentTools": [{"agentSelectedTool": "calculator"}]}}],
    Style.APPROVAL: [{"name": "humanInputAgentflow", "inputs": {}}],
    Style.CAREFUL: [
        {
            "name": "agentAgentflow",
            "inputs": {
                "agentTools": [{"agentSelectedTool": "calculator", "agentSelectedToolRequiresHumanInput": True}]
            },
        }
    ],
}


def _nodes(flow: SandboxFlow) -> list[dict[str, Any]]:
    """Return the nodes that tell how a flow is used."""
    nodes = list(_NODES.get(flow.style, []))
    if flow.style.agentic:
        form = {"startInputType": "formInput", "formInputTypes": form_inputs(flow)}
        start: dict[str, Any] = form if flow.style is Style.FORM else {"startInputType": "chatInput"}
        nodes.insert(0, {"name": "startAgentflow", "inputs": start})
    return [{"id": f"{node['name']}_0", "type": "agentFlow", "data": node} for node in nodes]
